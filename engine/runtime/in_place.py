"""The filler for models that see both sides of a hole: masks stand where the text will stand, all gaps are denoised jointly.

It chooses canvases and length rules, and among hypotheses about the length. Tokens are known here, not text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.api import Finish
from engine.diffusion.denoise import Draft, Forward, Region
from engine.diffusion.length import EndToken, Exact, ExpandDelete, LengthRule, candidates, preference, probe_sizes
from engine.diffusion.sampler import Rules, Sampler, Wanted
from engine.runtime.decoding import HYPOTHETICAL, Options
from engine.runtime.fill import Attempt, Filled, Job, Tools, alternatives, likelihood, open_drafts, run, unfinished
from engine.runtime.runner import InPlaceRunner
from engine.text.prompt import Spot


class InPlaceFiller:
    """Fills all gaps of a prompt at once."""

    def __init__(self, runner: InPlaceRunner, tools: Tools) -> None:
        self._runner, self._tools = runner, tools

    def fill(self, job: Job) -> list[Attempt]:
        """Attempts, best first; as many as were asked for where there are so many different ones."""
        options, watch, spots = job.options, job.watch, job.prompt.spots
        stopped = watch.stopped()
        if stopped:
            return [[unfinished(spot, [], 1.0, stopped) for spot in spots]]
        forward = self._runner.open(job.prompt.texts, watch.passed)
        hypotheses = self._sizes(forward, job) if options.length in HYPOTHETICAL else [[options.slots] * len(spots)]
        drafts = [
            Draft([self._region(spot, options, size) for spot, size in zip(spots, sizes, strict=True)], self._tools.sampler(options))
            for sizes in hypotheses
        ]
        for draft in drafts:
            open_drafts(forward, draft, spots)
        tried = len(drafts)
        drafts += alternatives(forward, drafts[0], options, self._tools)
        finish = run(forward, drafts, self._tools, options, watch)
        attempts = [_attempt(draft, finish, spots) for draft in drafts]
        order = self._preferred(job, attempts[:tried]) if tried > 1 and finish == "complete" else list(range(tried))
        return [attempts[i] for i in order] + sorted(attempts[tried:], key=lambda a: -likelihood(a))

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


def _attempt(draft: Draft, finish: Finish, spots: Sequence[Spot]) -> Attempt:
    attempt = []
    for region, spot in zip(draft.regions, spots, strict=True):
        canvas = region.canvas
        if not region.done:
            attempt.append(unfinished(spot, canvas.content(), canvas.likelihood(), finish))
            continue
        full = isinstance(region.length, EndToken) and canvas.end == canvas.size >= spot.room
        attempt.append(Filled(canvas.content(), canvas.likelihood(), "length" if full else "complete"))
    return attempt


def _mean_logprob(attempt: Attempt) -> float:
    tokens = sum(len(filled.tokens) for filled in attempt)
    return math.log(max(likelihood(attempt), 1e-300)) / max(1, tokens)
