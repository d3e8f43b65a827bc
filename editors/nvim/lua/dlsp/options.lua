--- What the user wants of this plugin: defaults, then `vim.g.dlsp`, then what `setup` was given.
--- What the server is to do is in `settings` and not looked at here.
local M = {}

---@class dlsp.Keys one key, several, or false for none
---@field accept? string|string[]|false
---@field accept_word? string|string[]|false
---@field accept_line? string|string[]|false
---@field next? string|string[]|false
---@field previous? string|string[]|false
---@field dismiss? string|string[]|false
---@field ask? string|string[]|false

---@class dlsp.Options
---@field cmd? string|string[]|function the server, or what connects to it; found by itself if not given
---@field settings? dlsp.Settings settings of the server
---@field ghost? 'auto'|'own'|'builtin'|'off' who draws the ghost text
---@field keys? dlsp.Keys|false
---@field hide_with_menu? boolean no ghost text while a completion menu is open
---@field restart? boolean start the server again when it has crashed
---@field root_markers? string[]

---@type dlsp.Options
local defaults = {
  ghost = 'auto',
  keys = {
    accept = '<M-l>',
    accept_word = '<M-w>',
    accept_line = '<M-e>',
    next = '<M-]>',
    previous = '<M-[>',
    dismiss = '<C-]>',
    ask = '<M-\\>',
  },
  hide_with_menu = false,
  restart = true,
  settings = {},
  root_markers = { '.git', 'pyproject.toml', 'package.json', 'Cargo.toml', 'go.mod' },
}

local types = {
  cmd = { 'string', 'table', 'function' },
  settings = { 'table' },
  ghost = { 'string' },
  keys = { 'table', 'boolean' },
  hide_with_menu = { 'boolean' },
  restart = { 'boolean' },
  root_markers = { 'table' },
}

local ghosts = { auto = true, own = true, builtin = true, off = true }

local given = {}
---@type { options: dlsp.Options, problems: string[] }? for who asks at every key
local known

--- What is wrong with options, a sentence each.
---@param options table
---@return string[]
local function problems(options)
  local said = {}
  for name, value in pairs(options) do
    if not types[name] then
      said[#said + 1] = ('there is no option `%s`; settings of the server belong into `settings`.'):format(name)
    elseif not vim.tbl_contains(types[name], type(value)) then
      said[#said + 1] = ('`%s` must be a %s.'):format(name, table.concat(types[name], ' or a '))
    end
  end
  if type(options.ghost) == 'string' and not ghosts[options.ghost] then
    said[#said + 1] = '`ghost` must be "auto", "own", "builtin" or "off".'
  end
  for name in pairs(type(options.keys) == 'table' and options.keys or {}) do
    if defaults.keys[name] == nil then
      said[#said + 1] = ('there is no key `%s`.'):format(name)
    end
  end
  table.sort(said)
  return said
end

--- Take the options of `setup`.
---@param options? dlsp.Options
function M.set(options)
  given, known = options or {}, nil
end

--- What the user said of one option, without the defaults.
---@param name string
---@return any
function M.named(name)
  local asked = vim.tbl_deep_extend('force', type(vim.g.dlsp) == 'table' and vim.g.dlsp or {}, given)
  return asked[name]
end

--- The options in force. A value of the wrong kind counts as not given; the second result names it.
---@return dlsp.Options
---@return string[]
function M.get()
  if known then
    return known.options, known.problems
  end
  local asked = vim.tbl_deep_extend('force', type(vim.g.dlsp) == 'table' and vim.g.dlsp or {}, given)
  local said, sound = problems(asked), {}
  for name, value in pairs(asked) do
    local right = types[name] and vim.tbl_contains(types[name], type(value))
    if right and not (name == 'ghost' and not ghosts[value]) then
      sound[name] = value
    end
  end
  local options = vim.tbl_deep_extend('force', {}, defaults, sound)
  -- Lists are replaced and not merged, and `keys = true` means the default ones.
  options.root_markers = sound.root_markers or defaults.root_markers
  options.cmd = sound.cmd
  if options.keys == true then
    options.keys = defaults.keys
  end
  known = { options = options, problems = said }
  return options, said
end

return M
