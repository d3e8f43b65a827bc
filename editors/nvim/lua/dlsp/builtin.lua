--- The same keys for Neovim's own inline completion (0.12 and newer). What is accepted goes through our ghost text, for two reasons:
--- Neovim takes no parts, and a text that was typed along for a moment it would put in front of what was typed.
local ghost = require('dlsp.ghost')
local text = require('dlsp.text')

local M = {}

local api = vim.api

---@param item vim.lsp.inline_completion.Item
---@return string?
local function plain(item)
  -- A snippet is not ours and cannot be taken in parts.
  return type(item.insert_text) == 'string' and (item.insert_text:gsub('\r\n', '\n')) or nil
end

--- Take (a part of) what Neovim shows. Returns false if that is nothing.
---@param unit 'all'|'word'|'line'
---@return boolean
function M.accept(unit)
  return vim.lsp.inline_completion.get({
    on_accept = function(item)
      local said, client = plain(item), vim.lsp.get_client_by_id(item.client_id)
      local row, col = unpack(api.nvim_win_get_cursor(0))
      if not said or not client then
        return unit == 'all' and item or nil
      end
      local first, start, last, stop = row - 1, col, row - 1, col
      if item.range then
        first, start, last, stop = item.range:to_extmark()
      end
      -- The range is that of the moment when the server was asked; what was typed since must agree with the text.
      local typed = first == row - 1 and start <= col and api.nvim_get_current_line():sub(start + 1, col)
      local rest = typed and last == first and text.rest(said, typed)
      if not rest then
        return nil
      end
      local buf = api.nvim_get_current_buf()
      -- Until all is taken or typed away Neovim's own is off, or there would be two ghosts.
      vim.lsp.inline_completion.enable(false, { bufnr = buf })
      ghost.adopt(start, { text = said, replaces = math.max(0, stop - math.max(start, col)) }, client, function()
        vim.lsp.inline_completion.enable(true, { bufnr = buf })
      end)
      ghost.take(unit)
      return nil
    end,
  })
end

--- The next alternative, or the one before.
---@param step integer
function M.cycle(step)
  vim.lsp.inline_completion.select({ count = step })
end

--- Whether something of Neovim's is on the screen.
---@return boolean
function M.visible()
  local namespace = api.nvim_get_namespaces()['nvim.lsp.inline_completion']
  return namespace ~= nil and #api.nvim_buf_get_extmarks(0, namespace, 0, -1, { limit = 1 }) > 0
end

--- Take it off the screen until something is typed.
function M.dismiss()
  local buf = api.nvim_get_current_buf()
  -- The only public way to make Neovim forget what it has.
  vim.lsp.inline_completion.enable(false, { bufnr = buf })
  vim.lsp.inline_completion.enable(true, { bufnr = buf })
end

return M
