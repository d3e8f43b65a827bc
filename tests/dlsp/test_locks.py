from __future__ import annotations

import pytest

from dlsp.documents import Point, Snapshot, Span, opened
from dlsp.locks import Lock, locked

CODE = 'def add(a, b):\n    """Sum."""\n    return total(a, 1.5)\n'


def snapshot_of(text: str, language: str = "python") -> Snapshot:
    return opened("file:///code/a", 1, language, text)


def whole(snapshot: Snapshot) -> Span:
    last = len(snapshot.lines) - 1
    return Span(Point(0, 0), Point(last, len(snapshot.line(last))))


def kept(text: str, *what: Lock, language: str = "python") -> list[str]:
    snapshot = snapshot_of(text, language)
    unix = text.replace("\r\n", "\n")
    return [unix[start:end] for start, end in locked(snapshot, whole(snapshot), what)]


@pytest.mark.parametrize("language", ["python", "no such language"])
def test_names(language: str) -> None:
    words = kept("x = count + 1 if done else other\n", "names", language=language)
    assert words == ["x", "count", "done", "other"]


def test_literals_and_comments() -> None:
    assert kept(CODE, "literals") == ['"""Sum."""', "1.5"]
    assert kept("a = 'x'  # why\n", "literals") == ["'x'  # why"]


def test_the_skeleton_is_headers_keywords_and_closers() -> None:
    assert kept(CODE, "skeleton") == ["def add(a, b):", "return", ")"]
    assert kept("a = ':'\n", "skeleton") == []
    assert kept("if (a) {\n  b(c);\n}\n", "skeleton", language="javascript") == ["if (a) {", ")", "}"]


def test_white_space_between_locks_is_locked() -> None:
    assert kept("return value\n", "names", "skeleton") == ["return value"]


def test_spans_are_cut_to_what_is_selected() -> None:
    snapshot = snapshot_of("ab\r\ncd\r\nef\r\n")
    span = Span(Point(0, 1), Point(2, 1))
    assert locked(snapshot, span, (Span(Point(0, 0), Point(1, 1)),)) == ((0, 3),)
    assert locked(snapshot, span, (Span(Point(2, 1), Point(2, 2)),)) == ()


def test_offsets_are_those_of_the_draft_with_unix_line_ends() -> None:
    assert kept("a = 1\r\nb = 😀2\r\nc = 'x'\r\n", "literals")[-1] == "'x'"


def test_without_a_lock_nothing_is_locked() -> None:
    snapshot = snapshot_of(CODE)
    assert locked(snapshot, whole(snapshot), ()) == ()


def test_overlapping_locks_are_one() -> None:
    snapshot = snapshot_of("abcdef\n")
    spans = (Span(Point(0, 0), Point(0, 3)), Span(Point(0, 2), Point(0, 5)), Span(Point(0, 1), Point(0, 2)))
    assert locked(snapshot, whole(snapshot), spans) == ((0, 5),)
