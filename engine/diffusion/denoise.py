"""The denoise loop: a generator, one yield a step, from masked canvases to finished holes.

It knows neither network nor editor: `forward` gives logits for all canvases of all drafts in one batch, the sampler
proposes, the schedule commits, length and remask rules change the canvases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from engine.diffusion.canvas import Canvas
from engine.diffusion.length import LengthRule
from engine.diffusion.remask import Remask, halves
from engine.diffusion.sampler import Proposal, Rules, Sampler
from engine.diffusion.schedule import Schedule, until_change, wide_lead

Forward = Callable[[Sequence[Sequence[Sequence[int]]]], list[list[Tensor]]]
"""Logits [C, V] for the present tokens of every hole of every draft (drafts, holes, slots), row c scoring the token AT slot c."""

STABLE_STEPS = 2
"""Steps in which a slot's distribution must not have moved to count as stable (KLASS, shkim0116/KLASS)."""


class Constraint(Protocol):
    """What the text must begin with: consumed token by token from the left."""

    def allowed(self, forced: bytes) -> list[int]:
        """Ids that may come next."""
        ...

    def covering(self, forced: bytes) -> list[int]:
        """Ids that hold all of `forced`."""
        ...

    def rest(self, forced: bytes, token: int) -> bytes:
        """What is still forced after `token`."""
        ...


@dataclass(slots=True)
class Region:
    """One hole under way: its canvas must become text that begins with `forced`, on one line if `one_line`.

    With `at_once` a single token must hold all that is forced: behind it stand tokens of a draft. With `elastic` a forced
    start that is longer than the canvas gets a slot more; else the next canvas takes the rest. `stability` remembers the last
    distributions and for how many steps each slot has kept still.
    """

    canvas: Canvas
    length: LengthRule
    forced: bytes = b""
    one_line: bool = False
    at_once: bool = False
    elastic: bool = False
    stability: tuple[Tensor, list[int]] | None = None

    @property
    def done(self) -> bool:
        """True when nothing is left to denoise."""
        return self.canvas.done

    def rules(self, constraint: Constraint) -> Rules:
        """What may be proposed for this canvas now. While forced bytes are left the end is ruled out at the frontier."""
        canvas = self.canvas
        frontier = canvas.frontier
        begun = frontier + bool(self.forced)
        end_from = max(self.length.end_from(canvas), begun)
        if not self.one_line:
            return Rules(end_from=end_from, expand=self.length.may_expand(canvas), only=self._only(constraint))
        # The line end that healing took back belongs to the line before; only the next one ends the hole.
        return Rules(
            one_line_from=begun,
            fold_from=max(end_from, canvas.text_end),
            end_from=end_from,
            expand=self.length.may_expand(canvas),
            only=self._only(constraint),
        )

    def _only(self, constraint: Constraint) -> tuple[int, list[int]] | None:
        if not self.forced:
            return None
        ids = constraint.covering(self.forced) if self.at_once else constraint.allowed(self.forced)
        return self.canvas.frontier, ids


@dataclass(slots=True)
class Draft:
    """One attempt at all holes of a request: its regions, and the sampler that proposes for it."""

    regions: list[Region]
    sampler: Sampler

    @property
    def done(self) -> bool:
        """True when every hole is finished."""
        return all(region.done for region in self.regions)

    def tokens(self) -> list[list[int]]:
        """The present tokens of every hole."""
        return [region.canvas.tokens for region in self.regions]


@dataclass(frozen=True, slots=True)
class Plan:
    """How to denoise. `stability` > 0 (KL divergence, nats) counts only slots as sure that kept still; `early_commit`
    finishes a hole at once when everything left is clear. `speculative` has drafts checked left to right where they can be
    (see `speculation`); the rest of the plan is for those that cannot."""

    schedule: Schedule = field(default_factory=Schedule)
    remask: Remask = field(default_factory=Remask)
    early_commit: bool = False
    stability: float = 0.0
    speculative: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One denoise step: its number from 1, and the slots it committed in each hole of each draft (as they were numbered
    before the step; nothing for drafts that were done)."""

    number: int
    committed: tuple[tuple[tuple[int, ...], ...], ...]


def denoise(forward: Forward, drafts: Sequence[Draft], plan: Plan, constraint: Constraint) -> Iterator[Step]:
    """Denoise all drafts in place, one batch a step, until nothing is masked before any end."""
    number = 0
    while active := [draft for draft in drafts if not draft.done]:
        number += 1
        logits = iter(forward([draft.tokens() for draft in active]))
        committed: list[tuple[tuple[int, ...], ...]] = []
        for draft in drafts:
            if draft not in active:
                committed.append(((),) * len(draft.regions))
                continue
            rows = next(logits)
            committed.append(
                tuple(
                    () if region.done else _advance(region, scores, draft.sampler, plan, constraint)
                    for region, scores in zip(draft.regions, rows, strict=True)
                )
            )
        yield Step(number, tuple(committed))


def self_confidence(forward: Forward, holes: Sequence[Sequence[int]], drafted: Sequence[bool], mask_id: int) -> list[list[float]]:
    """The probability of every token of the drafted holes, each scored without seeing itself: one batched pass with the even
    slots masked and with the odd ones. Empty for the other holes."""
    maskings = [
        [halves(tokens, mask_id)[half] if scored else tokens for tokens, scored in zip(holes, drafted, strict=True)] for half in (0, 1)
    ]
    rows = forward(maskings)
    out: list[list[float]] = []
    for index, (tokens, scored) in enumerate(zip(holes, drafted, strict=True)):
        if not scored or not tokens:
            out.append([])
            continue
        both = torch.stack([rows[half][index].float().log_softmax(dim=-1) for half in (0, 1)])
        slots = torch.arange(len(tokens), device=both.device)
        out.append(both[slots % 2, slots, torch.tensor(tokens, device=both.device)].exp().tolist())
    return out


def branches(forward: Forward, draft: Draft, count: int, constraint: Constraint) -> list[list[tuple[int, float]]]:
    """The `count` best tokens with their probabilities for the first masked slot of each hole of `draft`."""
    out: list[list[tuple[int, float]]] = []
    for region, scores in zip(draft.regions, forward([draft.tokens()])[0], strict=True):
        if region.done:
            out.append([])
            continue
        out.append(draft.sampler.best(scores, region.rules(constraint), region.canvas.frontier, count))
    return out


def commit_first(region: Region, token: int, probability: float, constraint: Constraint) -> None:
    """Commit one token to the first masked slot, as a step would."""
    settle(region, [(region.canvas.frontier, token, probability)], token, constraint)


def settle(region: Region, chosen: Sequence[tuple[int, int, float]], first: int, constraint: Constraint) -> None:
    """Commit `chosen` (slot, token, probability) with all that follows; `first` is the token that the first masked slot
    gets where bytes are forced."""
    canvas, size = region.canvas, region.canvas.size
    region.length.settle(canvas, chosen)
    _after_forced(region, first, constraint)
    if region.done:
        canvas.insert(canvas.size, region.length.continues(canvas))
    if canvas.size != size:
        region.stability = None


def _advance(region: Region, logits_CV: Tensor, sampler: Sampler, plan: Plan, constraint: Constraint) -> tuple[int, ...]:
    canvas, length = region.canvas, region.length
    proposal = sampler.propose(logits_CV, region.rules(constraint), canvas.tokens if plan.remask.kind == "confidence" else ())
    masked = [slot for slot in canvas.masked if slot < canvas.end]
    stable = _still(region, proposal, plan.stability)
    if region.forced:
        # What stands further right depends on how the forced bytes are spelled.
        chosen = [canvas.frontier]
    elif plan.early_commit and wide_lead([proposal.gap[s] for s in masked], 1 - len(masked) / canvas.size):
        chosen = until_change(masked, proposal, length.changes)
    else:
        chosen = plan.schedule.choose(masked, proposal, length.changes, stable)
    for slot in masked:
        canvas.confidence[slot] = proposal.confidence[slot]
    size = canvas.size
    forced_token = proposal.tokens[canvas.frontier]
    settle(region, [(slot, proposal.tokens[slot], proposal.confidence[slot]) for slot in chosen], forced_token, constraint)
    if canvas.size == size:  # else slots have other numbers now
        for slot in plan.remask.choose(canvas, proposal.held, chosen, sampler.rng):
            canvas.remask(slot)
    return tuple(chosen)


def _after_forced(region: Region, token: int, constraint: Constraint) -> None:
    """Use up forced bytes. What holds them is never opened again; where they need one slot more, there is one more."""
    canvas = region.canvas
    if not region.forced:
        return
    region.forced = constraint.rest(region.forced, token)
    slot = canvas.frontier
    for before in range(slot):
        canvas.fixed[before] = True
    if region.forced and slot == canvas.size and region.elastic:
        canvas.insert(slot)


def _still(region: Region, proposal: Proposal, epsilon: float) -> set[int] | None:
    """Slots whose distribution has moved less than `epsilon` nats in each of the last steps; None where nobody asks."""
    if epsilon <= 0 or proposal.logprobs is None:
        return None
    now = proposal.logprobs
    counts = [0] * region.canvas.size
    if region.stability is not None:
        before, known = region.stability
        moved = (now.exp() * (now.clamp_min(-1e4) - before.clamp_min(-1e4))).sum(dim=-1).tolist()
        counts = [count + 1 if kl < epsilon else 0 for count, kl in zip(known, moved, strict=True)]
    region.stability = (now, counts)
    return {slot for slot, count in enumerate(counts) if count >= STABLE_STEPS}
