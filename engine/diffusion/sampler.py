"""The sampler proposes one token and its probability for every slot of a canvas. It commits nothing.

Shape suffixes: C slots, V vocabulary.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Proposal:
    """The best token of each slot and its probability."""

    tokens: list[int]
    confidence: list[float]


@dataclass(frozen=True, slots=True)
class Rules:
    """What the state of a canvas rules out.

    Slots from `one_line_from` on may not hold a line end, slots before `end_from` not the end of the hole; `only` =
    (slot, ids) restricts one slot to some tokens.
    """

    one_line_from: int = sys.maxsize
    end_from: int = 0
    only: tuple[int, list[int]] | None = None


class Sampler:
    """Greedy proposals with some tokens ruled out.

    `forbidden_ids` never appear (mask, padding, document marks). `line_end_ids` are tokens that hold a line end; where a
    hole is limited to its line, their probability counts for the end: the text ends there either way.
    """

    def __init__(self, forbidden_ids: Sequence[int], line_end_ids: Sequence[int], end_id: int, device: str | torch.device = "cpu") -> None:
        self._forbidden = torch.tensor(sorted(forbidden_ids), device=device)
        self._line_ends = torch.tensor(sorted(line_end_ids), device=device)
        self._end_id = end_id

    def propose(self, logits_CV: Tensor, rules: Rules) -> Proposal:
        """Propose for every slot from logits [C, V]."""
        scores = logits_CV.float()
        scores.index_fill_(1, self._forbidden, -torch.inf)
        if rules.one_line_from < scores.shape[0] and len(self._line_ends):
            rows = scores[rules.one_line_from :]
            folded = torch.cat((rows[:, self._line_ends], rows[:, self._end_id, None]), dim=1).logsumexp(dim=1)
            rows.index_fill_(1, self._line_ends, -torch.inf)
            rows[:, self._end_id] = folded
        scores[: rules.end_from, self._end_id] = -torch.inf
        if rules.only is not None:
            slot, ids = rules.only
            kept = scores[slot, ids].clone()
            scores[slot] = -torch.inf
            scores[slot, ids] = kept
        confidence, tokens = scores.softmax(dim=-1).max(dim=-1)
        return Proposal(tokens.tolist(), confidence.tolist())
