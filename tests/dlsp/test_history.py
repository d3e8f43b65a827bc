from __future__ import annotations

from dlsp.documents import Change, changed, opened
from dlsp.history import KEPT_CHARACTERS, KEPT_EDITS, EditHistory


def after(text: str, *changes: Change) -> EditHistory:
    snapshot, history = opened("file:///a", 1, "python", text), EditHistory()
    for change in changes:
        snapshot, edits = changed(snapshot, snapshot.version + 1, [change], "utf-16")
        history = history.extended(edits)
    return history


def insert(column: int, text: str) -> Change:
    return Change(text, (0, column), (0, column))


def delete(start: int, end: int) -> Change:
    return Change("", (0, start), (0, end))


def test_typing_takes_nothing_back() -> None:
    assert not after("x", insert(1, "a"), insert(2, "b"), insert(3, "cd")).took_back
    assert not EditHistory().took_back


def test_undo_of_an_accepted_suggestion() -> None:
    assert after("x = ", insert(4, "compute()"), delete(4, 13)).took_back


def test_undo_of_typed_characters_at_once() -> None:
    assert after("", insert(0, "a"), insert(1, "b"), insert(2, "c"), delete(1, 3)).took_back


def test_undo_of_a_deletion_and_of_a_replacement() -> None:
    assert after("hello", delete(1, 4), insert(1, "ell")).took_back
    assert after("hello", Change("jjj", (0, 1), (0, 4)), Change("ell", (0, 1), (0, 4))).took_back


def test_one_undo_after_the_other() -> None:
    assert after("", insert(0, "first"), Change("second", (0, 0), (0, 3)), Change("fir", (0, 0), (0, 6)), delete(0, 5)).took_back


def test_a_backspace_is_not_an_undo() -> None:
    assert not after("", insert(0, "ab"), delete(1, 2)).took_back


def test_typing_after_an_undo_is_typing() -> None:
    assert not after("", insert(0, "abc"), delete(0, 3), insert(0, "x")).took_back


def test_deleting_what_was_there_long_before_is_not_an_undo() -> None:
    assert not after("hello world", insert(0, "x"), delete(3, 8)).took_back


def test_a_history_is_bounded() -> None:
    many = after("", *(insert(0, "x") for _ in range(KEPT_EDITS + 10)))
    assert len(many.edits) == KEPT_EDITS
    big = after("", *(insert(0, "x" * (KEPT_CHARACTERS // 3)) for _ in range(5)))
    assert sum(len(edit.text) for edit in big.edits) <= KEPT_CHARACTERS
