-- Commands and keys. The server is started by `vim.lsp.enable('dlsp')` or by `require('dlsp').setup()`.
if vim.fn.has('nvim-0.10') == 1 then
  require('dlsp').load()
end
