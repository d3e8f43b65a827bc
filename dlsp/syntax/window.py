"""The lines around a place that are parsed for it: few enough to be quick, cut where statements begin and end.

Goes by indentation and the first word of a line alone; knows no grammar.
"""

from __future__ import annotations

import re

import msgspec

from dlsp.documents import Point, Snapshot, from_column, to_column

WINDOW_LINES = 100
"""At most so many lines before a place, and as many after it."""
WINDOW_CHARACTERS = 60_000
"""A window is not larger; a place whose own lines are larger has none."""

# Lines that go on with what an earlier one began, or stand at the margin wherever they belong: no window begins or ends there.
_CONTINUES = re.compile(
    r"""\s*([)\]}*]|"{3}|'{3}|//|\#|--|/\*|(else|elif|elseif|except|finally|catch|end|then|do|done|fi|esac|until|in|of|case|default|when)\b"""
    r"""|(public|private|protected)\s*:)"""
)
# Lines that begin something on their own in one of the languages with a grammar.
_BEGINS = re.compile(
    r"\s*(@\w|(async\s+)?(def|class)\b|(export|import|from|func|fn|pub|impl|mod|use|struct|type|interface|enum|trait|function|local"
    r"|const|let|var|public|private|protected|static|package|namespace|template|typedef|extern|void|int)\s)"
)
# Members of a class, which stand nowhere else in the languages that have braces and allow statements at the top.
_MEMBER = re.compile(
    r"\s*(?:(?:public|private|protected|readonly|abstract|override|static|get|set|constructor)\b"
    r"|(?!(?:if|for|while|switch|with|catch|function|return|await)\b)(?:async\s+)?[*#]?[\w$]+\s*\(.*\{\s*\Z)"
)
_WITH_MEMBERS = frozenset({"javascript", "javascriptreact", "typescript", "typescriptreact"})


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """Lines `first` to `last` of a document, 0-based, without their line ends.

    `level` is how deep its first line is indented, 0 if that is the outermost; `open_ended` says that what its last lines
    belong to may go on below. `around` are lines of ours above and below it, "" for none: Python that begins indented has one,
    or its dedents would make no sense, and members of a class that begins farther up have both.
    """

    language: str
    lines: tuple[str, ...]
    first: int = 0
    level: int = 0
    open_ended: bool = False
    around: tuple[str, str] = ("", "")

    @property
    def last(self) -> int:
        """The last line of the document that is in the window."""
        return self.first + len(self.lines) - 1

    @property
    def _above(self) -> int:
        return 1 if self.around[0] else 0

    def source(self, replaced: tuple[int, int] | None = None, text: str = "") -> str:
        """The text to parse; on request with `text` in the place of the lines from one to another of the document, both included."""
        lines = self.lines
        if replaced is not None:
            top, bottom = replaced[0] - self.first, replaced[1] - self.first
            lines = (*lines[:top], text, *lines[bottom + 1 :])
        above, below = self.around
        return "\n".join((above, *lines, below) if above else (*lines, below))

    def row(self, line: int) -> int:
        """A line of the document -> a row of the source."""
        return line - self.first + self._above

    def line_of(self, row: int) -> int:
        """A row of the source -> a line of the document, the nearest that is in the window."""
        return min(max(row - self._above + self.first, self.first), self.last)

    def place(self, point: Point) -> tuple[int, int]:
        """A place of the document -> row and byte of the source."""
        return self.row(point.line), from_column(self.lines[point.line - self.first], point.column, "utf-8")

    def point(self, place: tuple[int, int]) -> Point:
        """Row and byte of the source -> a place of the document."""
        row, byte = place
        line = self.line_of(row)
        if line != row - self._above + self.first:
            # The end of a node that takes the last line end along, or a place in our own line.
            return Point(line, len(self.lines[-1]) if line == self.last else 0)
        return Point(line, to_column(self.lines[line - self.first], byte, "utf-8"))


def whole(snapshot: Snapshot) -> Window:
    """The whole document as a window."""
    return Window(language=snapshot.language, lines=tuple(snapshot.line(number) for number in range(len(snapshot.lines))))


def window_around(snapshot: Snapshot, top: int, bottom: int, reach: int = WINDOW_LINES) -> Window | None:
    """The window around the lines from one to another, both included, and at most `reach` lines on each side; None if those alone
    are too large."""
    size = sum(len(line) for line in snapshot.lines[top : bottom + 1])
    if size > WINDOW_CHARACTERS:
        return None
    low, high, half = top, bottom, (WINDOW_CHARACTERS - size) // 2
    spent = 0
    while low > 0 and top - low < reach and (spent := spent + len(snapshot.lines[low - 1])) <= half:
        low -= 1
    spent = 0
    while high + 1 < len(snapshot.lines) and high - bottom < reach and (spent := spent + len(snapshot.lines[high + 1])) <= half:
        high += 1
    lines = [snapshot.line(number) for number in range(low, high + 1)]
    start = _start(lines, top - low) if low else 0
    level = depth(lines[start]) if low else 0
    end, known = _end(lines, bottom - low, level)
    at_end = end == len(lines) and high + 1 == len(snapshot.lines)
    return Window(
        language=snapshot.language,
        lines=tuple(lines[start:end]),
        first=low + start,
        level=level,
        open_ended=not (known or at_end),
        around=_around(snapshot.language, lines[start:end], level),
    )


def depth(line: str) -> int:
    """Columns of leading white space, a tab counting as four."""
    expanded = line[: len(line) - len(line.lstrip())].expandtabs(4)
    return len(expanded)


def _around(language: str, lines: list[str], level: int) -> tuple[str, str]:
    if level and language == "python":
        return "if 1:", ""
    members = level and language in _WITH_MEMBERS and any(depth(line) == level and _MEMBER.match(line) for line in lines)
    return ("class _ {", "}") if members else ("", "")


def _start(lines: list[str], top: int) -> int:
    """The farthest line above that is least indented, one that begins a definition if there is one."""
    clean = [number for number in range(top + 1) if lines[number].strip() and not _CONTINUES.match(lines[number])]
    least = min((depth(lines[number]) for number in clean), default=0)
    shallow = [number for number in clean if depth(lines[number]) == least]
    return next((number for number in shallow if _BEGINS.match(lines[number])), shallow[0] if shallow else top)


def _end(lines: list[str], bottom: int, level: int) -> tuple[int, bool]:
    """Where to cut below: before the first line that is less indented than the window, else before the last line that begins
    something as shallow as the window does. Whether one was found, so that what stands above it is known to end there."""
    cut = 0
    for number in range(bottom + 1, len(lines)):
        line = lines[number]
        if not line.strip():
            continue
        if depth(line) < level:
            return number, True
        if depth(line) == level and not _CONTINUES.match(line):
            cut = number
    return (cut, True) if cut else (len(lines), False)
