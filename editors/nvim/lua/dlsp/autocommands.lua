--- Connects Neovim's events to the parts that they concern.
local commands = require('dlsp.commands')
local draw = require('dlsp.draw')
local ghost = require('dlsp.ghost')
local keys = require('dlsp.keys')
local lsp = require('dlsp.lsp')
local options = require('dlsp.options')
local server = require('dlsp.server')
local status = require('dlsp.status')

local M = {}

local api = vim.api
local mapped = false

---@param client vim.lsp.Client
---@param buf integer
local function attach(client, buf)
  server.on_attach(client, buf)
  if not mapped then
    -- Only now, so that a key which another plugin has taken meanwhile is known to be taken.
    mapped = true
    keys.map()
  end
  local wanted = options.get().ghost
  if vim.lsp.inline_completion and wanted == 'builtin' then
    vim.lsp.inline_completion.enable(true, { bufnr = buf })
  elseif vim.lsp.inline_completion and wanted == 'own' then
    vim.lsp.inline_completion.enable(false, { client_id = client.id })
  elseif wanted == 'builtin' then
    status.say('this Neovim has no inline completion of its own (0.12 has); dlsp draws the ghost text.')
  end
  -- The file may have been opened in insert mode already.
  ghost.again()
end

--- Create all autocommands.
function M.create()
  local group = api.nvim_create_augroup('dlsp', {})
  local function on(events, callback, pattern)
    api.nvim_create_autocmd(events, { group = group, pattern = pattern, callback = callback })
  end
  on('LspAttach', function(event)
    local client = vim.lsp.get_client_by_id(event.data.client_id)
    if client and client.name == lsp.NAME then
      attach(client, event.buf)
    end
  end)
  on('LspDetach', function(event)
    local client = vim.lsp.get_client_by_id(event.data.client_id)
    server.on_detach(event.data.client_id, event.buf)
    if client and client.name == lsp.NAME then
      commands.forget(event.buf)
    end
  end)
  on('LspProgress', function(event)
    local client = vim.lsp.get_client_by_id(event.data.client_id)
    local params = event.data.params
    if client and client.name == lsp.NAME and type(params) == 'table' and type(params.value) == 'table' then
      status.progress(client.id, params.token, params.value)
    end
  end)
  on({ 'TextChangedI', 'TextChangedP', 'CursorMovedI' }, ghost.update)
  -- `InsertLeave` is silent after CTRL-C, and where Insert turns to Replace.
  on('ModeChanged', function()
    local before, now = vim.v.event.old_mode:sub(1, 1), vim.v.event.new_mode:sub(1, 1)
    if before == 'i' and now ~= 'i' then
      ghost.stop()
    elseif now == 'i' and before ~= 'i' then
      ghost.begin(before == '\22')
    end
  end)
  on({ 'BufLeave', 'WinLeave' }, ghost.stop)
  on('CompleteDone', vim.schedule_wrap(ghost.again))
  on('User', vim.schedule_wrap(ghost.again), { 'BlinkCmpMenuClose' })
  on('User', vim.schedule_wrap(ghost.update), { 'BlinkCmpMenuOpen' })
  on('BufEnter', function(event)
    local client = lsp.client(event.buf)
    if client then
      lsp.notify(client, 'textDocument/didFocus', { textDocument = { uri = vim.uri_from_bufnr(event.buf) } })
    end
  end)
  -- Later, because who makes a buffer for himself may name it before he says that it is no file.
  on({ 'BufFilePost', 'BufWritePost' }, vim.schedule_wrap(function(event)
    server.on_named(event.buf)
  end))
  on('ColorScheme', draw.highlights)
  on('VimLeavePre', server.leave)
  draw.highlights()
  local ready = false
  status.listen(function()
    local now = status.get().state
    -- The text that was asked for while the model was being loaded.
    if now == 'ready' and not ready then
      ghost.again()
    end
    ready = now == 'ready' or now == 'busy'
  end)
end

return M
