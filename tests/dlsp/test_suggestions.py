from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from dlsp.documents import Point, advance, opened
from dlsp.suggestions import BEFORE_CHARACTERS, KEPT, KEPT_A_DOCUMENT, Site, Suggestion, SuggestionStore, rest_of, site_of, typed_between

URI = "file:///a.py"


def site(text: str, uri: str = URI) -> Site:
    before, _, after = text.partition("|")
    return site_of(opened(uri, 1, "python", before + after), advance(Point(0, 0), before))


def kept(text: str, suggestion: str, max_lines: int = 1) -> SuggestionStore:
    store = SuggestionStore()
    store.keep(Suggestion(site(text), suggestion, max_lines))
    return store


def test_typing_along_leaves_the_rest() -> None:
    store = kept("x = |\n", "value + 1")
    for typed, rest in (("", "value + 1"), ("v", "alue + 1"), ("value ", "+ 1")):
        match = store.find(site(f"x = {typed}|\n"), 1)
        assert match is not None
        assert match.text == rest


def test_typing_something_else_or_to_the_end_leaves_nothing() -> None:
    store = kept("x = |\n", "value")
    for typed in ("w", "vax", "value", "value2", "\n"):
        assert store.find(site(f"x = {typed}|\n"), 1) is None, typed


def test_deleting_what_was_typed_brings_the_same_back() -> None:
    store = SuggestionStore()
    store.show(site("x = |\n"), "value", 1)
    store.show(site("x = val|\n"), "ue", 1)
    assert store.find(site("x = |\n"), 1).text == "value"
    assert store.find(site("x =|\n"), 1) is None


def test_what_is_on_screen_comes_before_what_is_kept() -> None:
    store = kept("x = |\n", "value")
    store.show(site("x = |\n"), "variant", 1)
    store.keep(Suggestion(site("x = v|\n"), "olume"))
    match = store.find(site("x = v|\n"), 1)
    assert (match.text, match.live) == ("ariant", True)
    assert store.find(site("x = vo|\n"), 1).text == "lume"


def test_another_place_document_or_rest_of_the_line_does_not_match() -> None:
    store = kept("x = |\n", "value")
    assert store.find(site("y = |\n"), 1) is None
    assert store.find(site("x = |\n", "file:///b.py"), 1) is None
    assert store.find(site("x = |)\n"), 1) is None
    assert store.find(site("x = |\ny"), 1) is None


def test_an_edit_far_away_does_not_matter() -> None:
    far = "# line\n" * 1000
    store = kept(far + "x = |\n" + far, "value")
    assert store.find(site("import os\n" + far + "x = v|\n" + far + "end"), 1).text == "alue"


def test_a_block_is_typed_through_line_by_line() -> None:
    store = kept("def f():\n    |\n", "a = 1\n    return a", 9)
    assert store.find(site("def f():\n    a = 1\n    re|\n"), 1).text == "turn a"


def test_somebody_who_wants_a_block_is_not_given_a_line() -> None:
    store = kept("def f():\n    |\n", "a = 1")
    store.show(site("def f():\n    |\n"), "a = 1", 1)
    assert store.find(site("def f():\n    |\n"), 9) is None


def test_brackets_that_the_editor_closed_are_not_suggested_again() -> None:
    store = kept("x = |\n", "f(a, b)")
    assert store.find(site("x = f(|)\n"), 1).text == "a, b"
    assert store.find(site("x = f(a|)\n"), 1).text == ", b"
    assert store.find(site("x = f[|]\n"), 1) is None
    assert kept("x = |\n", "f(a) + g").find(site("x = f(|)\n"), 1) is None


def test_having_had_nothing_to_say_is_remembered_for_the_very_place() -> None:
    store = SuggestionStore()
    store.keep(Suggestion(site("x = |\n"), "", 1, "low_confidence"))
    match = store.find(site("x = |\n"), 1)
    assert (match.text, match.reason) == ("", "low_confidence")
    assert store.find(site("x = v|\n"), 1) is None
    assert store.find(site("x = |\n"), 5) is None


def test_the_store_is_bounded_and_forgets() -> None:
    store = SuggestionStore()
    for number in range(KEPT_A_DOCUMENT + 5):
        store.keep(Suggestion(site(f"x{number} = |\n"), "v"))
    assert len(store) == KEPT_A_DOCUMENT
    assert store.find(site("x0 = |\n"), 1) is None
    for number in range(KEPT + 5):
        store.keep(Suggestion(site("x = |\n", f"file:///{number}"), "v"))
    assert len(store) == KEPT
    store.show(site("x = |\n", "file:///260"), "v", 1)
    store.forget("file:///260")
    assert store.find(site("x = |\n", "file:///260"), 1) is None
    assert store.find(site("x = |\n", "file:///259"), 1)
    store.clear()
    assert len(store) == 0


def test_the_way_between_two_places() -> None:
    assert typed_between(site("x = |\n"), site("x = val|\n"), 64) == "val"
    assert typed_between(site("x = |\n"), site("x = |\n"), 64) == ""
    assert typed_between(site("x = val|\n"), site("x = |\n"), 64) is None
    assert typed_between(site("x = |\n"), site("x = long|\n"), 3) is None


TEXT = st.text(alphabet="ab(\n ", max_size=20)


@settings(max_examples=150, deadline=None)
@given(
    before=TEXT,
    after=TEXT,
    suggestion=st.text(alphabet="ab)\n ", min_size=1, max_size=12),
    typed=TEXT,
    far=st.sampled_from([0, BEFORE_CHARACTERS]),
)
def test_a_match_always_completes_to_the_suggested_text(before: str, after: str, suggestion: str, typed: str, far: int) -> None:
    """Whatever is typed: what matches leads to the text that was suggested, and what was typed along it matches."""
    before = "".join(chr(97 + i * i % 26) for i in range(far)) + before
    rest = rest_of(Suggestion(site(f"{before}|{after}"), suggestion), site(f"{before}{typed}|{after}"))
    if suggestion.startswith(typed):
        assert rest == suggestion[len(typed) :]
    elif rest is not None:
        assert (before + typed).endswith(suggestion[: len(suggestion) - len(rest)])
