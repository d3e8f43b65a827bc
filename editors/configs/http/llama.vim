" For ~/.vimrc or init.vim, before llama.vim is loaded. Needs `dlsp engine --http 127.0.0.1:8012`.

let g:llama_config = {
    \ 'endpoint_fim': 'http://127.0.0.1:8012/infill',
    \ 'n_prefix': 64,
    \ 'n_suffix': 32,
    \ 'n_predict': 64,
    \ }
