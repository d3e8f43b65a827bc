"""What both fillers have in common: jobs and answers, alternatives, drafts that are kept in part, and the run that can be stopped.

A filler takes a prompt with gaps to attempts at filling them; `in_place` and `rolling` are the two. Tokens are known here, not text.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from torch import Tensor

from engine.api import Finish
from engine.diffusion.canvas import Canvas
from engine.diffusion.denoise import Constraint, Draft, Forward, Region, branches, commit_first, denoise, redraft
from engine.diffusion.sampler import Sampler, Vocabulary
from engine.models.families import TokenIds
from engine.runtime.decoding import Options
from engine.text.prompt import Prompt, Spot


@dataclass(frozen=True, slots=True)
class Filled:
    """The tokens of one gap, the probability of all of them together with what closed the gap, and how it ended."""

    tokens: list[int]
    likelihood: float
    finish: Finish


Attempt = list[Filled]
"""One answer: every gap filled, in order."""


@dataclass(slots=True)
class Watch:
    """What may stop a request early, who looks on, and what it has cost so far."""

    cancelled: Callable[[], bool]
    deadline: float
    on_step: Callable[[int, list[int], Canvas], None] | None = None
    steps: int = 0
    forwards: int = 0
    reused: int = 0

    def passed(self) -> None:
        """Count one pass through the network."""
        self.forwards += 1

    def stopped(self) -> Finish | None:
        """Why the request must end now, or None."""
        if self.cancelled():
            return "cancelled"
        return "deadline" if time.monotonic() >= self.deadline else None


@dataclass(frozen=True, slots=True)
class Job:
    """What to fill: the document's name for reuse, the prompt, and how to denoise it."""

    document: tuple[str, str]
    prompt: Prompt
    options: Options
    watch: Watch


@dataclass(frozen=True, slots=True)
class Tools:
    """What is fixed for a model: its special ids, what it may say, how forced bytes are spelled, and how many lines a run
    of tokens begins."""

    ids: TokenIds
    vocabulary: Vocabulary
    constraint: Constraint
    line_ends: Callable[[list[int]], int]

    def sampler(self, options: Options, number: int = 0) -> Sampler:
        """The sampler of the draft with this number; greedy ones agree, others differ by their seed."""
        return Sampler(self.vocabulary, options.wanted, temperature=options.temperature, top_p=options.top_p, seed=options.seed + number)

    def canvas(self, size: int, tokens: Sequence[int] | None = None) -> Canvas:
        """A canvas of masks, or one that holds `tokens`."""
        return Canvas(size, self.ids.mask, self.ids.end, tokens)


class Filler(Protocol):
    """Fills the gaps of a prompt."""

    def fill(self, job: Job) -> list[Attempt]:
        """Attempts, best first: one, and as many more as were asked for and can be had."""
        ...


def alternatives(forward: Forward, first: Draft, options: Options, tools: Tools) -> list[Draft]:
    """Further drafts: sampled with other seeds, or, greedily, begun with another token in the first open gap."""
    count = options.alternatives - 1
    if count < 1 or first.done:
        return []
    if options.temperature > 0:
        return [Draft(_copies(first), tools.sampler(options, number)) for number in range(1, count + 1)]
    ranked = branches(forward, first, count + 1, tools.constraint)
    where = next(index for index, tokens in enumerate(ranked) if tokens)
    drafts = []
    for token, probability in ranked[where][1:]:
        draft = Draft(_copies(first), tools.sampler(options))
        commit_first(draft.regions[where], token, probability, tools.constraint)
        drafts.append(draft)
    return drafts


def open_drafts(forward: Forward, draft: Draft, spots: Sequence[Spot], before: int = 0) -> None:
    """Open the share of each draft that its spot asks for. What healing took back stays: its tokens are fixed, and one that
    begins with a part of it is only replaced by one that does too. `before` tokens of the gap stand in earlier canvases."""
    for region, spot in zip(draft.regions, spots, strict=True):
        if spot.draft is not None:
            for slot in range(min(spot.draft.kept - before, region.canvas.size)):
                region.canvas.fixed[slot] = True
    redraft(forward, draft, [spot.noise if spot.draft is not None else None for spot in spots])
    for region, spot in zip(draft.regions, spots, strict=True):
        if spot.draft is not None and spot.draft.straddled and region.canvas.frontier == spot.draft.kept - before:
            region.forced, region.at_once = spot.draft.straddled, True


def _copies(draft: Draft) -> list[Region]:
    return [replace(region, canvas=region.canvas.copy()) for region in draft.regions]


def counted(forward: Forward, watch: Watch) -> Forward:
    """`forward`, counting its calls: one batch is one pass."""

    def counted(drafts: Sequence[Sequence[Sequence[int]]]) -> list[list[Tensor]]:
        watch.passed()
        return forward(drafts)

    return counted


def run(forward: Forward, drafts: list[Draft], tools: Tools, options: Options, watch: Watch, before: Sequence[int] = ()) -> Finish:
    """Take denoise steps until every draft is done or the request is stopped. `before` are finished tokens of the same gap."""
    for _ in denoise(forward, drafts, options.plan, tools.constraint):
        watch.steps += 1
        if watch.on_step:
            for number, region in enumerate(drafts[0].regions):
                watch.on_step(number, list(before), region.canvas)
        stopped = watch.stopped()
        if stopped and not (stopped == "deadline" and all(draft.done for draft in drafts)):
            return stopped
    return "complete"


def unfinished(spot: Spot, tokens: list[int], likelihood: float, finish: Finish) -> Filled:
    """What a gap that was stopped holds: what is certain from the left, or its draft as it was, of which nothing may be lost."""
    return Filled(tokens, likelihood, finish) if spot.draft is None else Filled(list(spot.draft.ids), 1.0, finish)


def likelihood(attempt: Attempt) -> float:
    """The probability of all that an attempt says."""
    return math.prod(filled.likelihood for filled in attempt)
