"""Brackets that the text closes without need, or opens in the middle of a line, are cut off. Counts them in the lines around the cursor.

Strings and comments are told apart by a parse where the language has a grammar, else by quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from dlsp import syntax
from dlsp.documents import Point, Snapshot, Span, advance
from dlsp.postprocess.brackets import CLOSERS, brackets, unmatched
from dlsp.postprocess.draft import LONGEST_LINE, Draft
from dlsp.syntax.grammars import SHELLS

_LINES_ABOVE = 60
_LINES_BELOW = 12
_BEHIND_CLOSERS = ";, "
_CASE_PATTERN = re.compile(r"\s*[^()\s|]+(?:\s*\|\s*[^()\s|]+)*\)")
"""In a shell script, a line like `start | stop)` closes nothing."""


def balance(draft: Draft) -> Draft:
    """Cuts the last line before a closer that nothing has opened or that the lines below have; in the middle of a line, before
    an opener that stays open. Drops with `syntax` when nothing else is left.

    Lines of nothing but closers are the block's business.
    """
    text, last = draft.text, draft.text.rpartition("\n")[2].strip()
    if draft.language in SHELLS and _CASE_PATTERN.fullmatch((draft.head + text).rpartition("\n")[2]):
        return draft
    if draft.snapshot is None or unmatched(brackets(text)) == ([], []) or len(draft.behind) >= LONGEST_LINE:
        return draft
    if last.strip(CLOSERS + _BEHIND_CLOSERS):
        text = _without_surplus(draft, text)
    if draft.behind.strip() and "\n" not in text and (kept := _without_unclosed(draft, text)) != text:
        # What was opened may have been closed behind the text, which has one closer too many now.
        text = _without_surplus(draft, kept)
    return draft.with_text(text) if text.strip() else draft.dropped("syntax")


def _without_surplus(draft: Draft, text: str) -> str:
    line_start = text.rfind("\n") + 1
    while (surplus := _surplus(draft, text)) is not None:
        if surplus >= line_start:
            text = text[:surplus].rstrip()
        elif (stripped := text.rstrip(_BEHIND_CLOSERS))[-1:] and stripped[-1] in CLOSERS and len(stripped) > line_start:
            # A line below closes what the text closes.
            text = stripped[:-1].rstrip()
        else:
            # In one line, a closer behind it has lost its opener; lines above the last may be a list `1) ...` or the arm of a `case`.
            return "" if surplus < 0 and "\n" not in text else text
    return text


def _surplus(draft: Draft, text: str) -> int | None:
    """Where the text holds a closer that nothing opens, -1 where one behind it has lost its opener to the text; None where all is
    as it was without the text."""
    before, _ = unmatched(_brackets(draft, ""))
    found = _brackets(draft, text)
    after, _ = unmatched(found)
    if len(after) <= len(before):
        return None
    # Guessed by quotes so far; a parse knows better.
    before, _ = unmatched(_outside_literals(draft, "", _brackets(draft, "")))
    after, _ = unmatched(_outside_literals(draft, text, found))
    if len(after) <= len(before):
        return None
    assert draft.snapshot is not None, "balance() asks only with a document"
    end = advance(draft.at, text)
    inside = [place for place in after if draft.at <= place < end]
    if not inside:
        return -1
    line, column = inside[0]
    offset = len("\n".join(text.split("\n")[: line - draft.at.line]))
    return column - draft.at.column if line == draft.at.line else offset + 1 + column


def _without_unclosed(draft: Draft, text: str) -> str:
    _, before = unmatched(_brackets(draft, ""))
    found = _brackets(draft, text)
    _, after = unmatched(found)
    if len(after) > len(before):
        _, before = unmatched(_outside_literals(draft, "", _brackets(draft, "")))
        _, after = unmatched(_outside_literals(draft, text, found))
    _, own = unmatched(brackets(text))
    extra = len(after) - len(before)
    return text[: own[-extra]].rstrip() if 0 < extra <= len(own) else text


def _brackets(draft: Draft, text: str) -> list[tuple[Point, str]]:
    """Brackets of the lines around the cursor, as they would be with `text`, with their places."""
    snapshot, at = draft.snapshot, draft.at
    assert snapshot is not None, "balance() asks only with a document"
    found: list[tuple[Point, str]] = []
    for number in range(max(0, at.line - _LINES_ABOVE), at.line):
        found += _of_line(number, snapshot.line(number)[:LONGEST_LINE])
    middle = (snapshot.head(at)[-LONGEST_LINE:] + text + draft.behind).split("\n")
    skipped = max(0, at.column - LONGEST_LINE)
    for row, line in enumerate(middle):
        found += [(Point(p.line, p.column + (0 if row else skipped)), mark) for p, mark in _of_line(at.line + row, line)]
    moved = len(middle) - 1
    for number in range(at.line + 1, min(len(snapshot.lines), at.line + 1 + _LINES_BELOW)):
        found += _of_line(number + moved, snapshot.line(number)[:LONGEST_LINE])
    return found


def _of_line(number: int, line: str) -> list[tuple[Point, str]]:
    return [(Point(number, column), mark) for column, mark in brackets(line)]


def _outside_literals(draft: Draft, text: str, found: list[tuple[Point, str]]) -> Iterable[tuple[Point, str]]:
    """The brackets but for those that a parse finds inside strings and comments."""
    assert draft.snapshot is not None, "balance() asks only with a document"
    if not syntax.supports(draft.language) or not found:
        return found
    snapshot: Snapshot
    snapshot, _ = draft.snapshot.with_item(draft.at, Point(draft.at.line, draft.at.column + draft.replaces), text)
    span = Span(Point(found[0][0].line, 0), Point(found[-1][0].line + 1, 0))
    literals = [leaf for leaf in syntax.leaves(snapshot, span) if leaf.kind in ("literal", "comment")]
    return [(place, mark) for place, mark in found if not any(leaf.start <= place < leaf.end for leaf in literals)]
