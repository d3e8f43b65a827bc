" For ~/.vimrc, with ALE. All of it stands before ALE is loaded.

filetype plugin indent on

" The popup while you type.
let g:ale_completion_enabled = 1
" A linter that ALE does not come with runs only if it is named. Here with ALE's own for Python; name those that you use.
let g:ale_linters = {'python': ['flake8', 'mypy', 'pylint', 'pyright', 'ruff', 'dlsp']}
" What the server says, such as why a selection was not filled. ALE shows only errors by itself.
let g:ale_lsp_show_message_severity = 'information'

function! DlspRoot(buffer) abort
    let l:git = ale#path#FindNearestDirectory(a:buffer, '.git')
    return empty(l:git) ? fnamemodify(bufname(a:buffer), ':p:h') : fnamemodify(l:git, ':h:h')
endfunction

augroup dlsp
    autocmd!
    autocmd FileType python ++once call ale#linter#Define('python', {
        \ 'name': 'dlsp',
        \ 'lsp': 'stdio',
        \ 'executable': 'dlsp',
        \ 'command': '%e serve --stdio',
        \ 'project_root': function('DlspRoot'),
        \ 'initialization_options': {'deadlineMs': 300, 'multiline': 'never'},
        \ })
    " <C-x><C-o>; Vim's own Python completion has set this before.
    autocmd FileType python setlocal omnifunc=ale#completion#OmniFunc
augroup END

xnoremap <leader>a :ALECodeAction<CR>
nnoremap <leader>a :ALECodeAction<CR>
