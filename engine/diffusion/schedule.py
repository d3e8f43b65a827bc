"""Schedules decide which proposals a step commits. They know proposals, not networks.

Every schedule commits at least one slot, so that a canvas of C slots takes at most C steps plus one for each expansion.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from engine.diffusion.sampler import Proposal

ScheduleKind = Literal["threshold", "factor", "entropy-bound", "fixed"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How many proposals a step commits.

    - `threshold`: every slot whose score is at least `level` (Fast-dLLM, arXiv 2505.22618).
    - `factor`: the n surest slots for the largest n with (n + 1) * (1 - score of the n-th) < `level` (the same paper).
    - `entropy-bound`: the longest run of slots, surest first, whose joint uncertainty stays below `level` nats: the sum of
      their entropies without the largest (EB-sampler, arXiv 2505.24857).
    - `fixed`: the `level` surest slots. Quality collapses above 1 (published for DreamOn: 92.1, 87.2 and 78.8 % of HumanEval's
      single lines at 1, 2 and 4 tokens a step); it is here to compare with, and nobody's default.

    With `threshold`, and where none qualifies, the best slot is committed as well: by score * left_bias ** rank, rank
    counting masked slots from the left (1 is plain score order, 0 strictly left to right).
    """

    kind: ScheduleKind = "threshold"
    level: float = 0.9
    left_bias: float = 1.0

    def choose(
        self, masked: Sequence[int], proposal: Proposal, changes: Collection[int], stable: Collection[int] | None = None
    ) -> list[int]:
        """Slots to commit, ascending, among `masked`.

        `changes` are tokens that change the length (end, expand): behind the first of them nothing is committed, for what
        stands there may move or go. An unsure one is not taken in front of sure text. With `stable`, only these slots
        count as sure.
        """
        sure = [s for s in self._sure(masked, proposal) if stable is None or s in stable]
        if self.kind != "threshold" and sure:
            return until_change(sure, proposal, changes)
        best = max(enumerate(masked), key=lambda item: (proposal.score[item[1]] * self.left_bias ** item[0], -item[0]))[1]
        sure_text_behind = any(s > best and proposal.tokens[s] not in changes for s in sure)
        if best not in sure and not (proposal.tokens[best] in changes and sure_text_behind):
            sure = sorted([*sure, best])
        return until_change(sure, proposal, changes)

    def _sure(self, masked: Sequence[int], proposal: Proposal) -> list[int]:
        if self.kind == "threshold":
            return [s for s in masked if proposal.score[s] >= self.level]
        ranked = sorted(masked, key=lambda s: -proposal.score[s])
        if self.kind == "fixed":
            return sorted(ranked[: max(1, int(self.level))])
        count = 0
        if self.kind == "factor":
            for n, slot in enumerate(ranked, 1):
                if (n + 1) * (1 - proposal.score[slot]) < self.level:
                    count = n
            return sorted(ranked[:count])
        total = largest = 0.0
        for n, slot in enumerate(ranked, 1):
            entropy = proposal.entropy[slot]
            total, largest = total + entropy, max(largest, entropy)
            if total - largest > self.level + 1e-9:
                break
            count = n
        return sorted(ranked[:count])


def until_change(slots: Sequence[int], proposal: Proposal, changes: Collection[int]) -> list[int]:
    """`slots` (ascending) up to and including the first whose proposal changes the length."""
    for index, slot in enumerate(slots):
        if proposal.tokens[slot] in changes:
            return list(slots[: index + 1])
    return list(slots)


def wide_lead(gaps: Sequence[float], progress: float) -> bool:
    """Whether everything left may be committed at once: the mean lead of the best logit over the second one is above 7.5 in
    the first third of the work, 5 in the second, 2.5 in the last (Prophet, arXiv 2508.19982). `progress` is 0 to 1."""
    needed = 7.5 if progress < 0.33 else 5.0 if progress < 0.67 else 2.5
    return bool(gaps) and sum(gaps) / len(gaps) >= needed
