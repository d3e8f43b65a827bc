"""Stubs and marks: the places of a document that say themselves that something is still to be written there.

Goes line by line, by text and indentation alone, so that 20,000 lines take a few milliseconds; knows no grammar and no request.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import lru_cache

import msgspec

from dlsp.documents import Point, Snapshot, Span

MARKS = ("<fill>", "<FILL>")
"""Marks that count in every document."""

_CHUNK = 256
_FARTHEST_HEADER = 400
_DEEPEST_LOOK = 40
_TODO = r"(?:TODO|FIXME|XXX)\b(?:\([^)]*\))?:?\s*(?P<todo>.*)"
_COMMENT = r"(?:#+|//+|--+|/\*+)"

_ELLIPSIS = re.compile(r"(?:return\s+)?\.\.\.\s*(?:#\s*(?P<said>.*))?")
_PASS = re.compile(r"pass\s*(?:#.*)?")
_PASS_TODO = re.compile(r"(?:pass|\.\.\.)\s*#+\s*" + _TODO)
_RAISE = re.compile(r"raise NotImplementedError(?:\(.*\))?\s*(?:#.*)?")
_ON_HEADER = re.compile(r"(?P<header>\s*(?:(?:async\s+)?def\b.*|[)\]].*):)\s*(?P<stub>\.\.\.|pass)\s*(?:#+\s*(?:" + _TODO + r"|.*))?")
_ONLY_TODO = re.compile(_COMMENT + r"\s*" + _TODO)
_PLACEHOLDER = re.compile(
    r"""(?ix)
    (?-i:todo|unimplemented)!\s*\(.*\)\s*;?
    | panic\(\s*["'`](?:not\ (?:yet\ )?implemented|unimplemented|todo).*\)\s*;?
    | error\(\s*["'](?:not\ (?:yet\ )?implemented|unimplemented|todo).*\)\s*;?
    | throw\s+new\s+\w*(?:Error|Exception)\(\s*["'`](?:.*not\ (?:yet\ )?(?:implemented|supported)|unimplemented|todo).*\)\s*;?
    | throw\s+new\s+(?:NotImplemented|UnsupportedOperation)\w*\(.*\)\s*;?
    | return\s+errors\.New\(\s*"(?:not\ (?:yet\ )?implemented|unimplemented|todo).*\)
    """
)
_HEADER = re.compile(r"(?:async\s+)?(?P<word>def|class|if|elif|else|for|while|with|try|match|case|except|finally)\b")
_DOCSTRING = re.compile(r"""\s*[rRuUbB]?(?:\"{3}.*?\"{3}|'{3}.*?'{3}|"[^"\n]*"|'[^'\n]*')""", re.DOTALL)
# Comments and short strings are in it because quotes within them begin nothing.
_QUOTED = re.compile(
    r"""\#[^\n]*|(?P<long>(?P<mark>\"{3}|'{3})(?:[^\\]|\\.)*?(?P=mark))|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.DOTALL
)
_ABSTRACT = re.compile(r"@.*\b(?:overload|abstractmethod|abstractproperty)\b")
_PYTHON_WORDS = ("...", "pass", "NotImplementedError", "TODO", "FIXME", "XXX")
_OTHER_WORDS = (
    "TODO", "FIXME", "XXX", "todo!", "unimplemented!", "mplemented", "NotImplemented", "UnsupportedOperation", "nimplemented", "todo",
)  # fmt: skip


class Stub(msgspec.Struct, frozen=True, kw_only=True):
    """A place to fill. `lead` goes in front of the text, `hint` is for the model alone; `inline` places get one line, and a
    `function` is all of the body of one."""

    span: Span
    lead: str = ""
    hint: str = ""
    inline: bool = False
    function: bool = False


def find(snapshot: Snapshot, within: Span | None = None, extra: Sequence[str] = (), unit: str = "") -> tuple[Stub, ...]:
    """All stubs and marks, of the whole document or of the lines of a span, in order. `unit` is one step of indentation; "" goes by
    the lines around."""
    marks = (*MARKS, *(mark for mark in extra if mark.strip()))
    python = snapshot.language == "python"
    words = (*(_PYTHON_WORDS if python else _OTHER_WORDS), *marks)
    found: list[Stub] = []
    for number in _lines_with(snapshot, words, within):
        line = snapshot.line(number)
        if marked := list(_marked(line, number, marks)):
            found += marked
        elif stub := (_python(snapshot, number, unit) if python else _braces(snapshot, number)):
            found.append(stub)
    return tuple(found)


def find_marks(snapshot: Snapshot, marks: Sequence[str], within: Span | None = None) -> tuple[Stub, ...]:
    """Every place where one of the marks stands."""
    marks = tuple(mark for mark in marks if mark.strip())
    return tuple(stub for number in _lines_with(snapshot, marks, within) for stub in _marked(snapshot.line(number), number, marks))


def is_stub(text: str, *, of_function: bool = False) -> bool:
    """Whether a text says no more than that something is to be written: such a text is no filling. Nor is a docstring for the
    body of a function."""
    if of_function and (match := _DOCSTRING.match(text)):
        text = text[match.end() :]
    said = [line.strip() for line in text.split("\n") if line.strip() and not re.match(_COMMENT, line.strip())]
    return not said or all(
        each in MARKS or any(pattern.fullmatch(each) for pattern in (_ELLIPSIS, _PASS, _RAISE, _PLACEHOLDER)) for each in said
    )


def _lines_with(snapshot: Snapshot, words: Sequence[str], within: Span | None) -> Iterator[int]:
    """Numbers of lines that hold one of the words. Most lines hold none, so whole runs of lines are looked through at once."""
    first, last = (0, len(snapshot.lines) - 1) if within is None else (within.start.line, min(within.end.line, len(snapshot.lines) - 1))
    if within is not None and within.end.column == 0 and last > first:
        last -= 1
    for top in range(first, last + 1, _CHUNK):
        lines = snapshot.lines[top : min(top + _CHUNK, last + 1)]
        text = "".join(lines)
        here = [word for word in words if word in text]
        if here:
            yield from (top + index for index, line in enumerate(lines) if any(word in line for word in here))


def _marked(line: str, number: int, marks: Sequence[str]) -> Iterator[Stub]:
    """The marks on a line. One that stands alone, or alone in a comment, takes the comment with it and may become several lines."""
    content = line.strip(" \t")
    bare = re.sub(r"\s*(?:\*/|-->)\Z", "", re.sub(rf"\A(?:{_COMMENT}|<!--)\s*", "", content))
    start = len(line) - len(line.lstrip(" \t"))
    if bare in marks:
        yield Stub(span=_on(number, start, start + len(content)))
        return
    places = sorted((match.start(), match.end()) for mark in marks for match in re.finditer(re.escape(mark), line))
    end = -1
    for left, right in places:
        if left >= end:
            yield Stub(span=_on(number, left, right), inline=True)
            end = right


def _python(snapshot: Snapshot, number: int, unit: str) -> Stub | None:
    line = snapshot.line(number)
    content, start = line.strip(" \t"), len(line) - len(line.lstrip(" \t"))
    if (match := _ON_HEADER.fullmatch(line)) is not None:
        return _python_on_header(snapshot, number, match, unit)
    whole = _on(number, start, start + len(content))
    todo, said = _PASS_TODO.fullmatch(content), _ONLY_TODO.fullmatch(content)
    ellipsis, plain, raised = (pattern.fullmatch(content) for pattern in (_ELLIPSIS, _PASS, _RAISE))
    if not (todo or said or ellipsis or plain or raised):
        return None
    if (plain or ellipsis) and not todo and snapshot.uri.endswith(".pyi"):
        return None
    header = _header(snapshot, number)
    if header is None or _within_string(snapshot, number):
        return None
    if todo and not said:
        return Stub(span=whole, hint=_hint("#", todo["todo"], line[:start]), function=_is_body(snapshot, header, number))
    if header.abstract:
        return None
    if ellipsis:
        fits = header.word not in ("class", "except", "finally")
        hint = _hint("#", ellipsis["said"] or "", line[:start])
        return Stub(span=whole, hint=hint, function=_is_body(snapshot, header, number)) if fits else None
    if not _alone(snapshot, header.bottom, number):
        return None
    function = header.word == "def"
    if said:
        # The comment is the author's and stays.
        end = start + len(content)
        return Stub(span=_on(number, end, end), lead="\n" + line[:start], function=function)
    return Stub(span=whole, function=True) if function else None


def _python_on_header(snapshot: Snapshot, number: int, match: re.Match[str], unit: str) -> Stub | None:
    """`def f(): ...`: what is filled in goes to a line of its own."""
    if snapshot.uri.endswith(".pyi"):
        return None
    header = _header_at(snapshot, number)
    if header is None or header.word != "def" or header.abstract or _within_string(snapshot, number):
        return None
    line = snapshot.line(header.top)
    indent = line[: len(line) - len(line.lstrip(" \t"))] + (unit or _unit(snapshot, number))
    lead = "\n" + indent
    span = Span(Point(number, match.end("header")), Point(number, len(snapshot.line(number).rstrip(" \t"))))
    return Stub(span=span, lead=lead, hint=_hint("#", match["todo"] or "", indent), function=True)


def _braces(snapshot: Snapshot, number: int) -> Stub | None:
    line = snapshot.line(number)
    content, start = line.strip(" \t"), len(line) - len(line.lstrip(" \t"))
    whole = _on(number, start, start + len(content))
    if _PLACEHOLDER.fullmatch(content):
        return Stub(span=whole)
    said = _ONLY_TODO.fullmatch(content)
    if said is None:
        return None
    above, below = (_neighbour(snapshot, number, step) for step in (-1, 1))
    opened = above.endswith(("{", " then", " do")) or (snapshot.language == "lua" and re.match(r".*\bfunction\b.*\)$", above))
    if opened and (below.startswith("}") or re.match(r"(?:end|fi|done)\b", below)):
        end = start + len(content)
        return Stub(span=_on(number, end, end), lead="\n" + line[:start])
    return None


class _Header(msgspec.Struct, frozen=True):
    """The lines of the header of a block, the word it begins with, and whether it is to stay without a body."""

    top: int
    bottom: int
    word: str
    abstract: bool


def _header(snapshot: Snapshot, number: int) -> _Header | None:
    """The header of the block that a line stands in."""
    indent = _indent(snapshot.line(number))
    for above in range(number - 1, max(number - _FARTHEST_HEADER, -1), -1):
        line = snapshot.line(above)
        if line.strip() and not line.lstrip().startswith("#") and _indent(line) < indent:
            return _header_at(snapshot, above)
    return None


def _header_at(snapshot: Snapshot, bottom: int) -> _Header | None:
    """The header that ends on a line; it may have begun some lines above."""
    top, line = bottom, snapshot.line(bottom)
    indent = _indent(line)
    while line.lstrip()[:1] in (")", "]", "}") or not _HEADER.match(line.lstrip()):
        top -= 1
        if top < 0 or bottom - top > _DEEPEST_LOOK:
            return None
        line = snapshot.line(top)
        if line.strip() and _indent(line) < indent and not _HEADER.match(line.lstrip()):
            return None
    match = _HEADER.match(line.lstrip())
    assert match is not None, "the loop ends with a header"
    ends = snapshot.line(bottom).partition("#")[0].rstrip()
    if not ends.endswith((":", "...", "pass")):
        return None
    abstract = False
    above = top - 1
    while above >= 0 and snapshot.line(above).lstrip().startswith("@"):
        abstract = abstract or bool(_ABSTRACT.match(snapshot.line(above).lstrip()))
        above -= 1
    if match["word"] == "def" and not abstract and _indent(line) and "Protocol" in _class_line(snapshot, top):
        abstract = True
    return _Header(top, bottom, match["word"], abstract)


def _class_line(snapshot: Snapshot, number: int) -> str:
    """The line below which a method stands."""
    indent = _indent(snapshot.line(number))
    for above in range(number - 1, max(number - _FARTHEST_HEADER, -1), -1):
        line = snapshot.line(above)
        if line.strip() and _indent(line) < indent:
            return line if line.lstrip().startswith("class") else ""
    return ""


def _within_string(snapshot: Snapshot, number: int) -> bool:
    """Whether a line begins in a string: a docstring, or a text with an example in it."""
    strings = _long_strings(snapshot.lines)
    index = bisect_left(strings, (number, 0)) - 1
    return index >= 0 and strings[index][1] >= number


@lru_cache(maxsize=2)
def _long_strings(lines: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """The first and the last line of every Python string that has several."""
    found, number, position = [], 0, 0
    text = "".join(line.rstrip("\r\n") + "\n" for line in lines)
    for match in _QUOTED.finditer(text):
        if match["long"] and (height := match.group().count("\n")):
            number, position = number + text.count("\n", position, match.start()), match.start()
            found.append((number, number + height))
    return tuple(found)


def _alone(snapshot: Snapshot, header: int, number: int) -> bool:
    """Whether a line is all of the body, but for a docstring and comments."""
    before = "\n".join(snapshot.line(n) for n in range(header + 1, number))
    if match := _DOCSTRING.match(before):
        before = before[match.end() :]
    if any(line.strip() and not line.lstrip().startswith("#") for line in before.split("\n")):
        return False
    for below in range(number + 1, min(number + _DEEPEST_LOOK, len(snapshot.lines))):
        line = snapshot.line(below)
        if line.strip() and not line.lstrip().startswith("#"):
            return _indent(line) < _indent(snapshot.line(number))
    return True


def _is_body(snapshot: Snapshot, header: _Header, number: int) -> bool:
    return header.word == "def" and _alone(snapshot, header.bottom, number)


def _neighbour(snapshot: Snapshot, number: int, step: int) -> str:
    """The next line with anything on it, upwards or downwards, without white space around it."""
    for _ in range(_DEEPEST_LOOK):
        number += step
        if not 0 <= number < len(snapshot.lines):
            return ""
        if line := snapshot.line(number).strip():
            return line
    return ""


def _unit(snapshot: Snapshot, around: int) -> str:
    """One step of indentation as the lines near by have it."""
    depths = []
    for line in snapshot.lines[max(0, around - 100) : around + 100]:
        if line.startswith("\t"):
            return "\t"
        if line.startswith("  ") and line.strip():
            depths.append(len(line) - len(line.lstrip(" ")))
    return " " * min((depth for depth in depths if depth in (2, 3, 4, 8)), default=4)


def _hint(comment: str, said: str, indent: str) -> str:
    """What a comment says that goes away with the stub, for the model to read."""
    said = said.strip()
    return f"{comment} {said}\n{indent}" if said else ""


def _indent(line: str) -> int:
    expanded = line.expandtabs(4)
    return len(expanded) - len(expanded.lstrip())


def _on(line: int, start: int, end: int) -> Span:
    return Span(Point(line, start), Point(line, end))
