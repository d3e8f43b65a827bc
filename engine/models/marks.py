"""The strings of special tokens, one value for each tokenizer that a family of checkpoints uses; ids are looked up by them.

Knows no id: those are read from the checkpoint's own tokenizer.
"""

from __future__ import annotations

from engine.models.conventions import Marks

_QWEN_ENDS = ("<|endoftext|>", "<|im_end|>")
_QWEN_FIM = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")

QWEN = Marks(("<|mask|>", "<|MASK|>"), _QWEN_ENDS, _QWEN_FIM)
QWEN_BARE = QWEN._replace(bare=True)
FAST_DLLM = Marks(("|<MASK>|",), _QWEN_ENDS, _QWEN_FIM)
OPEN_DCODER = Marks(("<M>",), _QWEN_ENDS)
DREAM = Marks(("<|mask|>",), _QWEN_ENDS)
DREAM_ON = Marks(("<|mask|>",), ("<|endoftext|>",), begin="<|beginoftext|>", expand="<|expand|>")
LLAMA = Marks(("<|mask|>",), ("<|end_of_text|>", "<|eot_id|>"))
LLADA = Marks(("<|mdm_mask|>",), ("<|endoftext|>", "<|eot_id|>"))
LING = Marks(("<|mask|>",), ("<|endoftext|>", "<|role_end|>"))
SEED = Marks(("<[MASK_TOKEN]>",), ("<[end\u2581of\u2581sentence]>",), ("<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>"))
ILLADA = Marks(("<|mask|>", *SEED.masks), ("<|endoftext|>", *SEED.ends), bare=True)
