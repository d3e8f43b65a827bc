"""The facade: load once, then fill holes. One `infill` at a time; who runs when is the scheduler's business.

engine = Engine.load("nano")
engine.infill(InfillRequest(prefix="def add(a, b):\\n    return ")).text
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from engine.api import Fill, Finish, InfillRequest, InfillResult, Limits, Piece, Timings
from engine.diffusion.canvas import Canvas
from engine.diffusion.length import cut_lines
from engine.diffusion.sampler import Vocabulary
from engine.errors import RequestError
from engine.models import checkpoint as checkpoints
from engine.models.families import TokenIds
from engine.models.transformer import Transformer
from engine.runtime.calibration import calibrated, place_of
from engine.runtime.decoding import resolve
from engine.runtime.device import Placement, place
from engine.runtime.fill import Attempt, Filled, Filler, Job, Tools, Watch
from engine.runtime.in_place import InPlaceFiller
from engine.runtime.loading import load_network
from engine.runtime.pieces import cut, pieces_of
from engine.runtime.rolling import RollingFiller
from engine.runtime.runner import BlockRunner, InPlaceRunner, PlainRunner, SplitRunner, full_logits
from engine.text.healing import ForcedStart
from engine.text.prompt import Layout, Prompt, Spot, build
from engine.text.regions import Regions, split
from engine.text.tokenizer import Tokenizer

SlotState = Literal["masked", "committed", "end"]


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot as a person sees it. `confidence` is that of the commit, or of the latest proposal while it is masked."""

    text: str
    state: SlotState
    confidence: float


@dataclass(frozen=True, slots=True)
class CanvasView:
    """What a hole looks like after a step: `text` of the canvases already finished, then the slots of the present one.

    `gap` numbers the places that are filled, from 0: the holes, or the open parts of holes with locked text.
    """

    step: int
    text: str
    slots: tuple[Slot, ...]
    gap: int = 0


@dataclass(frozen=True, slots=True)
class _Told:
    """A gap in words: its text, its length in tokens, how it ended, and its pieces where they are known."""

    text: str
    tokens: int
    finish: Finish
    pieces: tuple[Piece, ...] = ()


class Engine:
    """A loaded model that fills holes.

    `model`, `family`, `device` and `dtype` name what runs; `fallback_reason` says why `auto` is not on the GPU that is there,
    `notice` what its licence asks of whoever uses it, `prompt_tokens` how much context it reads. Without its `calibration`,
    confidence is the product of token probabilities.
    """

    def __init__(self, checkpoint: checkpoints.Checkpoint, network: Transformer, tokenizer: Tokenizer, placement: Placement) -> None:
        self.model, self.family, self.notice = checkpoint.name, checkpoint.family.name, checkpoint.notice
        self.device = str(placement.device)
        self.dtype = placement.precision
        self.fallback_reason = placement.fallback_reason
        self.network, self.tokenizer = network, tokenizer
        self.defaults = checkpoint.infill
        self.calibration = checkpoint.infill.calibration
        self.token_ids: TokenIds = checkpoint.token_ids(tokenizer.special_id)
        ids = self.token_ids
        pieces = tokenizer.token_bytes
        self._tools = Tools(
            ids=ids,
            vocabulary=Vocabulary(
                [*(i for i, piece in enumerate(pieces) if not piece), *range(len(pieces), network.config.vocab_size)],
                [i for i, piece in enumerate(pieces) if b"\n" in piece or b"\r" in piece],
                ids.end,
                expand=ids.expand,
                stops=ids.stops,
                device=placement.device,
            ),
            constraint=ForcedStart(tokenizer),
            line_ends=lambda tokens: tokenizer.decode_bytes(list(tokens)).count(b"\n"),
        )
        attention, slots = network.config.attention, self.defaults.canvas
        self._filler: Filler
        self._plain: Filler
        if attention == "full":
            self._filler = self._plain = InPlaceFiller(InPlaceRunner(network, ids), self._tools)
        else:
            self._runner = SplitRunner(network, ids, slots) if attention == "split" else BlockRunner(network, ids)
            self._filler = RollingFiller(self._runner, self._tools)
            self._plain = RollingFiller(PlainRunner(network, ids, slots), self._tools)
        sees_suffix = attention != "block_causal" or ids.fim is not None
        self._layout = Layout(ids.document, self.defaults.prefix_tokens, self.defaults.suffix_tokens if sees_suffix else 0)
        self.reads_snippets = self.defaults.snippets and ids.document is not None
        self.prompt_tokens = self._layout.prefix_tokens + self._layout.suffix_tokens

    @classmethod
    def load(
        cls,
        path_or_name: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        threads: int = 0,
        on_progress: Callable[[float], None] | None = None,
    ) -> Engine:
        """Load a checkpoint folder or a built-in model.

        `threads` 0 leaves the number of CPU threads to torch. `on_progress` gets 0 to 1. Raises CheckpointError for
        files that are missing or wrong and DeviceError for a device that cannot be used or is too small.
        """
        checkpoint = checkpoints.read(checkpoints.find(path_or_name))
        placement = place(device, dtype)
        if threads:
            torch.set_num_threads(threads)
        tokenizer = checkpoints.tokenizer_of(checkpoint)
        network = load_network(checkpoint, placement, on_progress, tokenizer)
        engine = cls(checkpoint, network, tokenizer, placement)
        engine.infill(InfillRequest(prefix="x = ", suffix="\n"))  # the first pass allocates and picks kernels
        return engine

    @torch.inference_mode()
    def infill(
        self,
        request: InfillRequest,
        *,
        cancelled: Callable[[], bool] | None = None,
        on_step: Callable[[CanvasView], None] | None = None,
    ) -> InfillResult:
        """Fill the holes of `request`.

        `cancelled` is asked between denoise steps; `on_step` sees every hole's canvas after each. At the deadline the answer
        is the committed text so far (a draft that is not finished comes back as it was). Raises RequestError for a request
        that makes no sense or that this model cannot serve.
        """
        return self._infill(request, self._filler, cancelled, on_step)

    @torch.inference_mode()
    def infill_uncached(self, request: InfillRequest) -> InfillResult:
        """`infill` with a full pass over the whole prompt at every step: the reference for tests and benches."""
        return self._infill(request, self._plain, None, None)

    @torch.inference_mode()
    def logits(self, token_ids: list[int]) -> Tensor:
        """Float32 logits [S, V] of one full pass; row i scores the token AT position i, any shift already applied.

        In the split layout the hole is the run from the first to the last mask token (none: everything is prefix).
        Raises RequestError for ids outside the vocabulary.
        """
        size = self.network.config.vocab_size
        if not token_ids or not all(0 <= t < size for t in token_ids):
            raise RequestError(f"Token ids must be a non-empty list of numbers from 0 to {size - 1}.")
        masks = [i for i, t in enumerate(token_ids) if t == self.token_ids.mask]
        hole = (masks[0], masks[-1] + 1) if masks else (len(token_ids), len(token_ids))
        return full_logits(self.network, token_ids, hole).float()

    def close(self) -> None:
        """Free what is kept between requests."""
        if isinstance(self._filler, RollingFiller):
            self._runner.reuse.clear()

    def _infill(
        self,
        request: InfillRequest,
        filler: Filler,
        cancelled: Callable[[], bool] | None,
        on_step: Callable[[CanvasView], None] | None,
    ) -> InfillResult:
        began = time.monotonic()
        options = resolve(request.decoding, self.defaults, self.token_ids, self.network.config.attention)
        limit = request.limits.deadline_ms
        watch = Watch(cancelled or (lambda: False), began + limit / 1000 if limit > 0 else float("inf"))
        regions = split(request)
        prompt = build(regions, request.snippets, self._budget(request.limits), self.tokenizer)
        if on_step is not None:
            watch.on_step = lambda gap, before, canvas: on_step(self._view(watch.steps, gap, prompt.spots[gap], before, canvas))
        prompted = time.monotonic()
        # Without a gap, all of it locked, there is nothing to ask the network.
        attempts = filler.fill(Job((request.client, request.document), prompt, options, watch)) if prompt.spots else [[]]
        ended = time.monotonic()
        answers = [self._answer(regions, prompt, attempt) for attempt in attempts]
        (fills, finish), *others = answers
        reason = ""
        if not any(fill.text for fill in fills):
            reason = finish if finish in ("cancelled", "deadline") else "empty_output"
        different = {tuple(f.text for f in fills): fills}
        for other, ending in others:
            if ending in ("complete", "length"):
                different.setdefault(tuple(f.text for f in other), other)
        return InfillResult(
            fills=fills,
            finish=finish,
            reason=reason,
            steps=watch.steps,
            forwards=watch.forwards,
            prompt_tokens=prompt.tokens,
            reused_tokens=watch.reused,
            timings=Timings(prompt_ms=1000 * (prompted - began), denoise_ms=1000 * (ended - prompted)),
            model=self.model,
            device=self.device,
            length_policy=f"fixed:{options.slots}" if options.length == "fixed" else options.length,
            others=tuple(different.values())[1 : options.alternatives],
        )

    def _budget(self, limits: Limits) -> Layout:
        """The layout's budgets with the snippets' share, scaled down where a request asks for a shorter prompt."""
        document = self._layout.document_id if self.reads_snippets else None
        layout = replace(self._layout, document_id=document, snippet_share=min(max(limits.snippet_share, 0.0), 1.0))
        if not 0 < limits.prompt_tokens < self.prompt_tokens:
            return layout
        share = limits.prompt_tokens / self.prompt_tokens
        prefix, suffix = int(layout.prefix_tokens * share), int(layout.suffix_tokens * share)
        return replace(layout, prefix_tokens=max(min(16, limits.prompt_tokens), prefix), suffix_tokens=suffix)

    def _answer(self, regions: Regions, prompt: Prompt, attempt: Attempt) -> tuple[tuple[Fill, ...], Finish]:
        """What goes into each hole, and how the whole ended: the first ending that is not `complete`."""
        told = [self._text(spot, gap) for spot, gap in zip(prompt.spots, attempt, strict=True)]
        fills = []
        for text, recipe in zip(regions.assemble([t.text for t in told]), regions.recipes, strict=True):
            gaps = [part for part in recipe if isinstance(part, int)]
            confidence = math.exp(sum(attempt[gap].logprob for gap in gaps))
            if not all(attempt[gap].kept for gap in gaps):  # a draft that stands as it was is no guess
                whole = all(told[gap].finish == "complete" for gap in gaps)
                confidence = calibrated(self.calibration, confidence, place_of(regions, gaps), whole)
            pieces = _pieces(text, [told[part].pieces if isinstance(part, int) else _certain(part) for part in recipe])
            fills.append(Fill(text=text, confidence=confidence, tokens=sum(told[gap].tokens for gap in gaps), pieces=pieces))
        return tuple(fills), next((t.finish for t in told if t.finish != "complete"), "complete")

    def _text(self, spot: Spot, filled: Filled) -> _Told:
        """The text of a gap: without what healing took back from the prefix, within its limits."""
        if filled.kept:
            assert spot.gap.draft is not None and spot.draft is not None, "only drafts are kept"  # noqa: PT018
            return _Told(spot.gap.draft, len(spot.draft.ids), filled.finish, _certain(spot.gap.draft))
        tokens, finish, shortened = filled.tokens, filled.finish, False
        if spot.draft is None:
            tokens = tokens[: spot.room]
        text = self.tokenizer.decode_bytes(tokens)[len(spot.forced) :].decode("utf-8", errors="ignore")
        if spot.draft is None:
            text, shortened = cut_lines(text, spot.gap.max_lines)
        if len(tokens) < len(filled.tokens) and finish == "complete" and not shortened:
            finish = "length"
        if not text:
            return _Told("", len(tokens), finish)
        pieces: tuple[Piece, ...] = ()
        if filled.confidence:
            said = [self.tokenizer.token_bytes[token] for token in tokens]
            pieces = cut(pieces_of(said, filled.confidence[: len(tokens)], len(spot.forced)), len(text)) + _certain(spot.gap.closing)
        return _Told(text + spot.gap.closing, len(tokens), finish, pieces)

    def _view(self, step: int, gap: int, spot: Spot, before: Sequence[int], canvas: Canvas) -> CanvasView:
        """A gap as it stands, without the bytes that stand before the cursor already."""
        ids = self.token_ids
        finished = self.tokenizer.decode_bytes(list(before))
        skip = max(0, len(spot.forced) - len(finished))
        slots = []
        for token, confidence in zip(canvas.tokens, canvas.confidence, strict=True):
            state: SlotState = "masked" if token == ids.mask else "end" if token == ids.end else "committed"
            piece = self.tokenizer.decode_bytes([token])
            slots.append(Slot(piece[skip:].decode(errors="replace"), state, confidence))
            skip = max(0, skip - len(piece))
        return CanvasView(step, finished[len(spot.forced) :].decode(errors="replace"), tuple(slots), gap)


def _certain(text: str) -> tuple[Piece, ...]:
    """Text that nobody had to decide."""
    return (Piece(text=text, confidence=1.0),) if text else ()


def _pieces(text: str, parts: Sequence[tuple[Piece, ...]]) -> tuple[Piece, ...]:
    """The parts of a hole's `text` in a row; nothing where those of one of them are not known."""
    pieces = tuple(piece for part in parts for piece in part)
    return pieces if "".join(piece.text for piece in pieces) == text else ()
