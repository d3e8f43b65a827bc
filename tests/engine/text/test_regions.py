"""Splitting a request into fixed texts and gaps, and putting it together again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api import Decoding, Hole, InfillRequest
from engine.errors import RequestError
from engine.text.regions import split


def test_plain_holes() -> None:
    regions = split(InfillRequest(prefix="a", suffix="d", holes=(Hole(after="b"), Hole(after="c", max_tokens=7), Hole())))
    assert regions.texts == ("a", "b", "c", "d")
    assert [gap.max_tokens for gap in regions.gaps] == [64, 7, 64]
    assert regions.assemble(["1", "2", "3"]) == ["1", "2", "3"]


def test_locked_text_becomes_fixed_text() -> None:
    hole = Hole(draft="call(first, second)", locked=((4, 5), (10, 12)))
    regions = split(InfillRequest(prefix="x = ", suffix="\n", holes=(hole,)))
    assert regions.texts == ("x = ", "(", ", ", "\n")
    assert [gap.draft for gap in regions.gaps] == [None, None, None]  # noise 1: what is not locked is written anew
    assert regions.assemble(["f", "g", "h)"]) == ["f(g, h)"]


def test_a_draft_is_kept_below_noise_one() -> None:
    hole = Hole(draft="call(first)", locked=((4, 5),), noise=0.3)
    regions = split(InfillRequest(prefix="x = ", suffix="\n", holes=(hole,)))
    assert [(gap.draft, gap.noise) for gap in regions.gaps] == [("call", 0.3), ("first)", 0.3)]


def test_a_wholly_locked_hole_has_nothing_to_fill() -> None:
    regions = split(InfillRequest(prefix="x = ", suffix="\n", holes=(Hole(draft="y\r\n", locked=((0, 3),)),)))
    assert regions.gaps == ()
    assert regions.texts == ("x = y\n\n",)
    assert regions.assemble([]) == ["y\r\n"]


@given(st.text(max_size=30), st.sets(st.integers(0, 30), max_size=6))
def test_locked_text_comes_back_as_it_was(draft: str, cuts: set[int]) -> None:
    points = sorted(cut for cut in cuts if cut <= len(draft))
    locked = tuple(zip(points[::2], points[1::2], strict=False))
    regions = split(InfillRequest(prefix="(", suffix=")", holes=(Hole(draft=draft, locked=locked),)))
    if not locked:
        return
    unlocked, position = [], 0
    for start, end in [*locked, (len(draft), len(draft))]:
        unlocked.append(draft[position:start])
        position = end
    assert regions.assemble([text for text in unlocked if text]) == [draft]


@pytest.mark.parametrize(
    ("prefix", "suffix", "hole", "closing"),
    [
        ("def f():\n", "    return 1\n", Hole(), "\n"),
        ("", "import os\n", Hole(), "\n"),
        ("def f():\n", "\n", Hole(), ""),
        ("def f():\n", "", Hole(), ""),
        ("foo(", ")\n", Hole(), ""),
        ("a = 1\n", "    y = 2\n", Hole(draft="    x = 1\n", noise=0.5), "\n"),
        ("a = 1\n", "    y = 2\n", Hole(draft="    x = 1", noise=0.5), ""),
        ("a = 1\n", " + 2\n", Hole(draft="call(x)", locked=((6, 7),), noise=0.5), ""),
        ("a = 1\n", " + 2\n", Hole(draft="(x", locked=((0, 1),)), ""),
    ],
)
def test_only_a_gap_that_asks_for_whole_lines_is_closed(prefix: str, suffix: str, hole: Hole, closing: str) -> None:
    gap = split(InfillRequest(prefix=prefix, suffix=suffix, holes=(hole,))).gaps[-1]
    assert gap.closing == closing
    assert split(InfillRequest(prefix=prefix, suffix=suffix, holes=(hole,), decoding=Decoding(healing=False))).gaps[-1].closing == ""


def test_text_behind_another_hole_is_never_closed() -> None:
    regions = split(InfillRequest(prefix="a = 1\n", suffix="b\n", holes=(Hole(after=" = foo("), Hole())))
    assert [gap.closing for gap in regions.gaps] == ["", ""]


def test_gaps_share_the_limits_of_their_hole() -> None:
    hole = Hole(draft="a+b+c+d", locked=((1, 2), (3, 4), (5, 6)), max_tokens=9, max_lines=2)
    regions = split(InfillRequest(prefix="x = ", suffix="\n", holes=(hole,)))
    assert [(gap.max_tokens, gap.max_lines) for gap in regions.gaps] == [(2, 1)] * 4


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(RequestError, match="surrogate"):
        split(InfillRequest(prefix="x = '\ud800", suffix=""))


@pytest.mark.parametrize(
    ("holes", "message"),
    [
        ((), "no hole"),
        ((Hole(), Hole()), "Holes 1 and 2 touch"),
        ((Hole(after="x"),), "Hole 1 is the last one"),
        ((Hole(max_tokens=0),), "0 tokens"),
        ((Hole(max_lines=-1),), "-1 lines"),
        ((Hole(noise=1.5),), "noise level of hole 1 is 1.5"),
        ((Hole(noise=-0.1),), "noise level"),
        ((Hole(draft="ab", locked=((0, 3),)),), "lock"),
        ((Hole(draft="abc", locked=((0, 2), (1, 3))),), "overlaps"),
        ((Hole(draft="abc", locked=((1, 1),)),), "empty"),
    ],
)
def test_holes_that_make_no_sense(holes: tuple[Hole, ...], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        split(InfillRequest(prefix="a", holes=holes))
