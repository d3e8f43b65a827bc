"""Documents as plain data: frozen snapshots of lines, the edits between them, and positions in the client's units.

Only \\n, \\r\\n and \\r end a line (form feed, NEL and U+2028 do not). Knows no protocol types and never reads a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import msgspec

Encoding = Literal["utf-8", "utf-16", "utf-32"]
"""What one unit of a client's column is: a byte, a UTF-16 code unit or a code point."""

_LINE_END = re.compile(r"\r\n|\r|\n")
_LINES_AT_ONCE = 32


class Point(NamedTuple):
    """A place in a document: 0-based line, 0-based column in code points."""

    line: int
    column: int


class Span(NamedTuple):
    """What stands between two places of a document."""

    start: Point
    end: Point


class Change(msgspec.Struct, frozen=True):
    """One content change as a client sent it: 0-based (line, column) pairs in the client's units, or no range for a whole new text."""

    text: str
    start: tuple[int, int] | None = None
    end: tuple[int, int] | None = None


class Edit(msgspec.Struct, frozen=True):
    """One replacement: `removed` stood between `start` and `end` of the document before it, `text` stands there after it."""

    start: Point
    end: Point
    removed: str
    text: str

    @property
    def after(self) -> Point:
        """Where the inserted text ends, in the document after the edit."""
        return advance(self.start, self.text)


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A document at one version. Every line but the last carries its line end; `size` counts code points, line ends included."""

    uri: str
    version: int
    language: str
    lines: tuple[str, ...]
    size: int

    @property
    def text(self) -> str:
        """The whole text, with the line ends the document has."""
        return "".join(self.lines)

    @property
    def eol(self) -> str:
        """The line end of the first line, "\\n" for a document of one line."""
        return _eol(self.lines[0]) or "\n"

    def eol_near(self, number: int) -> str:
        """The line end that a new line at line `number` should have: its own, else its neighbour's, else the document's."""
        near = (number, number - 1, number + 1)
        return next((end for n in near if 0 <= n < len(self.lines) and (end := _eol(self.lines[n]))), self.eol)

    def line(self, number: int) -> str:
        """A line without its line end; empty when there is no such line."""
        return _content(self.lines[number]) if 0 <= number < len(self.lines) else ""

    def clamp(self, point: Point) -> Point:
        """The nearest place that exists."""
        if point.line < 0:
            return Point(0, 0)
        if point.line >= len(self.lines):
            return Point(len(self.lines) - 1, len(self.line(len(self.lines) - 1)))
        return Point(point.line, min(max(point.column, 0), len(self.line(point.line))))

    def point(self, position: tuple[int, int], encoding: Encoding) -> Point:
        """A client's (line, column) as a place that exists here."""
        return _resolve(self.lines, position, encoding)

    def head(self, at: Point) -> str:
        """The part of the line before a place."""
        return self.line(at.line)[: at.column]

    def tail(self, at: Point) -> str:
        """The part of the line after a place, without the line end."""
        return self.line(at.line)[at.column :]

    def before(self, at: Point, limit: int) -> str:
        """Up to `limit` characters before a place, line ends as "\\n". The cost does not depend on the size of the document."""
        text, last, step = self.head(at), at.line, _LINES_AT_ONCE
        while len(text) < limit and last > 0:
            first = max(0, last - step)
            text = _plain("".join(self.lines[first:last])) + text
            last, step = first, 2 * step
        return text[-limit:] if limit else ""

    def following(self, at: Point, limit: int) -> str:
        """Up to `limit` characters after a place, line ends as "\\n"."""
        text, first, step = _plain(self.lines[at.line][at.column :]), at.line + 1, _LINES_AT_ONCE
        while len(text) < limit and first < len(self.lines):
            text += _plain("".join(self.lines[first : first + step]))
            first, step = first + step, 2 * step
        return text[:limit]

    def with_item(self, start: Point, end: Point, text: str) -> tuple[Snapshot, Point]:
        """The document as it would be with `text` in the place of what is between two places, and where that text ends."""
        lines = list(self.lines)
        edit = _splice(lines, self.clamp(start), self.clamp(end), text)
        return msgspec.structs.replace(self, lines=tuple(lines), size=self.size + len(edit.text) - len(edit.removed)), edit.after


def opened(uri: str, version: int, language: str, text: str) -> Snapshot:
    """A document as it was opened."""
    return Snapshot(uri=uri, version=version, language=language, lines=tuple(split_lines(text)), size=len(text))


def changed(snapshot: Snapshot, version: int, changes: Iterable[Change], encoding: Encoding) -> tuple[Snapshot, tuple[Edit, ...]]:
    """The document after a client's changes, applied in order, and the edits they amount to.

    A change that does not fit is clamped to what exists, and a range given backwards is turned round, as other servers do:
    an editor that is off by one must not leave us with a document that drifts. The cost is that of the edited lines plus one
    copy of the list of lines, whatever the number of changes.
    """
    lines, size, edits = list(snapshot.lines), snapshot.size, []
    for change in changes:
        if change.start is None or change.end is None:
            start, end, text = _difference(lines, change.text)
        else:
            first, last = _resolve(lines, change.start, encoding), _resolve(lines, change.end, encoding)
            start, end, text = min(first, last), max(first, last), change.text
        edit = _splice(lines, start, end, text)
        size += len(edit.text) - len(edit.removed)
        if edit.text != edit.removed:
            edits.append(edit)
    after = msgspec.structs.replace(snapshot, version=version, lines=tuple(lines), size=size)
    return after, tuple(edits)


def typed_since(old: Snapshot, at: Point, new: Snapshot) -> str | None:
    """What was typed at `at` since `old`, if nothing else changed ("" if nothing at all did); None if something else did.

    Goes by content, not by edits: some editors report a typed character at another place of a run of equal ones.
    """
    grown = new.size - old.size
    if grown < 0 or new.uri != old.uri:
        return None
    if old.lines is new.lines:
        return ""
    if len(new.lines) <= at.line or old.lines[: at.line] != new.lines[: at.line] or old.head(at) != new.lines[at.line][: at.column]:
        return None
    typed, number, column = "", at.line, at.column
    while len(typed) < grown and number < len(new.lines):
        typed += new.lines[number][column : column + grown - len(typed)]
        number, column = number + 1, 0
    end = advance(at, typed)
    if end.line >= len(new.lines) or new.lines[end.line][end.column :] != old.lines[at.line][at.column :]:
        return None
    return typed if new.lines[end.line + 1 :] == old.lines[at.line + 1 :] else None


def follow(old: Snapshot, at: Point, new: Snapshot) -> Point | None:
    """Where the place is now if the document changed only elsewhere, in one stretch of lines before or behind its line, as when an
    import was added above; None if its own line, or what is on both sides of it, is another."""
    if new.uri != old.uri:
        return None
    if new.lines[: at.line + 1] == old.lines[: at.line + 1]:
        return at
    moved = len(new.lines) - len(old.lines)
    if at.line + moved >= 0 and new.lines[at.line + moved :] == old.lines[at.line :]:
        return Point(at.line + moved, at.column)
    return None


def advance(at: Point, text: str) -> Point:
    """The place after `text` written at `at`."""
    lines = split_lines(text)
    return Point(at.line + len(lines) - 1, len(lines[-1]) + (at.column if len(lines) == 1 else 0))


def split_lines(text: str) -> list[str]:
    """Lines with their line ends; the last one has none and may be empty."""
    lines, start = [], 0
    for match in _LINE_END.finditer(text):
        lines.append(text[start : match.end()])
        start = match.end()
    lines.append(text[start:])
    return lines


def to_column(line: str, units: int, encoding: Encoding) -> int:
    """Client units -> code points, clamped to the line; a unit inside a character means the place before it."""
    if units <= 0:
        return 0
    if encoding == "utf-32" or line.isascii():
        return min(units, len(line))
    if encoding == "utf-8":
        data = line.encode("utf-8", "surrogatepass")
        units = min(units, len(data))
        while units < len(data) and data[units] & 0xC0 == 0x80:
            units -= 1
        return len(data[:units].decode("utf-8", "surrogatepass"))
    column = seen = 0
    for character in line:
        seen += 2 if ord(character) > 0xFFFF else 1
        if seen > units:
            break
        column += 1
    return column


def from_column(line: str, column: int, encoding: Encoding) -> int:
    """Code points -> client units."""
    part = line[:column]
    if encoding == "utf-32" or part.isascii():
        return len(part)
    if encoding == "utf-8":
        return len(part.encode("utf-8", "surrogatepass"))
    return len(part.encode("utf-16-le", "surrogatepass")) // 2


def _resolve(lines: Sequence[str], position: tuple[int, int], encoding: Encoding) -> Point:
    line, units = position
    if line < 0:
        return Point(0, 0)
    if line >= len(lines):
        return Point(len(lines) - 1, len(lines[-1]))
    return Point(line, to_column(_content(lines[line]), units, encoding))


def _splice(lines: list[str], start: Point, end: Point, text: str) -> Edit:
    """Replace in place. The lines touched are split anew, so that a \\r and a \\n that meet become one line end."""
    first, last = start.line, end.line
    touched = "".join(lines[first : last + 1])
    tail_at = len(touched) - (len(lines[last]) - end.column)
    removed = touched[start.column : tail_at]
    fresh = touched[: start.column] + text + touched[tail_at:]
    if first > 0 and fresh.startswith("\n") and lines[first - 1].endswith("\r"):
        first -= 1
        fresh = lines[first] + fresh
    replacement = split_lines(fresh)
    if last + 1 < len(lines):
        # The touched lines ended with a line end, so there is an empty piece behind it: the next line already stands there.
        assert replacement[-1] == ""
        replacement.pop()
    lines[first : last + 1] = replacement
    return Edit(start, end, removed, text)


def _difference(lines: Sequence[str], text: str) -> tuple[Point, Point, str]:
    """A whole new text as the smallest single replacement, line by line and then within the first and last line."""
    fresh = split_lines(text)
    most = min(len(lines), len(fresh)) - 1
    top = next((i for i in range(most) if lines[i] != fresh[i]), most)
    most -= top
    bottom = next((i for i in range(most) if lines[-1 - i] != fresh[-1 - i]), most)
    old, new = "".join(lines[top : len(lines) - bottom]), "".join(fresh[top : len(fresh) - bottom])
    shortest = min(len(old), len(new))
    head = next((i for i in range(shortest) if old[i] != new[i]), shortest)
    foot = next((i for i in range(shortest - head) if old[-1 - i] != new[-1 - i]), shortest - head)
    # A \r\n is one line end: a cut must not fall inside it, neither in the old text nor in the new one.
    if head and "\r" in (old[head - 1], new[head - 1]) and "\n" in (old[head : head + 1], new[head : head + 1]):
        head -= 1
    if foot and old[-foot] == "\n" and "\r" in (old[-foot - 1 : -foot], new[-foot - 1 : -foot]):
        foot -= 1
    start = advance(Point(top, 0), old[:head])
    return start, advance(start, old[head : len(old) - foot]), new[head : len(new) - foot]


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _eol(line: str) -> str:
    return line[len(_content(line)) :]


def _content(line: str) -> str:
    # A line end is the only place where a line has these.
    return line.rstrip("\r\n")
