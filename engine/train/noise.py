"""What a canvas shows and what it must predict: the noise side of training, in plain lists, one canvas at a time.

Every slot behind the end of the hole is an end token. Loss weights depend on where a slot stands, never on what its
target is: a down-weighted end token would teach the model a wrong length.
"""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CanvasExample:
    """One canvas of C slots: `inputs`, `targets`, loss `weights`, whether it is read causally (`verify`), and whether its masks lie
    anywhere (`scattered`)."""

    inputs: list[int]
    targets: list[int]
    weights: list[float]
    verify: bool
    scattered: bool = False


def corrupt(hole: list[int], canvas: int, mask_id: int, end_id: int, rng: random.Random, verify_share: float = 0.3) -> CanvasExample:
    """Turn the tokens of a hole into a training canvas.

    `hole` may be longer than the canvas: then the canvas holds its first C tokens and no end. A verify canvas is clean
    and shifted right by one behind a mask, so that its slot c predicts token c from the tokens before it. A masked one
    shows one of the states that decoding passes through: all masked, a left part revealed (with or without the end
    tail already committed), or slots revealed at random with t ~ U(0, 1).
    """
    targets = (hole + [end_id] * canvas)[:canvas]
    end = min(len(hole), canvas)
    if rng.random() < verify_share:
        inputs = [mask_id, *targets[:-1]]
        return CanvasExample(inputs, targets, [1.0 if slot <= end else 0.0 for slot in range(canvas)], True)
    kind = rng.random()
    masked = [True] * canvas
    if kind < 0.55:
        for slot in range(rng.randint(0, end)):
            masked[slot] = False
        if end < canvas and rng.random() < 0.6:
            for slot in range(rng.randint(end, canvas), canvas):
                masked[slot] = False
    elif kind < 0.8:
        share = rng.random()
        masked = [rng.random() < share for _ in range(canvas)]
    if not any(masked):
        masked[rng.randint(0, min(end, canvas - 1))] = True
    return _masked(masked, targets, mask_id, scattered=0.55 <= kind < 0.8)


def complement(example: CanvasExample, mask_id: int) -> CanvasExample:
    """The canvas that shows what a masked one hides and hides what it shows, so that both together predict every token of the hole
    once (coupled sampling: DiffuCoder, arXiv 2506.20639)."""
    masked = [weight == 0 for weight in example.weights]
    return _masked(masked if any(masked) else [True] * len(masked), example.targets, mask_id, scattered=False)


def _masked(masked: list[bool], targets: list[int], mask_id: int, *, scattered: bool) -> CanvasExample:
    inputs = [mask_id if hidden else token for hidden, token in zip(masked, targets, strict=True)]
    weights, rank = [], 0
    for hidden in masked:
        weights.append(max(0.85**rank, 0.15) if hidden else 0.0)
        rank += hidden
    return CanvasExample(inputs, targets, weights, False, scattered)
