--- `:Dlsp`: subcommands, their completion, and what they ask of the server.
--- The server says by itself what came of it, so nothing is said here but what it cannot say.
local lsp = require('dlsp.lsp')
local server = require('dlsp.server')
local status = require('dlsp.status')

local M = {}

local api = vim.api
local namespace = api.nvim_create_namespace('dlsp.busy')

---@class dlsp.Range rows and byte columns from 0, the end excluded
---@field [1] integer
---@field [2] integer
---@field [3] integer
---@field [4] integer

--- The client for the current buffer; says what is wrong if there is none.
---@param any? boolean one of another buffer will do
---@return vim.lsp.Client?
local function client_or_say(any)
  local client = lsp.client(api.nvim_get_current_buf()) or any and lsp.client() or nil
  if not client and vim.bo.buftype == '' and not server.is_file(0) then
    status.say('this buffer has no file yet; save it first.', vim.log.levels.WARN)
  elseif not client then
    status.say('no server runs for this file. `:checkhealth dlsp` says why, `:Dlsp restart` starts it.', vim.log.levels.WARN)
  end
  return client
end

--- Run a command of the server.
---@param name string without `dlsp.`
---@param argument table
---@param done? fun()
---@param any? boolean it is not about the current buffer
local function execute(name, argument, done, any)
  local client = client_or_say(any)
  if not client then
    return
  end
  local params = { command = 'dlsp.' .. name, arguments = { next(argument) and argument or vim.empty_dict() } }
  local sent = lsp.request(client, 'workspace/executeCommand', params, function(err)
    if err then
      status.say(err.message or 'the command failed; `:Dlsp log` says how.', vim.log.levels.WARN)
    end
    if done then
      done()
    end
  end, api.nvim_get_current_buf())
  if not sent and done then
    done()
  end
end

--- Run a command that is about the server and not about a file.
---@param name string
---@param argument? table
local function control(name, argument)
  execute(name, argument or {}, nil, true)
end

--- Fill, refine or repair. What is to be filled is marked until the server has answered.
---@param name string
---@param ranges? dlsp.Range[]
---@param more? table
local function fill(name, ranges, more)
  local client = client_or_say()
  if not client then
    return
  end
  local buf = api.nvim_get_current_buf()
  local argument = vim.tbl_extend('force', { uri = vim.uri_from_bufnr(buf), version = vim.lsp.util.buf_versions[buf] }, more or {})
  local marked = {} ---@type integer[]
  for i, range in ipairs(ranges or {}) do
    argument.ranges = argument.ranges or {}
    argument.ranges[i] = {
      start = lsp.position_at(client, buf, range[1], range[2]),
      ['end'] = lsp.position_at(client, buf, range[3], range[4]),
    }
    marked[i] = api.nvim_buf_set_extmark(buf, namespace, range[1], range[2], {
      end_row = range[3],
      end_col = range[4],
      hl_group = 'DlspBusy',
      virt_text = i == 1 and { { ' :Dlsp cancel ', 'DlspGhostHint' } } or nil,
      virt_text_pos = 'eol',
      strict = false,
    })
  end
  execute(name, argument, function()
    for _, mark in ipairs(api.nvim_buf_is_valid(buf) and marked or {}) do
      api.nvim_buf_del_extmark(buf, namespace, mark)
    end
  end)
end

--- A server that has ended fills nothing any more.
---@param buf integer
function M.forget(buf)
  if api.nvim_buf_is_valid(buf) then
    api.nvim_buf_clear_namespace(buf, namespace, 0, -1)
  end
end

--- Whole lines, without the line end behind them.
---@param first integer from 1
---@param last integer
---@return dlsp.Range
local function lines(first, last)
  local ends = api.nvim_buf_get_lines(0, last - 1, last, false)[1] or ''
  return { first - 1, 0, last - 1, #ends }
end

--- From one mark to another.
---@param from string
---@param to string
---@param exclusive? boolean without the character at the second one
---@return dlsp.Range
local function marks(from, to, exclusive)
  local first, last = api.nvim_buf_get_mark(0, from), api.nvim_buf_get_mark(0, to)
  local line = api.nvim_buf_get_lines(0, last[1] - 1, last[1], false)[1] or ''
  local col = math.min(last[2], #line)
  -- A character is what looks like one, with the accents that are put on it.
  return { first[1] - 1, first[2], last[1] - 1, exclusive and col or col + #vim.fn.matchstr(line:sub(col + 1), '^.') }
end

--- Whether the block that was selected last reaches to the ends of its lines, with `$`. Only the selection itself knows.
---@return boolean
local function to_the_ends()
  local view = vim.fn.winsaveview()
  vim.cmd('noautocmd normal! gv')
  local ends = vim.fn.winsaveview().curswant == vim.v.maxcol
  vim.cmd('noautocmd normal! \27')
  vim.fn.winrestview(view)
  return ends
end

--- A block between two marks, a range for each line that reaches into it.
---@param start string
---@param last string
---@param ends? boolean to the ends of the lines
---@return dlsp.Range[]
local function block(start, last, ends)
  local from, to = vim.fn.virtcol("'" .. start, 1), vim.fn.virtcol("'" .. last, 1)
  local left, right = math.min(from[1], to[1]), math.max(from[2], to[2])
  if vim.o.selection == 'exclusive' and to[1] > from[2] then
    right = to[1] - 1
  end
  local found = {}
  for row = api.nvim_buf_get_mark(0, start)[1], api.nvim_buf_get_mark(0, last)[1] do
    local line = api.nvim_buf_get_lines(0, row - 1, row, false)[1]
    if vim.fn.virtcol({ row, '$' }) > left then
      local stop = vim.fn.virtcol2col(0, row, ends and vim.v.maxcol or right)
      stop = stop - 1 + #vim.fn.matchstr(line:sub(stop), '^.')
      found[#found + 1] = { row - 1, vim.fn.virtcol2col(0, row, left) - 1, row - 1, stop }
    end
  end
  return found
end

---@type string? the command line that is about to be run
local typed

--- What a command is about: what was selected, else the lines of its range.
---@param args table the argument of a user command
---@return dlsp.Range[]? nil if it has no range
local function ranges_of(args)
  -- Neovim does not say whether a range was `'<,'>`, and lines that were typed may be those of an old selection.
  local numbers = typed and typed:find('Dlsp', 1, true) and not typed:find("'<", 1, true)
  typed = nil
  if args.range == 0 then
    return nil
  end
  local first, last = api.nvim_buf_get_mark(0, '<'), api.nvim_buf_get_mark(0, '>')
  local kind = vim.fn.visualmode()
  if not numbers and args.range == 2 and first[1] == args.line1 and last[1] == args.line2 then
    if kind == 'v' then
      return { marks('<', '>', vim.o.selection == 'exclusive') }
    elseif kind == '\22' then
      local found = block('<', '>', to_the_ends())
      if #found > 0 then
        return found
      end
    end
  end
  return { lines(args.line1, args.line2) }
end

---@return dlsp.Range
local function cursor()
  local row, col = unpack(api.nvim_win_get_cursor(0))
  return { row - 1, col, row - 1, col }
end

--- A number that can be sent; nil if it is none, such as `nan`.
---@param said string
---@return number?
local function number_of(said)
  local number = tonumber(said)
  return number and number - number == 0 and number or nil
end

--- A share such as 0.3 or 30%; nil, and a sentence, if it is none.
---@param said? string
---@return table? more
local function noise_of(said)
  if not said then
    return {}
  end
  local number = number_of((said:gsub('%%$', '')))
  number = number and (said:match('%%$') and number / 100 or number)
  if not number or number < 0 or number > 1 then
    status.say(('`%s` is no noise level. Give a share from 0 (keep all) to 1 (write anew), such as 0.3.'):format(said), vim.log.levels.WARN)
    return nil
  end
  return { noise = number }
end

--- A window for lines that are shown later; `q` closes it.
---@param name string
---@return fun(shown: string[]) show these, wherever the cursor is by then
local function scratch(name)
  local buf = api.nvim_create_buf(false, true)
  vim.bo[buf].bufhidden = 'wipe'
  pcall(api.nvim_buf_set_name, buf, name)
  vim.keymap.set('n', 'q', '<Cmd>close<CR>', { buffer = buf })
  -- A mapping may have asked for it in Insert mode; then the cursor stays where one types.
  api.nvim_open_win(buf, api.nvim_get_mode().mode:sub(1, 1) ~= 'i', { split = 'below', win = -1 })
  return function(shown)
    if not api.nvim_buf_is_valid(buf) then
      return
    end
    vim.bo[buf].modifiable = true
    api.nvim_buf_set_lines(buf, 0, -1, false, shown)
    vim.bo[buf].modifiable = false
    for _, win in ipairs(vim.fn.win_findbuf(buf)) do
      api.nvim_win_set_height(win, math.min(#shown + 1, math.floor(vim.o.lines / 2)))
    end
  end
end

local function doctor()
  local cmd, file, buf = server.words(), api.nvim_buf_get_name(0), api.nvim_get_current_buf()
  if not cmd then
    local unnamed = '`cmd` in the options does not say how to run the doctor; run `dlsp doctor` where the server is.'
    status.say(server.command() and unnamed or server.advice(), vim.log.levels.WARN)
    return
  end
  local client = lsp.client(buf)
  vim.list_extend(cmd, { 'doctor', '--root', client and client.root_dir or client and client.config.root_dir or vim.fn.getcwd() })
  if server.is_file(buf) then
    vim.list_extend(cmd, { '--file', file })
  end
  local show = scratch('dlsp doctor')
  show({ 'the doctor is looking …' })
  vim.system(cmd, { text = true, env = { NO_COLOR = '1' } }, vim.schedule_wrap(function(done)
    show(vim.split(vim.trim((done.stdout or '') .. (done.stderr or '')), '\n', { plain = true }))
  end))
end

---@class dlsp.Subcommand
---@field run fun(args: table, word?: string)
---@field words? string[] what its argument may be

local noise = { '0.1', '0.3', '0.5', '0.7', '1' }

---@type table<string, dlsp.Subcommand>
local subcommands = {
  toggle = {
    run = function(_, word)
      local language = word == 'language' and vim.bo.filetype or word
      control('toggle', language and { language = language })
    end,
    words = { 'language' },
  },
  snooze = {
    run = function(_, word)
      local minutes = word and number_of(word)
      if word and not minutes then
        status.say(('`%s` is no number of minutes.'):format(word), vim.log.levels.WARN)
        return
      end
      control('snooze', minutes and { minutes = minutes })
    end,
    words = { '5', '10', '30', '60' },
  },
  resume = {
    run = function()
      control('resume')
    end,
  },
  reset = {
    run = function()
      control('reset')
    end,
  },
  status = {
    run = function()
      api.nvim_echo({ { table.concat(status.lines(), '\n') } }, false, {})
    end,
  },
  infill = {
    run = function(args)
      fill('infill', ranges_of(args) or { lines(args.line1, args.line1) })
    end,
  },
  refine = {
    run = function(args, word)
      local more = noise_of(word)
      if more then
        fill('refine', ranges_of(args) or { lines(args.line1, args.line1) }, more)
      end
    end,
    words = noise,
  },
  repair = {
    run = function(args)
      fill('repair', ranges_of(args) or { cursor() })
    end,
  },
  holes = {
    run = function(args)
      fill('fillHoles', ranges_of(args))
    end,
  },
  again = {
    run = function()
      fill('reroll')
    end,
  },
  longer = {
    run = function()
      fill('lengthen')
    end,
  },
  shorter = {
    run = function()
      fill('shorten')
    end,
  },
  cancel = {
    run = function()
      execute('cancel', { uri = vim.uri_from_bufnr(0) })
    end,
  },
  log = {
    run = function()
      if lsp.client() then
        control('logFile')
      else
        status.show_log(server.log_file())
      end
    end,
  },
  restart = { run = server.restart },
  doctor = { run = doctor },
}

--- `operatorfunc` for a motion or a text object.
---@param name string
---@return fun(kind: string)
local function operator(name)
  return function(kind)
    local range = marks('[', ']')
    fill(name, kind == 'block' and block('[', ']') or { kind == 'char' and range or lines(range[1] + 1, range[3] + 1) })
  end
end
M.operate_infill, M.operate_refine = operator('infill'), operator('refine')

---@return string[]
local function names()
  local found = vim.tbl_keys(subcommands)
  table.sort(found)
  return found
end

---@param lead string
---@param line string
---@return string[]
local function complete(lead, line)
  local words = vim.split(vim.trim(line:gsub("^%W*%S-Dlsp", '')), '%s+')
  local done = line:match('%s$') and #words or #words - 1
  if words[1] == '' then
    done = 0
  end
  local offered = done == 0 and names() or done == 1 and (subcommands[words[1]] or {}).words or {}
  return vim.tbl_filter(function(word)
    return vim.startswith(word, lead)
  end, offered)
end

--- Define `:Dlsp`.
function M.define()
  api.nvim_create_autocmd('CmdlineLeave', {
    group = api.nvim_create_augroup('dlsp.commands', {}),
    pattern = ':',
    callback = function()
      typed = not vim.v.event.abort and vim.fn.getcmdline() or nil
    end,
  })
  api.nvim_create_user_command('Dlsp', function(args)
    local name, word, extra = args.fargs[1] or 'status', args.fargs[2], args.fargs[3]
    local subcommand = subcommands[name]
    if not subcommand then
      status.say(('there is no `:Dlsp %s`; there are: %s.'):format(name, table.concat(names(), ' ')), vim.log.levels.ERROR)
    elseif extra then
      status.say(('`:Dlsp %s` takes one argument at most.'):format(name), vim.log.levels.ERROR)
    else
      subcommand.run(args, word)
    end
  end, { nargs = '*', range = true, complete = complete, desc = 'dlsp: local completion with diffusion models' })
end

return M
