"""Fillers take a prompt with gaps to finished drafts: all gaps jointly where masks stand in place, else one after another.

They choose canvases and length rules, run the denoise loop, and stop it when asked to. They know tokens, not text.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from engine.api import Finish
from engine.diffusion.canvas import Canvas
from engine.diffusion.denoise import Constraint, Draft, Forward, Region, branches, commit_first, denoise, redraft
from engine.diffusion.length import EndToken, Exact, ExpandDelete, LengthRule, candidates, preference, probe_sizes
from engine.diffusion.sampler import Rules, Sampler, Vocabulary, Wanted
from engine.models.families import TokenIds
from engine.runtime.decoding import HYPOTHETICAL, Options
from engine.runtime.runner import InPlaceRunner, RollingRunner
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


class InPlaceFiller:
    """Masks stand where the text will stand, and all gaps are denoised jointly."""

    def __init__(self, runner: InPlaceRunner, tools: Tools) -> None:
        self._runner, self._tools = runner, tools

    def fill(self, job: Job) -> list[Attempt]:
        """Attempts, best first; as many as were asked for where there are so many different ones."""
        options, watch, spots = job.options, job.watch, job.prompt.spots
        stopped = watch.stopped()
        if stopped:
            return [[Filled([], 1.0, stopped) for _ in spots]]
        forward = self._runner.open(job.prompt.texts, watch.passed)
        hypotheses = self._sizes(forward, job) if options.length in HYPOTHETICAL else [[options.slots] * len(spots)]
        drafts = [
            Draft([self._region(spot, options, size) for spot, size in zip(spots, sizes, strict=True)], self._tools.sampler(options))
            for sizes in hypotheses
        ]
        for draft in drafts:
            _redraft(forward, draft, spots)
        tried = len(drafts)
        drafts += _alternatives(forward, drafts[0], options, self._tools)
        finish = _run(forward, drafts, self._tools, options, watch)
        attempts = [_attempt(draft, finish, spots) for draft in drafts]
        order = self._preferred(job, attempts[:tried]) if tried > 1 and finish == "complete" else list(range(tried))
        return [attempts[i] for i in order] + sorted(attempts[tried:], key=lambda a: -_likelihood(a))

    def _region(self, spot: Spot, options: Options, size: int) -> Region:
        rule = self._rule(spot, options)
        if isinstance(rule, ExpandDelete):
            size = min(size, rule.max_slots)
        if spot.draft is not None:
            return Region(self._tools.canvas(0, spot.draft.ids), rule, b"", spot.max_lines == 1)
        return Region(self._tools.canvas(size), rule, spot.forced, spot.max_lines == 1)

    def _rule(self, spot: Spot, options: Options) -> LengthRule:
        ids = self._tools.ids
        if options.length == "expand-delete":
            assert ids.expand is not None, "resolve() refuses the policy without an expand token"
            return ExpandDelete(ids.expand, ids.end, max(spot.room, len(spot.draft.ids) if spot.draft else 0))
        if options.length == "end-token" and spot.draft is None:
            return EndToken(ids.end, options.slots, spot.room)
        return Exact()

    def _sizes(self, forward: Forward, job: Job) -> list[list[int]]:
        """For each hypothesis the size of every canvas: one batched pass over all-mask canvases of every size worth trying."""
        spots, options = job.prompt.spots, job.options
        probes = [probe_sizes(spot.room, spot.max_lines == 1, max(1, len(spot.taken))) for spot in spots]
        rounds = max(map(len, probes))
        # Shorter lists repeat their last size, so that one batch serves all gaps.
        tried = [[sizes[min(i, len(sizes) - 1)] for sizes in probes] for i in range(rounds)]
        sampler = Sampler(self._tools.vocabulary, Wanted(entropy=True))
        scores = forward([[[self._tools.ids.mask] * size for size in sizes] for sizes in tried])
        chosen: list[list[int]] = []
        for index, (spot, sizes) in enumerate(zip(spots, probes, strict=True)):
            confidence, negentropy = [], []
            for row in range(len(sizes)):
                size = sizes[row]
                one_line = 0 if spot.max_lines == 1 else size
                proposal = sampler.propose(scores[row][index], Rules(one_line_from=one_line, end_from=size))
                confidence.append(sum(proposal.confidence) / size)
                negentropy.append(-sum(proposal.entropy) / size)
            chosen.append(candidates(sizes, options.length, confidence, negentropy))
        return [[sizes[min(k, len(sizes) - 1)] for sizes in chosen] for k in range(max(map(len, chosen)))]

    def _preferred(self, job: Job, attempts: list[Attempt]) -> list[int]:
        """Numbers of the hypotheses, best first."""
        drafts = [[filled.tokens for filled in attempt] for attempt in attempts]
        found = self._runner.suffix_logprobs(job.prompt.texts, drafts, job.watch.passed)
        suffix: Sequence[float | None] = found or [None] * len(attempts)
        scores = [preference(_mean_logprob(a), s) for a, s in zip(attempts, suffix, strict=True)]
        return sorted(range(len(attempts)), key=lambda i: -scores[i])


@dataclass(slots=True)
class _Piece:
    """One gap under way: its tokens so far, what is still forced, and what is left of its draft; `finish` None: goes on."""

    forced: bytes
    draft: list[int] | None
    tokens: list[int] = field(default_factory=list)
    likelihood: float = 1.0
    finish: Finish | None = None


class RollingFiller:
    """Gaps one after another, each canvas by canvas: for models whose context cannot see masks, or only those before it.

    A later gap sees what was filled in before it; an earlier one sees of a later gap only its draft.
    """

    def __init__(self, runner: RollingRunner, tools: Tools) -> None:
        self._runner, self._tools = runner, tools

    def fill(self, job: Job) -> list[Attempt]:
        """Attempts, best first. Alternatives differ in the first gap, the later ones follow from it."""
        attempts: list[Attempt] = [[]]
        for number in range(len(job.prompt.spots)):
            attempts = [[*attempt, filled] for attempt in attempts for filled in self._gap(job, attempt, number)]
        return attempts[:1] + sorted(attempts[1:], key=lambda a: -_likelihood(a))

    def _gap(self, job: Job, filled: Attempt, number: int) -> list[Filled]:
        """One gap filled after the gaps that are `filled`; for the first one with its alternatives."""
        spot = job.prompt.spots[number]
        begun = _Piece(spot.forced, None) if spot.draft is None else _Piece(b"", list(spot.draft.ids))
        pieces = self._canvas(job, filled, begun, job.options.alternatives if number == 0 else 1)
        out = []
        for piece in pieces:
            while piece.finish is None:
                (piece,) = self._canvas(job, filled, piece, 1)
            if piece.finish in ("complete", "length"):
                out.append(Filled(piece.tokens, piece.likelihood, piece.finish))
            else:
                out.append(_unfinished(spot, piece.tokens, piece.likelihood, piece.finish))
        return out

    def _canvas(self, job: Job, filled: Attempt, piece: _Piece, alternatives: int) -> list[_Piece]:
        """The piece with one canvas more, and its alternatives."""
        options, watch, spot = job.options, job.watch, job.prompt.spots[len(filled)]
        stopped = watch.stopped()
        if stopped:
            piece.finish = stopped
            return [piece]
        before, behind = _context(job.prompt, filled)
        later = piece.draft[self._runner.slots :] if piece.draft and self._runner.slots else []
        opened = self._runner.open(job.document, before + piece.tokens, later + behind)
        watch.forwards += opened.forwards
        watch.reused += opened.reused if not (filled or piece.tokens) else 0
        forward = _counted(opened.forward, watch)
        region = self._region(spot, options, piece, opened.slots)
        drafts = [Draft([region], self._tools.sampler(options))]
        _redraft(forward, drafts[0], [spot], len(piece.tokens))
        if alternatives > 1:
            drafts += _alternatives(forward, drafts[0], options, self._tools)
        finish = _run(forward, drafts, self._tools, options, watch, piece.tokens)
        return [self._grown(job, spot, piece, draft.regions[0], finish) for draft in drafts]

    def _region(self, spot: Spot, options: Options, piece: _Piece, slots: int) -> Region:
        """The next canvas of a gap. What is known of it stands in it: its part of the draft, and the end where the length is
        fixed or the draft is over."""
        ids = self._tools.ids
        rule: LengthRule = EndToken(ids.end)
        tokens = [ids.mask] * slots
        if piece.draft is not None:
            tokens = piece.draft[:slots]
            tokens += [ids.end] * (slots - len(tokens))
        if options.length == "fixed":
            rule = Exact()
            if piece.draft is None:
                left = options.slots - len(piece.tokens)
                tokens[left:] = [ids.end] * (slots - left)
        return Region(self._tools.canvas(slots, tokens), rule, piece.forced, spot.max_lines == 1)

    def _grown(self, job: Job, spot: Spot, piece: _Piece, region: Region, finish: Finish) -> _Piece:
        """The piece with what a canvas has added."""
        canvas, content = region.canvas, region.canvas.content()
        draft = piece.draft[canvas.size :] if piece.draft is not None else None
        grown = _Piece(region.forced, draft, piece.tokens + content, piece.likelihood * canvas.likelihood())
        lines = self._tools.line_ends(grown.tokens) - spot.forced.count(b"\n") if spot.max_lines > 1 else 0
        if not region.done:
            grown.finish = finish
        elif canvas.end < canvas.size or (job.options.length == "fixed" and len(grown.tokens) >= job.options.slots):
            grown.finish = "complete"
        elif len(grown.tokens) >= spot.room:
            grown.finish = "length"
        elif spot.max_lines > 1 and lines >= spot.max_lines:
            grown.finish = "complete"
        return grown


def _context(prompt: Prompt, filled: Attempt) -> tuple[list[int], list[int]]:
    """What stands before and behind the gap that comes after the `filled` ones."""
    number = len(filled)
    before = list(prompt.texts[0])
    for done, text in zip(filled, prompt.texts[1:], strict=False):
        before += [*done.tokens, *text]
    behind = list(prompt.texts[number + 1])
    for spot, text in zip(prompt.spots[number + 1 :], prompt.texts[number + 2 :], strict=True):
        behind += [*(spot.taken if spot.draft is None else spot.draft.ids), *text]
    return before, behind


def _alternatives(forward: Forward, first: Draft, options: Options, tools: Tools) -> list[Draft]:
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


def _redraft(forward: Forward, draft: Draft, spots: Sequence[Spot], before: int = 0) -> None:
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


def _counted(forward: Forward, watch: Watch) -> Forward:
    """`forward`, counting its calls: one batch is one pass."""

    def counted(drafts: Sequence[Sequence[Sequence[int]]]) -> list[list[Tensor]]:
        watch.passed()
        return forward(drafts)

    return counted


def _run(forward: Forward, drafts: list[Draft], tools: Tools, options: Options, watch: Watch, before: Sequence[int] = ()) -> Finish:
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


def _attempt(draft: Draft, finish: Finish, spots: Sequence[Spot]) -> Attempt:
    attempt = []
    for region, spot in zip(draft.regions, spots, strict=True):
        canvas = region.canvas
        if not region.done:
            attempt.append(_unfinished(spot, canvas.content(), canvas.likelihood(), finish))
            continue
        full = isinstance(region.length, EndToken) and canvas.end == canvas.size >= spot.room
        attempt.append(Filled(canvas.content(), canvas.likelihood(), "length" if full else "complete"))
    return attempt


def _unfinished(spot: Spot, tokens: list[int], likelihood: float, finish: Finish) -> Filled:
    """What a gap that was stopped holds: what is certain from the left, or its draft as it was, of which nothing may be lost."""
    return Filled(tokens, likelihood, finish) if spot.draft is None else Filled(list(spot.draft.ids), 1.0, finish)


def _likelihood(attempt: Attempt) -> float:
    return math.prod(filled.likelihood for filled in attempt)


def _mean_logprob(attempt: Attempt) -> float:
    tokens = sum(len(filled.tokens) for filled in attempt)
    return math.log(max(_likelihood(attempt), 1e-300)) / max(1, tokens)
