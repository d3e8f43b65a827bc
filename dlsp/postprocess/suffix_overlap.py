"""Text must not say again what already stands behind the cursor: closers, the rest of the line, the next lines.

Brackets are counted, because `f(g(x` in front of `)` needs a bracket of its own; knows no language's grammar beyond that.
"""

from __future__ import annotations

import re

import msgspec

from dlsp.postprocess.brackets import CLOSERS, balance, brackets, unmatched
from dlsp.postprocess.draft import Draft, in_order

_QUOTES = "\"'`"
_SEPARATORS = ",;:"
_SHORTEST_WORD_OVERLAP = 3
_MOST_CLOSERS = 32
_TOKEN = re.compile(r"\w+|[^\w\s]")


def suffix_overlap(draft: Draft) -> Draft:
    """Cuts what is there already, or, where the text says the rest of the line in between, has it take that rest's place; drops
    with `duplicate` when nothing else is left."""
    whole = _without_next_lines(draft, draft.text)
    text = _without_surplus_closers(draft, _without_rest_of_line(draft, whole))
    if not text.strip() and draft.text.strip():
        return draft.dropped("duplicate")
    if _says_rest_of_line(draft.with_text(text)):
        return _replacing(draft.with_text(text), len(draft.behind.rstrip()))
    if _closes_too_much(draft, text):
        # The text may mean the closers behind it, and go on behind its own.
        said = draft.with_text(whole)
        if count := len(draft.behind.rstrip()) if _says_rest_of_line(said) else _said_closers(said):
            return _replacing(said, count)
    return draft.with_text(text)


def _replacing(draft: Draft, count: int) -> Draft:
    """The draft with its text in the place of so many further characters behind it."""
    return msgspec.structs.replace(draft, replaces=draft.replaces + count, rest="", rest_pieces=())


def _said_closers(draft: Draft) -> int:
    """How many of the closers right behind the cursor the text says itself, so that without them none is too many; 0 where that
    does not help."""
    behind = draft.behind
    for count in range(1, min(_MOST_CLOSERS, len(behind) - len(behind.lstrip(CLOSERS))) + 1):
        if in_order(behind[:count], draft.text) and _unopened(draft.head + draft.text + behind[count:]) <= _unopened(draft.head + behind):
            return count
    return 0


def _without_next_lines(draft: Draft, text: str) -> str:
    """The last lines of the text are the lines below the cursor; the very last one may be cut off in the middle."""
    rows = text.split("\n")
    below = [row.rstrip() for row in draft.below if row.strip()]
    if len(rows) == 1 or draft.behind.strip():
        return text
    for count in range(min(len(rows) - 1, len(below)), 0, -1):
        *whole, last = (row.rstrip() for row in rows[-count:])
        begun = last == below[count - 1] or (len(last.strip()) >= _SHORTEST_WORD_OVERLAP and below[count - 1].startswith(last))
        if whole != below[: count - 1] or not begun:
            continue
        kept = "\n".join(rows[:-count])
        if any(character.isalnum() for row in rows[-count:] for character in row) or balance(draft.head + text) <= 0:
            return kept.rstrip()
    return text


def _without_rest_of_line(draft: Draft, text: str) -> str:
    """The text ends with the beginning of what follows on the line."""
    tail = draft.behind.rstrip()
    for count in range(min(len(text), len(tail)), 0, -1):
        overlap = tail[:count]
        if not text.endswith(overlap):
            continue
        kept = text[:-count]
        solid = overlap.strip()
        if not solid:
            return kept
        if all(character in CLOSERS for character in solid):
            # Left to the count of brackets.
            continue
        line = (draft.head + text + draft.behind).rpartition("\n")[2]
        if all(character in CLOSERS + _QUOTES + _SEPARATORS for character in solid):
            if not any(quote in solid for quote in _QUOTES) or any(line.count(quote) % 2 for quote in _QUOTES if quote in solid):
                return kept
        elif len(solid) >= _SHORTEST_WORD_OVERLAP:
            return kept
    return text


def _without_surplus_closers(draft: Draft, text: str) -> str:
    """The text closes what the rest of the line closes already."""
    kept, behind = text, draft.behind
    solid = behind.lstrip()
    closers = solid[: len(solid) - len(solid.lstrip(CLOSERS))]
    while kept and kept[-1] in closers and balance(draft.head + kept + behind) < 0:
        kept = kept[:-1]
    return kept.rstrip(" ") if kept != text and behind.startswith(" ") else kept


def _says_rest_of_line(draft: Draft) -> bool:
    """Whether the text holds the rest of the line in order, so that it must have been meant to take its place.

    Editors show text that replaces what is behind the cursor only if that is a subsequence of it.
    """
    behind = draft.behind.rstrip()
    if not behind.strip() or not in_order(behind, draft.text):
        return False
    said, rest = _TOKEN.findall(draft.text), _TOKEN.findall(behind)
    if all(character in CLOSERS + _QUOTES + _SEPARATORS for token in rest for character in token):
        # Only what an editor has closed on its own: it stands twice if the text closes what it would close.
        return _closes_too_much(draft, draft.text) and not _unopened(draft.head + draft.text)
    return len(behind.strip()) >= _SHORTEST_WORD_OVERLAP and said[-1:] == rest[-1:] and in_order(rest, said) and len(rest) > 1


def _closes_too_much(draft: Draft, text: str) -> bool:
    """Whether the line has more closers that nothing on it opens with a text than without."""
    return _unopened(draft.head + text + draft.behind) > _unopened(draft.head + draft.behind)


def _unopened(text: str) -> int:
    return len(unmatched(brackets(text))[0])
