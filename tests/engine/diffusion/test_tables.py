"""Schedules, scores, remask and length rules against cases worked out by hand."""

from __future__ import annotations

import math
import random

import pytest
import torch

from engine.diffusion.canvas import Canvas
from engine.diffusion.length import (
    EndToken,
    ExpandDelete,
    calibrated,
    candidates,
    entropy_fit,
    goes_in_circles,
    preference,
    probe_sizes,
)
from engine.diffusion.remask import Remask, halves, least_confident
from engine.diffusion.sampler import Proposal, Rules, Sampler, Vocabulary, Wanted
from engine.diffusion.schedule import Schedule, wide_lead

MASK, END, EXPAND, A, B, C = range(6)


def proposal(score: list[float], entropy: list[float] | None = None, tokens: list[int] | None = None) -> Proposal:
    return Proposal(tokens or [A] * len(score), score, score, entropy or [], [], [])


@pytest.mark.parametrize(
    ("kind", "level", "score", "entropy", "expected"),
    [
        ("threshold", 0.9, [0.95, 0.5, 0.91], None, [0, 2]),
        ("threshold", 0.9, [0.1, 0.5, 0.3], None, [1]),
        # (n + 1) * (1 - c_n) < f: 2 * 0.01, 3 * 0.05, 4 * 0.3
        ("factor", 0.5, [0.7, 0.99, 0.95], None, [1, 2]),
        ("factor", 1.5, [0.7, 0.99, 0.95], None, [0, 1, 2]),
        ("factor", 0.01, [0.7, 0.99, 0.95], None, [1]),
        # surest first: entropies 0.1, 0.3, 0.6; sum minus largest: 0, 0.1, 0.4
        ("entropy-bound", 0.1, [0.8, 0.9, 0.6], [0.3, 0.1, 0.6], [0, 1]),
        ("entropy-bound", 0.05, [0.8, 0.9, 0.6], [0.3, 0.1, 0.6], [1]),
        ("entropy-bound", 0.4, [0.8, 0.9, 0.6], [0.3, 0.1, 0.6], [0, 1, 2]),
        ("fixed", 1, [0.8, 0.9, 0.6], None, [1]),
        ("fixed", 2, [0.8, 0.9, 0.6], None, [0, 1]),
    ],
)
def test_schedules(kind: str, level: float, score: list[float], entropy: list[float] | None, expected: list[int]) -> None:
    assert Schedule(kind, level, 1.0).choose(range(len(score)), proposal(score, entropy), ()) == expected  # type: ignore[arg-type]


def test_nothing_is_committed_behind_a_change_of_length() -> None:
    found = proposal([0.95, 0.99, 0.97], tokens=[A, EXPAND, B])
    assert Schedule("threshold", 0.9).choose([0, 1, 2], found, (EXPAND, END)) == [0, 1]


def test_an_unsure_change_of_length_waits_for_sure_text_behind_it() -> None:
    found = proposal([0.4, 0.95], tokens=[END, B])
    assert Schedule("threshold", 0.9, 0.0).choose([0, 1], found, (END,)) == [1]


def test_a_fixed_schedule_commits_exactly_what_it_says_whatever_the_bias() -> None:
    assert Schedule("fixed", 1, 0.0).choose([0, 1, 2], proposal([0.1, 0.2, 0.3]), ()) == [2]


def test_left_bias_orders_equal_candidates() -> None:
    assert Schedule("threshold", 0.9, 0.5).choose([0, 1, 2], proposal([0.1, 0.2, 0.3]), ()) == [0]
    assert Schedule("threshold", 0.9, 1.0).choose([0, 1, 2], proposal([0.1, 0.2, 0.3]), ()) == [2]


@pytest.mark.parametrize(("gaps", "progress", "wide"), [([8.0, 7.0], 0, True), ([6.0], 0, False), ([6.0], 0.5, True), ([3.0], 0.9, True)])
def test_wide_lead(gaps: list[float], progress: float, wide: bool) -> None:
    assert wide_lead(gaps, progress) is wide


def test_scores_by_hand() -> None:
    rows = torch.tensor([[0.5, 0.25, 0.125, 0.125], [0.25, 0.25, 0.25, 0.25]]).log()
    vocabulary = Vocabulary([], [], 3)
    expected = {
        "confidence": [0.5, 0.25],
        "margin": [0.25, 0.0],
        "entropy": [math.exp(-1.75 * math.log(2)), 0.25],
    }
    for kind, values in expected.items():
        found = Sampler(vocabulary, Wanted(score=kind, entropy=True, gap=True)).propose(rows, Rules())  # type: ignore[arg-type]
        assert found.score == pytest.approx(values, abs=1e-5), kind
        assert found.entropy == pytest.approx([1.75 * math.log(2), 2 * math.log(2)], abs=1e-5)
        assert found.gap == pytest.approx([math.log(2), 0.0], abs=1e-5)
        assert found.confidence == pytest.approx([0.5, 0.25], abs=1e-5)


def test_held_is_the_probability_of_what_stands_there() -> None:
    rows = torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log()
    assert Sampler(Vocabulary([], [], 3), Wanted(held=True)).propose(rows, Rules(), [1]).held == pytest.approx([0.25])


@pytest.mark.parametrize(("top_p", "possible"), [(0.4, {0}), (0.6, {0, 1}), (1.0, {0, 1, 2, 3})])
def test_top_p_keeps_the_nucleus(top_p: float, possible: set[int]) -> None:
    rows = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log().expand(400, -1)
    found = Sampler(Vocabulary([], [], 3), temperature=1.0, top_p=top_p).propose(rows, Rules())
    assert set(found.tokens) == possible


def test_stops_count_for_the_end() -> None:
    rows = torch.tensor([[0.3, 0.25, 0.25, 0.2]]).log()
    found = Sampler(Vocabulary([], [], 1, stops=(2, 3)), Wanted()).propose(rows, Rules())
    assert (found.tokens, found.confidence) == ([1], pytest.approx([0.7]))


# DreamOn's loop, step by step. A step is: what was committed, and what the canvas must be afterwards.


def test_expand_and_delete_by_hand() -> None:
    rule = ExpandDelete(EXPAND, END, max_slots=6)
    canvas = Canvas(4, MASK, END)
    rule.settle(canvas, [(0, A, 0.9)])
    assert canvas.tokens == [A, MASK, MASK, MASK]
    rule.settle(canvas, [(1, EXPAND, 0.8)])  # one slot becomes two
    assert canvas.tokens == [A, MASK, MASK, MASK, MASK]
    rule.settle(canvas, [(2, B, 0.7)])
    assert canvas.tokens == [A, MASK, B, MASK, MASK]
    rule.settle(canvas, [(3, END, 0.6)])  # deletion takes the masks behind it along
    assert canvas.tokens == [A, MASK, B]
    rule.settle(canvas, [(1, END, 0.5)])  # and what is committed behind it stays
    assert canvas.tokens == [A, B]
    assert math.exp(canvas.logprob()) == pytest.approx(0.9 * 0.7 * 0.8 * 0.6 * 0.5)


def test_deletion_is_broadcast_over_masks_between_committed_text() -> None:
    canvas = Canvas(0, MASK, END, [MASK, A, MASK, B, MASK])
    ExpandDelete(EXPAND, END, 8).settle(canvas, [(0, END, 1.0)])
    assert canvas.tokens == [A, B]


def test_everything_can_be_deleted() -> None:
    canvas = Canvas(64, MASK, END)
    ExpandDelete(EXPAND, END, 64).settle(canvas, [(0, END, 0.9)])
    assert (canvas.tokens, canvas.done) == ([], True)


def test_several_expansions_keep_their_places() -> None:
    canvas = Canvas(3, MASK, END)
    ExpandDelete(EXPAND, END, 8).settle(canvas, [(0, EXPAND, 1.0), (1, A, 1.0), (2, EXPAND, 1.0)])
    assert canvas.tokens == [MASK, MASK, A, MASK, MASK]


def test_expansion_ends_with_its_budget() -> None:
    rule = ExpandDelete(EXPAND, END, 3)
    canvas = Canvas(2, MASK, END)
    assert rule.may_expand(canvas)
    rule.settle(canvas, [(0, EXPAND, 1.0)])
    assert canvas.size == 3
    assert not rule.may_expand(canvas)
    # A hole that shrinks and grows for ever is stopped by the number of expansions.
    canvas.tokens, canvas.expansions = [MASK], 3
    assert not rule.may_expand(canvas)


def test_an_expand_token_is_not_proposed_without_leave() -> None:
    rows = torch.tensor([[0.0, 0.0, 5.0, 1.0, 0.0, 0.0]])
    sampler = Sampler(Vocabulary([MASK], [], END, expand=EXPAND))
    assert sampler.propose(rows, Rules(expand=True)).tokens == [EXPAND]
    assert sampler.propose(rows, Rules()).tokens == [A]


def test_end_token_rule_by_hand() -> None:
    rule = EndToken(END, grow=4, max_slots=10)
    canvas = Canvas(4, MASK, END)
    rule.settle(canvas, [(1, A, 0.9)])
    assert rule.end_from(canvas) == 2
    assert rule.continues(canvas) == 4
    rule.settle(canvas, [(2, END, 0.9)])
    assert canvas.tokens == [MASK, A, END, END]
    assert rule.continues(canvas) == 0
    assert EndToken(END, 4, 5).continues(Canvas(0, MASK, END, [A] * 4)) == 1


@pytest.mark.parametrize(
    ("most", "one_line", "least", "sizes"),
    [
        (8, False, 1, (1, 2, 4, 8)),
        (256, True, 1, (1, 2, 4, 8, 12, 16, 24, 32, 48)),
        (20, False, 6, (8, 12, 16)),
        (3, False, 3, (3,)),
    ],
)
def test_probe_sizes(most: int, one_line: bool, least: int, sizes: tuple[int, ...]) -> None:
    assert probe_sizes(most, one_line, least) == sizes


def test_cal_divides_by_what_length_alone_explains() -> None:
    background = [math.exp(-1.77 * n) + 0.56 * math.exp(-0.06 * n) + 0.24 for n in (1, 8, 64)]
    assert background == pytest.approx([0.9377, 0.5865, 0.2520], abs=1e-4)
    assert calibrated((1, 8, 64), [0.9, 0.8, 0.3]) == pytest.approx([0.9 / 0.9377, 0.8 / 0.5865, 0.3 / 0.2520], abs=1e-3)


def test_the_entropy_fit_removes_the_trend_of_the_prompt() -> None:
    sizes = (1, 2, 4, 8, 16)
    values = [-0.5 * math.log(n) - 1.0 for n in sizes]
    values[2] += 0.3  # four tokens fit better than the trend says
    fitted = entropy_fit(sizes, values)
    assert max(zip(fitted, sizes, strict=True))[1] == 4
    assert max(fitted) - min(fitted) == pytest.approx(0.3, abs=0.1)


def test_candidates_join_both_scores() -> None:
    sizes = (1, 2, 4, 8, 16)
    confidence = [0.5, 0.5, 0.5, 0.9, 0.4]
    negentropy = [-1.0, -0.2, -2.0, -2.6, -3.3]
    assert candidates(sizes, "calibrated", confidence, negentropy) == [8]
    assert candidates(sizes, "entropy-fit", confidence, negentropy) == [2]
    both = candidates(sizes, "hypotheses", confidence, negentropy)
    assert both[:2] == [8, 2]
    assert len(both) == 3


def test_preference_weighs_inside_and_suffix_alike() -> None:
    assert preference(-1.0, -3.0) == -2.0
    assert preference(-1.0, None) == -1.0


def test_remask_by_confidence_by_hand() -> None:
    canvas = Canvas(0, MASK, END, [A, B, C, MASK, A, END])
    canvas.fixed[0] = True
    held = [0.01, 0.05, 0.5, 0.0, 0.02, 0.0]
    choose = Remask("confidence").choose
    assert choose(canvas, held, [3], random.Random(0)) == [4]  # half of one, rounded up: the most doubted
    assert choose(canvas, held, [3, 2], random.Random(0)) == [4]
    assert choose(canvas, held, [3, 2, 2], random.Random(0)) == [1, 4]
    canvas.remasked[4] = 1  # opened once already
    assert choose(canvas, held, [3], random.Random(0)) == [1]
    assert Remask("none").choose(canvas, held, [3], random.Random(0)) == []


def test_remdm_opens_less_than_its_cap_and_rather_the_unsure() -> None:
    opened = [0, 0]
    rng = random.Random(1)
    for _ in range(4000):
        canvas = Canvas(0, MASK, END, [A, B, MASK, MASK])
        canvas.confidence = [0.99, 0.05, 0.0, 0.0]
        for slot in Remask("remdm").choose(canvas, [], [2], rng):
            opened[slot] += 1
    # sigma = min(0.2, (1 - 2/4) / (1/4)) = 0.2, shared by softmax(-0.99, -0.05)
    share = math.exp(-0.05) / (math.exp(-0.05) + math.exp(-0.99))
    assert opened[1] / 4000 == pytest.approx(0.2 * share, abs=0.02)
    assert opened[0] / 4000 == pytest.approx(0.2 * (1 - share), abs=0.02)


def test_halves_hide_every_token_once() -> None:
    assert halves([A, B, C], MASK) == ([MASK, B, MASK], [A, MASK, C])


@pytest.mark.parametrize(("noise", "slots"), [(0.0, []), (0.25, [1]), (0.26, [1, 2]), (0.5, [1, 2]), (1.0, [0, 1, 2, 3])])
def test_least_confident(noise: float, slots: list[int]) -> None:
    assert least_confident([0.9, 0.1, 0.2, 0.8], noise) == slots


@pytest.mark.parametrize(
    ("tokens", "circles"),
    [
        ([], False),
        ([7] * 23, False),
        ([1, 2, 3] + [7] * 24, True),
        ([7] * 24 + [8], False),
        ([1, 2, 3] * 8, True),
        ([9, *([1, 2, 3] * 8)], True),
        ([1, 2, 3] * 7 + [1, 2], False),
        (list(range(12)) * 4, True),
        (list(range(12)) * 3 + list(range(11)), False),
        (list(range(13)) * 8, False),
        ([1, 2] * 6 + [3] + [1, 2] * 11, False),
    ],
)
def test_circles(tokens: list[int], circles: bool) -> None:
    assert goes_in_circles(tokens) is circles
