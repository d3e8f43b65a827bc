"""Where texts end, and that what is passed on early is never taken back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.serve.compat.endings import Cut, Endings


@pytest.mark.parametrize(
    ("endings", "text", "cut"),
    [
        (Endings(), "a\nb", Cut("a\nb")),
        (Endings(stops=("\n\n",)), "a\nb\n\nc", Cut("a\nb", "stop", "\n\n")),
        (Endings(stops=("xx", "b")), "a b xx", Cut("a ", "stop", "b")),
        (Endings(stops=("ab",)), "aa", Cut("aa")),
        (Endings(lines=1), "a\nb", Cut("a", "lines")),
        (Endings(lines=2), "a\nb", Cut("a\nb")),
        (Endings(lines=2), "a\nb\nc", Cut("a\nb", "lines")),
        (Endings(indent=4), "a\n    b\n  c", Cut("a\n    b", "indent")),
        (Endings(indent=4), "a\n\n\n    b\n", Cut("a\n\n\n    b\n")),
        (Endings(indent=4), "a\n\ndef b", Cut("a", "indent")),
        (Endings(indent=1), "a\n\tb\nc", Cut("a\n\tb", "indent")),
        (Endings(stops=("c",), indent=4), "a\nb c", Cut("a", "indent")),
    ],
)
def test_the_first_ending_counts(endings, text, cut):
    assert endings.cut(text) == cut


@pytest.mark.parametrize(
    ("endings", "text", "settled"),
    [
        (Endings(), "a\n", "a\n"),
        (Endings(stops=("\n\n",)), "a\n", "a"),
        (Endings(stops=("END",)), "a EN", "a "),
        (Endings(stops=("aab",)), "aaa", "a"),
        (Endings(indent=2), "a\n ", "a"),
        (Endings(indent=2), "a\n  b", "a\n  b"),
    ],
)
def test_what_may_still_become_an_ending_is_held_back(endings, text, settled):
    assert endings.settled(text) == settled


_TEXT = st.text("ab \n", max_size=25)


@given(_TEXT, st.lists(st.text("ab \n", min_size=1, max_size=3), max_size=3), st.integers(0, 3), st.integers(0, 3))
def test_what_is_settled_begins_what_comes_of_it(text, stops, lines, indent):
    endings = Endings(stops=tuple(stops), lines=lines, indent=indent)
    final = endings.cut(text).text
    for size in range(len(text) + 1):
        sofar = endings.cut(text[:size])
        assert final.startswith(sofar.text if sofar.by else endings.settled(text[:size]))
