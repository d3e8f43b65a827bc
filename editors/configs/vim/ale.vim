" For ~/.vimrc, with ALE.

" Before ALE is loaded: its own popup while you type.
let g:ale_completion_enabled = 1

function! DlspRoot(buffer) abort
    let l:git = ale#path#FindNearestDirectory(a:buffer, '.git')
    return empty(l:git) ? fnamemodify(bufname(a:buffer), ':p:h') : fnamemodify(l:git, ':h:h')
endfunction

" After ALE is loaded, as when a Python file is opened.
autocmd FileType python ++once call ale#linter#Define('python', {
    \ 'name': 'dlsp',
    \ 'lsp': 'stdio',
    \ 'executable': 'dlsp',
    \ 'command': '%e serve --stdio',
    \ 'project_root': function('DlspRoot'),
    \ 'initialization_options': {'deadlineMs': 300},
    \ })

set omnifunc=ale#completion#OmniFunc
xnoremap <leader>a :ALECodeAction<CR>
nnoremap <leader>a :ALECodeAction<CR>
