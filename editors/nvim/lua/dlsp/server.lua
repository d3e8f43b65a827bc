--- Finds the server, says how Neovim starts it, and starts it again when it has crashed.
--- Knows nothing of what the server answers.
local lsp = require('dlsp.lsp')
local options = require('dlsp.options')
local status = require('dlsp.status')

local M = {}

local uv = vim.uv
-- This many crashes within so many milliseconds, and it stays down.
local CRASHES, WITHIN = 3, 300000

---@type table<integer, { config: vim.lsp.ClientConfig, buffers: table<integer, true> }> by the client's id
local attached = {}
---@type integer[] when it crashed
local crashes = {}
local leaving = false
local told = false
---@type table<integer, true> buffers that had a type before they were files
local early = {}
---@type { code: integer, signal: integer }? how the server ended that is ending right now
local ending

-- editors/nvim/lua/dlsp/server.lua, in the source tree of dlsp.
local HERE = debug.getinfo(1, 'S').source:sub(2)
local TREE = vim.fs.normalize(vim.fn.fnamemodify(uv.fs_realpath(HERE) or HERE, ':p:h:h:h:h:h'))

---@param folder string
---@return string
local function in_environment(folder)
  return vim.fn.has('win32') == 1 and folder .. '/Scripts/dlsp.exe' or folder .. '/bin/dlsp'
end

--- Where the server is looked for, in this order. A project's own `.venv` is not among them unless it is active: to open a file
--- must not run a program that came with it.
---@return string[]
function M.places()
  local found = { 'dlsp' }
  for _, name in ipairs({ 'VIRTUAL_ENV', 'CONDA_PREFIX' }) do
    local folder = vim.env[name]
    if folder and folder ~= '' then
      found[#found + 1] = in_environment(folder)
    end
  end
  found[#found + 1] = in_environment(TREE .. '/.venv')
  -- Where pipx and `uv tool` put programs, also if that is not on the PATH of a desktop session.
  found[#found + 1] = vim.fs.normalize('~/.local/bin/dlsp')
  return found
end

--- The program, without arguments; nil if it is not found.
---@return string?
function M.find()
  local cmd = options.get().cmd
  if cmd and type(cmd) ~= 'function' then
    local program = vim.fs.normalize(type(cmd) == 'table' and cmd[1] or cmd --[[@as string]])
    return vim.fn.executable(program) == 1 and program or nil
  end
  for _, program in ipairs(M.places()) do
    if vim.fn.executable(program) == 1 then
      return program
    end
  end
  return nil
end

--- The command that runs the server, or the function that connects to it; nil if it is not found.
---@return string[]|function?
function M.command()
  local cmd = options.get().cmd
  if type(cmd) == 'function' then
    return cmd
  end
  local program = M.find()
  if not program then
    return nil
  end
  if type(cmd) == 'table' and #cmd > 1 then
    return vim.list_extend({ program }, vim.list_slice(cmd, 2))
  end
  return { program, 'serve', '--stdio' }
end

--- The words that run the program, to which `doctor` or `--version` can be added: with a launcher, all before `serve`.
--- Nil if it is not found, or if `cmd` does not say it.
---@return string[]?
function M.words()
  local cmd, program = options.get().cmd, M.find()
  if not program or type(cmd) ~= 'table' or #cmd == 1 then
    return program and { program }
  end
  for i = #cmd, 2, -1 do
    if cmd[i] == 'serve' then
      return vim.list_extend({ program }, vim.list_slice(cmd, 2, i - 1))
    end
  end
  return nil
end

--- Where the server writes its log, for when it cannot be asked.
---@return string
function M.log_file()
  local folder
  if vim.fn.has('win32') == 1 then
    folder = (vim.env.LOCALAPPDATA or '~/AppData/Local') .. '/dlsp/Logs'
  elseif vim.fn.has('mac') == 1 then
    folder = '~/Library/Logs/dlsp'
  else
    local state = vim.env.XDG_STATE_HOME or ''
    folder = (state ~= '' and state or '~/.local/state') .. '/dlsp/log'
  end
  return vim.fs.normalize(folder .. '/server.log')
end

--- How to get the server, for a person.
---@return string
function M.advice()
  local cmd = options.get().cmd
  if cmd then
    local named = type(cmd) == 'table' and cmd[1] or cmd
    return ('the server `%s` cannot be run. Correct `cmd` in the options of dlsp.'):format(named)
  end
  local source = uv.fs_stat(TREE .. '/pyproject.toml') and TREE or '/path/to/dlsp'
  return ("the server is not found. Install it with `pipx install %s`, or name it: vim.g.dlsp = { cmd = '/path/to/bin/dlsp' }."):format(source)
end

--- Say once that there is no server.
local function say_missing()
  if not told then
    told = true
    vim.schedule(function()
      -- The end may be cut off by the command line, so what helps comes first.
      local cmd = options.get().cmd
      local what = cmd and ('the server `%s` cannot be run'):format(type(cmd) == 'table' and cmd[1] or cmd) or 'no server found'
      status.say('see `:checkhealth dlsp`: ' .. what .. '.', vim.log.levels.WARN)
    end)
  end
end

--- Whether a buffer is a file. Two without a name would be one document for the server.
---@param buf integer
---@return boolean
function M.is_file(buf)
  return vim.bo[buf].buftype == '' and vim.api.nvim_buf_get_name(buf) ~= ''
end

--- Start a client for a buffer, or attach the buffer to the one that runs.
---@param config table
---@param buf integer
local function start(config, buf)
  if vim.api.nvim_buf_is_loaded(buf) then
    vim.lsp.start(config, { bufnr = buf })
  end
end

--- What is told of the server's messages and of its end. Neovim's own sentence on a crash is longer than the command line, and would
--- take the next key for the answer to it. So Neovim hears of an ordinary end, and `on_exit`, which it calls meanwhile, looks here.
---@param dispatchers vim.lsp.rpc.Dispatchers
---@return vim.lsp.rpc.Dispatchers
local function quiet(dispatchers)
  return vim.tbl_extend('force', dispatchers, {
    on_exit = function(code, signal)
      ending = { code = code, signal = signal }
      dispatchers.on_exit(0, 15)
      ending = nil
    end,
  })
end

---@param code integer
---@param signal integer
---@param id integer
local function on_exit(code, signal, id)
  local ended = attached[id]
  attached[id] = nil
  status.gone(id)
  if ending then
    code, signal = ending.code, ending.signal
  end
  -- Status 0 and the signal of `client:stop(true)` are what somebody wanted.
  if leaving or (ended and ended.stopping) or (code == 0 and (signal == 0 or signal == 15)) then
    return
  end
  local how = signal ~= 0 and 'signal ' .. signal or 'exit code ' .. code
  if not ended then
    vim.schedule(function()
      status.say(('the server ended at once (%s). `:Dlsp doctor` looks why.'):format(how), vim.log.levels.WARN)
    end)
    return
  end
  local now = uv.now()
  crashes = vim.tbl_filter(function(moment)
    return now - moment < WITHIN
  end, crashes)
  crashes[#crashes + 1] = now
  local restart = options.get().restart
  vim.schedule(function()
    if not restart then
      status.say(('the server ended (%s). `:Dlsp restart` starts it again.'):format(how), vim.log.levels.WARN)
      return
    end
    if #crashes > CRASHES then
      status.say(('the server ended %d times in a row and stays down. `:Dlsp doctor` looks why, `:Dlsp restart` tries again.'):format(#crashes), vim.log.levels.ERROR)
      return
    end
    status.say(('the server ended (%s) and is started again.'):format(how), vim.log.levels.WARN)
    -- Neovim forgets the old client a little later, and would take it for the one that runs.
    vim.defer_fn(function()
      for buf in pairs(ended.buffers) do
        start(ended.config, buf)
      end
    end, 250 * 2 ^ #crashes)
  end)
end

---@param params table
local function before_init(params)
  local document = params.capabilities.textDocument
  if options.get().ghost == 'off' then
    -- Then the server offers its text in the completion menu.
    document.inlineCompletion = nil
  else
    document.inlineCompletion = { dynamicRegistration = false }
  end
end

--- The configuration of the client, for `vim.lsp.config` or `vim.lsp.start`.
---@return table
function M.config()
  local wanted = options.get()
  local settings = next(wanted.settings) and wanted.settings or vim.empty_dict()
  return {
    name = lsp.NAME,
    -- Where there is no program, `root_dir` keeps this from being called until there is one.
    cmd = function(dispatchers, config)
      local cmd = M.command() or { 'dlsp', 'serve', '--stdio' }
      if type(cmd) == 'function' then
        return cmd(quiet(dispatchers), config)
      end
      -- Neovim 0.10 does not say the configuration.
      config = config or {}
      return vim.lsp.rpc.start(cmd, quiet(dispatchers), { cwd = config.cmd_cwd, env = config.cmd_env, detached = config.detached })
    end,
    -- No `filetypes`: which languages get suggestions is a setting of dlsp, and buffers without a file are never attached.
    -- A file outside any project gets completions too.
    workspace_required = false,
    root_dir = function(buf, on_dir)
      if not M.is_file(buf) then
        early[buf] = true
        return
      end
      local cmd = vim.lsp.config and vim.lsp.config[lsp.NAME].cmd
      if type(cmd) ~= 'table' and not M.command() then
        say_missing()
        return
      end
      on_dir(vim.fs.root(buf, wanted.root_markers))
    end,
    init_options = settings,
    settings = { dlsp = settings },
    before_init = before_init,
    on_exit = on_exit,
    handlers = status.handlers,
  }
end

--- Start the server for every file, with a Neovim that has no `vim.lsp.enable` (0.10).
function M.enable_the_old_way()
  local function try(buf)
    if not M.is_file(buf) then
      early[buf] = true
      return
    end
    if not M.command() then
      return say_missing()
    end
    local config = M.config()
    config.root_dir = vim.fs.root(buf, options.get().root_markers)
    config.capabilities = vim.lsp.protocol.make_client_capabilities()
    start(config, buf)
  end
  vim.api.nvim_create_autocmd('FileType', {
    group = vim.api.nvim_create_augroup('dlsp.enable', {}),
    callback = function(event)
      try(event.buf)
    end,
  })
  for _, buf in ipairs(vim.api.nvim_list_bufs()) do
    if vim.api.nvim_buf_is_loaded(buf) and vim.bo[buf].filetype ~= '' then
      try(buf)
    end
  end
end

--- Attach a file that has none of our clients.
---@param buf integer
local function attach(buf)
  if not vim.api.nvim_buf_is_loaded(buf) or not M.is_file(buf) or vim.bo[buf].filetype == '' then
    return
  end
  if #vim.lsp.get_clients({ name = lsp.NAME, bufnr = buf }) > 0 then
    return
  end
  -- What is done when a file gets its type, without the commands of anybody else; where dlsp is not enabled there is no such group.
  local group = vim.lsp.enable and 'nvim.lsp.enable' or 'dlsp.enable'
  pcall(vim.api.nvim_exec_autocmds, 'FileType', { group = group, buffer = buf, modeline = false })
end

--- A buffer has been named or saved. One that had its type before it had its name is attached now, and no other:
--- who has taken the client from a buffer does not want it back.
---@param buf integer
function M.on_named(buf)
  if early[buf] and vim.api.nvim_buf_is_valid(buf) and M.is_file(buf) then
    early[buf] = nil
    attach(buf)
  end
end

--- Remember who is attached, for the time after a crash.
---@param client vim.lsp.Client
---@param buf integer
function M.on_attach(client, buf)
  attached[client.id] = attached[client.id] or { config = client.config, buffers = {} }
  attached[client.id].buffers[buf] = true
end

---@param client_id integer
---@param buf integer
function M.on_detach(client_id, buf)
  -- A crash detaches all buffers, too, but only after `on_exit` has taken the list.
  if attached[client_id] then
    attached[client_id].buffers[buf] = nil
  end
end

--- Neovim is about to end.
function M.leave()
  leaving = true
end

--- Stop the server and start it anew for the same buffers and for this one; start it for all files if none runs.
function M.restart()
  crashes, told = {}, false
  local clients = vim.lsp.get_clients({ name = lsp.NAME })
  if #clients == 0 then
    if not M.command() then
      return say_missing()
    end
    -- `doautoall` would run the user's own commands, too; these two only look for buffers that lack a client.
    if vim.lsp.enable then
      vim.lsp.enable(lsp.NAME)
    else
      M.enable_the_old_way()
    end
    return
  end
  local here, left = vim.api.nvim_get_current_buf(), #clients
  for _, client in ipairs(clients) do
    local one = attached[client.id] or { config = client.config, buffers = {} }
    one.stopping = true
    local buffers = vim.tbl_keys(one.buffers)
    lsp.stop(client, false)
    local began, timer = uv.now(), assert(uv.new_timer())
    timer:start(50, 50, vim.schedule_wrap(function()
      if timer:is_closing() then
        return
      end
      if vim.lsp.get_client_by_id(client.id) then
        if uv.now() - began > 3000 then
          lsp.stop(client, true)
        end
        return
      end
      timer:close()
      for _, buf in ipairs(buffers) do
        start(one.config, buf)
      end
      left = left - 1
      if left == 0 then
        attach(here)
      end
    end))
  end
end

return M
