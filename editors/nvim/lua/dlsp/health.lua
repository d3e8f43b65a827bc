--- `:checkhealth dlsp`: this Neovim, the server, what `dlsp doctor` finds, who draws, and who has the keys.
local lsp = require('dlsp.lsp')
local options = require('dlsp.options')
local server = require('dlsp.server')

local M = {}

local health = vim.health

local function neovim()
  health.start('Neovim')
  if vim.fn.has('nvim-0.10') == 0 then
    health.error('Neovim 0.10 or newer is needed.')
    return false
  end
  health.ok(tostring(vim.version()))
  if not vim.g.loaded_dlsp then
    health.error('The plugin is not loaded.', { 'Put editors/nvim on the runtime path before Neovim loads its plugins.' })
  end
  local _, problems = options.get()
  for _, problem in ipairs(problems) do
    health.warn('Options: ' .. problem)
  end
  return true
end

---@return string[]? words that run it
local function found()
  health.start('Server')
  local program = server.find()
  if type(options.get().cmd) == 'function' then
    health.ok('`cmd` is a function that connects to it')
    return server.words()
  elseif program then
    health.ok(vim.fn.exepath(program))
    local words = server.words()
    if not words then
      health.info('`cmd` has no word `serve`, so its version and what `dlsp doctor` finds are not known.')
      return nil
    end
    local done = vim.system(vim.list_extend({ unpack(words) }, { '--version' }), { text = true }):wait(20000)
    if done.code == 0 then
      health.ok(vim.trim(done.stdout))
    else
      health.error('It does not run: ' .. vim.trim(done.stderr or ''))
    end
    return words
  end
  health.error('dlsp: ' .. server.advice())
  if not options.get().cmd then
    for _, place in ipairs(server.places()) do
      health.info('not there: ' .. (place == 'dlsp' and 'dlsp on the PATH' or place))
    end
    local own = (vim.fs.root(0, { '.venv' }) or vim.fn.getcwd()) .. '/.venv/bin/dlsp'
    if vim.fn.executable(own) == 1 then
      health.info(("%s is there. It is not used unasked, since it came with the project; if you trust it: vim.g.dlsp = { cmd = '%s' }"):format(own, own))
    end
  end
  return nil
end

---@param words string[]
local function doctor(words)
  health.start('What `dlsp doctor` finds')
  local done = vim.system(vim.list_extend({ unpack(words) }, { 'doctor', '--json' }), { text = true }):wait(60000)
  local ok, checks = pcall(vim.json.decode, done.stdout or '')
  if not ok or type(checks) ~= 'table' then
    health.error('The doctor did not answer: ' .. vim.trim(done.stderr or ''))
    return
  end
  for _, check in ipairs(checks) do
    local line = ('%s: %s'):format(check.name, check.detail)
    local advice = check.fix ~= '' and { check.fix } or nil
    if check.state == 'pass' then
      health.ok(line)
    elseif check.state == 'fail' then
      health.error(line, advice)
    else
      health.warn(line, advice)
    end
  end
end

local function clients()
  health.start('Client')
  local running = vim.lsp.get_clients({ name = lsp.NAME })
  if #running == 0 then
    health.warn('No server runs.', { "vim.lsp.enable('dlsp'), or require('dlsp').setup(), then open a file" })
    return
  end
  for _, client in ipairs(running) do
    local buffers = vim.tbl_keys(client.attached_buffers)
    health.ok(('client %d in %s, for %d buffers'):format(client.id, client.config.root_dir or 'no folder', #buffers))
    if not client.server_capabilities.inlineCompletionProvider then
      health.error('It offers no inline completion; an older dlsp?')
    end
    for _, buf in ipairs(buffers) do
      health.info(('buffer %d: ghost text by %s'):format(buf, lsp.ghost(buf)))
    end
  end
end

local function keys()
  health.start('Keys')
  local wanted = options.get().keys
  if not wanted then
    health.info('None are mapped, as the options say.')
    return
  end
  local names = vim.tbl_keys(wanted)
  table.sort(names)
  for _, name in ipairs(names) do
    local lhss = wanted[name]
    for _, lhs in ipairs(type(lhss) == 'table' and lhss or { lhss or nil }) do
      local map = vim.fn.maparg(lhs, 'i', false, true)
      if (map.desc or ''):match('^dlsp') then
        health.ok(('%s: %s'):format(name, lhs))
      elseif next(map) then
        local owner = map.desc or map.rhs or 'a function'
        health.warn(('%s: %s belongs to somebody else (%s).'):format(name, lhs, owner), { ('Choose another key: keys = { %s = ... }'):format(name) })
      else
        health.info(('%s: %s is mapped when the first file is attached.'):format(name, lhs))
      end
    end
  end
end

--- What `:checkhealth dlsp` runs.
function M.check()
  if not neovim() then
    return
  end
  local words = found()
  if words then
    doctor(words)
  end
  clients()
  keys()
end

return M
