"""What both fillers have in common: jobs and answers, drafts that stand in gaps, alternatives, and the run that can be stopped.

A filler takes a prompt with gaps to attempts at filling them; `in_place` and `rolling` are the two. Tokens are known here, not text.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from engine.api import Finish
from engine.diffusion.canvas import Canvas
from engine.diffusion.denoise import Constraint, Draft, Forward, Region, branches, commit_first, denoise
from engine.diffusion.remask import least_confident
from engine.diffusion.sampler import Sampler, Vocabulary
from engine.diffusion.speculation import Readings, speculate
from engine.errors import RequestError
from engine.models.families import TokenIds
from engine.runtime.decoding import Options
from engine.text.prompt import Prompt, Spot


@dataclass(frozen=True, slots=True)
class Filled:
    """The tokens of one gap, the log-probability of all of them with what closed the gap, and how it ended. `kept` means that
    its draft stands as it was. `confidence` has the probability of each token; it is empty where that is not known."""

    tokens: list[int]
    logprob: float
    finish: Finish
    kept: bool = False
    confidence: Sequence[float] = ()


Attempt = list[Filled]
"""One answer: every gap filled, in order."""


class Stopped(Exception):
    """A request that must end now. It unwinds a filler, which then answers with what there is."""

    def __init__(self, finish: Finish) -> None:
        super().__init__(finish)
        self.finish = finish


@dataclass(slots=True)
class Watch:
    """What may stop a request early, who looks on, and what it has cost so far.

    `on_step` gets the number of a gap, the tokens of its finished canvases, and its present canvas.
    """

    cancelled: Callable[[], bool]
    deadline: float
    on_step: Callable[[int, Sequence[int], Canvas], None] | None = None
    steps: int = 0
    forwards: int = 0
    reused: int = 0

    def check(self) -> None:
        """Raise Stopped where the request must end now."""
        if self.cancelled():
            raise Stopped("cancelled")
        if time.monotonic() >= self.deadline:
            raise Stopped("deadline")

    def passing(self) -> None:
        """Count a pass through the network that is about to be made. Raises Stopped where it must not be."""
        self.check()
        self.forwards += 1


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
    line_ends: Callable[[Sequence[int]], int]

    def sampler(self, options: Options, number: int = 0) -> Sampler:
        """The sampler of the attempt with this number; greedy ones agree, others differ by their seed."""
        return Sampler(self.vocabulary, options.wanted, temperature=options.temperature, top_p=options.top_p, seed=options.seed + number)

    def canvas(self, size: int, tokens: Sequence[int] | None = None) -> Canvas:
        """A canvas of masks, or one that holds `tokens`."""
        return Canvas(size, self.ids.mask, self.ids.end, tokens)


class Filler(Protocol):
    """Fills the gaps of a prompt."""

    def fill(self, job: Job) -> list[Attempt]:
        """Attempts, best first: one, and as many more as were asked for and can be had. Where the request is stopped, what is
        certain by then."""
        ...


@dataclass(frozen=True, slots=True)
class Standing:
    """A draft on its canvas: `tokens` with masks where it is opened, how many are, and whether its last token is."""

    tokens: list[int]
    opened: int
    last_opened: bool


def open_drafts(spots: Sequence[Spot], confidence: Sequence[Sequence[float]], mask_id: int) -> list[Standing | None]:
    """Open the share of each hole's drafts that the hole asks for, the least confident tokens first; None where no draft stands.

    `confidence` holds a number for each token of a draft. What healing took back stays. Raises RequestError where the
    tokenizer cannot give a draft back that is to be kept in part.
    """
    open_slots: dict[int, list[tuple[float, int, int]]] = {}
    for number, (spot, scores) in enumerate(zip(spots, confidence, strict=True)):
        if spot.draft is not None:
            free = [(scores[slot], number, slot) for slot in range(spot.draft.kept, len(spot.draft.ids))]
            open_slots.setdefault(spot.gap.hole, []).extend(free)
    chosen: dict[int, list[int]] = {}
    for slots in open_slots.values():
        noise = spots[slots[0][1]].gap.noise if slots else 0.0
        for index in least_confident([score for score, _, _ in slots], noise):
            chosen.setdefault(slots[index][1], []).append(slots[index][2])
    out: list[Standing | None] = []
    for number, spot in enumerate(spots):
        if spot.draft is None:
            out.append(None)
            continue
        slots_here = set(chosen.get(number, ()))
        if slots_here and not spot.draft.exact:
            raise RequestError(
                "This model's tokenizer composes accents, so it cannot keep a part of this draft as it is.",
                "Send the draft in Unicode's composed form (NFC), or noise 1.",
            )
        tokens = [mask_id if slot in slots_here else token for slot, token in enumerate(spot.draft.ids)]
        out.append(Standing(tokens, len(slots_here), len(tokens) - 1 in slots_here))
    return out


def draft_region(region: Region, spot: Spot, before: int = 0) -> Region:
    """`region`, whose canvas holds the draft of `spot` from token `before` on, with what healing took back held fast: its
    tokens are fixed, and one that begins with a part of it may only become one that does too."""
    assert spot.draft is not None, "only drafts have something to hold"
    canvas, kept = region.canvas, spot.draft.kept - before
    for slot in range(min(kept, canvas.size)):
        canvas.fixed[slot] = True
    if spot.draft.straddled and canvas.frontier == kept < canvas.size:
        region.forced, region.at_once = spot.draft.straddled, True
    return region


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
    for number, (token, probability) in enumerate(ranked[where][1:], 1):
        draft = Draft(_copies(first), tools.sampler(options, number))
        commit_first(draft.regions[where], token, probability, tools.constraint)
        drafts.append(draft)
    return drafts


def run(how: Forward | Readings, drafts: Sequence[Draft], job: Job, tools: Tools, on_step: Callable[[Draft], None]) -> None:
    """Take denoise steps until every draft is done; `on_step` sees the first draft after each. With `Readings` the drafts are
    checked left to right. Raises Stopped."""
    if isinstance(how, Readings):
        steps = speculate(how, drafts, tools.constraint)
    else:
        steps = denoise(how, drafts, job.options.plan, tools.constraint)
    for _ in steps:
        job.watch.steps += 1
        on_step(drafts[0])
        if not all(draft.done for draft in drafts):
            job.watch.check()


def unfinished(spot: Spot, filled: Filled) -> Filled:
    """What a gap that was stopped holds: what is certain from the left, or its draft as it was, of which nothing may be lost."""
    return filled if spot.draft is None else kept(filled.finish)


def filled(canvas: Canvas, finish: Finish) -> Filled:
    """What one canvas says, from the left up to its first mask or its end."""
    tokens = canvas.content()
    return Filled(tokens, canvas.logprob(), finish, confidence=canvas.confidence[: len(tokens)])


def kept(finish: Finish = "complete") -> Filled:
    """A gap whose draft stands as it was."""
    return Filled([], 0.0, finish, kept=True)


def logprob(attempt: Attempt) -> float:
    """Log-probability of all that an attempt says."""
    return sum(filled.logprob for filled in attempt)


def _copies(draft: Draft) -> list[Region]:
    return [replace(region, canvas=region.canvas.copy()) for region in draft.regions]
