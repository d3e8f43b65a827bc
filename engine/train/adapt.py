"""Fine-tunes an exported checkpoint of the split layout on the files of one repository, within a time budget.

All weights are trained, at a low rate; then the result moves part of the way back to where it came from, which keeps what the
base knew. Knows nothing of how files are found, how a model is judged or where it is kept.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from engine.errors import ConfigError
from engine.models import checkpoint as checkpoints
from engine.models.checkpoint import Checkpoint
from engine.models.transformer import Transformer
from engine.runtime.device import place
from engine.text.tokenizer import Tokenizer
from engine.train.cuts import Cutter
from engine.train.loss import packed_loss
from engine.train.packed import PackedBatch
from engine.train.trainer import TrainConfig, draw, rate_factor

HOLE_EVERY = 16
"""Tokens. Twice as many holes as in pretraining: at equal time that lowered the loss of held-out files faster."""
WARM_UP = 10
"""Steps."""
WINDOW = 512
"""Tokens, or the base's own context where that is shorter."""


@dataclass(frozen=True, slots=True)
class AdaptPlan:
    """How a checkpoint is adapted. It ends after `seconds` or `steps`, whichever comes first; the rate follows the nearer end.

    `kept` is the share of the change that is kept: 1 is the fine-tuned network, 0 the base. `batch` 0 suits the device; `threads` 0
    leaves their number to torch.
    """

    seconds: float = 300.0
    steps: int = 1_000_000
    kept: float = 0.7
    muon_rate: float = 0.01
    adam_rate: float = 0.0015
    batch: int = 0
    device: str = "auto"
    threads: int = 0
    seed: int = 20261121


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands: `share` done (0 to 1), `seconds` left, the smoothed loss of hidden slots in nats a token."""

    step: int
    share: float
    seconds_left: float
    loss: float


@dataclass(frozen=True, slots=True)
class Watch:
    """`report` gets the progress after every step; the run ends early, with what it has, once `stopped` says so."""

    report: Callable[[Progress], None] = lambda progress: None
    stopped: Callable[[], bool] = lambda: False


@dataclass(frozen=True, slots=True)
class Adapted:
    """The adapted network on the CPU in float32, and how it came about. `passes` is how often the text was read, on average."""

    network: Transformer
    base: Checkpoint
    steps: int
    seconds: float
    passes: float
    first_loss: float
    last_loss: float
    interrupted: bool


class RepositoryCutter(Cutter):
    """Draws windows from texts that are at hand, each in proportion to its length."""

    def __init__(self, texts: Sequence[str], tokenizer: Tokenizer, document_id: int, length: int, holes: int) -> None:
        self._tokenizer, self._document_id = tokenizer, document_id
        self.length, self.holes = length, holes
        self._texts = [list(texts)]
        self._package_weights = [1.0]
        self._file_weights = [list(itertools.accumulate(len(text) for text in texts))]


def adapt(base: Checkpoint, texts: Sequence[str], plan: AdaptPlan, watch: Watch | None = None) -> Adapted:
    """Train `base` on `texts` and return the result; nothing is written.

    Raises ConfigError where the base is not of the layout that can be trained here, and DeviceError for a device that cannot be used.
    """
    if base.config.attention != "split":
        raise ConfigError(f"{base.name} cannot be adapted: only models of the layout of nano can.", "Use --model nano.")
    watch = watch or Watch()
    device = place(plan.device, "auto").device
    if plan.threads:
        torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    tokenizer = checkpoints.tokenizer_of(base)
    config = _config(base, tokenizer, plan, device)
    cutter = RepositoryCutter(texts, tokenizer, config.document_id, config.window, config.holes)
    network = Transformer(base.config).to(device)
    checkpoints.load_weights(network, base)
    start = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    run = _train(network, cutter, config, plan, watch)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.lerp_(start[name], 1 - plan.kept)
    size = sum(len(piece.ids) for piece in tokenizer.encode_many(list(texts)))
    edge = max(1, len(run.losses) // 10)
    return Adapted(
        network=network.to("cpu").eval().requires_grad_(False),
        base=base,
        steps=len(run.losses),
        seconds=run.seconds,
        passes=len(run.losses) * config.batch * config.window / max(1, size),
        first_loss=sum(run.losses[:edge]) / edge,
        last_loss=sum(run.losses[-edge:]) / edge,
        interrupted=run.interrupted,
    )


@dataclass(frozen=True, slots=True)
class _Run:
    losses: list[float]
    seconds: float
    interrupted: bool


def _config(base: Checkpoint, tokenizer: Tokenizer, plan: AdaptPlan, device: torch.device) -> TrainConfig:
    ids = base.token_ids(tokenizer.special_id)
    if ids.document is None:
        raise ConfigError(f"{base.name} cannot be adapted: it has no token that begins a document.", "Use --model nano.")
    window = min(WINDOW, base.config.context_length or WINDOW)
    return TrainConfig(
        model=base.config,
        mask_id=ids.mask,
        end_id=ids.end,
        document_id=ids.document,
        window=window,
        holes=max(1, window // HOLE_EVERY),
        canvas=base.infill.canvas,
        batch=plan.batch or (4 if device.type == "cpu" else 32),
        steps=plan.steps,
        minutes=plan.seconds / 60,
        muon_rate=plan.muon_rate,
        adam_rate=plan.adam_rate,
        warmup_steps=min(WARM_UP, max(1, plan.steps // 5)),
        decay_share=0.9,
        seed=plan.seed,
        device=str(device),
        compile=False,
    )


def _train(network: Transformer, cutter: Cutter, config: TrainConfig, plan: AdaptPlan, watch: Watch) -> _Run:
    """Change `network` in place. Everything before the first step counts as well: the budget is the user's time."""
    began = time.monotonic()
    matrices = [p for n, p in network.named_parameters() if n.startswith("layers.") and p.ndim == 2]
    others = [p for n, p in network.named_parameters() if not (n.startswith("layers.") and p.ndim == 2)]
    optimizers: list[tuple[torch.optim.Optimizer, float]] = [
        (torch.optim.Muon(matrices, lr=plan.muon_rate, momentum=0.95, weight_decay=0.0), plan.muon_rate),
        (torch.optim.AdamW(others, lr=plan.adam_rate, betas=(0.9, 0.95), weight_decay=0.0), plan.adam_rate),
    ]
    losses: list[float] = []
    smoothed, share, interrupted = 0.0, 0.0, False
    autocast = _faster(network, _to(draw(cutter, config, -1), config.device), config.device)
    with ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(draw, cutter, config, 0)
        while share < 1.0 and not interrupted:
            batch = _to(coming.result(), config.device)
            coming = ahead.submit(draw, cutter, config, len(losses) + 1)
            factor = rate_factor(len(losses), share, config)
            with autocast():
                loss, parts = packed_loss(network, batch)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            for optimizer, peak in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = peak * factor
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            losses.append(float(parts[2]))
            smoothed = losses[-1] if len(losses) == 1 else 0.9 * smoothed + 0.1 * losses[-1]
            spent = time.monotonic() - began
            share = max(len(losses) / plan.steps, spent / max(plan.seconds, 1e-6))
            watch.report(Progress(len(losses), min(share, 1.0), max(0.0, spent / share - spent), smoothed))
            interrupted = watch.stopped()
    return _Run(losses, time.monotonic() - began, interrupted)


def _faster(network: Transformer, batch: PackedBatch, device: str) -> Callable[[], AbstractContextManager[object]]:
    """Mixed or full precision, whichever this machine is faster at: many CPUs only imitate bfloat16."""
    kind = torch.device(device).type
    mixed: Callable[[], AbstractContextManager[object]] = lambda: torch.autocast(kind, dtype=torch.bfloat16)  # noqa: E731
    if kind != "cpu":
        return mixed
    small = type(batch)(*(getattr(batch, name)[:1] for name in batch.__slots__))
    times = []
    for context in (mixed, nullcontext):
        for _ in range(2):  # the first pass picks kernels
            began = time.monotonic()
            with context():
                loss, _ = packed_loss(network, small)
            loss.backward()
            took = time.monotonic() - began
        times.append(took)
    network.zero_grad(set_to_none=True)
    return mixed if times[0] <= times[1] else nullcontext


def _to(batch: object, device: str) -> PackedBatch:
    assert isinstance(batch, PackedBatch)
    return PackedBatch(*(getattr(batch, name).to(device) for name in PackedBatch.__slots__))
