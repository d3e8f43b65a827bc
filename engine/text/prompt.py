"""Builds the prompt of one hole: healed, cut to the token budget at lines that stay put while a person types.

Knows the in-place layout (prefix, canvas, suffix, earlier documents in front); knows no network.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from engine.api import Snippet
from engine.text.healing import heal
from engine.text.tokenizer import Tokenizer

ANCHOR_EVERY = 4
"""One line in four, chosen by its content, may begin a cut prompt: so the cut moves seldom, and keys and values survive."""

MAX_CHARACTERS_PER_TOKEN = 12
"""Only this many characters per token of budget are tokenized; code averages four."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids on both sides of the hole (`suffix_ids` in document order), with what healing found (see `HealedCut`)."""

    prefix_ids: list[int]
    suffix_ids: list[int]
    forced: bytes
    closing: str

    @property
    def tokens(self) -> int:
        """Length of the context in tokens."""
        return len(self.prefix_ids) + len(self.suffix_ids)


@dataclass(frozen=True, slots=True)
class Layout:
    """Special ids and budgets of the in-place layout, in tokens. `document_id` None means the model has no such token."""

    document_id: int | None
    prefix_tokens: int
    suffix_tokens: int


def build(prefix: str, suffix: str, snippets: tuple[Snippet, ...], layout: Layout, tokenizer: Tokenizer) -> Prompt:
    """The prompt for the hole between `prefix` and `suffix`.

    The prefix keeps its last tokens and the suffix its first ones. Snippets, best first, fill what the prefix leaves free,
    as documents of their own in front; the best one stands nearest.
    """
    prefix = prefix.replace("\r\n", "\n")
    suffix = suffix.replace("\r\n", "\n")
    text = _tail_lines(prefix, layout.prefix_tokens * MAX_CHARACTERS_PER_TOKEN)
    cut = heal(text, suffix[: layout.suffix_tokens * MAX_CHARACTERS_PER_TOKEN], tokenizer)
    start = [] if layout.document_id is None else [layout.document_id]
    ids = cut.prefix_ids
    whole = len(text) == len(prefix) and len(ids) + len(start) <= layout.prefix_tokens
    if whole:
        ids = _earlier_documents(snippets, layout, layout.prefix_tokens - len(ids) - len(start), tokenizer) + start + ids
    else:
        ids = ids[_anchored_start(ids, layout.prefix_tokens, tokenizer) :]
    suffix_ids = tokenizer.encode(cut.suffix).ids if layout.suffix_tokens else []
    if len(suffix_ids) > layout.suffix_tokens:
        suffix_ids = suffix_ids[: _anchored_end(suffix_ids, layout.suffix_tokens, tokenizer)]
    return Prompt(ids, suffix_ids, cut.forced, cut.closing)


def _tail_lines(text: str, characters: int) -> str:
    """The last `characters` of `text`, from a line start where there is one."""
    if len(text) <= characters:
        return text
    start = len(text) - characters
    line = text.find("\n", start)
    return text[line + 1 if 0 <= line < len(text) - 1 else start :]


def _earlier_documents(snippets: tuple[Snippet, ...], layout: Layout, room: int, tokenizer: Tokenizer) -> list[int]:
    if layout.document_id is None:
        return []
    out: list[int] = []
    for snippet in snippets:
        ids = [layout.document_id, *tokenizer.encode(snippet.text.replace("\r\n", "\n").rstrip("\n") + "\n").ids]
        if len(ids) > room:
            break
        out = ids + out
        room -= len(ids)
    return out


def _line_starts(ids: list[int], tokenizer: Tokenizer) -> list[int]:
    return [index for index, token in enumerate(ids) if tokenizer.token_bytes[token].startswith(b"\n")]


def _is_anchor(ids: list[int], start: int, end: int) -> bool:
    return zlib.crc32(b"".join(i.to_bytes(4, "little") for i in ids[start:end])) % ANCHOR_EVERY == 0


def _anchored_start(ids: list[int], budget: int, tokenizer: Tokenizer) -> int:
    """Index of the line that begins the prompt: the first anchor that fits the budget, else the first token that does."""
    earliest = max(0, len(ids) - budget)
    lines = _line_starts(ids, tokenizer)
    for start, end in zip(lines, lines[1:], strict=False):
        if start >= earliest and len(ids) - start >= budget // 2 and _is_anchor(ids, start, end):
            return start
    return earliest


def _anchored_end(ids: list[int], budget: int, tokenizer: Tokenizer) -> int:
    """Index behind the last line of the suffix: the last anchor within the budget, else the budget itself."""
    lines = _line_starts(ids, tokenizer)
    for start, end in zip(reversed(lines[:-1]), reversed(lines[1:]), strict=True):
        if budget // 2 <= start <= budget and _is_anchor(ids, start, end):
            return start
    return budget
