" For ~/.vimrc, with coc.nvim. The server itself is in coc-settings.json (:CocConfig).

" <Tab> takes the ghost text if there is some, goes down the popup if that is open, and is a plain <Tab> otherwise.
inoremap <silent><expr> <Tab>
    \ coc#inline#visible() ? coc#inline#accept() :
    \ coc#pum#visible() ? coc#pum#next(1) :
    \ "\<Tab>"
" <C-y> takes it as well, <C-n> and <C-p> are the next and the previous one, <C-e> puts it away: coc maps these by itself.

" Code actions for the selection, and for where the cursor is.
xmap <silent> <leader>a <Plug>(coc-codeaction-selected)
nmap <silent> <leader>a <Plug>(coc-codeaction-cursor)
