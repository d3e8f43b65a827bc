"""The sampler proposes one token for every slot of a canvas and says how sure it is. It commits nothing.

Shape suffixes: C slots, V vocabulary.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from engine.errors import DeviceError

ScoreKind = Literal["confidence", "margin", "entropy"]


@dataclass(frozen=True, slots=True)
class Proposal:
    """One token for each slot.

    `confidence` is its probability. `score` ranks slots, 0 to 1, higher is surer: the probability, its lead over the second
    best, or exp(-entropy). `entropy` (nats) and `gap` (between the two best logits) are empty unless a rule needs them, as
    is `held`: the probability of the token that stands in each slot now. `logprobs` is [C, V] where stability needs it.
    """

    tokens: list[int]
    confidence: list[float]
    score: list[float]
    entropy: list[float]
    gap: list[float]
    held: list[float]
    logprobs: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """What the state of a canvas rules out.

    Slots from `one_line_from` on may not hold a line end; from `fold_from` on, a line end counts for the end of the hole.
    Slots before `end_from` may not hold the end. `expand` allows the token that turns one slot into two. `only` =
    (slot, ids) restricts one slot to some tokens.
    """

    one_line_from: int = sys.maxsize
    fold_from: int = sys.maxsize
    end_from: int = 0
    expand: bool = False
    only: tuple[int, list[int]] | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a proposal must hold beyond tokens, confidence and score; each costs a pass over the vocabulary."""

    score: ScoreKind = "confidence"
    entropy: bool = False
    gap: bool = False
    held: bool = False
    logprobs: bool = False


class Vocabulary:
    """Ids with a meaning for decoding, on the device of the logits.

    `forbidden` never appear (mask, padding, document marks). `line_ends` are tokens that hold a line end. `stops` end the
    text as `end` does: their probability counts for it.
    """

    def __init__(
        self,
        forbidden: Sequence[int],
        line_ends: Sequence[int],
        end: int,
        *,
        expand: int | None = None,
        stops: Sequence[int] = (),
        device: str | torch.device = "cpu",
    ) -> None:
        self.forbidden = torch.tensor(sorted(set(forbidden) - {end, expand, *stops}), dtype=torch.long, device=device)
        self.line_ends = torch.tensor(sorted(line_ends), dtype=torch.long, device=device)
        self.stops = torch.tensor(sorted(stops), dtype=torch.long, device=device)
        self.end, self.expand = end, expand


class Sampler:
    """Proposals under rules: greedy at temperature 0, else drawn from the tempered nucleus (top-p, arXiv 1904.09751).

    One sampler serves one attempt from its first step to its last, so that what it draws does not depend on what else is in a
    batch; `rng` is for those who draw beside it.
    """

    def __init__(
        self, vocabulary: Vocabulary, wanted: Wanted = Wanted(), *, temperature: float = 0.0, top_p: float = 1.0, seed: int = 0
    ) -> None:
        self._vocabulary, self._wanted = vocabulary, wanted
        self._temperature, self._top_p = temperature, top_p
        self._generator = torch.Generator(vocabulary.forbidden.device).manual_seed(seed)
        self.rng = random.Random(seed)

    def propose(self, logits_CV: Tensor, rules: Rules, present: Sequence[int] = ()) -> Proposal:
        """Propose for every slot from logits [C, V]; `present` are the tokens that stand in the slots now, for `held`.

        Temperature and top-p decide what is drawn and how slots rank; what is reported as probability, entropy and gap is the
        model's own.
        """
        scores = self.constrain(logits_CV, rules)
        wanted = self._wanted
        logprobs = scores.log_softmax(dim=-1)
        ranking = logprobs
        if self._temperature > 0:
            ranking = _nucleus(scores / self._temperature, self._top_p).log_softmax(dim=-1)
            tokens = torch.multinomial(ranking.exp(), 1, generator=self._generator)[:, 0]
            confidence = logprobs.gather(1, tokens[:, None])[:, 0].exp()
        else:
            best, tokens = logprobs.max(dim=-1)
            confidence = best.exp()
        columns = {"tokens": tokens.float(), "confidence": confidence}  # ids below 2**24 are exact in float32
        if wanted.entropy:
            columns["entropy"] = _entropy(logprobs)
        if wanted.gap:
            two = scores.topk(2, dim=-1).values
            columns["gap"] = (two[:, 0] - two[:, 1]).nan_to_num(posinf=1e4)
        if wanted.score == "entropy":
            columns["score"] = _entropy(ranking).neg().exp()
        elif wanted.score == "margin":
            columns["score"] = ranking.topk(2, dim=-1).values.exp().diff(dim=-1)[:, 0].neg()
        elif self._temperature > 0:
            columns["score"] = ranking.gather(1, tokens[:, None])[:, 0].exp()
        if wanted.held and present:
            standing = torch.tensor(present, device=logits_CV.device)
            columns["held"] = logits_CV.float().log_softmax(dim=-1).gather(1, standing[:, None])[:, 0].exp()
        rows = dict(zip(columns, torch.stack(list(columns.values())).tolist(), strict=True))  # one transfer from the device
        if any(math.isnan(value) for value in rows["confidence"]):
            raise DeviceError(
                "The model computes values that are not numbers.",
                "Use dtype bfloat16 or float32; `dlsp models verify` looks for damage in the weights.",
            )
        return Proposal(
            [int(token) for token in rows["tokens"]],
            rows["confidence"],
            rows.get("score", rows["confidence"]),
            rows.get("entropy", []),
            rows.get("gap", []),
            rows.get("held", []),
            logprobs if wanted.logprobs else None,
        )

    def constrain(self, logits_CV: Tensor, rules: Rules) -> Tensor:
        """Float32 copy of the logits in which everything that is ruled out is -inf."""
        v = self._vocabulary
        scores = logits_CV.to(torch.float32, copy=True)
        scores.index_fill_(1, v.forbidden, -torch.inf)
        if v.expand is not None and not rules.expand:
            scores[:, v.expand] = -torch.inf
        if len(v.stops):
            scores[:, v.end] = torch.cat((scores[:, v.stops], scores[:, v.end, None]), dim=1).logsumexp(dim=1)
            scores.index_fill_(1, v.stops, -torch.inf)
        if len(v.line_ends):
            if rules.fold_from < scores.shape[0]:
                rows = scores[rules.fold_from :]
                rows[:, v.end] = torch.cat((rows[:, v.line_ends], rows[:, v.end, None]), dim=1).logsumexp(dim=1)
            if rules.one_line_from < scores.shape[0]:
                scores[rules.one_line_from :].index_fill_(1, v.line_ends, -torch.inf)
        scores[: rules.end_from, v.end] = -torch.inf
        if rules.only is not None:
            slot, ids = rules.only
            kept = scores[slot, ids].clone()
            scores[slot] = -torch.inf
            scores[slot, ids] = kept
        return scores

    def best(self, logits_CV: Tensor, rules: Rules, slot: int, count: int) -> list[tuple[int, float]]:
        """The `count` most probable tokens of one slot with their probabilities, best first."""
        p = self.constrain(logits_CV, rules)[slot].softmax(dim=-1).topk(min(count, logits_CV.shape[1]))
        return [(int(t), float(c)) for t, c in zip(p.indices, p.values, strict=True) if c > 0]


def _entropy(logprobs_CV: Tensor) -> Tensor:
    """Nats, [C]."""
    return -(logprobs_CV.exp() * logprobs_CV.clamp_min(-1e4)).sum(dim=-1)


def _nucleus(scores_CV: Tensor, top_p: float) -> Tensor:
    """Scores with everything outside the smallest set of tokens that holds `top_p` of the probability at -inf."""
    if top_p >= 1:
        return scores_CV
    ordered, order = scores_CV.sort(dim=-1, descending=True)
    before = ordered.softmax(dim=-1).cumsum(dim=-1) - ordered.softmax(dim=-1)
    return scores_CV.masked_fill((before > top_p).scatter(1, order, before > top_p), -torch.inf)
