"""The denoise loop: a generator, one yield a step, from an all-masked canvas to a finished hole.

It knows neither network nor editor: `forward` gives logits for a canvas, the sampler proposes, the schedule commits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from engine.diffusion.canvas import Canvas
from engine.diffusion.sampler import Rules, Sampler
from engine.diffusion.schedule import ThresholdSchedule

Forward = Callable[[list[int]], Tensor]
"""Logits [C, V] for the present tokens of a canvas, row c scoring the token AT slot c."""


class Constraint(Protocol):
    """What the text must begin with: consumed token by token from the left."""

    def allowed(self, forced: bytes) -> list[int]:
        """Ids that may come next."""
        ...

    def rest(self, forced: bytes, token: int) -> bytes:
        """What is still forced after `token`."""
        ...


@dataclass(frozen=True, slots=True)
class Goal:
    """What one canvas must become: text that begins with `forced`, on one line if `one_line`."""

    forced: bytes = b""
    one_line: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One denoise step: its number from 1, the slots it committed, and the canvas after it (live, not a copy)."""

    number: int
    committed: tuple[int, ...]
    canvas: Canvas


def denoise(
    forward: Forward, canvas: Canvas, goal: Goal, sampler: Sampler, schedule: ThresholdSchedule, constraint: Constraint
) -> Iterator[Step]:
    """Denoise `canvas` in place until nothing before its end is masked.

    While forced bytes are left, only the frontier slot is committed, from tokens that agree with them: what stands
    further right depends on how they are spelled. A line-limited hole may still hold the line end that is forced.
    """
    forced = goal.forced
    number = 0
    while not canvas.done:
        number += 1
        frontier = canvas.frontier
        text = [s for s, token in enumerate(canvas.tokens) if token not in (canvas.mask_id, canvas.end_id)]
        end_from = max(frontier, text[-1] + 1 if text else 0)
        # The line end that healing took back belongs to the line before; only the next one ends the hole.
        one_line_from = frontier + bool(forced) if goal.one_line else canvas.size
        only = (frontier, constraint.allowed(forced)) if forced else None
        rules = Rules(one_line_from, max(end_from, frontier + bool(forced)), only)
        proposal = sampler.propose(forward(canvas.tokens), rules)
        chosen = [frontier] if forced else schedule.choose(canvas, proposal)
        for slot in chosen:
            canvas.commit(slot, proposal.tokens[slot], proposal.confidence[slot])
        if forced:
            forced = constraint.rest(forced, proposal.tokens[frontier])
        for slot in canvas.masked:
            canvas.confidence[slot] = proposal.confidence[slot]
        yield Step(number, tuple(chosen), canvas)
