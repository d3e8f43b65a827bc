"""Holes to fill in a document: a selection, ranges, stubs and markers, places with a syntax error; and the request that asks for them.

Knows text, and grammars through `syntax`. Who fills the holes, and how the result reaches an editor, is decided elsewhere.
"""

from __future__ import annotations

import ast
import itertools
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

from dlsp import syntax
from dlsp.documents import Point, Snapshot, Span, advance
from dlsp.holes import stubs
from dlsp.settings import Settings
from engine.api import Decoding, Hole, InfillRequest, Limits, Piece, Snippet

FREE_LINES = 12
"""How many lines a hole may get where nothing stands yet."""
MOST_TOKENS = 1024
_TOKENS_OF_A_BODY = 128
_CHARACTERS_A_TOKEN = 6
_DEFAULT_TOKENS = 4096
_PREFIX_SHARE = 0.7
_LONGEST_STATEMENT = 12
_MOST_LINES_PARSED = 5000
_SURROGATE = re.compile("[\ud800-\udfff]")
_T = TypeVar("_T")


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """A place of a document that is to be filled.

    `indent` is the white space its lines begin with. `draft` is the text that stands there, with "\\n" line ends; `noise` and
    `locked` say what of it is kept, as in `engine.api.Hole`. `lead` is text that goes in front of whatever is filled in, `hint`
    text that only the model reads. `stub` says that a stub stands there, which a stub must not replace; `function` that it is the
    whole body of a function.
    """

    span: Span
    indent: str = ""
    max_lines: int = 1
    max_tokens: int = 64
    draft: str = ""
    noise: float = 1.0
    locked: tuple[tuple[int, int], ...] = ()
    lead: str = ""
    hint: str = ""
    stub: bool = False
    function: bool = False


class Filled(msgspec.Struct, frozen=True, kw_only=True):
    """What goes into a span of the document, "\\n" line ends; `others` are further texts that would do, best first."""

    span: Span
    text: str
    confidence: float = 0.0
    pieces: tuple[Piece, ...] = ()
    others: tuple[str, ...] = ()


class Filling(msgspec.Struct, frozen=True, kw_only=True):
    """What goes into the holes of `basis`; `skipped` further ones stay as they were. Without any there is a `reason`. `message` tells
    a person why not all were filled."""

    basis: Snapshot
    holes: tuple[Filled, ...] = ()
    reason: str = ""
    message: str = ""
    skipped: int = 0
    model: str = ""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """How to ask: for whom (`client`, the `document` key by which newer requests supersede, a `path` for the prompt), and with what
    decoding. `deadline_ms` 0: no limit. `before` is text that the model reads in front of the document, `snippets` what may help of
    other ones, which may take a share of the prompt (see `engine.api.Limits`)."""

    client: str = ""
    document: str = ""
    path: str = ""
    deadline_ms: int = 0
    decoding: Decoding = Decoding()
    before: str = ""
    snippets: tuple[Snippet, ...] = ()
    snippet_share: float = 0.0


# Where holes are


def of_ranges(snapshot: Snapshot, spans: Iterable[Span]) -> tuple[Opening, ...]:
    """The ranges as holes, sorted; those that touch are one. An empty one is a place to insert at."""
    return _disjoint(snapshot, [_opened(snapshot, _trimmed(snapshot, span)) for span in spans])


def of_selection(snapshot: Snapshot, span: Span) -> tuple[Opening, ...]:
    """A selection as a hole between fixed borders; none where nothing is selected."""
    start, end = _ordered(snapshot, span)
    return () if start == end else of_ranges(snapshot, [Span(start, end)])


def of_markers(snapshot: Snapshot, within: Span | None = None, extra: Sequence[str] = (), unit: str = "") -> tuple[Opening, ...]:
    """Stubs (`...` and `NotImplementedError` as the body of a function, `todo!()`, a TODO where a body should be) and marks
    (`<fill>`, and `extra`), of the whole document or of the lines of a span. `unit` is one step of indentation; "" goes by the
    lines around."""
    return _disjoint(snapshot, [_of_stub(snapshot, stub) for stub in stubs.find(snapshot, within, extra, unit)])


def of_marks(snapshot: Snapshot, mark: str, within: Span | None = None) -> tuple[Opening, ...]:
    """Every place where one mark stands."""
    return _disjoint(snapshot, [_of_stub(snapshot, stub) for stub in stubs.find_marks(snapshot, (mark,), within)])


def of_errors(snapshot: Snapshot, span: Span) -> tuple[Opening, ...]:
    """The statements around the syntax errors in the lines of a span, or around the span itself where the syntax is right; none
    where the syntax is right and nothing is selected.

    What stands there is a draft of which only the lines with the error are open.
    """
    lines = lines_of(snapshot, span)
    start, end = _ordered(snapshot, span)
    end = min(end, lines.end)
    found = []
    selected = (Span(start, end),) if start < end else ()
    for wrong in syntax.error_spans(snapshot, lines) or selected or _python_lines(snapshot, lines):
        rows = _trimmed(snapshot, _lines_of_error(snapshot, wrong, lines))
        around = syntax.statement_around(snapshot, rows) or rows
        whole = _trimmed(snapshot, Span(min(around.start, rows.start), max(around.end, rows.end)))
        if whole.end.line - whole.start.line >= _LONGEST_STATEMENT:
            whole = rows
        opening = _opened(snapshot, whole)
        if opening.draft:
            found.append(msgspec.structs.replace(opening, noise=0.5, locked=_outside(snapshot, whole, rows)))
    return _disjoint(snapshot, found)


def lines_of(snapshot: Snapshot, span: Span) -> Span:
    """The lines of a span. One that ends where a line begins, as a selection of whole lines does, does not reach into that line."""
    start, end = _ordered(snapshot, span)
    last = end.line - 1 if end.column == 0 and end.line > start.line else end.line
    return Span(Point(start.line, 0), Point(last, len(snapshot.line(last))))


def regroup(holes: Sequence[_T]) -> tuple[tuple[_T, ...], tuple[_T, ...]]:
    """Two halves, for holes that are farther apart than the model reads."""
    half = (len(holes) + 1) // 2
    return tuple(holes[:half]), tuple(holes[half:])


# Documents with holes filled


def text_of(snapshot: Snapshot, span: Span) -> str:
    """What stands in a span, with "\\n" line ends."""
    (first, left), (last, right) = span
    if first == last:
        return snapshot.line(first)[left:right]
    return "\n".join([snapshot.line(first)[left:], *(snapshot.line(n) for n in range(first + 1, last)), snapshot.line(last)[:right]])


def rendered(snapshot: Snapshot, openings: Sequence[Opening], texts: Sequence[str | None]) -> tuple[Snapshot, tuple[Opening, ...]]:
    """The document with each text in its opening (None: as it was), and the openings where they are then."""
    moved = list(openings)
    for number, text in enumerate(texts):
        if text is None:
            continue
        (start, end), eol = moved[number].span, snapshot.eol_near(moved[number].span.start.line)
        snapshot, after = snapshot.with_item(start, end, text if eol == "\n" else text.replace("\n", eol))
        moved[number] = msgspec.structs.replace(moved[number], span=Span(start, after))
        for later in range(number + 1, len(moved)):
            span = Span(*(_shifted(point, end, after) for point in moved[later].span))
            moved[later] = msgspec.structs.replace(moved[later], span=span)
    return snapshot, tuple(moved)


def request_for(snapshot: Snapshot, openings: Sequence[Opening], settings: Settings, wish: Wish) -> InfillRequest:
    """One request for all openings, which must be sorted and disjoint. The prefix begins at a line start where there is one."""
    assert openings, "a request has a hole"
    budget = (settings.prompt_tokens or _DEFAULT_TOKENS) * _CHARACTERS_A_TOKEN
    most_before = int(budget * _PREFIX_SHARE)
    prefix = (wish.before + snapshot.before(openings[0].span.start, most_before))[-most_before:]
    if len(prefix) == most_before and "\n" in prefix:
        prefix = prefix[prefix.index("\n") + 1 :]
    last = openings[-1]
    suffix = snapshot.following(last.span.end, budget - most_before)
    tail, locked = "", last.locked
    if joined_tail(snapshot, last):
        # An engine takes a hole at the start of a line with text behind it for whole lines before that line, and closes them
        # with a line end. Locked text behind the hole says that it is a part of that line.
        tail = joined_tail(snapshot, last)
        suffix = suffix[len(tail) :]
        locked = (*locked, (len(last.draft), len(last.draft) + len(tail)))
    betweens = [text_of(snapshot, Span(a.span.end, b.span.start)) for a, b in itertools.pairwise(openings)]
    opens = [_clean(opening.lead + opening.hint) for opening in openings]
    holes = [
        Hole(
            max_tokens=max(1, min(opening.max_tokens, MOST_TOKENS)),
            max_lines=opening.max_lines,
            after=_clean(betweens[number]) + opens[number + 1] if number < len(betweens) else "",
            draft=_clean(_sent(opening, tail if opening is last else "")),
            noise=opening.noise,
            locked=locked if opening is last else opening.locked,
        )
        for number, opening in enumerate(openings)
    ]
    return InfillRequest(
        prefix=_clean(prefix) + opens[0],
        suffix=_clean(suffix),
        holes=tuple(holes),
        snippets=wish.snippets,
        limits=Limits(deadline_ms=wish.deadline_ms, prompt_tokens=settings.prompt_tokens, snippet_share=wish.snippet_share),
        decoding=wish.decoding,
        client=wish.client,
        document=_clean(wish.document),
        version=snapshot.version,
        path=_clean(wish.path),
        language=snapshot.language,
    )


def _lines_of_error(snapshot: Snapshot, wrong: Span, asked: Span) -> Span:
    """The lines that are wrong. A grammar that has lost the thread takes a whole function for the error; then Python's own parser
    knows the line, and else the person who points at it."""
    first, last = wrong.start.line, wrong.end.line
    if first != last:
        exact = _python_line(snapshot) if snapshot.language == "python" else -1
        if first <= exact <= last:
            first = last = exact
        else:
            first, last = max(first, asked.start.line), min(last, asked.end.line)
    return Span(Point(first, 0), Point(last, len(snapshot.line(last))))


def _python_lines(snapshot: Snapshot, lines: Span) -> tuple[Span, ...]:
    """What the grammar takes for valid and Python itself does not, if it is in these lines."""
    wrong = _python_line(snapshot) if snapshot.language == "python" else -1
    return (Span(Point(wrong, 0), Point(wrong, 0)),) if lines.start.line <= wrong <= lines.end.line else ()


def _python_line(snapshot: Snapshot) -> int:
    """The line of the first syntax error, -1 where there is none or nobody can tell."""
    if len(snapshot.lines) > _MOST_LINES_PARSED:
        return -1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse("\n".join(snapshot.line(number) for number in range(len(snapshot.lines))))
        except SyntaxError as error:
            return (error.lineno or 0) - 1
        except (ValueError, RecursionError, MemoryError):
            return -1
    return -1


def _sent(opening: Opening, tail: str) -> str:
    """The draft, where anything of it is kept."""
    return opening.draft + tail if opening.noise < 1 or opening.locked or tail else ""


def joined_tail(snapshot: Snapshot, opening: Opening) -> str:
    """The rest of the line that must be sent as locked text behind the last hole of a request, and comes back with its text."""
    before = opening.lead + opening.hint
    starts = before.endswith("\n") if before else opening.span.start.column == 0
    return snapshot.tail(opening.span.end) if starts and opening.draft else ""


def _opened(snapshot: Snapshot, span: Span) -> Opening:
    """A trimmed span as a hole, with limits that suit what stands there."""
    head, text = snapshot.head(span.start), text_of(snapshot, span)
    lines = text.count("\n") + 1 if text else 0
    whole = not head.strip() and not snapshot.tail(span.end).strip()
    if not text:
        most = FREE_LINES if whole or head.rstrip().endswith((":", "{")) else 1
    elif whole or lines > 1:
        most = max(lines + 2, lines * 3 // 2)
    else:
        most = 1
    return Opening(span=span, indent=_indentation(head), max_lines=most, max_tokens=tokens_for(most, len(text)), draft=text)


def tokens_for(lines: int, characters: int = 0) -> int:
    """How many tokens a hole of so many lines may get, in which so many characters stand now."""
    return min(max(64 + 24 * (lines - 1), characters // 2 + 32), MOST_TOKENS)


def _of_stub(snapshot: Snapshot, stub: stubs.Stub) -> Opening:
    head = stub.lead.rpartition("\n")[2] if "\n" in stub.lead else snapshot.head(stub.span.start)
    lines = 1 if stub.inline else FREE_LINES
    tokens = tokens_for(1) if stub.inline else _TOKENS_OF_A_BODY
    return Opening(
        span=stub.span,
        indent=_indentation(head),
        max_lines=lines,
        max_tokens=tokens,
        draft=text_of(snapshot, stub.span),
        lead=stub.lead,
        hint=stub.hint,
        stub=True,
        function=stub.function,
    )


def _disjoint(snapshot: Snapshot, openings: Iterable[Opening]) -> tuple[Opening, ...]:
    """Sorted, each once; those that overlap or touch are one."""
    out: list[Opening] = []
    for opening in sorted(openings, key=lambda each: each.span):
        if out and opening.span.start <= out[-1].span.end:
            if opening.span != out[-1].span:
                noise = min(out[-1].noise, opening.noise)
                joined = _opened(snapshot, Span(out[-1].span.start, max(out[-1].span.end, opening.span.end)))
                out[-1] = msgspec.structs.replace(joined, noise=noise)
            continue
        out.append(opening)
    return tuple(out)


def _trimmed(snapshot: Snapshot, span: Span) -> Span:
    """A span without the white space at its ends, which stays as it is: indentation, line ends. Of blank lines their inside is left."""
    start, end = _ordered(snapshot, span)
    text = text_of(snapshot, Span(start, end))
    if text.strip(" \t\n"):
        start = advance(start, text[: len(text) - len(text.lstrip(" \t\n"))])
        return Span(start, advance(start, text.strip(" \t\n")))
    if end.column == 0 and end.line > start.line:
        end = Point(end.line - 1, len(snapshot.line(end.line - 1)))
    if not snapshot.line(start.line).strip():
        start = Point(start.line, len(snapshot.line(start.line)))
    return Span(start, max(start, end))


def _ordered(snapshot: Snapshot, span: Span) -> Span:
    start, end = snapshot.clamp(span.start), snapshot.clamp(span.end)
    return Span(min(start, end), max(start, end))


def _outside(snapshot: Snapshot, whole: Span, rows: Span) -> tuple[tuple[int, int], ...]:
    """The parts of a draft that stand before and behind some rows, as offsets in it."""
    before = len(text_of(snapshot, Span(whole.start, max(whole.start, rows.start))))
    behind = len(text_of(snapshot, whole)) - len(text_of(snapshot, Span(min(whole.end, rows.end), whole.end)))
    size = len(text_of(snapshot, whole))
    return tuple((a, b) for a, b in ((0, before), (behind, size)) if a < b)


def _shifted(point: Point, end: Point, after: Point) -> Point:
    """Where a place is that stood behind `end`, when that has become `after`."""
    if point.line == end.line:
        return Point(after.line, after.column + point.column - end.column)
    return Point(point.line + after.line - end.line, point.column)


def _indentation(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def _clean(text: str) -> str:
    """Half a surrogate pair can come out of JSON but cannot go into UTF-8. One character for one: offsets of locks stay right."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)
