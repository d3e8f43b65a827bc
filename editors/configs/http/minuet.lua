-- For init.lua, with minuet-ai.nvim. Needs `dlsp engine --http 127.0.0.1:8012`.

require('minuet').setup {
    provider = 'openai_fim_compatible',
    n_completions = 1, -- more of the same request get the same answer
    context_window = 4000,
    throttle = 0, -- the model is on this machine
    debounce = 150,
    provider_options = {
        openai_fim_compatible = {
            api_key = 'TERM', -- the name of any variable that is set, or of one that holds the token
            name = 'dlsp',
            end_point = 'http://127.0.0.1:8012/v1/completions',
            model = 'nano',
            stream = true,
            optional = { max_tokens = 64, max_lines = 4 },
        },
    },
    virtualtext = {
        auto_trigger_ft = { 'python' },
        keymap = { accept = '<A-A>', accept_line = '<A-a>', prev = '<A-[>', next = '<A-]>', dismiss = '<A-e>' },
    },
}
