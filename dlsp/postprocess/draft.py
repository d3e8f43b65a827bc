"""A suggestion on its way to the editor, with the facts the filters need. Knows no filter and no protocol."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from dlsp.documents import Point, Snapshot
from engine.api import Fill, Piece

SURROUNDING_LINES = 12
LONGEST_LINE = 2000
"""Of longer lines only the characters nearest to the cursor count, and of longer neighbours the first ones."""
_SAMPLED_LINES = 60
_TAB_LANGUAGES = frozenset({"makefile", "go", "go.mod"})
_SPACE_LANGUAGES = frozenset({"yaml", "dockercompose"})
"""Their tools accept or write nothing else, whatever the editor is set to."""


class Style(msgspec.Struct, frozen=True):
    """How the editor is set to indent. `tab_size` 0 means that it did not say, and the document is looked at."""

    tab_size: int = 0
    insert_spaces: bool = True


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a suggestion.

    `last_line` is the last line of the block around the cursor, -1 where that is not known. `floor` is the lowest confidence
    that is shown. Automatic suggestions, those that nobody `invoked`, have at least `min_characters` characters besides white
    space and are none of the texts `rejected` at this place.
    """

    max_lines: int = 1
    last_line: int = -1
    floor: float = 0.0
    invoked: bool = False
    min_characters: int = 1
    rejected: tuple[str, ...] = ()
    style: Style = Style()


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """Text for one hole and what stands around it, all with "\\n" line ends.

    `head` and `tail` are the parts of the cursor's line before and after it, of which the text takes the place of the first
    `replaces` characters of `tail`; `above` are the nearest lines before that line, nearest first, `below` the nearest after it.
    `tabs` and `width` say how the document is indented. `pieces` joined are the text, or they are empty. `rest`, with
    `rest_pieces`, is what was cut off and would follow the text, to be suggested next. `snapshot` and `at` are where all this
    comes from. `reason` is set by the filter that takes the text away. For the other facts see `Wanted`.
    """

    text: str
    confidence: float = 1.0
    pieces: tuple[Piece, ...] = ()
    floor: float = 0.0
    max_lines: int = 1
    last_line: int = -1
    invoked: bool = False
    min_characters: int = 1
    rejected: tuple[str, ...] = ()
    language: str = ""
    head: str = ""
    tail: str = ""
    above: tuple[str, ...] = ()
    below: tuple[str, ...] = ()
    tabs: bool = False
    width: int = 4
    replaces: int = 0
    rest: str = ""
    rest_pieces: tuple[Piece, ...] = ()
    snapshot: Snapshot | None = None
    at: Point = Point(0, 0)
    reason: str = ""

    @property
    def behind(self) -> str:
        """What is left of the cursor's line behind the text."""
        return self.tail[self.replaces :]

    def with_text(self, text: str) -> Draft:
        """The same with another text. What is cut off its ends takes its pieces and their doubts along, and a rest that no longer
        follows; text that is rewritten has no pieces."""
        if text == self.text:
            return self
        start = self.text.find(text)
        pieces = _pieces_of(self.pieces, start, start + len(text)) if start >= 0 else ()
        rest, rest_pieces = (self.rest, self.rest_pieces) if _last_words(text) == _last_words(self.text) else ("", ())
        confidence = self._sure_of(pieces) if pieces else self.confidence
        return msgspec.structs.replace(self, text=text, pieces=pieces, rest=rest, rest_pieces=rest_pieces, confidence=confidence)

    def cut(self, position: int) -> Draft:
        """The same with only the first `position` characters, white space at their end left out; the others are to be suggested
        next, if nothing stands behind them on the line."""
        kept = self.text[:position].rstrip()
        rest = self.text[len(kept) :] if kept and not self.behind.strip() else ""
        if not rest.strip():
            return msgspec.structs.replace(self.with_text(kept), rest="", rest_pieces=())
        pieces = _pieces_of(self.pieces, len(kept), len(self.text))
        return msgspec.structs.replace(self.with_text(kept), rest=rest, rest_pieces=pieces)

    def dropped(self, reason: str) -> Draft:
        """The same without text, and why."""
        return msgspec.structs.replace(self, text="", pieces=(), rest="", rest_pieces=(), replaces=0, reason=reason)

    def following(self) -> Draft:
        """The draft of the rest, as if the text had been accepted."""
        rows = (self.head + self.text).split("\n")
        above = (*reversed(rows[:-1]), *self.above)[:SURROUNDING_LINES]
        snapshot, at = self.snapshot, self.at
        if snapshot is not None:
            snapshot, at = snapshot.with_item(at, Point(at.line, at.column + self.replaces), self.text)
        place = {"head": rows[-1], "tail": self.behind, "above": above, "snapshot": snapshot, "at": at}
        sure = self._sure_of(self.rest_pieces) if self.rest_pieces else self.confidence
        draft = msgspec.structs.replace(self, text=self.rest, rest="", rest_pieces=(), replaces=0, last_line=-1, **place)
        return msgspec.structs.replace(draft, pieces=self.rest_pieces, confidence=sure)

    def _sure_of(self, pieces: tuple[Piece, ...]) -> float:
        """The confidence in other pieces of the same answer. All of it may have been calibrated to less than its tokens say; no
        part is trusted more."""
        whole = _product(self.pieces)
        return _product(pieces) * (min(1.0, self.confidence / whole) if whole else 1.0)


def draft_for(snapshot: Snapshot, at: Point, fill: Fill, wanted: Wanted) -> Draft:
    """A draft of `fill` at a place of a document, for what is `wanted`."""
    tabs, width = _indentation(snapshot, at.line, wanted.style)
    above = range(at.line - 1, max(at.line - 1 - SURROUNDING_LINES, -1), -1)
    below = range(at.line + 1, min(at.line + 1 + SURROUNDING_LINES, len(snapshot.lines)))
    return Draft(
        text=fill.text,
        confidence=fill.confidence,
        pieces=fill.pieces,
        floor=wanted.floor,
        max_lines=wanted.max_lines,
        last_line=wanted.last_line,
        invoked=wanted.invoked,
        min_characters=wanted.min_characters,
        rejected=wanted.rejected,
        language=snapshot.language,
        head=_near_end(snapshot.head(at)),
        tail=snapshot.tail(at)[:LONGEST_LINE],
        above=tuple(snapshot.line(number)[:LONGEST_LINE] for number in above),
        below=tuple(snapshot.line(number)[:LONGEST_LINE] for number in below),
        tabs=tabs,
        width=width,
        snapshot=snapshot,
        at=at,
    )


def indent_of(line: str, width: int) -> int:
    """Columns of white space that a line begins with."""
    expanded = line.expandtabs(width)
    return len(expanded) - len(expanded.lstrip(" "))


def first_pieces(pieces: tuple[Piece, ...], characters: int) -> tuple[Piece, ...]:
    """The pieces of the first so many characters."""
    return _pieces_of(pieces, 0, characters)


def in_order(part: Sequence[str], whole: Sequence[str]) -> bool:
    """Whether one sequence is what is left of the other when something is taken out."""
    items = iter(whole)
    return all(item in items for item in part)


def _pieces_of(pieces: tuple[Piece, ...], start: int, end: int) -> tuple[Piece, ...]:
    """The pieces of the characters from one place to another of the text they make."""
    out: list[Piece] = []
    for piece in pieces:
        if text := piece.text[max(start, 0) : max(end, 0)]:
            out.append(msgspec.structs.replace(piece, text=text))
        start, end = start - len(piece.text), end - len(piece.text)
    return tuple(out)


def _product(pieces: tuple[Piece, ...]) -> float:
    return math.prod(piece.confidence for piece in pieces)


def _last_words(text: str) -> str:
    return text.rstrip().rpartition("\n")[2].strip()


def _near_end(head: str) -> str:
    """A very long line's end, with its indentation."""
    if len(head) <= LONGEST_LINE:
        return head
    return head[: len(head) - len(head.lstrip())][:LONGEST_LINE] + head[-LONGEST_LINE:]


def _indentation(snapshot: Snapshot, around: int, style: Style) -> tuple[bool, int]:
    """Tabs or spaces, and how many: the editor's setting, unless a line is indented in the other manner, for the two do not go
    together in one block; else by the lines near it; four spaces where nothing is indented. Spaces alone may be alignment where
    other lines have tabs."""
    if snapshot.language in _TAB_LANGUAGES:
        return True, style.tab_size or 4
    lead = snapshot.line(around)[:1]
    first = max(0, around - _SAMPLED_LINES)
    lines = snapshot.lines[first : around + _SAMPLED_LINES]
    spaced = lead == " " and not any(line.startswith("\t") for line in lines)
    own = True if lead == "\t" else False if spaced or snapshot.language in _SPACE_LANGUAGES else None
    if style.tab_size > 0 and own in (None, not style.insert_spaces):
        return not style.insert_spaces, style.tab_size
    spaces = [len(line) - len(line.lstrip(" ")) for line in lines if line.startswith("  ") and line.strip()]
    if own or (own is None and sum(line.startswith("\t") for line in lines) > len(spaces)):
        return True, 4
    return False, min((count for count in spaces if count in (2, 3, 4, 8)), default=4)
