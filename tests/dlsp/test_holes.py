from __future__ import annotations

import itertools
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlsp.documents import Point, Snapshot, Span, advance, opened
from dlsp.holes.openings import (
    Opening,
    Wish,
    of_errors,
    of_markers,
    of_marks,
    of_ranges,
    of_selection,
    regroup,
    rendered,
    request_for,
    text_of,
)
from dlsp.holes.stubs import is_stub
from dlsp.settings import Settings
from engine.api import Decoding

CASES = tomllib.loads((Path(__file__).resolve().parents[1] / "golden" / "holes.toml").read_text(encoding="utf-8"))["case"]


def marked(case: dict[str, Any]) -> tuple[Snapshot, list[Span]]:
    """The document of a case, and what is selected in it."""
    text, spans, start = "", [], Point(0, 0)
    for letter in case["text"]:
        if letter == "«":
            start = advance(Point(0, 0), text)
        elif letter == "»":
            spans.append(Span(start, advance(Point(0, 0), text)))
        else:
            text += letter
    return opened(case.get("uri", "file:///code/a.py"), 1, case.get("language", "python"), text), spans


def openings_of(case: dict[str, Any]) -> tuple[Snapshot, tuple[Opening, ...]]:
    snapshot, spans = marked(case)
    kind = case.get("kind", "markers")
    if kind == "markers":
        return snapshot, of_markers(snapshot, None, tuple(case.get("extra", ())))
    if kind == "ranges":
        return snapshot, of_ranges(snapshot, spans)
    return snapshot, {"selection": of_selection, "errors": of_errors}[kind](snapshot, spans[0])


@pytest.mark.parametrize("case", CASES, ids=[case["name"][:60] for case in CASES])
def test_golden(case: dict[str, Any]) -> None:
    snapshot, openings = openings_of(case)
    shown = [f"⟦{opening.lead}{text_of(snapshot, opening.span)}⟧" for opening in openings]
    bare = [Opening(span=opening.span) for opening in openings]
    text = rendered(snapshot, bare, shown)[0].text
    # What is shown of an opening has the line ends of its document, but a lead is written with "\n".
    assert text.replace("\r\n", "\n").replace("\r", "\n") == case["gives"].replace("\r\n", "\n").replace("\r", "\n")
    if "lines" in case:
        assert [opening.max_lines for opening in openings] == case["lines"]
    if "hints" in case:
        assert [opening.hint for opening in openings] == case["hints"]


def snapshot_of(text: str, language: str = "python") -> Snapshot:
    return opened("file:///code/a.py", 7, language, text)


def test_markers_within_the_lines_of_a_span() -> None:
    snapshot = snapshot_of("def f():\n    ...\ndef g():\n    ...\n")
    (found,) = of_markers(snapshot, Span(Point(2, 0), Point(4, 0)))
    assert found.span.start.line == 3
    assert of_markers(snapshot, Span(Point(2, 0), Point(3, 0))) == ()


def test_twenty_thousand_lines_are_looked_through_in_no_time() -> None:
    body = "def f(a, b):\n    '''Passes a TODO... list.'''\n    for x in range(10):\n        a = a + b * x\n    return a\n" * 4000
    snapshot = snapshot_of(body + "def last():\n    ...\n")
    began = time.process_time()
    (found,) = of_markers(snapshot)
    assert found.span.start.line == 20_001
    assert time.process_time() - began < 0.25


def test_a_selection_of_an_error_opens_only_its_lines() -> None:
    snapshot = snapshot_of("x = [\n    1,\n    2 3 = ),\n    4,\n]\n")
    (opening,) = of_errors(snapshot, Span(Point(2, 4), Point(2, 4)))
    kept = "".join(opening.draft[start:end] for start, end in opening.locked)
    assert "2 3" not in kept
    assert opening.noise == 0.5


@pytest.mark.parametrize("text", ["...", "pass", "  pass  # TODO", "raise NotImplementedError", "# nothing\n", "", "return ...", "todo!()"])
def test_what_says_nothing_is_a_stub(text: str) -> None:
    assert is_stub(text)


def test_a_docstring_is_no_body() -> None:
    assert is_stub('"""Only words."""', of_function=True)
    assert not is_stub('"""Only words."""\nreturn 1', of_function=True)
    assert not is_stub("'a value'")


@pytest.mark.parametrize("text", ["return 1", "x = ...", "passed()", "'a' + b", "raise ValueError"])
def test_what_says_something_is_none(text: str) -> None:
    assert not is_stub(text)


def test_halves() -> None:
    assert regroup((1, 2, 3)) == ((1, 2), (3,))
    assert regroup((1, 2)) == ((1,), (2,))


def test_a_request_holds_the_document_around_its_holes() -> None:
    snapshot = snapshot_of("a\r\ndef f():\r\n    ...\r\ndef g(): ...\r\nb\r\n")
    openings = of_markers(snapshot)
    wish = Wish(client="c", document="d", path="a.py", deadline_ms=5, decoding=Decoding(seed=3))
    request = request_for(snapshot, openings, Settings(prompt_tokens=100), wish)
    first, second = request.holes
    assert request.prefix == "a\ndef f():\n    "
    assert (first.after, second.after) == ("\ndef g():\n    ", "")
    assert request.suffix == "\nb\n"
    assert (request.client, request.document, request.path, request.version) == ("c", "d", "a.py", 7)
    assert (request.limits.deadline_ms, request.limits.prompt_tokens, request.decoding.seed) == (5, 100, 3)
    assert first.draft == ""


def test_hints_are_for_the_model_and_not_for_the_document() -> None:
    snapshot = snapshot_of("def f(a):\n    pass  # TODO: add one\n")
    openings = of_markers(snapshot)
    assert request_for(snapshot, openings, Settings(), Wish()).prefix == "def f(a):\n    # add one\n    "
    assert rendered(snapshot, openings, ["return a + 1"])[0].text == "def f(a):\n    return a + 1\n"


def test_a_hole_at_the_start_of_a_line_that_goes_on() -> None:
    """An engine would close it with a line end, as if whole lines were wanted."""
    snapshot = snapshot_of("foo(a)\n")
    request = request_for(snapshot, of_selection(snapshot, Span(Point(0, 0), Point(0, 3))), Settings(), Wish())
    (hole,) = request.holes
    assert (hole.draft, hole.locked, request.suffix) == ("foo(a)", ((3, 6),), "\n")


def test_halves_of_surrogate_pairs_do_not_get_into_a_request() -> None:
    snapshot = snapshot_of("a\ud800 = <fill> + \udc00\n")
    request = request_for(snapshot, of_markers(snapshot), Settings(), Wish())
    (request.prefix + request.suffix).encode()


def test_a_long_prefix_begins_at_a_line() -> None:
    snapshot = snapshot_of("value = 1\n" * 5000 + "<fill>\n" + "x = 1\n" * 5000)
    request = request_for(snapshot, of_markers(snapshot), Settings(prompt_tokens=100), Wish())
    assert request.prefix.startswith("value = 1\n")
    assert len(request.prefix) + len(request.suffix) <= 600


def test_marks_by_name() -> None:
    snapshot = snapshot_of("a = ?? + ??\n")
    assert [opening.span.start.column for opening in of_marks(snapshot, "??")] == [4, 9]
    assert of_marks(snapshot, "") == ()


PIECES = st.sampled_from(["a", " ", "\t", "\n", "\r\n", "\r", "😀", "\u2028", "é", ":", "<fill>", "..."])
TEXTS = st.lists(PIECES, max_size=30).map("".join)


@given(TEXTS, st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=4), TEXTS)
@settings(max_examples=150, deadline=None)
def test_holes_are_sorted_and_apart_and_rendering_moves_them_along(text: str, cuts: list[tuple[int, int]], put: str) -> None:
    snapshot = snapshot_of(text)
    places = [Point(n, c) for n in range(len(snapshot.lines)) for c in range(len(snapshot.line(n)) + 1)]
    spans = [Span(*sorted((places[a % len(places)], places[b % len(places)]))) for a, b in cuts]
    openings = (*of_ranges(snapshot, spans),)
    for one, other in itertools.pairwise(openings):
        assert one.span.end < other.span.start
    put = put.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
    after, moved = rendered(snapshot, openings, [put] * len(openings))
    for opening in moved:
        assert text_of(after, opening.span) == put
