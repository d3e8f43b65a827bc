from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from dlsp.documents import Point, advance, opened
from dlsp.suggestions import BEFORE_CHARACTERS, KEPT, KEPT_A_DOCUMENT, Site, Suggestion, SuggestionStore, rests_of, site_of, typed_between

URI = "file:///a.py"


def site(text: str, uri: str = URI) -> Site:
    before, _, after = text.partition("|")
    return site_of(opened(uri, 1, "python", before + after), advance(Point(0, 0), before))


def kept(text: str, suggestion: str, max_lines: int = 1) -> SuggestionStore:
    store = SuggestionStore()
    store.keep(Suggestion(site(text), (suggestion,), max_lines))
    return store


def test_typing_along_leaves_the_rest() -> None:
    store = kept("x = |\n", "value + 1")
    for typed, rest in (("", "value + 1"), ("v", "alue + 1"), ("value ", "+ 1")):
        match = store.find(site(f"x = {typed}|\n"), 1)
        assert match is not None
        assert match.texts == (rest,)


def test_typing_something_else_or_to_the_end_leaves_nothing() -> None:
    store = kept("x = |\n", "value")
    for typed in ("w", "vax", "value", "value2", "\n"):
        assert store.find(site(f"x = {typed}|\n"), 1) is None, typed


def test_deleting_what_was_typed_brings_the_same_back() -> None:
    store = SuggestionStore()
    store.show(Suggestion(site("x = |\n"), ("value",)))
    store.show(Suggestion(site("x = val|\n"), ("ue",)))
    assert store.find(site("x = |\n"), 1).texts == ("value",)
    assert store.find(site("x =|\n"), 1) is None


def test_what_is_on_screen_comes_before_what_is_kept() -> None:
    store = kept("x = |\n", "value")
    store.show(Suggestion(site("x = |\n"), ("variant",)))
    store.keep(Suggestion(site("x = v|\n"), ("olume",)))
    match = store.find(site("x = v|\n"), 1)
    assert (match.texts, match.live) == (("ariant",), True)
    assert store.find(site("x = vo|\n"), 1).texts == ("lume",)


def test_another_place_document_or_rest_of_the_line_does_not_match() -> None:
    store = kept("x = |\n", "value")
    assert store.find(site("y = |\n"), 1) is None
    assert store.find(site("x = |\n", "file:///b.py"), 1) is None
    assert store.find(site("x = |)\n"), 1) is None
    assert store.find(site("x = |\ny"), 1) is None


def test_an_edit_far_away_does_not_matter() -> None:
    far = "# line\n" * 1000
    store = kept(far + "x = |\n" + far, "value")
    assert store.find(site("import os\n" + far + "x = v|\n" + far + "end"), 1).texts == ("alue",)


def test_a_block_is_typed_through_line_by_line() -> None:
    store = kept("def f():\n    |\n", "a = 1\n    return a", 9)
    assert store.find(site("def f():\n    a = 1\n    re|\n"), 1).texts == ("turn a",)


def test_somebody_who_wants_a_block_is_not_given_a_line() -> None:
    store = kept("def f():\n    |\n", "a = 1")
    store.show(Suggestion(site("def f():\n    |\n"), ("a = 1",)))
    assert store.find(site("def f():\n    |\n"), 9) is None


def test_brackets_that_the_editor_closed_are_not_suggested_again() -> None:
    store = kept("x = |\n", "f(a, b)")
    assert store.find(site("x = f(|)\n"), 1).texts == ("a, b",)
    assert store.find(site("x = f(a|)\n"), 1).texts == (", b",)
    assert store.find(site("x = f[|]\n"), 1) is None
    assert kept("x = |\n", "f(a) + g").find(site("x = f(|)\n"), 1) is None


def test_having_had_nothing_to_say_is_remembered_for_the_very_place() -> None:
    store = SuggestionStore()
    store.keep(Suggestion(site("x = |\n"), (), 1, "low_confidence"))
    match = store.find(site("x = |\n"), 1)
    assert (match.texts, match.reason) == ((), "low_confidence")
    assert store.find(site("x = v|\n"), 1) is None
    assert store.find(site("x = |\n"), 5) is None


def test_the_store_is_bounded_and_forgets() -> None:
    store = SuggestionStore()
    for number in range(KEPT_A_DOCUMENT + 5):
        store.keep(Suggestion(site(f"x{number} = |\n"), ("v",)))
    assert len(store) == KEPT_A_DOCUMENT
    assert store.find(site("x0 = |\n"), 1) is None
    for number in range(KEPT + 5):
        store.keep(Suggestion(site("x = |\n", f"file:///{number}"), ("v",)))
    assert len(store) == KEPT
    store.show(Suggestion(site("x = |\n", "file:///260"), ("v",)))
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


def test_alternatives_go_along_as_long_as_they_agree() -> None:
    store = SuggestionStore()
    store.keep(Suggestion(site("x = |\n"), ("value", "variant", "other"), choices=3))
    assert store.find(site("x = |\n"), 1, 3).texts == ("value", "variant", "other")
    assert store.find(site("x = va|\n"), 1).texts == ("lue", "riant")
    assert store.find(site("x = var|\n"), 1).texts == ("iant",)


def test_who_wants_several_is_not_given_one() -> None:
    store = kept("x = |\n", "value")
    assert store.find(site("x = |\n"), 1, 3) is None
    store.show(Suggestion(site("x = |\n"), ("value",)))
    assert store.find(site("x = |\n"), 1, 3) is None
    assert store.live(site("x = v|\n")).texts == ("alue",)


def test_what_was_rejected_is_known_by_place_and_text() -> None:
    store = SuggestionStore()
    store.show(Suggestion(site("x = |\n"), ("value",)))
    store.reject(site("x = |\n"), "value")
    assert store.find(site("x = |\n"), 1) is None
    assert store.rejected(site("x = |\n")) == ("value",)
    assert store.rejected(site("x = va|\n")) == ("lue",)
    assert store.rejected(site("y = |\n")) == ()
    store.forget(URI)
    assert store.rejected(site("x = |\n")) == ()


def test_a_suggestion_accepted_word_by_word_is_still_there() -> None:
    store = SuggestionStore()
    store.show(Suggestion(site("def f():\n    |\n"), ("first = 1\n    return first",), max_lines=9))
    for accepted in ("first", "first = 1", "first = 1\n    ", "first = 1\n    return"):
        match = store.find(site(f"def f():\n    {accepted}|\n"), 9)
        assert match is not None, accepted
        assert accepted + match.texts[0] == "first = 1\n    return first"
        store.show(Suggestion(site(f"def f():\n    {accepted}|\n"), match.texts, max_lines=9))


def test_what_replaces_the_rest_of_the_line_does_so_while_it_stands() -> None:
    store = SuggestionStore()
    store.show(Suggestion(site("f(|, b)\n"), ("a, b)", "c"), replaces=4))
    assert store.find(site("f(|, b)\n"), 1).replaces == 4
    assert store.find(site("f(a|, b)\n"), 1).replaces == 4
    assert store.find(site("f(c|)\n"), 1) is None


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
    rests = rests_of(Suggestion(site(f"{before}|{after}"), (suggestion,)), site(f"{before}{typed}|{after}"))
    if suggestion == typed:
        assert rests in ((), (suggestion,))
    elif suggestion.startswith(typed):
        assert rests == (suggestion[len(typed) :],)
    for rest in rests:
        assert (before + typed).endswith(suggestion[: len(suggestion) - len(rest)])
