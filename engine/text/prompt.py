"""Builds the prompt of one hole: healed, cut to the token budget at lines that stay put while a person types.

Knows the in-place layout (prefix, canvas, suffix, earlier documents in front); knows no network.
"""

from __future__ import annotations

import itertools
import zlib
from dataclasses import dataclass

from engine.api import Snippet
from engine.text.healing import heal
from engine.text.tokenizer import Tokenizer

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


def _anchor(ids: list[int], low: int, high: int, tokenizer: Tokenizer) -> int | None:
    """The start, from `low` to `high`, of the line with the smallest hash (a minimizer): chosen by content alone, it stays
    the same while text is typed elsewhere, so that a cut prompt keeps its keys and values from keystroke to keystroke."""
    lines = [*_line_starts(ids, tokenizer), len(ids)]
    spans = [(start, end) for start, end in itertools.pairwise(lines) if low <= start <= high]
    if not spans:
        return None
    return min(spans, key=lambda span: zlib.crc32(b"".join(i.to_bytes(4, "little") for i in ids[span[0] : span[1]])))[0]


def _anchored_start(ids: list[int], budget: int, tokenizer: Tokenizer) -> int:
    """Index of the line that begins the prompt, within the first quarter of the budget; else the first token that fits."""
    earliest = max(0, len(ids) - budget)
    anchor = _anchor(ids, earliest, earliest + budget // 4, tokenizer)
    return earliest if anchor is None else anchor


def _anchored_end(ids: list[int], budget: int, tokenizer: Tokenizer) -> int:
    """Index behind the last line of the suffix, within the last quarter of the budget; else the budget itself."""
    anchor = _anchor(ids, budget - budget // 4, budget, tokenizer)
    return budget if anchor is None else anchor
