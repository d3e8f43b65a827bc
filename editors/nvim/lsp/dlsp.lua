---@brief
---
--- dlsp: code completion with diffusion language models, local and private.
---
--- Put this folder on the runtime path and write `vim.lsp.enable('dlsp')`; see the README next to it and `:help dlsp`.
--- The server's state is in `vim.g.dlsp_status` (state, reason, message, model, device, ...), and the autocommand
--- `User DlspStatus` fires when it changes.

---@type vim.lsp.Config
local config = require('dlsp.server').config()
config.name = nil
return config
