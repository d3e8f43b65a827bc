"""Remask rules: which committed slots are opened again. And the noise level: which tokens of a draft are written anew.

A slot is opened again at most once, so denoising always ends. Knows canvases and probabilities, not networks.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from engine.diffusion.canvas import Canvas

RemaskKind = Literal["none", "confidence", "remdm"]

DOUBTED_BELOW = 0.1
"""A committed token that the present canvas gives less probability than this is opened again by the rule `confidence`."""

REMDM_CAP = 0.2
"""Cap of the expected number of slots that `remdm` opens in a step."""


@dataclass(frozen=True, slots=True)
class Remask:
    """When committed slots are opened again.

    - `none`: never.
    - `confidence`: the slots whose token the canvas now doubts (`DOUBTED_BELOW`), the most doubted first, at most half as
      many as the step committed, rounded up (in the manner of Saber, zhaoyMa/Saber, which bounds them likewise).
    - `remdm`: at random, less confident slots sooner: slot l with probability sigma * softmax(-confidence)_l, sigma =
      min(cap, (1 - after) / before) of the shares committed before and after the step (ReMDM, arXiv 2503.00307).
    """

    kind: RemaskKind = "none"

    def choose(self, canvas: Canvas, held: Sequence[float], committed: Collection[int], rng: random.Random) -> list[int]:
        """Slots to open, given the probability of each standing token and the slots that this step has committed."""
        open_to_doubt = [
            slot
            for slot, token in enumerate(canvas.tokens)
            if token not in (canvas.mask_id, canvas.end_id)
            and slot not in committed
            and not canvas.fixed[slot]
            and not canvas.remasked[slot]
        ]
        if self.kind == "none" or not open_to_doubt:
            return []
        if self.kind == "confidence":
            doubted = sorted((s for s in open_to_doubt if held[s] < DOUBTED_BELOW), key=lambda s: held[s])
            return sorted(doubted[: math.ceil(len(committed) / 2)])
        standing = canvas.end - sum(token == canvas.mask_id for token in canvas.tokens[: canvas.end])
        before = max(1, standing - len(committed)) / max(1, canvas.end)
        after = standing / max(1, canvas.end)
        sigma = min(REMDM_CAP, (1 - after) / before)
        weights = [math.exp(-canvas.confidence[s]) for s in open_to_doubt]
        total = sum(weights)
        return [s for s, weight in zip(open_to_doubt, weights, strict=True) if rng.random() < sigma * weight / total]


def halves(tokens: Sequence[int], mask_id: int) -> tuple[list[int], list[int]]:
    """Two maskings of a draft that together hide each token once, so that each can be scored without seeing itself."""
    return tuple([mask_id if slot % 2 == half else token for slot, token in enumerate(tokens)] for half in (0, 1))  # type: ignore[return-value]


def least_confident(confidence: Sequence[float], noise: float) -> list[int]:
    """The share `noise` (0 to 1, rounded up) of the slots with the lowest confidence, ascending."""
    count = min(len(confidence), math.ceil(noise * len(confidence) - 1e-9))
    return sorted(sorted(range(len(confidence)), key=lambda slot: confidence[slot])[:count])
