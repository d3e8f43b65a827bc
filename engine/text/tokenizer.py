"""Text to token ids and back, with special tokens off in both directions: source text stays text.

Wraps a `tokenizer.json`; knows nothing of prompts or models.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tokenizers

from engine.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class Encoding:
    """Token ids with, for each, the index of the word (pre-token) it belongs to and its character span in the text."""

    ids: list[int]
    words: list[int]
    spans: list[tuple[int, int]]


class Tokenizer:
    """A byte-level BPE tokenizer.

    `token_bytes[i]` is what token i stands for, as bytes; empty for special tokens, which never come from text and
    never turn into text.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._inner = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise CheckpointError(
                f"{path} is not a readable tokenizer ({error}).", "Run `dlsp doctor` to see what to reinstall."
            ) from error
        self._inner.encode_special_tokens = True
        self._inner.no_padding()
        self._inner.no_truncation()
        self.vocab_size: int = self._inner.get_vocab_size(with_added_tokens=True)
        special = set(self._inner.get_added_tokens_decoder())
        to_byte = _byte_of_character()
        self.token_bytes: list[bytes] = []
        for index in range(self.vocab_size):
            piece = None if index in special else self._inner.id_to_token(index)
            self.token_bytes.append(b"" if piece is None else bytes(to_byte[c] for c in piece if c in to_byte))

    def encode(self, text: str) -> Encoding:
        """Ids of `text`; strings that look like special tokens are encoded as the characters they are."""
        encoding = self._inner.encode(text, add_special_tokens=False)
        return _plain(encoding)

    def encode_many(self, texts: list[str]) -> list[Encoding]:
        """`encode` for several texts at once."""
        return [_plain(e) for e in self._inner.encode_batch(texts, add_special_tokens=False)]

    def decode(self, ids: list[int]) -> str:
        """The text of `ids`; special tokens give nothing, bytes that are not UTF-8 give U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: list[int]) -> bytes:
        """The bytes of `ids`."""
        return b"".join(self.token_bytes[i] for i in ids)

    def special_id(self, token: str) -> int | None:
        """The id of a special token by its string, or None where the vocabulary lacks it."""
        return self._inner.token_to_id(token)


def _plain(encoding: tokenizers.Encoding) -> Encoding:
    return Encoding(encoding.ids, [word or 0 for word in encoding.word_ids], encoding.offsets)


def _byte_of_character() -> dict[str, int]:
    """The byte-level BPE alphabet of GPT-2: printable bytes stand for themselves, the others for characters from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(b): b for b in printable}
    spare = 0x100
    for byte in range(256):
        if byte not in printable:
            table[chr(spare)] = byte
            spare += 1
    return table
