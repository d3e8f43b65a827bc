"""Drafts, locks, whole lines, budgets, seeds and stopping: where text could get lost."""

from __future__ import annotations

from typing import Any

import pytest

from engine.api import Decoding, Hole, InfillRequest
from engine.runtime.engine import CanvasView

PREFIX = "def add(first, second):\n    total = first + second\n    return "
SUFFIX = "\n\n\nclass Box:\n    def __init__(self, value):\n        self.value = value\n"
NAMES = ("nano", "dreamon", "dream", "stable-diffcoder", "sdar")
LONG = "first + " * 30 + "second"


def ask(**facts: Any) -> InfillRequest:
    return InfillRequest(**({"prefix": PREFIX, "suffix": SUFFIX} | facts))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("prefix", "suffix", "hole", "expected"),
    [
        ("a = 1\n", " + 2\n", Hole(draft="compute(a)", locked=((7, 8),), noise=0.0), "compute(a)"),
        ("class Box:\n", "    y = 2\n", Hole(draft="    x = 1", noise=0.0), "    x = 1"),
        ("class Box:\n", "    y = 2\n", Hole(draft="    x = 1\n", noise=0.0), "    x = 1\n"),
        ("class Box:\n", "    y = 2\n", Hole(draft="\n", noise=0.0), "\n"),
        ("x = ", "\n", Hole(draft=LONG, noise=0.0, max_tokens=4), LONG),
        ("x = ", "\n", Hole(draft="(\n1,\n2,\n3)", noise=0.0, max_lines=1), "(\n1,\n2,\n3)"),
        ("x = e", "\n", Hole(draft="\u0301tat", noise=0.0), "\u0301tat"),
    ],
)
def test_a_draft_without_noise_comes_back_as_it_was(load, name: str, prefix: str, suffix: str, hole: Hole, expected: str) -> None:
    result = load(name).infill(InfillRequest(prefix=prefix, suffix=suffix, holes=(hole,)))
    assert (result.text, result.finish, result.steps) == (expected, "complete", 0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("draft", ["    x = 1\n", "first + second\n    more = 2\n", LONG])
def test_a_stopped_refinement_gives_the_draft_back(load, name: str, draft: str) -> None:
    seen: list[CanvasView] = []
    request = ask(prefix="class Box:\n", suffix="    y = 2\n", holes=(Hole(draft=draft, noise=0.9, max_lines=0),))
    for stop in (lambda: True, lambda: bool(seen)):
        result = load(name).infill(request, cancelled=stop, on_step=seen.append)
        assert (result.text, result.finish) == (draft, "cancelled") or (seen and result.finish == "complete")


@pytest.mark.parametrize("name", NAMES)
def test_only_the_asked_share_of_a_long_draft_changes(load, name: str) -> None:
    """Three of some sixty tokens: everything else must come back, on whichever canvas it stood."""
    engine = load(name)
    count = len(engine.tokenizer.encode(LONG).ids)
    result = engine.infill(ask(holes=(Hole(draft=LONG, noise=2.5 / count, max_lines=0),)))
    assert result.finish == "complete"
    assert abs(result.fills[0].tokens - count) <= 6
    before, after = engine.tokenizer.encode(LONG).ids, engine.tokenizer.encode(result.text).ids
    same = sum(a == b for a, b in zip(before, after, strict=False)) + sum(a == b for a, b in zip(before[::-1], after[::-1], strict=False))
    assert same >= count - 8


@pytest.mark.parametrize("name", NAMES)
def test_locks_share_the_noise_of_their_hole(load, name: str) -> None:
    hole = Hole(draft="first+second+third+fourth", locked=((5, 6), (12, 13), (18, 19)), noise=0.05)
    text = load(name).infill(ask(holes=(hole,))).text
    parts = text.split("+")
    kept = sum(part in parts for part in ("first", "second", "third", "fourth"))
    assert kept >= 3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("hole", [Hole(max_tokens=6, max_lines=2), Hole(max_tokens=3), Hole(max_tokens=30, max_lines=0)])
def test_whole_lines_end_with_their_line_end(load, name: str, hole: Hole) -> None:
    result = load(name).infill(ask(prefix="class Box:\n", suffix="    pass\n", holes=(hole,)))
    assert result.text == "" or result.text.endswith("\n")


@pytest.mark.parametrize("name", NAMES)
def test_a_hole_with_locks_keeps_its_budget(load, name: str) -> None:
    hole = Hole(draft="a+b+c+d", locked=((1, 2), (3, 4), (5, 6)), max_tokens=4)
    result = load(name).infill(ask(prefix="x = (", holes=(hole,)))
    assert result.fills[0].tokens <= 12  # a token for each gap, and what healing took back before it


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("prefix", ["# " + "\u51fd\u6570" * 40, "x = '" + "a1B" * 60, "x = é…foo'éﬁ"])
@pytest.mark.parametrize("length", ["", "fixed"])
def test_a_cursor_in_a_long_word_costs_little(load, name: str, prefix: str, length: str) -> None:
    engine = load(name)
    result = engine.infill(ask(prefix=prefix, holes=(Hole(max_tokens=24),), decoding=Decoding(length=length, slots=8)))  # type: ignore[arg-type]
    assert result.finish in ("complete", "length")
    assert result.steps <= 3 * 24 + 20


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_asked_of_the_network_once_the_caller_is_gone(load, name: str) -> None:
    engine = load(name)
    holes = (Hole(max_tokens=20, after="\n    x = "), Hole(draft="first + second", noise=0.5))
    for polls in range(4):
        left = [polls]

        def gone(left: list[int] = left) -> bool:
            left[0] -= 1
            return left[0] < 0

        result = engine.infill(ask(holes=holes, decoding=Decoding(alternatives=4)), cancelled=gone)
        assert result.finish == "cancelled"
        assert result.forwards <= 2 * polls + 1  # a poll before each pass; opening a canvas encodes both sides of it


@pytest.mark.parametrize("name", ["nano", "sdar", "dream"])
def test_the_view_names_the_gap_it_shows(load, name: str) -> None:
    seen: list[CanvasView] = []
    load(name).infill(ask(holes=(Hole(max_tokens=5, after="\n    x = "), Hole(max_tokens=5))), on_step=seen.append)
    assert {view.gap for view in seen} == {0, 1}


def test_what_is_drawn_does_not_depend_on_the_rest_of_the_batch(load) -> None:
    for name in ("dreamon", "dream", "nano"):
        texts = [
            load(name)
            .infill(
                ask(
                    holes=(Hole(max_tokens=24, max_lines=0),),
                    decoding=Decoding(length="fixed", slots=24, remask="remdm", seed=3, alternatives=n),
                )
            )
            .text
            for n in (1, 4)
        ]
        assert texts[0] == texts[1], name


def test_later_canvases_draw_anew(load) -> None:
    """With one stream for every canvas a hole of several canvases would repeat its draws."""
    engine = load("nano")
    request = ask(holes=(Hole(max_tokens=60, max_lines=0),), decoding=Decoding(temperature=3.0, seed=5, length="fixed", slots=48))
    text = engine.infill(request).text
    ids = engine.tokenizer.encode(text).ids
    assert ids[:12] != ids[16:28]


def test_hypotheses_are_made_only_for_gaps_without_a_draft(load) -> None:
    engine = load("dream")
    refined = engine.infill(ask(holes=(Hole(draft="first + second", noise=0.3),)))
    assert refined.forwards == refined.steps + 1  # the look at the draft
    mixed = engine.infill(ask(holes=(Hole(max_tokens=8, after="\n    x = "), Hole(draft="first + second", noise=0.3))))
    assert mixed.forwards == mixed.steps + 3  # and the probe of sizes, and the vote


def test_alternatives_grow_as_the_first_answer_does(load) -> None:
    decoding = Decoding(length="end-token", slots=1, alternatives=4)
    result = load("dream").infill(ask(holes=(Hole(max_tokens=6),), decoding=decoding))
    assert result.others
    assert max(fills[0].tokens for fills in result.others) > 1


def test_alternatives_branch_where_something_is_open(load) -> None:
    holes = (Hole(draft="first", noise=0.0, after="\n    x = "), Hole(max_tokens=6))
    for name in ("nano", "dream"):
        result = load(name).infill(ask(holes=holes, decoding=Decoding(alternatives=3)))
        assert result.others, name
        assert all(fills[0].text == "first" for fills in result.others)


def test_a_fixed_canvas_is_never_larger_than_the_hole_may_be(load) -> None:
    result = load("dream").infill(ask(holes=(Hole(max_tokens=4),), decoding=Decoding(length="fixed", slots=64)))
    assert result.steps <= 5
