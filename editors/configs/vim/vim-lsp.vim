" For ~/.vimrc, behind `filetype plugin on`, with vim-lsp (and asyncomplete.vim with asyncomplete-lsp.vim to have the popup while you type).

if executable('dlsp')
    autocmd User lsp_setup call lsp#register_server({
        \ 'name': 'dlsp',
        \ 'cmd': {server_info->['dlsp', 'serve', '--stdio']},
        \ 'allowlist': ['python'],
        \ 'initialization_options': {'deadlineMs': 300},
        \ })
endif

function! s:with_lsp() abort
    setlocal omnifunc=lsp#complete
    nmap <buffer> <leader>a <plug>(lsp-code-action)
    xmap <buffer> <leader>a :LspCodeAction<CR>
endfunction
autocmd User lsp_buffer_enabled call s:with_lsp()
