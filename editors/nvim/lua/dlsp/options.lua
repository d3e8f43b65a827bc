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

---@param value any
---@return boolean
local function is_text(value)
  return type(value) == 'string' and value ~= ''
end

---@param value any
---@return boolean
local function is_texts(value)
  return vim.islist(value) and #value > 0 and vim.iter(value):all(is_text)
end

---@param kind string
---@return fun(value: any): boolean
local function is(kind)
  return function(value)
    return type(value) == kind
  end
end

---@type table<string, { [1]: string, [2]: fun(value: any): boolean }> what an option must be
local rules = {
  cmd = {
    'a program, a list of a program and its arguments, or a function',
    function(value)
      return is_text(value) or is_texts(value) or vim.is_callable(value)
    end,
  },
  settings = { 'a table', is('table') },
  ghost = {
    '"auto", "own", "builtin" or "off"',
    function(value)
      return vim.list_contains({ 'auto', 'own', 'builtin', 'off' }, value)
    end,
  },
  keys = {
    'a table, or false',
    function(value)
      return type(value) == 'table' or type(value) == 'boolean'
    end,
  },
  hide_with_menu = { 'true or false', is('boolean') },
  restart = { 'true or false', is('boolean') },
  root_markers = { 'a list of names', is_texts },
}

---@type any of `setup`
local given
---@type { options: dlsp.Options, problems: string[] }? for who asks at every key
local known

--- What is wrong with the user's keys, a sentence each. What is wrong is taken out.
---@param keys table<string, any>
---@return string[]
local function mend(keys)
  local said = {}
  for name, lhs in pairs(keys) do
    if defaults.keys[name] == nil then
      said[#said + 1] = ('there is no key `%s`.'):format(name)
      keys[name] = nil
    elseif lhs ~= false and not is_text(lhs) and not is_texts(lhs) then
      said[#said + 1] = ('`keys.%s` must be a key, a list of keys, or false.'):format(name)
      keys[name] = nil
    end
  end
  return said
end

--- What the user said, as far as it makes sense, and what does not, a sentence each.
---@return dlsp.Options
---@return string[]
local function sound()
  local found, said = {}, {}
  for where, asked in pairs({ ['vim.g.dlsp'] = vim.g.dlsp or {}, ['the argument of `setup`'] = given or {} }) do
    if type(asked) ~= 'table' then
      said[#said + 1] = ('%s must be a table.'):format(where)
    end
  end
  local function of(asked)
    return type(asked) == 'table' and asked or {}
  end
  for name, value in pairs(vim.tbl_deep_extend('force', of(vim.g.dlsp), of(given))) do
    if not rules[name] then
      said[#said + 1] = ('there is no option `%s`; settings of the server belong into `settings`.'):format(name)
    elseif not rules[name][2](value) then
      said[#said + 1] = ('`%s` must be %s.'):format(name, rules[name][1])
    else
      found[name] = value
    end
  end
  if type(found.keys) == 'table' then
    vim.list_extend(said, mend(found.keys))
  end
  table.sort(said)
  return found, said
end

--- Take the options of `setup`.
---@param options? dlsp.Options
function M.set(options)
  given, known = options, nil
end

--- The user's own keys, without the defaults.
---@return dlsp.Keys
function M.own_keys()
  local keys = sound().keys
  return type(keys) == 'table' and keys or {}
end

--- The options in force. A value that makes no sense counts as not given; the second result names it, and so does a message, once.
---@return dlsp.Options
---@return string[]
function M.get()
  if not known then
    local said, problems = sound()
    local options = vim.tbl_deep_extend('force', {}, defaults, said)
    -- Lists are replaced and not merged, and `keys = true` means the default ones.
    options.root_markers = said.root_markers or defaults.root_markers
    options.keys = options.keys == true and defaults.keys or options.keys
    known = { options = options, problems = problems }
    if #problems > 0 then
      local sentence = #problems == 1 and problems[1] or ('%d options make no sense; `:checkhealth dlsp` names them.'):format(#problems)
      vim.schedule(function()
        require('dlsp.status').say(sentence, vim.log.levels.WARN)
      end)
    end
  end
  return known.options, known.problems
end

return M
