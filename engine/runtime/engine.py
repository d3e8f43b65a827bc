"""The facade: load once, then fill holes. One `infill` at a time; who runs when is the scheduler's business.

engine = Engine.load("nano")
engine.infill(InfillRequest(prefix="def add(a, b):\\n    return ")).text
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from engine.api import Fill, Finish, InfillRequest, InfillResult, Timings
from engine.diffusion.canvas import Canvas
from engine.diffusion.denoise import Goal, Step, denoise
from engine.diffusion.length import END_TOKEN, cut_lines
from engine.diffusion.sampler import Sampler
from engine.diffusion.schedule import ThresholdSchedule
from engine.errors import CheckpointError, RequestError
from engine.models import checkpoint as checkpoints
from engine.models.families import TokenIds
from engine.models.transformer import Transformer
from engine.runtime.device import Placement, place
from engine.runtime.runner import CachedRunner, PlainRunner, Runner, full_logits
from engine.text.healing import ForcedStart
from engine.text.prompt import Layout, Prompt, build
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
    """What the hole looks like after a step: `text` of the canvases already finished, then the slots of the present one."""

    step: int
    text: str
    slots: tuple[Slot, ...]


@dataclass(slots=True)
class _Progress:
    """What has been filled so far."""

    tokens: list[int] = field(default_factory=list)
    confidence: float = 1.0
    steps: int = 0
    forwards: int = 0
    reused: int = 0
    finish: Finish = "complete"


@dataclass(frozen=True, slots=True)
class _Watch:
    """What may stop a request early, and who looks on."""

    cancelled: Callable[[], bool]
    deadline: float
    on_step: Callable[[CanvasView], None] | None

    def stopped(self) -> Finish | None:
        if self.cancelled():
            return "cancelled"
        return "deadline" if time.monotonic() >= self.deadline else None


class Engine:
    """A loaded model that fills holes.

    `model`, `device` and `dtype` name what runs; `fallback_reason` says why `auto` is not on the GPU that is there.
    """

    def __init__(self, checkpoint: checkpoints.Checkpoint, network: Transformer, tokenizer: Tokenizer, placement: Placement) -> None:
        self.model = checkpoint.name
        self.device = str(placement.device)
        self.dtype = str(placement.dtype).removeprefix("torch.")
        self.fallback_reason = placement.fallback_reason
        self.network, self.tokenizer = network, tokenizer
        self.defaults = checkpoint.infill
        try:
            self.token_ids: TokenIds = checkpoint.token_ids(tokenizer.special_id)
        except CheckpointError as error:
            raise CheckpointError(f"{checkpoint.directory}: {error}", checkpoints.REPAIR) from error
        ids = self.token_ids
        self._constraint = ForcedStart(tokenizer)
        self._runner: Runner = CachedRunner(network) if network.config.attention == "split" else PlainRunner(network)
        self._plain = PlainRunner(network)
        forbidden = [i for i, piece in enumerate(tokenizer.token_bytes) if not piece and i != ids.end]
        forbidden += range(tokenizer.vocab_size, network.config.vocab_size)
        line_ends = [i for i, piece in enumerate(tokenizer.token_bytes) if b"\n" in piece]
        self._sampler = Sampler(forbidden, line_ends, ids.end, placement.device)
        self._schedule = ThresholdSchedule(self.defaults.threshold, self.defaults.left_bias)
        self._layout = Layout(ids.document, self.defaults.prefix_tokens, self.defaults.suffix_tokens)

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
        files that are missing or wrong and DeviceError for a device that cannot be used.
        """
        checkpoint = checkpoints.read(checkpoints.find(path_or_name))
        placement = place(device, dtype)
        if threads:
            torch.set_num_threads(threads)
        tokenizer = Tokenizer(checkpoint.directory / "tokenizer.json")
        if tokenizer.vocab_size > checkpoint.config.vocab_size:
            raise CheckpointError(
                f"{checkpoint.directory}: the tokenizer has {tokenizer.vocab_size} tokens, the model only {checkpoint.config.vocab_size}.",
                checkpoints.REPAIR,
            )
        with torch.device("meta"):
            network = Transformer(checkpoint.config)
        network = network.to(placement.dtype).to_empty(device=placement.device)
        if checkpoint.config.tie_word_embeddings:
            network.lm_head.weight = network.embed_tokens.weight
        checkpoints.load_weights(network, checkpoint, on_progress)
        network.eval().requires_grad_(False)
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
        """Fill the hole of `request`.

        `cancelled` is asked between denoise steps; `on_step` sees the canvas after each. At the deadline the answer is the
        committed text so far. Raises RequestError for a request that this engine cannot serve.
        """
        return self._infill(request, self._runner, cancelled, on_step)

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
        if isinstance(self._runner, CachedRunner):
            self._runner.reuse.clear()

    def _infill(
        self,
        request: InfillRequest,
        runner: Runner,
        cancelled: Callable[[], bool] | None,
        on_step: Callable[[CanvasView], None] | None,
    ) -> InfillResult:
        began = time.monotonic()
        if len(request.holes) != 1:
            raise RequestError(
                f"This engine fills one hole per request, the request has {len(request.holes)}.", "Send one request per hole."
            )
        limit = request.limits.deadline_ms
        watch = _Watch(cancelled or (lambda: False), began + limit / 1000 if limit > 0 else float("inf"), on_step)
        prompt = build(request.prefix, request.suffix, request.snippets, self._budget(request.limits.prompt_tokens), self.tokenizer)
        prompted = time.monotonic()
        progress = self._fill(request, prompt, runner, watch)
        ended = time.monotonic()
        text, finish = self._text(request, prompt, progress)
        reason = ""
        if not text:
            reason = finish if finish in ("cancelled", "deadline") else "empty_output"
        return InfillResult(
            fills=(Fill(text=text, confidence=progress.confidence, tokens=len(progress.tokens)),),
            finish=finish,
            reason=reason,
            steps=progress.steps,
            forwards=progress.forwards,
            prompt_tokens=prompt.tokens,
            reused_tokens=progress.reused,
            timings=Timings(prompt_ms=1000 * (prompted - began), denoise_ms=1000 * (ended - prompted)),
            model=self.model,
            device=self.device,
            length_policy=END_TOKEN,
        )

    def _budget(self, prompt_tokens: int) -> Layout:
        """The layout's budgets, scaled down where a request asks for a shorter prompt."""
        own = self._layout.prefix_tokens + self._layout.suffix_tokens
        if not 0 < prompt_tokens < own:
            return self._layout
        share = prompt_tokens / own
        return Layout(self._layout.document_id, max(16, int(self._layout.prefix_tokens * share)), int(self._layout.suffix_tokens * share))

    def _fill(self, request: InfillRequest, prompt: Prompt, runner: Runner, watch: _Watch) -> _Progress:
        """Denoise canvas after canvas until the hole is closed or something stops it."""
        hole = request.holes[0]
        progress = _Progress()
        forced, one_line = prompt.forced, hole.max_lines == 1
        while True:
            progress.finish = watch.stopped() or "complete"
            if progress.finish != "complete":
                return progress
            prefix_ids = prompt.prefix_ids + progress.tokens
            opened = runner.open((request.client, request.document), prefix_ids, prompt.suffix_ids, self.defaults.canvas)
            progress.reused += opened.reused if not progress.tokens else 0
            progress.forwards += opened.forwards
            canvas = Canvas(self.defaults.canvas, self.token_ids.mask, self.token_ids.end)
            steps = denoise(opened.forward, canvas, Goal(forced, one_line), self._sampler, self._schedule, self._constraint)
            progress.finish = self._run(steps, canvas, len(prompt.forced), progress, watch)
            content = canvas.content()
            for slot in range(min(len(content) + 1, canvas.size) if canvas.done else len(content)):
                progress.confidence *= canvas.confidence[slot]
            progress.tokens += content
            for token in content:
                forced = self._constraint.rest(forced, token) if forced else b""
            if progress.finish != "complete" or canvas.end < canvas.size:
                return progress
            if len(progress.tokens) >= hole.max_tokens:
                progress.finish = "length"
                return progress
            if hole.max_lines > 1 and self.tokenizer.decode_bytes(progress.tokens)[len(prompt.forced) :].count(b"\n") >= hole.max_lines:
                return progress

    def _run(self, steps: Iterator[Step], canvas: Canvas, healed: int, progress: _Progress, watch: _Watch) -> Finish:
        """Take denoise steps until the canvas is done or the request is stopped."""
        for _ in steps:
            progress.steps += 1
            progress.forwards += 1
            if watch.on_step:
                watch.on_step(self._view(progress, canvas, healed))
            stopped = watch.stopped()
            if stopped and not (canvas.done and stopped == "deadline"):
                return stopped
        return "complete"

    def _text(self, request: InfillRequest, prompt: Prompt, progress: _Progress) -> tuple[str, Finish]:
        """The text of the hole and how it ended: without what healing took back from the prefix, within the line limit."""
        hole = request.holes[0]
        finish = progress.finish
        tokens = progress.tokens[: hole.max_tokens]
        raw = self.tokenizer.decode_bytes(tokens)[len(prompt.forced) :]
        text = raw.decode("utf-8", errors="ignore")
        text, cut = cut_lines(text, hole.max_lines)
        if len(tokens) < len(progress.tokens) and finish == "complete" and not cut:
            finish = "length"
        if text and finish == "complete":
            text += prompt.closing
        return text, finish

    def _view(self, progress: _Progress, canvas: Canvas, healed: int) -> CanvasView:
        """The hole as it stands, without the first `healed` bytes: those stand before the cursor already."""
        ids = self.token_ids
        finished = self.tokenizer.decode_bytes(progress.tokens)
        skip = max(0, healed - len(finished))
        slots = []
        for token, confidence in zip(canvas.tokens, canvas.confidence, strict=True):
            state: SlotState = "masked" if token == ids.mask else "end" if token == ids.end else "committed"
            piece = self.tokenizer.decode_bytes([token])
            slots.append(Slot(piece[skip:].decode(errors="replace"), state, confidence))
            skip = max(0, skip - len(piece))
        return CanvasView(progress.steps, finished[healed:].decode(errors="replace"), tuple(slots))
