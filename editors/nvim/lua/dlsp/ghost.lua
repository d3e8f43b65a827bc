--- Ghost text of our own: asks the server as you type, shows its answer, keeps it while you type along it, takes it in parts.
--- Knows how to draw and whom to ask; not which keys do what.
---
--- There is one suggestion at most, in the buffer where you insert. An answer is used only if it is the answer to the latest
--- question and nothing has happened since, so that what is shown always belongs to what stands there.
local draw = require('dlsp.draw')
local lsp = require('dlsp.lsp')
local options = require('dlsp.options')
local text = require('dlsp.text')

local M = {}

local api = vim.api
local INVOKED, AUTOMATIC = 1, 2

---@class dlsp.Live
---@field buf integer
---@field row integer where its texts begin, from 0
---@field col integer in bytes
---@field behind string the rest of the line behind the cursor, when it was asked for
---@field items { text: string, replaces: integer }[] best first; `replaces` bytes of `behind` give way to it
---@field index integer
---@field client integer? its id
---@field all boolean whether the alternatives are there, too
---@field counted boolean whether the number is shown

---@type dlsp.Live?
local live
---@type { client: integer, id: integer }?
local under_way
-- Counts everything that makes a question outdated.
local moment = 0
---@type string? the place, and the state of the buffer, that were dealt with last
local seen
---@type string? where the user turned a suggestion down
local dismissed
---@type fun()? what is to be done when the suggestion is gone, where somebody else had it before
local give_back

-- Whether what is typed goes into many lines at once, where no suggestion is right.
local block = false

---@return boolean
local function inserting()
  -- Beyond the end of a line ('virtualedit') there is no place where a text could go.
  return not block and api.nvim_get_mode().mode:sub(1, 1) == 'i' and vim.fn.getcurpos()[4] == 0
end

--- The buffer, the number of its last change and the cursor, in one word.
---@return string
local function place()
  local row, col = unpack(api.nvim_win_get_cursor(0))
  local buf = api.nvim_get_current_buf()
  return table.concat({ buf, api.nvim_buf_get_changedtick(buf), row, col }, ':')
end

---@return boolean
local function menu_is_in_the_way()
  if vim.fn.pumvisible() == 1 then
    -- An item that is selected stands in the buffer for now, and was not typed.
    return options.get().hide_with_menu or vim.fn.complete_info({ 'selected' }).selected ~= -1
  end
  if not options.get().hide_with_menu then
    return false
  end
  for _, name in ipairs({ 'blink.cmp', 'cmp' }) do
    local menu = package.loaded[name]
    local visible = type(menu) == 'table' and (menu.is_menu_visible or menu.visible)
    if visible and select(2, pcall(visible)) == true then
      return true
    end
  end
  return false
end

--- Forget the question that is under way.
local function withdraw()
  moment = moment + 1
  if under_way then
    local client = vim.lsp.get_client_by_id(under_way.client)
    if client then
      lsp.cancel(client, under_way.id)
    end
    under_way = nil
  end
end

--- Take the suggestion away.
local function drop()
  if live then
    draw.clear(live.buf)
    live = nil
  end
  if give_back then
    local back = give_back
    give_back = nil
    back()
  end
end

--- What is left of each text at the cursor, for those that agree with what was typed since.
---@return { rest: string, replaces: integer, text: string }[]
local function agreeing()
  if not live or live.buf ~= api.nvim_get_current_buf() then
    return {}
  end
  local row, col = unpack(api.nvim_win_get_cursor(0))
  row = row - 1
  if row < live.row or (row == live.row and col < live.col) then
    return {}
  end
  local line = api.nvim_get_current_line()
  if line:sub(col + 1) ~= live.behind then
    return {}
  end
  local ok, lines = pcall(api.nvim_buf_get_text, live.buf, live.row, live.col, row, col, {})
  if not ok then
    return {}
  end
  local typed, found = table.concat(lines, '\n'), {}
  for i, item in ipairs(live.items) do
    local rest = text.rest(item.text, typed)
    if rest and rest ~= '' then
      found[#found + 1] = { rest = rest, replaces = item.replaces, text = item.text, chosen = i == live.index }
    end
  end
  return found
end

--- The text that is shown, as it goes on from the cursor; nil if what was typed does not agree with it.
local function current()
  local found = agreeing()
  for _, item in ipairs(found) do
    if item.chosen then
      return item
    end
  end
  return nil
end

--- Draw what the suggestion is now. Returns false if there is nothing left to draw.
---@return boolean
local function refresh()
  local found = agreeing()
  if #found == 0 or not live then
    return false
  end
  local index = 1
  for i, item in ipairs(found) do
    if item.chosen then
      index = i
    end
  end
  local item = found[index]
  local news = live.shown ~= item.text
  if #found < #live.items then
    -- Those that disagree are out for good, or a step back would show the count wrong.
    live.items = vim.tbl_map(function(each)
      return { text = each.text, replaces = each.replaces }
    end, found)
    live.index = index
  end
  draw.show(live.buf, {
    rest = item.rest,
    replaces = item.replaces,
    hint = live.counted and ('%d/%d'):format(live.index, #live.items) or nil,
  })
  if news then
    live.shown = item.text
    local client = live.client and vim.lsp.get_client_by_id(live.client)
    if client then
      lsp.notify(client, 'textDocument/didShowCompletion', {
        textDocument = { uri = vim.uri_from_bufnr(live.buf) },
        item = { insertText = item.text },
      })
    end
  end
  return true
end

--- The texts of an answer, for the cursor's line.
---@param result any
---@param client vim.lsp.Client
---@return integer col where they begin
---@return { text: string, replaces: integer }[]
local function items_of(result, client)
  local row, col = unpack(api.nvim_win_get_cursor(0))
  local line = api.nvim_get_current_line()
  local from, found = col, {}
  for _, item in ipairs(type(result) == 'table' and (result.items or result) or {}) do
    local said = type(item.insertText) == 'string' and item.insertText:gsub('\r\n', '\n') or nil
    local start, stop = col, col
    if said and item.range then
      local one_line = item.range.start.line == row - 1 and item.range['end'].line == row - 1
      start = one_line and text.byte(line, item.range.start.character, client.offset_encoding) or -1
      stop = text.byte(line, item.range['end'].character, client.offset_encoding)
    end
    -- All texts of an answer begin at the same place. One that disagrees with what stands there is of no use.
    local rest = said and start >= 0 and start <= col and stop >= col and text.rest(said, line:sub(start + 1, col))
    if rest and rest ~= '' and (#found == 0 or start == from) then
      from = start
      found[#found + 1] = { text = said, replaces = stop - col }
    end
  end
  return from, found
end

--- Ask the server about the cursor's place, and do something with its texts if nothing happens until then.
---@param kind integer
---@param done fun(client: vim.lsp.Client, col: integer, items: { text: string, replaces: integer }[])
local function ask(kind, done)
  local buf = api.nvim_get_current_buf()
  local client = lsp.client(buf)
  if not client then
    return
  end
  withdraw()
  local asked, where = moment, place()
  local ok, id = lsp.request(client, 'textDocument/inlineCompletion', {
    textDocument = { uri = vim.uri_from_bufnr(buf), version = vim.lsp.util.buf_versions[buf] },
    position = lsp.position(client),
    context = { triggerKind = kind },
    formattingOptions = { tabSize = vim.fn.shiftwidth(), insertSpaces = vim.bo[buf].expandtab },
  }, function(err, result)
    if asked ~= moment then
      return
    end
    under_way = nil
    if not err and inserting() and place() == where then
      done(client, items_of(result, client))
    end
  end, buf)
  if ok and id then
    under_way = { client = client.id, id = id }
  end
end

---@param client vim.lsp.Client
---@param col integer
---@param items { text: string, replaces: integer }[]
---@param all boolean
local function show(client, col, items, all)
  drop()
  if #items == 0 or menu_is_in_the_way() then
    return
  end
  local row, at = unpack(api.nvim_win_get_cursor(0))
  live = {
    buf = api.nvim_get_current_buf(),
    row = row - 1,
    col = col,
    behind = api.nvim_get_current_line():sub(at + 1),
    items = items,
    index = 1,
    client = client.id,
    all = all,
    counted = all and #items > 1,
  }
  refresh()
end

--- Something was typed, or the cursor went somewhere.
function M.update()
  local buf = api.nvim_get_current_buf()
  local own = lsp.ghost(buf) == 'own'
  if vim.fn.reg_executing() ~= '' or not (own or live and live.buf == buf) then
    return
  end
  local here = place()
  if not inserting() or menu_is_in_the_way() then
    withdraw()
    drop()
    seen = nil
    return
  end
  if here == seen then
    return
  end
  seen = here
  withdraw()
  if live then
    if refresh() then
      return
    end
    drop()
  end
  if here ~= dismissed and own then
    ask(AUTOMATIC, function(client, col, items)
      show(client, col, items, false)
    end)
  end
end

--- Insert mode begins.
---@param many boolean in the lines of a block
function M.begin(many)
  block = many
  vim.schedule(M.update)
end

--- Look again although nothing was typed: the model is ready now, or completions are back.
function M.again()
  -- A server that has ended answers no question.
  if not live and not (under_way and vim.lsp.get_client_by_id(under_way.client)) then
    seen = nil
    M.update()
  end
end

--- Insert mode is over, or the buffer is left.
function M.stop()
  withdraw()
  drop()
  seen, dismissed, block = nil, nil, false
end

--- Whether there is a suggestion on the screen that can be taken now.
---@return boolean
function M.visible()
  return live ~= nil and inserting() and current() ~= nil
end

--- Put (a part of) the suggestion in. What is left of it stays on the screen.
---@param unit 'all'|'word'|'line'
function M.take(unit)
  local item = current()
  if not live or not item then
    return
  end
  local part = item.rest
  if unit ~= 'all' then
    part = text[unit](item.rest)
  end
  local left = item.rest:sub(#part + 1)
  local row, col = unpack(api.nvim_win_get_cursor(0))
  local lines = vim.split(part, '\n', { plain = true })
  local stop = left == '' and col + item.replaces or col
  withdraw()
  -- What is taken is undone by itself, and not together with all that was typed before it.
  vim.cmd('let &g:undolevels = &g:undolevels')
  api.nvim_buf_set_text(live.buf, row - 1, col, row - 1, stop, lines)
  api.nvim_win_set_cursor(0, { row + #lines - 1, #lines == 1 and col + #part or #lines[#lines] })
  if left == '' then
    drop()
  else
    local client = live.client and vim.lsp.get_client_by_id(live.client)
    if client then
      local accepted = item.text:sub(1, #item.text - #left)
      lsp.notify(client, 'textDocument/didPartiallyAcceptCompletion', {
        textDocument = { uri = vim.uri_from_bufnr(live.buf) },
        item = { insertText = item.text },
        acceptedLength = lsp.units(accepted),
      })
    end
    refresh()
  end
end

--- Show a text that somebody else had asked for, and call `back` when it is gone.
---@param col integer where it begins, in the cursor's line
---@param item { text: string, replaces: integer }
---@param client vim.lsp.Client
---@param back fun()
function M.adopt(col, item, client, back)
  show(client, col, { item }, false)
  seen, give_back = place(), back
  if not live then
    drop()
  end
end

--- The next alternative, or the one before. Those that are not there yet are asked for, and so is a first text.
---@param step integer
function M.cycle(step)
  local buf = api.nvim_get_current_buf()
  if not inserting() or not (lsp.ghost(buf) == 'own' or live and live.buf == buf) then
    return
  end
  dismissed = nil
  local item = current()
  if not live or not item then
    ask(INVOKED, function(client, col, items)
      show(client, col, items, true)
    end)
    return
  end
  local function turn()
    live.index = (live.index - 1 + step) % #live.items + 1
    live.counted = true
    refresh()
  end
  if live.all then
    return turn()
  end
  ask(INVOKED, function(client, col, items)
    local now = current()
    if not live or not now then
      return show(client, col, items, true)
    end
    -- The text on the screen stays the first one. The others are brought to where it begins.
    local row, at = unpack(api.nvim_win_get_cursor(0))
    local typed = api.nvim_get_current_line():sub(col + 1, at)
    local merged, known = { { text = now.rest, replaces = now.replaces } }, { [now.rest] = true }
    for _, each in ipairs(items) do
      local rest = text.rest(each.text, typed) or ''
      if rest ~= '' and not known[rest] then
        known[rest] = true
        merged[#merged + 1] = { text = rest, replaces = each.replaces }
      end
    end
    live.row, live.col, live.items, live.index, live.all = row - 1, at, merged, 1, true
    live.shown = now.rest
    turn()
  end)
end

--- Turn the suggestion down. Nothing is offered unasked until something changes.
function M.dismiss()
  withdraw()
  drop()
  dismissed = place()
end

return M
