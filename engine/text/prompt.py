"""Builds the prompt of a request: healed at every gap, cut to the token budget at lines that stay put while a person types.

Knows texts, gaps and budgets (earlier documents in front); where the parts stand before the network is the runners' business.
"""

from __future__ import annotations

import itertools
import zlib
from dataclasses import dataclass, replace

from engine.api import Snippet
from engine.errors import HolesApartError
from engine.text.healing import HealedCut, HealedDraft, heal, heal_draft
from engine.text.regions import Gap, Regions
from engine.text.tokenizer import Tokenizer

MAX_CHARACTERS_PER_TOKEN = 12
"""Only this many characters per token of budget are tokenized; code averages four."""

LEAST_AROUND = 64
"""Tokens that must be left for the text around several holes."""


@dataclass(frozen=True, slots=True)
class Spot:
    """One gap in tokens: what it must begin with (see `HealedCut`), and the draft that stands there."""

    gap: Gap
    taken: list[int]
    forced: bytes
    draft: HealedDraft | None

    @property
    def room(self) -> int:
        """The most tokens the gap may hold, those of what healing took back included."""
        return max(self.gap.max_tokens, len(self.taken) + 1)

    @property
    def one_line(self) -> bool:
        """Whether the gap ends with its line."""
        return self.gap.max_lines == 1


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids of the fixed texts in document order, one run more than there are `spots`, which stand between them."""

    texts: tuple[list[int], ...]
    spots: tuple[Spot, ...]

    @property
    def tokens(self) -> int:
        """Length of the context in tokens."""
        return sum(map(len, self.texts))


@dataclass(frozen=True, slots=True)
class Layout:
    """Special ids and budgets, in tokens. `document_id` None means the model has no such token, and so reads no snippets.

    `snippet_share` is the share of the prefix's budget that snippets may take from a text that would fill all of it.
    """

    document_id: int | None
    prefix_tokens: int
    suffix_tokens: int
    snippet_share: float = 0.0


def build(regions: Regions, snippets: tuple[Snippet, ...], layout: Layout, tokenizer: Tokenizer) -> Prompt:
    """The prompt for the gaps of `regions`.

    The first text keeps its last tokens and the last one its first tokens; those between gaps stay whole and share the
    budget. Snippets, best first, take what the first text leaves free, at least their share, as documents of their own in
    front; the best one stands nearest, one that does not fit is left out, and what they leave of their share the first text
    gets back. Raises HolesApartError where the gaps are farther apart than the budget allows.
    """
    text = _tail_lines(regions.texts[0], layout.prefix_tokens * MAX_CHARACTERS_PER_TOKEN)
    whole = len(text) == len(regions.texts[0])
    runs: list[list[int]] = []
    spots: list[Spot] = []
    for number, gap in enumerate(regions.gaps):
        cut = heal(text, tokenizer) if regions.healing else HealedCut(tokenizer.encode(text).ids, [], b"")
        runs.append(cut.prefix_ids)
        draft = None if gap.draft is None else heal_draft(cut, gap.draft.removesuffix(gap.closing), tokenizer)
        spots.append(Spot(gap, cut.taken, cut.forced, draft))
        text = gap.closing + regions.texts[number + 1]
    if not spots:
        return Prompt((tokenizer.encode(text).ids,), ())
    characters = layout.suffix_tokens * MAX_CHARACTERS_PER_TOKEN
    last = tokenizer.encode(text[:characters]).ids if characters else []

    layout = _around(layout, sum(map(len, runs[1:])))
    runs[0] = _first(runs[0], whole, snippets, layout, tokenizer)
    if len(last) > layout.suffix_tokens:
        last = last[: _anchored_end(last, layout.suffix_tokens, tokenizer)]
    return Prompt((*runs, last), tuple(spots))


def _around(layout: Layout, between: int) -> Layout:
    """The budgets that are left for the outer texts when `between` tokens stand between gaps."""
    if not between:
        return layout
    room = layout.prefix_tokens + layout.suffix_tokens
    left = room - between
    if left < min(LEAST_AROUND, room // 2):
        raise HolesApartError(
            f"The holes are {between} tokens apart, and this model reads {room} at a time.", "Send them in several requests."
        )
    prefix = left * layout.prefix_tokens // room
    return replace(layout, prefix_tokens=prefix, suffix_tokens=left - prefix)


def _first(ids: list[int], whole: bool, snippets: tuple[Snippet, ...], layout: Layout, tokenizer: Tokenizer) -> list[int]:
    """Snippets and the first text within the prefix's budget. `whole` says that `ids` begin where their document does."""
    start = [] if layout.document_id is None else [layout.document_id]
    free = layout.prefix_tokens - len(start) - len(ids) if whole else 0
    room = max(free, int(layout.prefix_tokens * layout.snippet_share))
    earlier = _earlier_documents(snippets, layout, room, tokenizer)
    if whole and len(earlier) <= free:
        return earlier + start + ids
    if not earlier:
        return ids[_anchored_start(ids, layout.prefix_tokens, tokenizer) :]
    # The mark is not quite true of a text that is cut, but without it the text would seem to go on with the last snippet.
    return earlier + start + ids[_anchored_start(ids, layout.prefix_tokens - len(earlier) - len(start), tokenizer) :]


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
            continue
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
