"""The schedule decides which proposals a step commits.

Confidence-threshold parallel decoding (Fast-dLLM, arXiv 2505.22618): everything at or above the threshold, and always at
least one slot, so that a canvas of C slots takes at most C steps.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.diffusion.canvas import Canvas
from engine.diffusion.sampler import Proposal


@dataclass(frozen=True, slots=True)
class ThresholdSchedule:
    """`threshold` for parallel commits, and one slot whatever its confidence (but see `choose`).

    That slot is the best by confidence * left_bias ** rank, rank counting masked slots from the left: 1 is plain confidence
    order, 0 is strictly left to right.
    """

    threshold: float = 0.9
    left_bias: float = 0.0

    def choose(self, canvas: Canvas, proposal: Proposal) -> list[int]:
        """Slots to commit, ascending. Behind a chosen end nothing is chosen: there the text waits, the end may be wrong.
        An end that is not sure itself is not chosen in front of text that is."""
        masked = canvas.masked
        sure = [s for s in masked if proposal.confidence[s] >= self.threshold]
        best = max(enumerate(masked), key=lambda item: (proposal.confidence[item[1]] * self.left_bias ** item[0], -item[0]))[1]
        sure_text_behind = any(s > best and proposal.tokens[s] != canvas.end_id for s in sure)
        if best not in sure and not (proposal.tokens[best] == canvas.end_id and sure_text_behind):
            sure = sorted([*sure, best])
        for index, slot in enumerate(sure):
            if proposal.tokens[slot] == canvas.end_id:
                return sure[: index + 1]
        return sure
