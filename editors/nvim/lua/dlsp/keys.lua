--- The keys: `<Plug>` mappings for everything, and a default set on keys that nobody else has.
--- A key that finds nothing to do does what it did before.
local builtin = require('dlsp.builtin')
local ghost = require('dlsp.ghost')
local lsp = require('dlsp.lsp')
local options = require('dlsp.options')

local M = {}

local api = vim.api

---@return boolean
local function neovim_draws()
  return lsp.ghost(api.nvim_get_current_buf()) == 'builtin'
end

--- Type keys before any that are typed already: text may not be changed in an `<expr>` mapping, but here it may.
---@param keys string
local function soon(keys)
  api.nvim_feedkeys(vim.keycode(keys), 'in', false)
end

--- Take (a part of) the suggestion. Returns false, and does nothing, if there is none.
---@param unit 'all'|'word'|'line'
---@return boolean
function M.accept(unit)
  -- A menu that stays open would later put its item in the place of what is taken.
  local close = vim.fn.pumvisible() == 1 and '<C-x><C-z>' or ''
  if ghost.visible() then
    soon(('%s<Cmd>lua require("dlsp.ghost").take(%q)<CR>'):format(close, unit))
    return true
  end
  local taken = neovim_draws() and builtin.visible() and builtin.accept(unit)
  if taken then
    soon(close)
  end
  return taken
end

--- The next alternative, or the one before; a first text, asked for explicitly, if there is none. False where dlsp is not.
---@param step integer
---@return boolean
function M.cycle(step)
  if lsp.ghost(api.nvim_get_current_buf()) == 'off' then
    return false
  end
  if neovim_draws() and not ghost.visible() then
    builtin.cycle(step)
  else
    ghost.cycle(step)
  end
  return true
end

--- Turn the suggestion down. Returns false if there is none.
---@return boolean
function M.dismiss()
  if ghost.visible() then
    ghost.dismiss()
    return true
  elseif neovim_draws() and builtin.visible() then
    soon('<Cmd>lua require("dlsp.builtin").dismiss()<CR>')
    return true
  end
  return false
end

---@type table<string, fun(): boolean> what the keys of the options do; false if there was nothing to do
local ACTIONS = {
  accept = function()
    return M.accept('all')
  end,
  accept_word = function()
    return M.accept('word')
  end,
  accept_line = function()
    return M.accept('line')
  end,
  next = function()
    return M.cycle(1)
  end,
  previous = function()
    return M.cycle(-1)
  end,
  dismiss = M.dismiss,
  ask = function()
    return not ghost.visible() and M.cycle(1)
  end,
}

--- The `<Plug>` mappings, for insert mode, and those that fill what is selected.
function M.plugs()
  for name, act in pairs(ACTIONS) do
    vim.keymap.set('i', ('<Plug>(dlsp-%s)'):format((name:gsub('_', '-'))), function()
      act()
      return ''
    end, { expr = true, silent = true, desc = 'dlsp: ' .. name:gsub('_', ' ') })
  end
  for _, what in ipairs({ 'infill', 'refine', 'holes', 'repair' }) do
    vim.keymap.set('x', ('<Plug>(dlsp-%s)'):format(what), (':Dlsp %s<CR>'):format(what), { silent = true, desc = 'dlsp: ' .. what })
  end
  for _, what in ipairs({ 'infill', 'refine' }) do
    vim.keymap.set('n', ('<Plug>(dlsp-%s)'):format(what), function()
      vim.o.operatorfunc = ("v:lua.require'dlsp.commands'.operate_%s"):format(what)
      return 'g@'
    end, { expr = true, desc = ('dlsp: %s a motion'):format(what) })
  end
  for _, what in ipairs({ 'holes', 'repair' }) do
    vim.keymap.set('n', ('<Plug>(dlsp-%s)'):format(what), ('<Cmd>Dlsp %s<CR>'):format(what), { desc = 'dlsp: ' .. what })
  end
end

--- What a key does where there is nothing to do for us.
---@param lhs string
---@return string keys
local function before(lhs)
  local earlier = vim.fn.maparg(lhs, 'i', false, true)
  if next(earlier) and earlier.buffer ~= 1 then
    local plug = ('<Plug>(dlsp-before-%s)'):format((lhs:gsub('[<>]', '')))
    -- A copy of the mapping under another name, whatever kind of mapping it is.
    earlier.lhs, earlier.lhsraw, earlier.lhsrawalt = plug, vim.keycode(plug), nil
    vim.fn.mapset('i', false, earlier)
    return plug
  end
  -- An Alt key that is not mapped would leave insert mode and run a command.
  return lhs:match('^<[MA]%-') and '' or lhs
end

--- Map the keys of the options. A default key that is taken is left alone, one that the user named is not.
function M.map()
  local wanted = options.get().keys
  if not wanted then
    return
  end
  local named = options.own_keys()
  for name, lhss in pairs(wanted) do
    for _, lhs in ipairs(type(lhss) == 'table' and lhss or { lhss or nil }) do
      if named[name] ~= nil or vim.fn.maparg(lhs, 'i') == '' then
        local otherwise = before(lhs)
        local remap = vim.startswith(otherwise, '<Plug>')
        vim.keymap.set('i', lhs, function()
          if not ACTIONS[name]() and otherwise ~= '' then
            api.nvim_feedkeys(vim.keycode(otherwise), remap and 'i' or 'in', false)
          end
        end, { desc = 'dlsp: ' .. name:gsub('_', ' ') })
      end
    end
  end
end

return M
