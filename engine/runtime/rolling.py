"""The filler for models whose context cannot see masks, or only those before it: gaps one after another, canvas by canvas.

It appends finished canvases to the context and knows where a gap must end. Tokens are known here, not text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from engine.api import Finish
from engine.diffusion.denoise import Draft, Forward, Region, self_confidence
from engine.diffusion.length import EndToken, Exact, LengthRule, goes_in_circles
from engine.diffusion.lookup import Lookup
from engine.diffusion.sampler import Sampler
from engine.diffusion.speculation import Readings, can_speculate
from engine.runtime.decoding import Options
from engine.runtime.fill import (
    Attempt,
    Filled,
    Job,
    Standing,
    Stopped,
    Tools,
    Watch,
    alternatives,
    draft_region,
    kept,
    logprob,
    open_drafts,
    run,
    unfinished,
)
from engine.runtime.runner import Opened, RollingRunner
from engine.text.prompt import Prompt, Spot


@dataclass(frozen=True, slots=True)
class _Line:
    """One attempt under way: the gaps it has filled, its sampler, and whether it has branched into alternatives already."""

    filled: Attempt
    sampler: Sampler
    branched: bool


@dataclass(frozen=True, slots=True)
class _Piece:
    """One gap under way: its tokens so far with the probability of each, what is still forced, and what of its draft is still to
    come; `finish` None: goes on."""

    line: _Line
    forced: bytes
    draft: list[int] | None
    tokens: list[int] = field(default_factory=list)
    logprob: float = 0.0
    finish: Finish | None = None
    confidence: list[float] = field(default_factory=list)


class RollingFiller:
    """Fills gap after gap. A later gap sees what was filled in before it; an earlier one sees of a later gap only its draft."""

    def __init__(self, runner: RollingRunner, tools: Tools) -> None:
        self._runner, self._tools = runner, tools

    def fill(self, job: Job) -> list[Attempt]:
        """Attempts, best first. Alternatives differ in the first canvas that has something open, the rest follows from it."""
        spots = job.prompt.spots
        try:
            standing = self._standing(job)
        except Stopped as stopped:
            return [[unfinished(spot, Filled([], 0.0, stopped.finish)) for spot in spots]]
        lines = [_Line([], self._tools.sampler(job.options), job.options.alternatives == 1)]
        for number in range(len(spots)):
            lines = [longer for line in lines for longer in self._gap(job, line, number, standing[number])]
        attempts = [line.filled for line in lines]
        return attempts[:1] + sorted(attempts[1:], key=logprob, reverse=True)

    def _standing(self, job: Job) -> list[Standing | None]:
        """The drafts with their share of masks. To score one, canvas after canvas is opened over it, the rest standing around."""
        spots, mask = job.prompt.spots, self._tools.ids.mask
        confidence: list[list[float]] = []
        for number, spot in enumerate(spots):
            scores: list[float] = []
            draft = spot.draft.ids if spot.draft is not None else []
            while spot.gap.noise and len(scores) < len(draft):
                before, behind = _around(job.prompt, number)
                opened = self._open(job, before + draft[: len(scores)], draft[len(scores) :], behind)
                here = draft[len(scores) : len(scores) + opened.slots]
                tail = [self._tools.ids.end] * (opened.slots - len(here))
                found = self_confidence(_counted(opened.forward, job.watch), [here + tail], [True], mask)[0]
                scores += found[: len(here)]
            confidence.append(scores or [0.0] * len(draft))
        return open_drafts(spots, confidence, mask)

    def _gap(self, job: Job, line: _Line, number: int, standing: Standing | None) -> list[_Line]:
        """The attempt with one gap more, and what it branches into."""
        spot = job.prompt.spots[number]
        if standing is not None and not standing.opened:
            return [replace(line, filled=[*line.filled, kept()])]
        begun = _Piece(line, spot.forced, None) if standing is None else _Piece(line, b"", standing.tokens)
        lines = []
        for piece in self._canvas(job, begun, standing):
            while piece.finish is None:
                (piece,) = self._canvas(job, replace(piece, line=replace(piece.line, branched=True)), standing)
            filled = Filled(piece.tokens, piece.logprob, piece.finish, confidence=piece.confidence)
            if piece.finish not in ("complete", "length"):
                filled = unfinished(spot, filled)
            lines.append(replace(piece.line, filled=[*line.filled, filled]))
        return lines

    def _canvas(self, job: Job, piece: _Piece, standing: Standing | None) -> list[_Piece]:
        """The piece with one canvas more, and, where it is the first with something open, its alternatives."""
        number = len(piece.line.filled)
        spot = job.prompt.spots[number]
        drafts: list[Draft] = []
        finish: Finish = "complete"
        try:
            before, behind = _around(job.prompt, number, piece.line.filled)
            opened = self._open(job, before + piece.tokens, piece.draft or [], behind)
            forward = _counted(opened.forward, job.watch)
            region = self._region(spot, job.options, piece, opened.slots, standing)
            drafts.append(Draft([region], piece.line.sampler))
            how: Forward | Readings = forward
            if opened.verify is not None and job.options.plan.speculative and can_speculate(drafts[0]):
                how = Readings(forward, _counted(opened.verify, job.watch), Lookup(before + piece.tokens, behind))
            if not piece.line.branched:
                first = how.verify if isinstance(how, Readings) else how
                drafts += alternatives(first, drafts[0], job.options, self._tools)
            run(how, drafts, job, self._tools, lambda draft: self._show(job, number, piece, draft))
        except Stopped as stopped:
            finish = stopped.finish
        if not drafts:
            return [replace(piece, finish=finish)]
        return [self._grown(job, spot, piece, draft, finish, len(drafts) > 1) for draft in drafts]

    def _open(self, job: Job, before: list[int], draft: list[int], behind: list[int]) -> Opened:
        """The next canvas; what of the draft is behind it stands in the suffix (its open tokens are left out)."""
        later = [token for token in draft[self._runner.slots :] if token != self._tools.ids.mask] if self._runner.slots else []
        watch = job.watch
        watch.check()
        opened = self._runner.open(job.document, before, later + behind)
        if not watch.forwards:
            watch.reused = opened.reused
        watch.forwards += opened.forwards
        return opened

    def _show(self, job: Job, number: int, piece: _Piece, draft: Draft) -> None:
        if job.watch.on_step:
            job.watch.on_step(number, piece.tokens, draft.regions[0].canvas)

    def _region(self, spot: Spot, options: Options, piece: _Piece, slots: int, standing: Standing | None) -> Region:
        """The next canvas of a gap. What is known of it stands in it: its part of the draft, and the end where the length is
        fixed or the draft is over; where the draft's last token is open, as many slots behind it as it has open ones."""
        ids = self._tools.ids
        rule: LengthRule = Exact()
        if piece.draft is None:
            tokens = [ids.mask] * slots
            if options.length != "fixed":
                rule = EndToken(ids.end)
            else:
                left = max(options.slots, len(spot.taken)) - len(piece.tokens)
                tokens[left:] = [ids.end] * (slots - left)
            return Region(self._tools.canvas(slots, tokens), rule, piece.forced, spot.one_line)
        assert standing is not None, "a draft stands somewhere"
        tokens = piece.draft[:slots]
        if len(piece.draft) <= slots:
            if standing.last_opened and options.length != "fixed":
                rule = EndToken(ids.end)
                tokens = (tokens + [ids.mask] * standing.opened)[:slots]
            tokens = tokens + [ids.end] * (slots - len(tokens))
        return draft_region(Region(self._tools.canvas(slots, tokens), rule, b"", spot.one_line), spot, len(piece.tokens))

    def _grown(self, job: Job, spot: Spot, piece: _Piece, draft: Draft, stopped: Finish, branched: bool) -> _Piece:
        """The piece with what a canvas has added."""
        region = draft.regions[0]
        canvas = region.canvas
        content = canvas.content()
        tokens, confidence = piece.tokens + content, piece.confidence + canvas.confidence[: len(content)]
        rest = piece.draft[canvas.size :] if piece.draft is not None else None
        finish: Finish | None = None
        lines = self._tools.line_ends(tokens) - spot.forced.count(b"\n") if spot.gap.max_lines > 1 else 0
        if not region.done:
            finish = stopped
        elif rest is not None:
            finish = None if rest else "complete"
        elif canvas.end < canvas.size or (job.options.length == "fixed" and len(tokens) >= job.options.slots):
            finish = "complete"
        elif len(tokens) >= spot.room or (job.options.length != "fixed" and goes_in_circles(tokens)):
            finish = "length"
        elif spot.gap.max_lines > 1 and lines >= spot.gap.max_lines:
            finish = "complete"
        line = _Line(piece.line.filled, draft.sampler, piece.line.branched or branched)
        return _Piece(line, region.forced, rest, tokens, piece.logprob + canvas.logprob(), finish, confidence)


def _around(prompt: Prompt, number: int, filled: Attempt | None = None) -> tuple[list[int], list[int]]:
    """What stands before and behind a gap: the gaps before it as they are `filled`, drafts in all others."""
    before = list(prompt.texts[0])
    for index, text in enumerate(prompt.texts[1 : number + 1]):
        done = filled[index] if filled is not None else None
        before += _standing_tokens(prompt.spots[index]) if done is None or done.kept else done.tokens
        before += text
    behind = list(prompt.texts[number + 1])
    for spot, text in zip(prompt.spots[number + 1 :], prompt.texts[number + 2 :], strict=True):
        behind += [*_standing_tokens(spot), *text]
    return before, behind


def _standing_tokens(spot: Spot) -> list[int]:
    return spot.taken if spot.draft is None else spot.draft.ids


def _counted(forward: Forward, watch: Watch) -> Forward:
    """`forward`, counting its calls: one batch is one pass."""

    def counted(drafts: Sequence[Sequence[Sequence[int]]]) -> list[list[Tensor]]:
        watch.passing()
        return forward(drafts)

    return counted
