---@brief
---
--- dlsp: code completion with diffusion language models, local and private.
---
--- Put this folder on the runtime path and write `vim.lsp.enable('dlsp')`; see the README next to it.
--- The server's state is in `vim.g.dlsp_status` (state, reason, message, model, device, ...), and the autocommand
--- `User DlspStatus` fires when it changes.

---@param status table the params of a `dlsp/status` notification
local function on_status(_, status)
  vim.g.dlsp_status = status
  -- A broken autocommand of the user's must not look like a failure of the server, so it runs outside this handler.
  vim.schedule(function()
    vim.api.nvim_exec_autocmds('User', { pattern = 'DlspStatus', modeline = false })
    vim.cmd.redrawstatus()
  end)
end

---@type vim.lsp.Config
return {
  cmd = { 'dlsp', 'serve', '--stdio' },
  -- No `filetypes`: which languages get suggestions is a setting of dlsp, and buffers without a file are never attached.
  root_markers = { '.git', 'pyproject.toml', 'package.json', 'Cargo.toml', 'go.mod' },
  -- A file outside any project gets completions too.
  workspace_required = false,
  handlers = { ['dlsp/status'] = on_status },
}
