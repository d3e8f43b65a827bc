--- Our client as Neovim knows it: one interface to the language client of Neovim 0.10, 0.11 and 0.12.
--- Knows neither keys nor ghost text.
local options = require('dlsp.options')

local M = {}

-- Until 0.11 the functions of a client were called with a dot.
local methods = vim.fn.has('nvim-0.11') == 1

M.NAME = 'dlsp'

---@param client vim.lsp.Client
---@param method string
---@param params table
---@param handler fun(err?: lsp.ResponseError, result: any)
---@param buf integer
---@return boolean sent
---@return integer? id
function M.request(client, method, params, handler, buf)
  if methods then
    return client:request(method, params, handler, buf)
  end
  return client.request(method, params, handler, buf)
end

---@param client vim.lsp.Client
---@param method string
---@param params table
function M.notify(client, method, params)
  if methods then
    client:notify(method, params)
  else
    client.notify(method, params)
  end
end

---@param client vim.lsp.Client
---@param id integer
function M.cancel(client, id)
  if methods then
    client:cancel_request(id)
  else
    client.cancel_request(id)
  end
end

---@param client vim.lsp.Client
---@param force boolean
function M.stop(client, force)
  if methods then
    client:stop(force)
  else
    client.stop(force)
  end
end

---@param client vim.lsp.Client
---@return boolean
function M.stopped(client)
  if methods then
    return client:is_stopped()
  end
  return client.is_stopped()
end

--- The client of a buffer, or any that runs.
---@param buf? integer
---@return vim.lsp.Client?
function M.client(buf)
  for _, client in ipairs(vim.lsp.get_clients({ name = M.NAME, bufnr = buf })) do
    if client.initialized and not M.stopped(client) then
      return client
    end
  end
  return nil
end

--- How many UTF-16 units a text has.
---@param text string
---@return integer
function M.units(text)
  if methods then
    return vim.str_utfindex(text, 'utf-16')
  end
  return select(2, vim.str_utfindex(text))
end

--- A place in a buffer as the server counts.
---@param client vim.lsp.Client
---@param buf integer
---@param row integer from 0
---@param col integer in bytes
---@return lsp.Position
function M.position_at(client, buf, row, col)
  local line = vim.api.nvim_buf_get_lines(buf, row, row + 1, false)[1] or ''
  col = math.min(col, #line)
  local encoding = client.offset_encoding
  if encoding == 'utf-8' then
    return { line = row, character = col }
  end
  if methods then
    return { line = row, character = vim.str_utfindex(line, encoding, col, false) }
  end
  local points, units = vim.str_utfindex(line, col)
  return { line = row, character = encoding == 'utf-16' and units or points }
end

--- The cursor of the current window as the server counts. Neovim 0.10 itself miscounts in lines with letters of several bytes.
---@param client vim.lsp.Client
---@return lsp.Position
function M.position(client)
  local row, col = unpack(vim.api.nvim_win_get_cursor(0))
  return M.position_at(client, vim.api.nvim_get_current_buf(), row - 1, col)
end

--- Who draws ghost text in a buffer: Neovim itself, this plugin, or nobody.
---@param buf integer
---@return 'own'|'builtin'|'off'
function M.ghost(buf)
  local wanted = options.get().ghost
  local client = M.client(buf)
  -- What became a prompt or a terminal after it was attached is no text to complete.
  if wanted == 'off' or not client or vim.bo[buf].buftype ~= '' then
    return 'off'
  end
  local there = vim.lsp.inline_completion ~= nil
  if wanted == 'auto' then
    -- Who has switched on Neovim's own means it, and two ghosts in one place help nobody.
    wanted = there and vim.lsp.inline_completion.is_enabled({ bufnr = buf }) and 'builtin' or 'own'
  end
  return wanted == 'builtin' and there and 'builtin' or 'own'
end

return M
