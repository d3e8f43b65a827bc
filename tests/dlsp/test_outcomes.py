from __future__ import annotations

import msgspec
import pytest

from dlsp.documents import Change, Point, Snapshot, changed, opened
from dlsp.outcomes import Event, Ledger, Shown, Verdict, kept_share, size_bucket

URI = "file:///code/a.py"


class Desk:
    """A document, a ledger, and the hands of a user."""

    def __init__(self, text: str) -> None:
        self.snapshot: Snapshot = opened(URI, 1, "python", text)
        self.ledger = Ledger()
        self.events: list[Event] = []
        self.ledger.sink = self.events.append
        self.now = 100.0
        self.encoding = "utf-16"

    def show(self, text: str, line: int, column: int, **more: object) -> None:
        facts = {"uri": URI, "at": Point(line, column), "text": text, "language": "python", **more}
        self.ledger.shown(Shown(**facts), self.now)  # type: ignore[arg-type]

    def edit(self, *changes: Change, wait: float = 1.0) -> tuple[Verdict, ...]:
        self.now += wait
        before = self.snapshot
        self.snapshot, edits = changed(before, before.version + 1, changes, "utf-16")
        return self.ledger.changed(before, self.snapshot, edits, self.now)

    def insert(self, line: int, column: int, text: str, wait: float = 1.0) -> str:
        """Insert, and what that says."""
        verdicts = self.edit(Change(text, (line, column), (line, column)), wait=wait)
        return verdicts[0].outcome if verdicts else ""

    @property
    def story(self) -> list[tuple[str, int]]:
        return [(event.event, event.characters) for event in self.events]


def test_accepted_in_one_go() -> None:
    desk = Desk("x = ")
    desk.show("value + 1", 0, 4, confidence=0.81234, latency_ms=12.34, document_lines=300, tokens=4, steps=2)
    (verdict,) = desk.edit(Change("value + 1", (0, 4), (0, 4)))
    assert verdict == Verdict(outcome="accepted", uri=URI, at=Point(0, 4), site_text="value + 1", characters=9)
    shown, accepted = desk.events
    assert (shown.event, shown.latency_ms, shown.confidence, shown.tokens, shown.steps) == ("shown", 12.3, 0.812, 4, 2)
    assert (accepted.event, accepted.characters, accepted.language, accepted.size_bucket) == ("accepted", 9, "python", "medium")


def test_typed_out_by_hand() -> None:
    desk = Desk("x = ")
    desk.show("abc", 0, 4)
    assert [desk.insert(0, 4 + n, letter) for n, letter in enumerate("abc")] == ["typed", "typed", "typed"]
    assert desk.story == [("shown", 3), ("typed", 3)]


def test_words_and_then_the_rest() -> None:
    desk = Desk("x = ")
    desk.show("one two three", 0, 4)
    assert desk.insert(0, 4, "one ") == "partial"
    desk.show("two three", 0, 8, source="live")
    assert desk.insert(0, 8, "two ") == "partial"
    assert desk.insert(0, 12, "three") == "accepted"
    assert desk.story == [("shown", 13), ("accepted", 13)]


def test_a_part_and_then_something_else_is_partial() -> None:
    desk = Desk("x = ")
    desk.show("one two three", 0, 4)
    assert desk.insert(0, 4, "one ") == "partial"
    assert desk.insert(0, 8, "q") == "rejected"
    assert desk.story == [("shown", 13), ("partial", 4)]


def test_a_line_break_with_its_indentation_is_one_key() -> None:
    desk = Desk("if x:")
    desk.show("\n    return y", 0, 5)
    assert desk.insert(0, 5, "\n    ") == "typed"
    assert desk.insert(1, 4, "return y") == "accepted"


@pytest.mark.parametrize(("wait", "outcome"), [(0.6, "rejected"), (0.3, "ignored")])
def test_writing_something_else_turns_down_what_was_seen(wait: float, outcome: str) -> None:
    desk = Desk("x = ")
    desk.show("value", 0, 4)
    assert desk.insert(0, 4, "q", wait=wait) == outcome
    assert desk.story == [("shown", 5), (outcome, 0)]
    assert desk.insert(0, 5, "r") == ""


def test_deleting_is_no_rejection() -> None:
    desk = Desk("x = ")
    desk.show("value", 0, 4)
    (verdict,) = desk.edit(Change("", (0, 3), (0, 4)))
    assert verdict.outcome == "ignored"


def test_deleting_what_was_typed_brings_it_back() -> None:
    desk = Desk("x = ")
    desk.show("value", 0, 4)
    desk.insert(0, 4, "v")
    assert desk.edit(Change("", (0, 4), (0, 5))) == ()
    desk.show("value", 0, 4, source="live")
    assert desk.insert(0, 4, "value") == "accepted"
    assert desk.story == [("shown", 5), ("accepted", 5)]


def test_edits_elsewhere_do_not_matter_and_move_the_place() -> None:
    desk = Desk("a\nx = \nb\n")
    desk.show("value", 1, 4)
    assert desk.insert(2, 1, "c") == ""
    assert desk.insert(0, 0, "import os\n") == ""
    assert desk.insert(2, 0, "y") == ""
    assert desk.insert(2, 5, "value") == "accepted"


def test_an_editor_that_closes_brackets() -> None:
    desk = Desk("f")
    desk.show("(a, b)", 0, 1)
    assert desk.insert(0, 1, "()") == "typed"
    assert desk.insert(0, 2, "a, b") == "accepted"


def test_an_editor_that_leaves_out_what_is_there() -> None:
    desk = Desk("f()")
    desk.show("a, b)", 0, 2)
    assert desk.insert(0, 2, "a, b") == "accepted"


def test_popup_items_replace_the_word_before_them() -> None:
    desk = Desk("x = va")
    desk.show("lue(1)", 0, 6, kind="popup")
    (verdict,) = desk.edit(Change("value(1)", (0, 4), (0, 6)))
    assert (verdict.outcome, verdict.characters) == ("accepted", 6)


def test_typing_past_a_popup_is_no_rejection() -> None:
    desk = Desk("x = va")
    desk.show("lue", 0, 6, kind="popup")
    assert desk.insert(0, 6, "r") == "ignored"


def test_windows_line_ends() -> None:
    desk = Desk("if x:\r\n")
    desk.show("\n    y()\n    z()", 0, 5)
    assert desk.insert(0, 5, "\r\n    y()\r\n    z()") == "accepted"


def test_whole_texts_and_runs_of_equal_letters() -> None:
    desk = Desk("aa")
    desk.show("aab", 0, 2)
    (verdict,) = desk.edit(Change("aaa"))
    assert verdict.outcome == "typed"
    (verdict,) = desk.edit(Change("aaaab"))
    assert verdict.outcome == "accepted"


def test_a_suggestion_in_the_place_of_another_one() -> None:
    desk = Desk("x = \ny = ")
    desk.show("1 + 1", 0, 4)
    desk.show("2 + 2", 1, 4)
    desk.ledger.closed(URI, desk.now)
    assert desk.story == [("shown", 5), ("ignored", 0), ("shown", 5), ("ignored", 0)]


def test_popup_and_ghost_text_that_say_the_same_are_one() -> None:
    desk = Desk("x = ")
    desk.show("value", 0, 4)
    desk.show("value", 0, 4, kind="popup")
    desk.insert(0, 4, "value")
    assert desk.story == [("shown", 5), ("accepted", 5)]


def test_where_the_client_tells_what_it_shows_only_that_counts() -> None:
    desk = Desk("x = ")
    desk.show("first", 0, 4)
    desk.ledger.displayed(URI, "first", desk.now)
    desk.show("never seen", 0, 4)
    desk.show("second", 0, 4)
    desk.now += 5
    desk.ledger.displayed(URI, "x = second", desk.now)
    assert desk.insert(0, 4, "q", wait=0.2) == "ignored"
    assert desk.story == [("shown", 5), ("ignored", 0), ("shown", 6), ("ignored", 0)]


@pytest.mark.parametrize("first", ["told", "edit"])
def test_a_partial_acceptance_that_is_told_counts_once(first: str) -> None:
    desk = Desk("x = ")
    desk.show("one two three", 0, 4)
    if first == "told":
        desk.ledger.partially(URI, "one two three", 4, desk.now)
    desk.insert(0, 4, "one ")
    if first == "edit":
        desk.ledger.partially(URI, "one two three", 4, desk.now)
    desk.ledger.partially(URI, "another text", 9, desk.now)
    desk.ledger.closed(URI, desk.now)
    assert desk.story == [("shown", 13), ("partial", 4)]


def test_retention_is_looked_at_three_times() -> None:
    desk = Desk("x = \n")
    desk.show("compute(alpha, beta, gamma)", 0, 4)
    desk.insert(0, 4, "compute(alpha, beta, gamma)")
    desk.insert(0, 0, "import os\n", wait=10)
    desk.ledger.due(desk.now + 15)
    assert len(desk.events) == 2
    desk.ledger.due(desk.now + 21)
    desk.edit(Change("delta", (1, 12), (1, 17)), wait=60)
    desk.ledger.due(desk.now + 60)
    desk.edit(Change("nothing()", (1, 0), (1, 31)), wait=1)
    desk.ledger.due(desk.now + 300)
    desk.ledger.due(desk.now + 900)
    retained = [(event.after_s, event.characters, event.of) for event in desk.events[2:]]
    assert [(after, of) for after, _, of in retained] == [(30.0, 27), (120.0, 27), (300.0, 27)]
    assert retained[0][1] == 27
    assert 20 <= retained[1][1] < 27
    assert retained[2][1] == 0
    assert desk.ledger._latest == {}


def test_nothing_is_kept_of_a_closed_document() -> None:
    desk = Desk("x = ")
    desk.show("canary", 0, 4)
    desk.insert(0, 4, "canary")
    desk.show("canary two", 0, 10)
    desk.ledger.close(desk.now)
    desk.ledger.due(desk.now + 1000)
    assert [event.event for event in desk.events] == ["shown", "accepted", "shown", "ignored"]
    assert (desk.ledger._live, desk.ledger._accepted, desk.ledger._latest) == ({}, [], {})


def test_events_hold_no_text_and_no_path() -> None:
    desk = Desk("canary = ")
    desk.show("canary", 0, 9)
    desk.insert(0, 9, "canary")
    desk.ledger.empty("mid_line", "ghost", "python", 1.0)
    desk.ledger.worked("ghost", "python", 30.04, {"denoise": 20.06})
    desk.ledger.due(desk.now + 1000)
    said = msgspec.json.encode(desk.events).decode()
    assert "canary" not in said
    assert "code" not in said
    assert desk.events[-4].stages == {"denoise": 20.1}


@pytest.mark.parametrize(
    ("text", "there", "kept"),
    [
        ("a + b", "x = a + b\n", (1, 1)),
        ("a + b", "x = a + c\n", (0.6, 0.7)),
        ("a + b", "x = nothing\n", (0, 0.4)),
        ("   ", "x = \n", (1, 1)),
        ("foo(bar,\n    baz)", "x = foo(\n    bar,\n    baz,\n)\n", (0.5, 1)),
    ],
)
def test_kept_share(text: str, there: str, kept: tuple[float, float]) -> None:
    share = kept_share(opened(URI, 1, "python", there), Point(0, 4), text)
    assert kept[0] <= share <= kept[1]


def test_sizes_are_coarse() -> None:
    assert [size_bucket(lines) for lines in (0, 1, 200, 201, 1001, 20_000)] == ["", "small", "small", "medium", "large", "huge"]


def test_what_was_accepted_is_looked_for_where_the_document_still_is() -> None:
    desk = Desk("a = 1\n" * 80 + "x = ")
    desk.show("value", 80, 4)
    assert desk.insert(80, 4, "value") == "accepted"
    desk.edit(Change("", (0, 0), (80, 9)))
    desk.edit(Change("y", (0, 0), (0, 0)), wait=40.0)
    assert desk.events[-1].event == "retained"
    assert desk.events[-1].characters == 0
    assert kept_share(opened(URI, 1, "python", "y"), Point(80, 4), "value") == 0.0
