"""Sampler, schedule, canvas and the loop, on hand-written logits."""

from __future__ import annotations

import pytest
import torch

from engine.diffusion.canvas import Canvas
from engine.diffusion.denoise import Goal, denoise
from engine.diffusion.length import cut_lines
from engine.diffusion.sampler import Proposal, Rules, Sampler
from engine.diffusion.schedule import ThresholdSchedule

MASK, END, NEWLINE, A, B, C = range(6)
TOKENS = {NEWLINE: b"\n", A: b"a", B: b"ab", C: b"c"}


class Bytes:
    """The constraint over the small vocabulary above."""

    def allowed(self, forced: bytes) -> list[int]:
        return [i for i, piece in TOKENS.items() if piece.startswith(forced) or forced.startswith(piece)]

    def rest(self, forced: bytes, token: int) -> bytes:
        piece = TOKENS[token]
        return forced[len(piece) :] if forced.startswith(piece) else b""


def _sampler() -> Sampler:
    return Sampler([MASK], [NEWLINE], END)


def _logits(*rows: dict[int, float]) -> torch.Tensor:
    out = torch.full((len(rows), 6), -20.0)
    for index, row in enumerate(rows):
        for token, probability in row.items():
            out[index, token] = torch.tensor(probability).log()
    return out


ANYTHING = Goal()


def _run(
    rows: list[dict[int, float]], goal: Goal = ANYTHING, threshold: float = 0.9, left_bias: float = 0.0
) -> tuple[Canvas, list[tuple[int, ...]]]:
    canvas = Canvas(len(rows), MASK, END)
    steps = denoise(lambda tokens: _logits(*rows), canvas, goal, _sampler(), ThresholdSchedule(0.9, left_bias), Bytes())
    return canvas, [step.committed for step in steps]


def test_sure_slots_are_committed_together() -> None:
    canvas, steps = _run([{A: 0.95, B: 0.05}, {B: 0.99, A: 0.01}, {END: 1.0}, {END: 1.0}])
    assert canvas.content() == [A, B]
    assert steps == [(0, 1, 2)]


def test_an_unsure_canvas_goes_left_to_right_one_a_step() -> None:
    canvas, steps = _run([{A: 0.6, B: 0.4}, {B: 0.7, C: 0.3}, {END: 0.8, C: 0.2}, {C: 0.6, END: 0.4}])
    assert steps == [(0,), (1,), (2,)]
    assert canvas.content() == [A, B]
    assert canvas.confidence[:3] == pytest.approx([0.6, 0.7, 0.8], abs=1e-3)


def test_plain_confidence_order_takes_the_surest_slot_first() -> None:
    _, steps = _run([{A: 0.6, B: 0.4}, {B: 0.8, C: 0.2}, {C: 0.7, A: 0.3}], left_bias=1.0)
    assert steps == [(1,), (2,), (0,)]


def test_a_sure_end_far_right_narrows_the_canvas_at_once() -> None:
    canvas, steps = _run([{A: 0.6, B: 0.4}, {B: 0.5, END: 0.5}, {C: 0.6, END: 0.4}, {END: 0.95, A: 0.05}])
    assert steps[0] == (0, 3)
    assert canvas.end in (1, 2, 3)


def test_text_behind_a_sure_end_waits() -> None:
    canvas, steps = _run([{A: 0.6, B: 0.4}, {END: 0.95, B: 0.05}, {C: 0.99, A: 0.01}])
    assert steps[0] == (0, 1)
    assert canvas.content() == [A]


def test_the_end_never_cuts_committed_text() -> None:
    # Slot 2 is committed first; then slot 0 wants to end the hole, and must not.
    canvas, _ = _run([{END: 0.6, A: 0.4}, {END: 0.6, B: 0.4}, {C: 0.99, A: 0.01}])
    assert canvas.content() == [A, B, C]


def test_an_empty_hole_is_reachable() -> None:
    canvas, steps = _run([{END: 0.7, A: 0.3}, {END: 0.8, A: 0.2}])
    assert canvas.content() == []
    assert len(steps) == 1


def test_forced_bytes_come_first_and_one_at_a_time() -> None:
    canvas, steps = _run([{C: 0.9, B: 0.06, A: 0.04}, {C: 0.97, A: 0.03}, {END: 1.0}], Goal(forced=b"abc"))
    assert canvas.content() == [B, C]
    assert steps[:2] == [(0,), (1,)]


def test_a_forced_start_cannot_be_skipped_by_an_end() -> None:
    canvas, _ = _run([{END: 0.99, A: 0.01}, {END: 1.0}], Goal(forced=b"a"))
    assert canvas.content() == [A]


def test_a_line_end_ends_a_one_line_hole() -> None:
    canvas, _ = _run([{A: 1.0}, {NEWLINE: 0.6, B: 0.4}, {B: 0.8, C: 0.2}], Goal(one_line=True))
    assert canvas.content() == [A]


def test_a_forced_line_end_is_kept_and_the_next_one_ends_the_hole() -> None:
    canvas, _ = _run([{NEWLINE: 0.5, A: 0.5}, {NEWLINE: 0.8, A: 0.2}, {B: 0.7, C: 0.3}], Goal(forced=b"\n", one_line=True))
    assert canvas.content() == [NEWLINE]


def test_line_end_probability_is_added_to_the_end() -> None:
    proposal = _sampler().propose(_logits({NEWLINE: 0.4, END: 0.3, A: 0.3}), Rules(one_line_from=0))
    assert proposal.tokens == [END]
    assert proposal.confidence == pytest.approx([0.7], abs=1e-3)


def test_the_mask_is_never_proposed() -> None:
    assert _sampler().propose(_logits({MASK: 0.9, A: 0.1}), Rules()).tokens == [A]


def test_the_schedule_always_commits_something() -> None:
    canvas = Canvas(3, MASK, END)
    assert ThresholdSchedule(0.9, 0.5).choose(canvas, Proposal([A, B, C], [0.1, 0.2, 0.3])) == [0]
    assert ThresholdSchedule(0.9, 1.0).choose(canvas, Proposal([A, B, C], [0.1, 0.2, 0.3])) == [2]


@pytest.mark.parametrize(
    ("text", "lines", "expected"),
    [
        ("a\nb\nc", 0, ("a\nb\nc", False)),
        ("a\nb\nc", 2, ("a\nb", True)),
        ("a", 1, ("a", False)),
        ("a\n", 1, ("a", True)),
        ("", 1, ("", False)),
    ],
)
def test_cut_lines(text: str, lines: int, expected: tuple[str, bool]) -> None:
    assert cut_lines(text, lines) == expected
