from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlsp.documents import Change, Point, changed, follow, from_column, opened, split_lines, to_column, typed_since

URI = "file:///a.py"
SMILE = "\U0001f600"


def document(text: str):
    return opened(URI, 1, "python", text)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", [""]),
        ("a", ["a"]),
        ("a\n", ["a\n", ""]),
        ("a\r\nb\rc\nd", ["a\r\n", "b\r", "c\n", "d"]),
        ("\r\r\n\n", ["\r", "\r\n", "\n", ""]),
        ("a\x0cb\x85c\u2028d\u2029e\x0bf\x1cg", ["a\x0cb\x85c\u2028d\u2029e\x0bf\x1cg"]),
    ],
)
def test_only_three_line_ends(text: str, lines: list[str]) -> None:
    assert split_lines(text) == lines
    assert list(document(text).lines) == lines


@pytest.mark.parametrize(
    ("encoding", "units"),
    [("utf-8", [0, 1, 3, 7, 8]), ("utf-16", [0, 1, 2, 4, 5]), ("utf-32", [0, 1, 2, 3, 4])],
)
def test_columns_in_every_encoding(encoding, units: list[int]) -> None:
    line = f"aé{SMILE}b"
    assert [from_column(line, column, encoding) for column in range(5)] == units
    assert [to_column(line, unit, encoding) for unit in units] == [0, 1, 2, 3, 4]
    assert to_column(line, 99, encoding) == 4
    assert to_column(line, -1, encoding) == 0


def test_a_unit_within_a_character_means_the_place_before_it() -> None:
    assert to_column(f"a{SMILE}b", 2, "utf-16") == 1
    assert [to_column(f"a{SMILE}b", unit, "utf-8") for unit in (2, 3, 4)] == [1, 1, 1]


def test_half_a_surrogate_pair_counts_as_one_unit() -> None:
    line = "a\ud83db"
    assert [from_column(line, column, "utf-16") for column in range(4)] == [0, 1, 2, 3]
    assert [to_column(line, unit, "utf-16") for unit in range(4)] == [0, 1, 2, 3]
    assert to_column(line, from_column(line, 2, "utf-8"), "utf-8") == 2


def test_changes_apply_in_order_each_to_the_result_of_the_one_before() -> None:
    after, edits = changed(document("one\ntwo\n"), 2, [Change("X\nY", (0, 1), (0, 2)), Change("", (1, 1), (2, 0))], "utf-16")
    assert after.text == "oX\nYtwo\n"
    assert after.version == 2
    assert after.size == len(after.text)
    assert [(edit.start, edit.removed, edit.text) for edit in edits] == [(Point(0, 1), "n", "X\nY"), (Point(1, 1), "e\n", "")]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ((0, 99), (0, 99), "ab!\ncd"),
        ((9, 0), (9, 5), "ab\ncd!"),
        ((-1, 0), (-1, 3), "!ab\ncd"),
        ((1, 0), (0, 1), "a!cd"),
        ((0, 1), (7, 7), "a!"),
    ],
)
def test_a_change_that_does_not_fit_is_clamped(start, end, expected: str) -> None:
    after, _ = changed(document("ab\ncd"), 2, [Change("!", start, end)], "utf-16")
    assert after.text == expected


@pytest.mark.parametrize(
    ("text", "change", "lines"),
    [
        ("a\rb", Change("\n", (1, 0), (1, 0)), ["a\r\n", "b"]),
        ("a\r\nb", Change("", (1, 0), (1, 1)), ["a\r\n", ""]),
        ("a\rx\nb", Change("", (1, 0), (1, 1)), ["a\r\n", "b"]),
        ("a\nb", Change("\r", (0, 1), (0, 1)), ["a\r\n", "b"]),
        ("a\r\nb", Change("x", (0, 1), (0, 9)), ["ax\r\n", "b"]),
    ],
)
def test_line_ends_that_meet_become_one(text: str, change: Change, lines: list[str]) -> None:
    after, _ = changed(document(text), 2, [change], "utf-16")
    assert list(after.lines) == lines


def test_a_whole_new_text_becomes_the_smallest_edit() -> None:
    after, edits = changed(document("one\ntwo\nthree\n"), 2, [Change("one\ntwice\nthree\n")], "utf-16")
    assert after.text == "one\ntwice\nthree\n"
    (edit,) = edits
    assert (edit.start, edit.removed, edit.text) == (Point(1, 2), "o", "ice")


TEXT = st.lists(st.sampled_from(["a", "b", "\n", "\r", "\r\n", "é", SMILE, "\x0c", "\u2028"]), max_size=12).map("".join)
PLACE = st.tuples(st.integers(-1, 6), st.integers(-1, 12))


@settings(max_examples=150, deadline=None)
@given(
    text=TEXT,
    changes=st.lists(st.builds(Change, TEXT, PLACE, PLACE) | st.builds(Change, TEXT), max_size=5),
    encoding=st.sampled_from(["utf-8", "utf-16", "utf-32"]),
)
def test_any_changes_leave_a_consistent_document_and_edits_that_replay(text: str, changes: list[Change], encoding) -> None:
    before = document(text)
    after, edits = changed(before, 2, changes, encoding)
    assert list(after.lines) == split_lines(after.text)
    assert after.size == len(after.text)
    replayed = before
    for edit in edits:
        replayed, _ = changed(replayed, 2, [Change(edit.text, edit.start, edit.end)], "utf-32")
    assert replayed.text == after.text


@settings(max_examples=100, deadline=None)
@given(old=TEXT, new=TEXT)
def test_a_whole_new_text_is_taken_over_exactly(old: str, new: str) -> None:
    after, _ = changed(document(old), 2, [Change(new)], "utf-16")
    assert after.text == new
    assert list(after.lines) == split_lines(new)


@settings(max_examples=100, deadline=None)
@given(text=TEXT, limit=st.integers(0, 20), line=st.integers(0, 5), column=st.integers(0, 8))
def test_surroundings_are_windows_of_the_text_with_plain_line_ends(text: str, limit: int, line: int, column: int) -> None:
    snapshot = document(text)
    at = snapshot.clamp(Point(line, column))
    plain = "\n".join(snapshot.line(number) for number in range(len(snapshot.lines)))
    offset = sum(len(snapshot.line(number)) + 1 for number in range(at.line)) + at.column
    assert snapshot.before(at, limit) == plain[:offset][max(0, offset - limit) :]
    assert snapshot.following(at, limit) == plain[offset : offset + limit]


@settings(max_examples=100, deadline=None)
@given(text=TEXT, typed=TEXT, line=st.integers(0, 5), column=st.integers(0, 8))
def test_typing_is_seen_whatever_way_it_was_reported(text: str, typed: str, line: int, column: int) -> None:
    old = document(text)
    at = old.clamp(Point(line, column))
    new, _ = old.with_item(at, at, typed)
    by_full_text, _ = changed(old, 2, [Change(new.text)], "utf-16")
    found = typed_since(old, at, by_full_text)
    if "\r" not in text + typed:
        assert found == typed
    elif found is not None:
        assert len(found) == len(typed)


def test_other_changes_are_not_typing() -> None:
    old = document("one\ntwo\n")
    for change in (Change("x", (0, 0), (0, 0)), Change("", (1, 2), (1, 3)), Change("x", (1, 3), (1, 3)), Change("abcd", (1, 0), (1, 3))):
        new, _ = changed(old, 2, [change], "utf-16")
        assert typed_since(old, Point(1, 1), new) is None
    assert typed_since(old, Point(1, 1), old) == ""


def test_editing_a_long_document_costs_little() -> None:
    snapshot = document("    value = compute(first, second)\n" * 20_000)
    began = time.process_time()
    for version in range(2, 102):
        snapshot, _ = changed(snapshot, version, [Change("x", (10_000, 4), (10_000, 4))], "utf-16")
        snapshot.before(Point(10_000, 5), 8000)
        snapshot.following(Point(10_000, 5), 4000)
    assert (time.process_time() - began) / 100 < 0.01
    assert snapshot.line(10_000).startswith("    " + "x" * 100)


def test_one_very_long_line_is_no_trouble() -> None:
    began = time.process_time()
    snapshot = document("x" * 1_000_000)
    for version in range(2, 12):
        snapshot, _ = changed(snapshot, version, [Change("y" * 50_000, (0, 500_000), (0, 500_000))], "utf-16")
    assert time.process_time() - began < 1.0
    assert snapshot.size == 1_500_000


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        ("import os\na\nb = \nc\n", (2, 4)),
        ("b = \nc\n", (0, 4)),
        ("a\nb = \nc\nd\n", (1, 4)),
        ("a\nb = \n", (1, 4)),
        ("a\nb = \nc\n", (1, 4)),
        ("a\nb = 1\nc\n", None),
        ("new\na\nb = \nc\nd\n", None),
        ("", None),
    ],
)
def test_a_place_is_followed_when_only_other_lines_changed(new: str, expected: tuple[int, int] | None) -> None:
    old = opened("file:///a", 1, "python", "a\nb = \nc\n")
    found = follow(old, Point(1, 4), opened("file:///a", 2, "python", new))
    assert found == (Point(*expected) if expected else None)
    assert follow(old, Point(1, 4), opened("file:///b", 2, "python", "a\nb = \nc\n")) is None
