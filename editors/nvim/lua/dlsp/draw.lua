--- Ghost text on the screen: extmarks for a text that would go in at the cursor. Keeps no state but the marks.
local text = require('dlsp.text')

local M = {}

local api = vim.api
local namespace = api.nvim_create_namespace('dlsp.ghost')
M.namespace = namespace

---@class dlsp.Picture
---@field rest string what would be inserted at the cursor; lines end with "\n"
---@field replaces integer bytes behind the cursor that it would take the place of
---@field hint? string shown behind it

--- Take all ghost text of a buffer away.
---@param buf integer
function M.clear(buf)
  if api.nvim_buf_is_valid(buf) then
    api.nvim_buf_clear_namespace(buf, namespace, 0, -1)
  end
end

--- How many of so many lines below the cursor's are out of sight.
---@param lines integer
---@return integer
local function hidden(lines)
  return math.max(0, lines - (api.nvim_win_get_height(0) - vim.fn.winline()))
end

--- How many columns of the screen the text before a byte of a line takes.
---@param buf integer
---@param row integer
---@param col integer
---@return integer
local function column_of(buf, row, col)
  return vim.fn.strdisplaywidth(api.nvim_buf_get_text(buf, row, 0, row, col, {})[1])
end

--- A text over what stands there, all of which is hidden.
---@param buf integer
---@param row integer
---@param col integer
---@param first string
---@param old string
local function cover(buf, row, col, first, old)
  local column = column_of(buf, row, col)
  local left = vim.fn.strdisplaywidth(old, column) - vim.fn.strdisplaywidth(first, column)
  local chunks = { { text.expanded(first, column), 'DlspGhost' }, { (' '):rep(math.max(0, left)), 'Normal' } }
  api.nvim_buf_set_extmark(buf, namespace, row, col, { virt_text = chunks, virt_text_pos = 'overlay' })
end

--- The first line, in pieces around the characters that stand there already, or over them where they are not in it.
---@param buf integer
---@param row integer
---@param col integer
---@param first string
---@param old string what it takes the place of
local function first_line(buf, row, col, first, old)
  local kept = text.kept(first, old)
  if not kept then
    return cover(buf, row, col, first, old)
  end
  local column, from = column_of(buf, row, col), 1
  for i = 1, #kept + 1 do
    local piece = first:sub(from, (kept[i] or #first + 1) - 1)
    if piece ~= '' then
      api.nvim_buf_set_extmark(buf, namespace, row, col + i - 1, {
        virt_text = { { text.expanded(piece, column), 'DlspGhost' } },
        virt_text_pos = 'inline',
        hl_mode = 'combine',
      })
    end
    column = column + vim.fn.strdisplaywidth(first:sub(from, kept[i] or #first), column)
    from = (kept[i] or 0) + 1
  end
end

--- Draw at the cursor of the current window, in the place of what was drawn before.
---@param buf integer the window's buffer
---@param picture dlsp.Picture
function M.show(buf, picture)
  M.clear(buf)
  local row, col = unpack(api.nvim_win_get_cursor(0))
  row = row - 1
  local line = api.nvim_buf_get_lines(buf, row, row + 1, false)[1] or ''
  local lines = vim.split(picture.rest, '\n', { plain = true })
  local old = line:sub(col + 1, col + picture.replaces)
  local behind = line:sub(col + picture.replaces + 1)
  local hints = {} ---@type string[]
  if #lines > 1 and hidden(#lines - 1) > 0 then
    hints[1] = ('+%d lines'):format(#lines - 1)
  end
  hints[#hints + 1] = picture.hint

  if #lines > 1 and behind:match('%S') then
    -- What stands behind the cursor will go behind the last line, so it is covered here and shown there.
    cover(buf, row, col, lines[1], old .. behind)
  else
    first_line(buf, row, col, lines[1], old)
  end
  local below = {}
  for i = 2, #lines do
    below[i - 1] = { { text.expanded(lines[i], 0), 'DlspGhost' } }
  end
  if #below > 0 then
    if behind:match('%S') then
      table.insert(below[#below], { text.expanded(behind, 0), 'Normal' })
    end
    api.nvim_buf_set_extmark(buf, namespace, row, col, { virt_lines = below })
  end
  if #hints > 0 then
    local chunks = { { (' (%s)'):format(table.concat(hints, ', ')), 'DlspGhostHint' } }
    api.nvim_buf_set_extmark(buf, namespace, row, #line, { virt_text = chunks, virt_text_pos = 'eol', hl_mode = 'combine' })
  end
end

--- Ghost text looks like Neovim's own, where it has a colour for it, unless the colour scheme says otherwise.
function M.highlights()
  local plain = vim.fn.hlexists('ComplHint') == 1
  api.nvim_set_hl(0, 'DlspGhost', { link = plain and 'ComplHint' or 'NonText', default = true })
  api.nvim_set_hl(0, 'DlspGhostHint', { link = plain and 'ComplHintMore' or 'MoreMsg', default = true })
  api.nvim_set_hl(0, 'DlspBusy', { link = 'Visual', default = true })
end

return M
