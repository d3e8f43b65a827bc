--- What the server says of itself: its state for the status line, its progress, its sentences for people.
--- Shows it; decides nothing.
local lsp = require('dlsp.lsp')

local M = {}

local api = vim.api

---@type table<integer, table> the latest `dlsp/status` by the client's id
local reports = {}
---@type table<integer, table<string|integer, { title: string, percentage?: integer, message?: string }>>
local work = {}
---@type fun()[]
local listeners = {}

---@type string what was said last, in full
local last = ''

--- Say one sentence. One that is too wide for the command line is cut there, since nobody wants to press Enter for it;
--- `:Dlsp status` has all of it.
---@param sentence string
---@param level? integer
function M.say(sentence, level)
  last = sentence
  local line, width = 'dlsp: ' .. sentence, vim.v.echospace
  -- Who has replaced the function that Neovim comes with has room for every sentence.
  local source = type(vim.notify) == 'function' and debug.getinfo(vim.notify, 'S').source or ''
  if (source == '?' or vim.startswith(source, '@vim/_')) and vim.fn.strdisplaywidth(line) > width then
    line = vim.fn.strcharpart(line, 0, width - 1) .. '…'
  end
  vim.notify(line, level or vim.log.levels.INFO)
end

--- Open the server's log in a window of its own, at its end.
---@param path string
---@return boolean shown
function M.show_log(path)
  if not vim.uv.fs_stat(path) then
    M.say(('there is no log yet; it will be %s.'):format(path))
    return false
  end
  local win = vim.fn.bufwinid(vim.fn.bufadd(path))
  if win ~= -1 then
    api.nvim_set_current_win(win)
  end
  -- Other Neovims may have it open, too.
  vim.cmd(('noswapfile %s %s'):format(win == -1 and 'botright sview' or 'view', vim.fn.fnameescape(path)))
  vim.bo.modifiable = false
  vim.cmd('normal! G')
  return true
end

--- Call a function after every change.
---@param listener fun()
function M.listen(listener)
  listeners[#listeners + 1] = listener
end

local function changed()
  -- A broken autocommand of the user's must not look like a failure of the server, so it runs outside the handler.
  vim.schedule(function()
    api.nvim_exec_autocmds('User', { pattern = 'DlspStatus', modeline = false })
    vim.cmd.redrawstatus()
    for _, listener in ipairs(listeners) do
      listener()
    end
  end)
end

M.handlers = {
  ['dlsp/status'] = function(_, report, context)
    if type(report) == 'table' then
      reports[context.client_id] = report
      vim.g.dlsp_status = report
      changed()
    end
  end,
  ['window/showMessage'] = function(_, params)
    local levels = { vim.log.levels.ERROR, vim.log.levels.WARN, vim.log.levels.INFO, vim.log.levels.DEBUG }
    M.say((params.message:gsub('^dlsp: ', '')), levels[params.type] or vim.log.levels.INFO)
    return vim.NIL
  end,
  -- All that the server shows is its log. Neovim itself would show it in place of the file that one is at.
  ['window/showDocument'] = function(_, params)
    return { success = M.show_log(vim.uri_to_fname(params.uri)) }
  end,
}

--- A piece of work-done progress of a client of ours.
---@param id integer the client's
---@param token string|integer
---@param value table
function M.progress(id, token, value)
  work[id] = work[id] or {}
  if value.kind == 'end' then
    work[id][token] = nil
  else
    work[id][token] = vim.tbl_extend('force', work[id][token] or {}, value)
  end
  changed()
end

--- A client has ended.
---@param id integer
function M.gone(id)
  reports[id], work[id] = nil, nil
  vim.schedule(function()
    vim.g.dlsp_status = select(2, next(reports)) or { state = 'stopped' }
    changed()
  end)
end

--- The report for the current buffer: the server's `dlsp/status`, with `state` "stopped" where there is no server.
---@return table
function M.get()
  local client = lsp.client(api.nvim_get_current_buf()) or lsp.client()
  return client and (reports[client.id] or { state = 'starting' }) or { state = 'stopped' }
end

--- What it is working at, such as "Fill the selection"; nil if at nothing that one would wait for.
---@return string?
local function doing()
  local client = lsp.client(api.nvim_get_current_buf())
  for _, piece in pairs(client and work[client.id] or {}) do
    if piece.title and not piece.title:match('^Loading') then
      return (piece.title:gsub('^dlsp: ', ''))
    end
  end
  return nil
end

--- A few words for a status line, without any character that means something there. Nothing where there is no client.
---@return string
function M.line()
  if not lsp.client(api.nvim_get_current_buf()) then
    return ''
  end
  local report = M.get()
  local left = ((report.snoozedUntilMs or 0) - os.time() * 1000) / 60000
  local word
  if report.state == 'error' then
    word = 'error'
  elseif left > 0 then
    word = ('snoozed %d min'):format(math.ceil(left))
  elseif report.enabled == false then
    word = 'off'
  elseif report.state ~= 'ready' and report.state ~= 'busy' and report.state ~= 'idle' then
    word = report.state
  else
    word = doing()
  end
  return word and 'dlsp: ' .. (word:gsub('%%', '')) or 'dlsp'
end

--- All of it, in lines for a person.
---@return string[]
function M.lines()
  local report, lines = M.get(), {}
  local function add(name, value)
    if value and value ~= '' then
      lines[#lines + 1] = ('%-9s %s'):format(name, value)
    end
  end
  local state = report.state
  if state == 'stopped' then
    add('state', 'stopped: no server runs for this file; `:checkhealth dlsp` says why')
    add('said', last)
    return lines
  end
  if (report.snoozedUntilMs or 0) > os.time() * 1000 then
    state = state .. ', snoozed until ' .. os.date('%H:%M', math.floor(report.snoozedUntilMs / 1000))
  elseif report.enabled == false then
    state = state .. ', off' .. ((report.language or '') ~= '' and ' in ' .. report.language or '')
  end
  add('state', state)
  add('model', vim.trim(('%s %s'):format(report.model or '', (report.device or '') ~= '' and 'on ' .. report.device or '')))
  add('work', doing())
  add('latency', (report.latencyMs or 0) > 0 and ('%.0f ms for the latest answer'):format(report.latencyMs))
  add('nothing', (report.reason or '') ~= '' and ('%s: %s'):format(report.reason, report.explanation or ''))
  add('message', report.message)
  add('ghost', lsp.ghost(api.nvim_get_current_buf()))
  add('said', last)
  return lines
end

return M
