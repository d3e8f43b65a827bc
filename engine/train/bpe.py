"""Trains the byte-level BPE tokenizer of the embedded model.

One newline with the indent behind it is one word, so that a step in or out costs one token; no token crosses a line end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

MASK, END, DOCUMENT, PAD = "<|mask|>", "<|end|>", "<|document|>", "<|pad|>"
FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE = "<|fim-prefix|>", "<|fim-suffix|>", "<|fim-middle|>"
SPECIAL_TOKENS = (PAD, DOCUMENT, END, MASK, FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE)

WORDS = (
    r"\n[ \t]*"  # a line end with the next line's indent
    r"|[^\S\n]?[\p{L}_]+|[^\s\p{L}\p{N}_][\p{L}_]+"  # an identifier with one space or one mark before it
    r"|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}_]+"
    r"|[^\S\n]+(?!\S)|[^\S\n]+|\s"
)


def train(texts: Iterable[str], vocab_size: int, destination: Path) -> Tokenizer:
    """Learn merges from `texts` and write `tokenizer.json`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(WORDS), behavior="isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=32,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(destination))
    return tokenizer


def sample(texts: Iterator[str], characters: int, every: int) -> Iterator[str]:
    """Every n-th text until `characters` have been yielded."""
    spent = 0
    for index, text in enumerate(texts):
        if index % every == 0:
            yield text
            spent += len(text)
            if spent >= characters:
                return
