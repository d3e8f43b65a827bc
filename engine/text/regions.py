"""Splits a request into fixed texts and the gaps between them, and puts the filled gaps together again.

A hole is one gap, unless parts of its draft are locked: then each unlocked part is a gap of its own, and what is locked is fixed
text like any other, which nothing can change. Knows text, not tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.api import Hole, InfillRequest
from engine.errors import RequestError

MOST_TOKENS = 4096
"""The most tokens a hole may ask for."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A place to fill, in hole number `hole`, with its share of the hole's limits.

    `draft` stands there already and is kept but for the share `noise` of the hole's tokens; None: nothing does. `closing` is
    the line end that the gap needs because it asks for whole lines in front of a line: the model gets it as the beginning
    of the suffix, and it is handed back behind the text.
    """

    hole: int
    max_tokens: int
    max_lines: int
    draft: str | None = None
    noise: float = 1.0
    closing: str = ""


@dataclass(frozen=True, slots=True)
class Regions:
    """`texts` are the fixed texts, one more than there are `gaps`, which stand between them.

    Cuts are healed unless `healing` is off. `recipes` says for each hole of the request what it consists of: numbers of
    gaps, and locked texts.
    """

    texts: tuple[str, ...]
    gaps: tuple[Gap, ...]
    recipes: tuple[tuple[int | str, ...], ...]
    healing: bool = True

    def assemble(self, fills: Sequence[str]) -> list[str]:
        """The text of each hole, given that of each gap."""
        return ["".join(part if isinstance(part, str) else fills[part] for part in recipe) for recipe in self.recipes]


def split(request: InfillRequest) -> Regions:
    """Fixed texts and gaps of `request`. Raises RequestError for holes that make no sense and for text that is not Unicode."""
    if not request.holes:
        raise RequestError("The request has no hole.", "Send at least one.")
    texts = [_unix(request.prefix)]
    gaps: list[Gap] = []
    recipes: list[tuple[int | str, ...]] = []
    for number, hole in enumerate(request.holes):
        last = number + 1 == len(request.holes)
        _check(hole, number + 1, last)
        recipe: list[int | str] = []
        parts = _parts(hole)
        shares = sum(not locked for _, locked in parts)
        for place, (part, locked) in enumerate(parts, 1):
            if locked:
                recipe.append(part)
                texts[-1] += _unix(part)
                continue
            draft = _unix(part) if hole.noise < 1 and hole.draft else None
            closing = ""
            if last and place == len(parts) and request.decoding.healing and (draft is None or draft.endswith("\n")):
                closing = _closing(texts[-1], request.suffix)
            recipe.append(len(gaps))
            lines = max(1, hole.max_lines // shares) if hole.max_lines else 0
            gaps.append(Gap(number, max(1, hole.max_tokens // shares), lines, draft, hole.noise, closing))
            texts.append("")
        recipes.append(tuple(recipe))
        texts[-1] += _unix(request.suffix if last else hole.after)
    if not _encodable(texts, gaps):
        raise RequestError("The text holds half a surrogate pair, which is no character.", "Send well-formed Unicode.")
    return Regions(tuple(texts), tuple(gaps), tuple(recipes), request.decoding.healing)


def _parts(hole: Hole) -> list[tuple[str, bool]]:
    """The draft cut at the locks: (text, locked) in order, without empty parts; one empty open part where there is no draft."""
    if not hole.locked:
        return [(hole.draft, False)]
    parts: list[tuple[str, bool]] = []
    position = 0
    for start, end in sorted(hole.locked):
        parts += [(hole.draft[position:start], False), (hole.draft[start:end], True)]
        position = end
    parts.append((hole.draft[position:], False))
    return [(text, locked) for text, locked in parts if text]


def _closing(before: str, behind: str) -> str:
    """A gap at the start of a line that holds text already asks for whole lines before it."""
    return "\n" if behind and behind[0] not in "\r\n" and (not before or before.endswith("\n")) else ""


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n")


def _encodable(texts: Sequence[str], gaps: Sequence[Gap]) -> bool:
    try:
        "".join([*texts, *(gap.draft or "" for gap in gaps)]).encode()
    except UnicodeEncodeError:
        return False
    return True


def _check(hole: Hole, number: int, last: bool) -> None:
    if not last and not hole.after:
        raise RequestError(f"Holes {number} and {number + 1} touch.", "Send them as one hole, or give the text between them as `after`.")
    if last and hole.after:
        raise RequestError(f"Hole {number} is the last one, so it has no `after`.", "Put the text behind it into `suffix`.")
    if not 1 <= hole.max_tokens <= MOST_TOKENS:
        raise RequestError(f"Hole {number} may have {hole.max_tokens} tokens.", f"Allow from 1 to {MOST_TOKENS}.")
    if hole.max_lines < 0:
        raise RequestError(f"Hole {number} may have {hole.max_lines} lines.", "Use 0 for no limit.")
    if not 0 <= hole.noise <= 1:
        raise RequestError(f"The noise level of hole {number} is {hole.noise:g}.", "Use a share from 0 (keep the draft) to 1.")
    position = 0
    for start, end in sorted(hole.locked):
        if not position <= start < end <= len(hole.draft):
            raise RequestError(
                f"The lock ({start}, {end}) of hole {number} is empty, overlaps another one or lies outside its draft "
                f"of {len(hole.draft)} characters.",
                "Use spans (start, end) of the draft.",
            )
        position = end
