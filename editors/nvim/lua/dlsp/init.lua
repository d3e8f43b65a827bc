--- dlsp in Neovim: what a configuration may call. Everything else is below `dlsp.*` and may change.
local M = {}

--- Take options and start the server for every file. Without it `vim.g.dlsp` and `vim.lsp.enable('dlsp')` do the same.
---@param options? dlsp.Options
function M.setup(options)
  require('dlsp.options').set(options)
  M.load()
  local server = require('dlsp.server')
  if vim.lsp.enable then
    local config = server.config()
    config.name = nil
    vim.lsp.config('dlsp', config)
    vim.lsp.enable('dlsp')
  else
    server.enable_the_old_way()
  end
end

--- Commands, keys and autocommands, once. `plugin/dlsp.lua` calls it; a plugin manager may call `setup` before.
function M.load()
  if vim.g.loaded_dlsp then
    return
  end
  vim.g.loaded_dlsp = true
  require('dlsp.autocommands').create()
  require('dlsp.commands').define()
  require('dlsp.keys').plugs()
end

--- Take the suggestion. Returns false, and does nothing, if there is none: for keys that mean several things.
---@return boolean
function M.accept()
  return require('dlsp.keys').accept('all')
end

--- Take its next word; what is left of it stays on the screen.
---@return boolean
function M.accept_word()
  return require('dlsp.keys').accept('word')
end

--- Take the rest of its line.
---@return boolean
function M.accept_line()
  return require('dlsp.keys').accept('line')
end

--- Show the next alternative, or ask for a text if there is none.
---@return boolean
function M.next()
  return require('dlsp.keys').cycle(1)
end

--- Show the alternative before.
---@return boolean
function M.previous()
  return require('dlsp.keys').cycle(-1)
end

--- Take the suggestion off the screen. Returns false if there is none.
---@return boolean
function M.dismiss()
  return require('dlsp.keys').dismiss()
end

--- Whether there is a suggestion on the screen.
---@return boolean
function M.visible()
  local builtin = require('dlsp.builtin')
  return require('dlsp.ghost').visible() or builtin.visible()
end

--- The server's report for the current buffer, see `:help dlsp-status`.
---@return table
function M.status()
  return require('dlsp.status').get()
end

--- A few words for a status line.
---@return string
function M.statusline()
  return require('dlsp.status').line()
end

return M
