"""The filler for models whose context cannot see masks, or only those before it: gaps one after another, canvas by canvas.

It appends finished canvases to the context and knows where a gap must end. Tokens are known here, not text.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.api import Finish
from engine.diffusion.denoise import Draft, Region
from engine.diffusion.length import EndToken, Exact, LengthRule
from engine.runtime.decoding import Options
from engine.runtime.fill import Attempt, Filled, Job, Tools, alternatives, counted, likelihood, open_drafts, run, unfinished
from engine.runtime.runner import RollingRunner
from engine.text.prompt import Prompt, Spot


@dataclass(slots=True)
class _Piece:
    """One gap under way: its tokens so far, what is still forced, and what is left of its draft; `finish` None: goes on."""

    forced: bytes
    draft: list[int] | None
    tokens: list[int] = field(default_factory=list)
    likelihood: float = 1.0
    finish: Finish | None = None


class RollingFiller:
    """Fills gap after gap. A later gap sees what was filled in before it; an earlier one sees of a later gap only its draft."""

    def __init__(self, runner: RollingRunner, tools: Tools) -> None:
        self._runner, self._tools = runner, tools

    def fill(self, job: Job) -> list[Attempt]:
        """Attempts, best first. Alternatives differ in the first gap, the later ones follow from it."""
        attempts: list[Attempt] = [[]]
        for number in range(len(job.prompt.spots)):
            attempts = [[*attempt, filled] for attempt in attempts for filled in self._gap(job, attempt, number)]
        return attempts[:1] + sorted(attempts[1:], key=lambda a: -likelihood(a))

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
                out.append(unfinished(spot, piece.tokens, piece.likelihood, piece.finish))
        return out

    def _canvas(self, job: Job, filled: Attempt, piece: _Piece, count: int) -> list[_Piece]:
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
        forward = counted(opened.forward, watch)
        region = self._region(spot, options, piece, opened.slots)
        drafts = [Draft([region], self._tools.sampler(options))]
        open_drafts(forward, drafts[0], [spot], len(piece.tokens))
        if count > 1:
            drafts += alternatives(forward, drafts[0], options, self._tools)
        finish = run(forward, drafts, self._tools, options, watch, piece.tokens)
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
