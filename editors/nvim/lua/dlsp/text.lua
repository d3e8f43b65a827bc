--- Pure functions on text: what is left of a suggestion, its next word and line, columns in bytes, tabs as spaces.
--- Nothing here knows a buffer or the server.
local M = {}

--- The byte column of a column as the server counts it. A column behind the line's end is its end.
---@param line string
---@param column integer
---@param encoding string utf-8, utf-16 or utf-32
---@return integer
function M.byte(line, column, encoding)
  if encoding == 'utf-8' then
    return math.min(column, #line)
  end
  if vim.fn.has('nvim-0.11') == 1 then
    return vim.str_byteindex(line, encoding, column, false)
  end
  local ok, byte = pcall(vim.str_byteindex, line, column, encoding == 'utf-16')
  return ok and byte or #line
end

--- What is left of a suggestion when `typed` has been typed of it; nil if that is something else.
---@param suggestion string
---@param typed string
---@return string?
function M.rest(suggestion, typed)
  return vim.startswith(suggestion, typed) and suggestion:sub(#typed + 1) or nil
end

--- The beginning of a text up to the end of its next word; a run of punctuation counts as one. White space before it belongs to it.
---@param text string
---@return string
function M.word(text)
  local space = text:match('^%s*')
  local after = text:sub(#space + 1)
  -- Bytes above 127 are parts of letters of other scripts, and must stay together.
  local word = after:match('^[%w_\128-\255]+') or after:match('^[^%w_%s\128-\255]+') or ''
  return space .. word
end

--- The beginning of a text up to the end of its line. A text that begins with a line end gives the whole next line.
---@param text string
---@return string
function M.line(text)
  local ends = text:match('^%s*\n') or ''
  return ends .. text:sub(#ends + 1):match('^[^\n]*')
end

--- Text as it looks when it begins in a screen column: Neovim does not expand tabs in virtual text.
---@param text string one line
---@param column integer
---@return string
function M.expanded(text, column)
  if not text:find('\t', 1, true) then
    return text
  end
  local parts = {}
  for part, tab in text:gmatch('([^\t]*)(\t?)') do
    parts[#parts + 1] = part
    column = column + vim.fn.strdisplaywidth(part, column)
    if tab ~= '' then
      local width = vim.fn.strdisplaywidth('\t', column)
      parts[#parts + 1] = (' '):rep(width)
      column = column + width
    end
  end
  return table.concat(parts)
end

--- Which bytes of `line` are the characters of `old`, taken from the end; nil if they are not all there, in that order.
--- So that of `a, f(b))` in front of `)` it is the last one that is not drawn.
---@param line string
---@param old string
---@return integer[]? ascending
function M.kept(line, old)
  local found, at = {}, #line
  if old:find('[\128-\255]') and not vim.endswith(line, old) then
    -- Bytes one by one could cut a character in two.
    return nil
  end
  for i = #old, 1, -1 do
    while at > 0 and line:byte(at) ~= old:byte(i) do
      at = at - 1
    end
    if at == 0 then
      return nil
    end
    found[i], at = at, at - 1
  end
  return found
end

return M
