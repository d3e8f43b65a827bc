"""The filler for models that see both sides of a hole: masks stand where the text will stand, all gaps are denoised jointly.

It chooses canvases and length rules, and among hypotheses about the length. Tokens are known here, not text.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.api import Finish
from engine.diffusion.denoise import Draft, Forward, Region, self_confidence
from engine.diffusion.length import EndToken, Exact, ExpandDelete, LengthRule, candidates, preference, probe_sizes
from engine.runtime.decoding import HYPOTHETICAL, Options
from engine.runtime.fill import (
    Attempt,
    Filled,
    Job,
    Standing,
    Stopped,
    Tools,
    alternatives,
    draft_region,
    filled,
    kept,
    logprob,
    open_drafts,
    run,
    unfinished,
)
from engine.runtime.runner import InPlaceRunner
from engine.text.prompt import Spot


class InPlaceFiller:
    """Fills all gaps of a prompt at once."""

    def __init__(self, runner: InPlaceRunner, tools: Tools) -> None:
        self._runner, self._tools = runner, tools

    def fill(self, job: Job) -> list[Attempt]:
        """Attempts, best first; as many as were asked for where there are so many different ones."""
        spots, options, watch = job.prompt.spots, job.options, job.watch
        drafts: list[Draft] = []
        tried = 0
        finish: Finish = "complete"
        standing: list[Standing | None] = [None] * len(spots)
        try:
            forward = self._runner.open(job.prompt.texts, watch.passing)
            standing = self._standing(forward, spots, options)
            if all(draft is not None and not draft.opened for draft in standing):
                return [[kept() for _ in spots]]
            for sizes in self._sizes(forward, job, standing):
                regions = [self._region(*item, options) for item in zip(spots, standing, sizes, strict=True)]
                drafts.append(Draft(regions, self._tools.sampler(options)))
            tried = len(drafts)
            drafts += alternatives(forward, drafts[0], options, self._tools)
            run(forward, drafts, job, self._tools, lambda draft: self._show(job, draft))
        except Stopped as stopped:
            finish = stopped.finish
        if not drafts:
            return [[unfinished(spot, Filled([], 0.0, finish)) for spot in spots]]
        attempts = [_attempt(draft, finish, spots, standing) for draft in drafts]
        order = self._preferred(job, drafts[:tried], attempts)
        return [attempts[i] for i in order] + sorted(attempts[tried:], key=logprob, reverse=True)

    def _show(self, job: Job, draft: Draft) -> None:
        if job.watch.on_step:
            for number, region in enumerate(draft.regions):
                job.watch.on_step(number, (), region.canvas)

    def _standing(self, forward: Forward, spots: Sequence[Spot], options: Options) -> list[Standing | None]:
        """The drafts with their share of masks; scoring them takes a pass, keeping them whole does not."""
        mask = self._tools.ids.mask
        drafted = [spot.draft is not None for spot in spots]
        if any(spot.draft is not None and spot.gap.noise for spot in spots):
            holes = [spot.draft.ids if spot.draft else [mask] * min(options.slots, spot.room) for spot in spots]
            return open_drafts(spots, self_confidence(forward, holes, drafted, mask), mask)
        return open_drafts(spots, [[0.0] * len(spot.draft.ids) if spot.draft else [] for spot in spots], mask)

    def _region(self, spot: Spot, standing: Standing | None, size: int, options: Options) -> Region:
        rule = self._rule(spot, standing, options)
        if standing is None:
            return Region(self._tools.canvas(min(size, spot.room)), rule, spot.forced, spot.one_line, elastic=True)
        return draft_region(Region(self._tools.canvas(0, standing.tokens), rule, b"", spot.one_line), spot)

    def _rule(self, spot: Spot, standing: Standing | None, options: Options) -> LengthRule:
        ids = self._tools.ids
        if options.length == "expand-delete":
            assert ids.expand is not None, "resolve() refuses the policy without an expand token"
            room = spot.room if standing is None else len(standing.tokens) + standing.opened
            return ExpandDelete(ids.expand, ids.end, room)
        if options.length == "end-token" and standing is None:
            return EndToken(ids.end, options.slots, spot.room)
        return Exact()

    def _sizes(self, forward: Forward, job: Job, standing: Sequence[Standing | None]) -> list[list[int]]:
        """For each hypothesis the size of every canvas: where lengths are guessed, one batched look at all-mask canvases of
        every size worth trying, the drafts standing in the other gaps."""
        spots, options, mask = job.prompt.spots, job.options, self._tools.ids.mask
        probed = [index for index, draft in enumerate(standing) if draft is None]
        if options.length not in HYPOTHETICAL or not probed:
            return [[options.slots if draft is None else len(draft.tokens) for draft in standing]]
        probes = {i: probe_sizes(spots[i].room, spots[i].one_line, max(1, len(spots[i].taken))) for i in probed}
        # Shorter lists repeat their last size, so that one batch serves all gaps.
        rounds = [
            [draft.tokens if draft else [mask] * probes[i][min(turn, len(probes[i]) - 1)] for i, draft in enumerate(standing)]
            for turn in range(max(map(len, probes.values())))
        ]
        scores = forward(rounds)
        chosen: dict[int, list[int]] = {}
        for index, sizes in probes.items():
            confidence, negentropy = [], []
            for turn in range(len(sizes)):
                logprobs = scores[turn][index].float().log_softmax(dim=-1)
                confidence.append(float(logprobs.max(dim=-1).values.exp().mean()))
                negentropy.append(float((logprobs.exp() * logprobs).sum(dim=-1).mean()))
            chosen[index] = candidates(sizes, options.length, confidence, negentropy)
        return [
            [len(draft.tokens) if draft else chosen[i][min(k, len(chosen[i]) - 1)] for i, draft in enumerate(standing)]
            for k in range(max(map(len, chosen.values())))
        ]

    def _preferred(self, job: Job, drafts: Sequence[Draft], attempts: Sequence[Attempt]) -> list[int]:
        """Numbers of the hypotheses, best first: finished ones before others, then by what the suffix says of them too."""
        if len(drafts) == 1:
            return [0]
        suffix: Sequence[float | None] = [None] * len(drafts)
        if all(draft.done for draft in drafts):
            try:
                found = self._runner.suffix_logprobs(job.prompt.texts, [draft.tokens() for draft in drafts], job.watch.passing)
                suffix = found or suffix
            except Stopped:  # they are finished; the vote is a luxury
                pass
        scores = [preference(_mean_logprob(attempts[i]), s) for i, s in enumerate(suffix)]
        return sorted(range(len(drafts)), key=lambda i: (not drafts[i].done, -scores[i]))


def _attempt(draft: Draft, finish: Finish, spots: Sequence[Spot], standing: Sequence[Standing | None]) -> Attempt:
    attempt = []
    for region, spot, draft_there in zip(draft.regions, spots, standing, strict=True):
        canvas = region.canvas
        if draft_there is not None and not draft_there.opened:
            attempt.append(kept())
        elif not region.done:
            attempt.append(unfinished(spot, filled(canvas, finish)))
        else:
            full = isinstance(region.length, EndToken) and canvas.end == canvas.size >= spot.room
            attempt.append(filled(canvas, "length" if full else "complete"))
    return attempt


def _mean_logprob(attempt: Attempt) -> float:
    return logprob(attempt) / max(1, sum(len(filled.tokens) for filled in attempt))
