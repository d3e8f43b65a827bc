# For ~/.config/kak/kakrc, with kakoune-lsp 18 or newer.

eval %sh{kak-lsp}

hook -group lsp-filetype-python global BufSetOption filetype=python %{
    # All your servers for this language. `settings_section` is what is sent at the start: the table below.
    set-option buffer lsp_servers %{
        [dlsp]
        root_globs = ["pyproject.toml", ".git", ".hg"]
        args = ["serve", "--stdio"]
        settings_section = "dlsp"
        [dlsp.settings.dlsp]
        deadlineMs = 300
    }
}

hook global WinSetOption filetype=python %{
    lsp-enable-window
    # Ask behind a space as well, as in `x = `: kakoune-lsp alone does so only behind letters.
    set-option window lsp_completion_trigger nop
}

map global user l %{:enter-user-mode lsp<ret>} -docstring "LSP mode"
