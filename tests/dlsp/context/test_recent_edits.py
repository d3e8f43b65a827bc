from __future__ import annotations

from dlsp.context.recent_edits import KEPT_EDITS, RecentEdits
from dlsp.documents import Change, Snapshot, changed, opened

TEXT = "".join(f"line {number}\n" for number in range(40))


class Typist:
    """Edits a document and tells the recorder, as the session does."""

    def __init__(self, text: str = TEXT, uri: str = "file:///code/a.py", recent: RecentEdits | None = None) -> None:
        self.snapshot: Snapshot = opened(uri, 1, "python", text)
        self.recent = recent or RecentEdits()

    def replace(self, start: tuple[int, int], end: tuple[int, int], text: str, now: float) -> None:
        before = self.snapshot
        self.snapshot, edits = changed(before, before.version + 1, [Change(text, start, end)], "utf-32")
        self.recent.record(before, self.snapshot, edits, now)

    def type(self, line: int, column: int, text: str, now: float) -> None:
        for index, character in enumerate(text):
            self.replace((line, column + index), (line, column + index), character, now + index / 100)


def test_typing_is_one_edit_with_the_lines_around_it() -> None:
    typist = Typist()
    typist.type(10, 7, " more", 1.0)
    (edit,) = typist.recent.list(9.0)
    assert edit.before.split("\n") == [f"line {n}" for n in range(7, 14)]
    assert edit.after.split("\n")[3] == "line 10 more"
    assert len(edit.after.split("\n")) == 7
    assert (edit.uri, edit.language, edit.line) == ("file:///code/a.py", "python", 10)


def test_what_is_being_typed_is_no_edit_yet() -> None:
    typist = Typist()
    typist.type(3, 0, "ab", 1.0)
    assert typist.recent.list(1.2) == ()
    assert len(typist.recent.list(1.6)) == 1


def test_edits_apart_are_two_and_the_latest_is_first() -> None:
    typist = Typist()
    typist.type(3, 0, "a", 1.0)
    typist.type(20, 0, "b", 2.0)
    typist.type(21, 0, "c", 3.0)
    latest, first = typist.recent.list(9.0)
    assert "bline 20\ncline 21" in latest.after
    assert "aline 3" in first.after


def test_a_passage_grows_with_the_lines_that_are_put_in() -> None:
    typist = Typist()
    typist.replace((5, 0), (5, 0), "one\ntwo\n", 1.0)
    typist.type(8, 0, "x", 1.1)
    (edit,) = typist.recent.list(9.0)
    assert "one\ntwo\nline 5\nxline 6" in edit.after
    assert edit.before.split("\n")[:3] == ["line 2", "line 3", "line 4"]
    typist.replace((4, 0), (6, 0), "", 1.2)
    (edit,) = typist.recent.list(9.0)
    assert "line 3\ntwo\nline 5\nxline 6" in edit.after
    assert "line 4" in edit.before


def test_what_is_taken_back_was_no_edit() -> None:
    typist = Typist()
    typist.type(3, 0, "a", 1.0)
    typist.replace((3, 0), (3, 1), "", 1.5)
    assert typist.recent.list(9.0) == ()
    typist.type(30, 0, "b", 2.0)
    assert len(typist.recent.list(9.0)) == 1


def test_a_new_version_from_the_disk_is_no_edit() -> None:
    typist = Typist()
    before = typist.snapshot
    after, edits = changed(before, 2, [Change("x = 1\n" * 300)], "utf-32")
    typist.recent.record(before, after, edits, 1.0)
    assert typist.recent.list(9.0) == ()


def test_the_number_of_edits_is_bounded_over_all_documents() -> None:
    recent = RecentEdits()
    for number in range(KEPT_EDITS + 5):
        Typist(uri=f"file:///code/{number}.py", recent=recent).type(3, 0, "ab", float(number))
    kept = recent.list(99.0)
    assert len(kept) == KEPT_EDITS + 1 or len(kept) == KEPT_EDITS
    assert kept[0].uri == f"file:///code/{KEPT_EDITS + 4}.py"


def test_a_document_can_be_forgotten_with_what_is_under_way_in_it() -> None:
    recent = RecentEdits()
    secret, other = Typist(uri="file:///code/s.py", recent=recent), Typist(recent=recent)
    secret.type(3, 0, "a", 1.0)
    other.type(3, 0, "b", 2.0)
    secret.type(9, 0, "c", 3.0)
    recent.forget("file:///code/s.py")
    assert [edit.uri for edit in recent.list(9.0)] == ["file:///code/a.py"]
