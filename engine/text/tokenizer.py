"""Text to token ids and back, with special tokens off in both directions: source text stays text.

Reads a `tokenizer.json`, or the vocab.json and merges.txt of the Qwen2 tokenizer; knows nothing of prompts or models.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from engine.errors import CheckpointError

VOCABULARY = "vocab.json"
REPAIR = "Pull the model again, or reinstall dlsp if it is the built-in one; `dlsp doctor` checks the files."
UNSUPPORTED = "dlsp reads byte-level BPE tokenizers only; choose another checkpoint."

_SAMPLE = "def f(x):\n\treturn  'naïve → 好 😀'  # end\r\n"

QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"  # an English contraction
    r"|[^\r\n\p{L}\p{N}]?\p{L}+"  # letters with one mark or space before them
    r"|\p{N}"  # digits one by one
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*"  # marks, with the line ends behind them
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"  # white space; the last one before a word belongs to the word
)
"""How Qwen2's tokenizer cuts text into words. Folders that hold vocab.json and merges.txt alone do not say it themselves."""

_QWEN2_CLASSES = ("", "Qwen2Tokenizer", "Qwen2TokenizerFast", "DreamTokenizer", "DreamTokenizerFast")


@dataclass(frozen=True, slots=True)
class Encoding:
    """Token ids with, for each, the index of the word (pre-token) it belongs to and its character span in the text."""

    ids: list[int]
    words: list[int]
    spans: list[tuple[int, int]]


class Tokenizer:
    """A byte-level BPE tokenizer.

    `token_bytes[i]` is what token i stands for, as bytes; empty for ids that no token has and for added tokens, which never
    come from text and never turn into text. (Added tokens of nothing but white space are the exception: they are text.)
    `vocab_size` is the highest id plus one.
    """

    def __init__(self, path: Path, further: Mapping[str, int] | None = None) -> None:
        """Read a tokenizer.json, or a vocab.json that has its merges.txt beside it.

        `further` are added tokens that other files of the checkpoint name. Raises CheckpointError for files that are missing
        or broken and for tokenizers that are no byte-level BPE.
        """
        self._path = path
        self._inner = _from_vocabulary(path) if path.name == VOCABULARY else _from_file(path)
        _check_kind(self._inner, path)
        added = self._inner.get_added_tokens_decoder()
        # `encode_special_tokens` keeps only tokens marked as special out of the text; FIM tokens often are not marked.
        self._inner.add_special_tokens(
            [AddedToken(t.content, special=True, normalized=False) for t in added.values() if not t.special and not _is_text(t.content)]
        )
        self._inner.encode_special_tokens = True
        self._inner.no_padding()
        self._inner.no_truncation()
        pieces = {index: piece for piece, index in self._inner.get_vocab(with_added_tokens=True).items()}
        self._further = {token: index for token, index in (further or {}).items() if pieces.get(index, token) == token}
        self.vocab_size: int = max([*pieces, *self._further.values()], default=-1) + 1
        self.token_bytes: list[bytes] = [b""] * self.vocab_size
        to_byte = _byte_of_character()
        marks = {*added, *self._further.values()}
        for index, piece in pieces.items():
            if index not in marks:
                self.token_bytes[index] = bytes(to_byte[c] for c in piece if c in to_byte)
            elif _is_text(piece):
                self.token_bytes[index] = piece.encode()
        if self.decode(self.encode(_SAMPLE).ids) != _SAMPLE:
            raise CheckpointError(f"{path} does not give back the text that it is given, so it is no byte-level BPE.", UNSUPPORTED)

    @classmethod
    def from_folder(cls, directory: Path) -> Tokenizer:
        """The tokenizer of a checkpoint: its `tokenizer.json`, else its vocab.json and merges.txt.

        Tokens that only added_tokens.json or tokenizer_config.json name are known too. Raises CheckpointError like the constructor.
        """
        return cls(_main_file(directory), _further_tokens(directory))

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
        index = self._inner.token_to_id(token)
        return self._further.get(token) if index is None else index


def lookup(directory: Path) -> Callable[[str], int | None]:
    """What `special_id` of the folder's tokenizer would say, without building the tokenizer.

    Files are read at the first question. Raises CheckpointError then, for files that are missing or broken.
    """

    @functools.cache
    def vocabulary() -> dict[str, int]:
        path = _main_file(directory)
        content = _json(path)
        further = _further_tokens(directory)
        try:
            if path.name == VOCABULARY:
                known = {str(token): int(index) for token, index in content.items()}
            else:
                known = {str(token): int(index) for token, index in dict(content["model"]["vocab"]).items()}
                known |= {str(token["content"]): int(token["id"]) for token in content.get("added_tokens", [])}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{path} is not a readable tokenizer: its vocabulary is not a BPE's.", UNSUPPORTED) from error
        taken = set(known.values())
        return {token: index for token, index in further.items() if index not in taken} | known

    return lambda token: vocabulary().get(token)


def _main_file(directory: Path) -> Path:
    for name in ("tokenizer.json", VOCABULARY):
        if (directory / name).exists():
            return directory / name
    if any((directory / name).exists() for name in ("tokenizer.model", "spiece.model")):
        raise CheckpointError(f"{directory} has only a SentencePiece tokenizer.", UNSUPPORTED)
    raise CheckpointError(f"{directory} has no tokenizer.json (and no vocab.json with merges.txt).", REPAIR)


def _further_tokens(directory: Path) -> dict[str, int]:
    """Added tokens by string that stand in added_tokens.json or in tokenizer_config.json."""
    found: dict[str, int] = {}
    path = directory / "tokenizer_config.json"
    try:
        if path.exists():
            found |= {str(token["content"]): int(index) for index, token in _json(path).get("added_tokens_decoder", {}).items()}
        path = directory / "added_tokens.json"
        if path.exists():
            found |= {str(token): int(index) for token, index in _json(path).items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} does not list its added tokens as token and id.", REPAIR) from error
    return found


def _from_file(path: Path) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise CheckpointError(f"{path} is not a readable tokenizer ({error}).", REPAIR) from error


def _from_vocabulary(path: Path) -> tokenizers.Tokenizer:
    """Qwen2's tokenizer from its vocabulary and merges."""
    config, merges = path.parent / "tokenizer_config.json", path.parent / "merges.txt"
    kind = str(_json(config).get("tokenizer_class") or "") if config.exists() else ""
    if kind not in _QWEN2_CLASSES:
        raise CheckpointError(f"{path.parent} has no tokenizer.json, and {VOCABULARY} does not say how a {kind} cuts words.", UNSUPPORTED)
    if not merges.exists():
        raise CheckpointError(f"{path} has no merges.txt beside it.", REPAIR)
    try:
        model = models.BPE.from_file(str(path), str(merges))
    except Exception as error:  # the library raises bare Exception
        raise CheckpointError(f"{path} and {merges.name} are not a readable vocabulary ({error}).", REPAIR) from error
    inner = tokenizers.Tokenizer(model)
    inner.normalizer = normalizers.NFC()
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(QWEN2_WORDS), behavior="isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    inner.decoder = decoders.ByteLevel()
    return inner


def _check_kind(inner: tokenizers.Tokenizer, path: Path) -> None:
    kind = type(inner.model).__name__
    if kind != "BPE":
        raise CheckpointError(f"{path} is a {kind} tokenizer.", UNSUPPORTED)
    if inner.model.byte_fallback:
        raise CheckpointError(f"{path} is a BPE of characters with byte fallback, as Llama 2 has it.", UNSUPPORTED)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not readable JSON ({error}).", REPAIR) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is not a JSON object.", REPAIR)
    return content


def _is_text(token: str) -> bool:
    """Added tokens of nothing but white space stand for themselves; all others mark something."""
    return not token.strip()


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
