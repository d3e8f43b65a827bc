-- A language server inside Neovim that answers what a test has put into `_G.script`: a list of texts, or of
-- { text, replaces } pairs, or a function of the parameters and the number of the question that gives one. It keeps every message, and answers after `_G.script_ms` milliseconds.
_G.script, _G.script_ms, _G.asked, _G.told, _G.commands = {}, 0, {}, {}, {}
local function items(params)
  local found = {}
  local script = type(_G.script) == 'function' and _G.script(params, #_G.asked) or _G.script
  for i, one in ipairs(script) do
    local text, replaces = one, 0
    if type(one) == 'table' then
      text, replaces = one[1], one[2]
    end
    local from = params.position
    local to = { line = from.line, character = from.character + replaces }
    if i == 1 or params.context.triggerKind == 1 then
      found[#found + 1] = { insertText = text, range = { start = from, ['end'] = to } }
    end
  end
  return { items = found }
end

function _G.scripted(dispatchers)
  local closing, id = false, 0
  _G.dispatch = dispatchers
  return {
    request = function(method, params, callback)
      id = id + 1
      local mine = id
      if method == 'initialize' then
        _G.initialize = params
        callback(nil, {
          capabilities = {
            inlineCompletionProvider = true,
            positionEncoding = _G.script_encoding or 'utf-16',
            textDocumentSync = { openClose = true, change = 2 },
            executeCommandProvider = { commands = { 'dlsp.infill' } },
          },
        })
      elseif method == 'textDocument/inlineCompletion' then
        params.sent = mine
        table.insert(_G.asked, params)
        local answer = items(params)
        vim.defer_fn(function()
          callback(nil, answer)
        end, _G.script_ms)
      elseif method == 'workspace/executeCommand' then
        table.insert(_G.commands, params)
        callback(nil, { applied = true })
      else
        callback(nil, vim.NIL)
      end
      return true, mine
    end,
    notify = function(method, params)
      table.insert(_G.told, { method, params })
      if method == 'exit' then
        closing = true
        dispatchers.on_exit(0, 0)
      end
      return true
    end,
    is_closing = function()
      return closing
    end,
    terminate = function()
      closing = true
      dispatchers.on_exit(0, 15)
    end,
  }
end
