"""The restartable trainer: packed batches, Muon and AdamW, warm-up then hold then linear decay, checkpoints in one file.

Batch number n is drawn from seed and n alone, so a run that is cut off and resumed sees the same data. Knows nothing of
how a corpus is built or how a model is judged.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import pickle
import random
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from engine.errors import CheckpointError, ConfigError
from engine.models.config import ModelConfig
from engine.models.transformer import Transformer
from engine.train.cuts import Cutter, Window
from engine.train.loss import packed_loss
from engine.train.noise import CanvasExample, complement, corrupt
from engine.train.packed import PackedBatch
from engine.train.rows import RowBatch, RowPlan, make_rows, row_loss

Layout = Literal["split", "full", "suffix-first", "causal"]
"""How a window becomes rows: `split` is what ships, the others are what it was compared with (see `rows.py`)."""


BATCHES_AHEAD = 4
LOGGED_STEPS = 20
"""How many steps a row of the log is the mean of."""


class TrainConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One run. It ends after `steps` steps or `minutes` minutes of training, whichever comes first; the rate follows the nearer end.

    `verify_share` of the canvases are read causally, and `complementary` masks come in pairs (see `noise.py`). `package_weights` draws
    packages as often as the corpus list says, which suits a run that sees a small part of it; a run of several passes would learn the
    small ones by heart. `workers` processes draw batches ahead (0: a thread of this one does). `ema` > 0 keeps a moving average of the
    weights with this decay, which is what is exported.
    """

    model: ModelConfig
    mask_id: int
    end_id: int
    document_id: int
    layout: Layout = "split"
    fim_ids: tuple[int, int, int] = (0, 0, 0)
    window: int = 512
    holes: int = 16
    canvas: int = 16
    batch: int = 8
    steps: int = 100_000
    minutes: float = 120.0
    muon_rate: float = 0.02
    adam_rate: float = 0.003
    weight_decay: float = 0.05
    warmup_steps: int = 100
    decay_share: float = 0.45
    checkpoint_minutes: float = 5.0
    seed: int = 20261121
    compile: bool = True
    device: str = "cpu"
    verify_share: float = 0.3
    package_weights: bool = True
    complementary: bool = False
    workers: int = 0
    ema: float = 0.0


def read_state(path: Path) -> dict[str, Any]:
    """What `Trainer.save` wrote, in main memory. Raises CheckpointError where there is none or it cannot be read."""
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        state["config"]  # a file of something else has none
    except FileNotFoundError as error:
        raise CheckpointError(f"There is no training state {path}.", "Name a run that `dlsp train run` has saved.") from error
    except (OSError, EOFError, RuntimeError, LookupError, TypeError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"The training state {path} cannot be read.", "Take another run's, or delete it and begin anew.") from error
    return state


def log_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a run's log, none where there is no log. What a kill left half written is passed over."""
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows


def mean_weights(states: Sequence[Path], model: ModelConfig) -> dict[str, Tensor]:
    """The mean of the weights in training states, averaged ones where a run kept any (model soups, arXiv 2203.05482).

    It is of use for runs that began with each other's weights. Raises ConfigError where a network is not `model`, and CheckpointError
    as `read_state`.
    """
    sums: dict[str, Tensor] = {}
    for path in states:
        state = read_state(path)
        if msgspec.json.decode(state["config"], type=TrainConfig).model != model:
            raise ConfigError(f"The network of {path} has another shape.", "Take runs of the same preset and tokenizer.")
        weights = state["model"] | (state.get("average") or {})
        sums = {name: weight + sums[name] if sums else weight for name, weight in weights.items()}
    return {name: total / len(states) for name, total in sums.items()}


def make_batch(windows: list[Window], config: TrainConfig, rng: random.Random) -> PackedBatch:
    """Corrupt the holes of `windows` and stack everything into tensors."""
    length = config.window
    canvas, target, weight, start, end, verify = [], [], [], [], [], []
    for window in windows:
        examples: list[CanvasExample] = []
        holes = list(zip(window.holes, window.open_end, strict=True))
        for number, ((a, b), is_open) in enumerate(holes):
            if config.complementary and examples and examples[-1].scattered:
                holes[number] = holes[number - 1]
                examples.append(complement(examples[-1], config.mask_id))
                continue
            middle = window.tokens[a : a + config.canvas] if is_open else window.tokens[a:b]
            examples.append(corrupt(middle, config.canvas, config.mask_id, config.end_id, rng, config.verify_share))
        # Without a suffix the text runs on: a hole cut by the window's own end is not told to stop there.
        known = [length - a if is_open else config.canvas for (a, _), is_open in holes]
        canvas.append([t for e in examples for t in e.inputs])
        target.append([t for e in examples for t in e.targets])
        weight.append([w if slot < k else 0.0 for e, k in zip(examples, known, strict=True) for slot, w in enumerate(e.weights)])
        verify.append([e.verify for e in examples])
        start.append([a for (a, _), _ in holes])
        end.append([length if is_open else b for (_, b), is_open in holes])
    tokens = torch.tensor([w.tokens for w in windows])
    return PackedBatch(
        tokens,
        torch.tensor(canvas),
        torch.tensor(target),
        torch.tensor(weight),
        torch.tensor(start),
        torch.tensor(end),
        torch.tensor(verify),
    )


def batch_of(windows: list[Window], config: TrainConfig, rng: random.Random) -> PackedBatch | RowBatch:
    """The windows as the layout wants them."""
    if config.layout == "split":
        return make_batch(windows, config, rng)
    holes = {"full": config.holes // 2, "suffix-first": config.holes * 3 // 4, "causal": 1}[config.layout]
    plan = RowPlan(config.layout, config.window, config.canvas, holes, config.mask_id, config.end_id, config.fim_ids)
    return make_rows(windows, plan, rng)


def draw(cutter: Cutter, config: TrainConfig, step: int) -> PackedBatch | RowBatch:
    """The batch of a step: the same whenever and wherever it is drawn."""
    rng = random.Random(f"{config.seed}-{step}")
    return batch_of([cutter.draw(rng) for _ in range(config.batch)], config, rng)


def batches(cutter: Cutter, config: TrainConfig, first_step: int) -> Generator[PackedBatch | RowBatch]:
    """Batches from step `first_step` on, prepared ahead by worker processes or in a thread. What goes wrong there is raised here."""
    if config.workers:
        yield from DataLoader(
            _Steps(cutter, config),
            sampler=_From(first_step),
            batch_size=None,
            num_workers=config.workers,
            prefetch_factor=2,  # of a megabyte each: a container often has no more than 64 MB of shared memory for all of them
            multiprocessing_context="fork",  # workers share the corpus with this process instead of reading it again
            worker_init_fn=_begin_worker,
        )
        return
    steps = itertools.count(first_step)
    ahead = ThreadPoolExecutor(1)
    try:
        coming = deque(ahead.submit(draw, cutter, config, step) for step in itertools.islice(steps, BATCHES_AHEAD))
        while True:
            coming.append(ahead.submit(draw, cutter, config, next(steps)))
            yield coming.popleft().result()
    finally:
        ahead.shutdown(cancel_futures=True)


def _begin_worker(number: int) -> None:
    """Away from the signals of the run, which ends its workers itself."""
    os.setsid()


class _Steps(Dataset):
    """Batches by the number of their step."""

    def __init__(self, cutter: Cutter, config: TrainConfig) -> None:
        self._cutter, self._config = cutter, config

    def __getitem__(self, step: int) -> PackedBatch | RowBatch:
        return draw(self._cutter, self._config, step)


class _From(Sampler):
    """All numbers from the first one on, in order."""

    def __init__(self, first: int) -> None:
        self._first = first

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self._first)


def rate_factor(step: int, progress: float, config: TrainConfig) -> float:
    """Share of the peak learning rate at `step`, `progress` (0 to 1) through the run."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    return min(1.0, max(0.0, (1.0 - progress) / config.decay_share))


def initialise(model: Transformer) -> None:
    """Normal(0, 0.02) embeddings, scaled normal matrices, zero output projections (so every layer starts as the identity)."""
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.ones_(parameter)
        elif "embed_tokens" in name or "roles" in name:
            nn.init.normal_(parameter, std=0.02)
        elif "o_proj" in name or "down_proj" in name:
            nn.init.zeros_(parameter)
        else:
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)


class Trainer:
    """Holds model, optimizers and progress; `run` trains until the run's end and writes `state.pt` and `log.jsonl` as it goes."""

    def __init__(self, config: TrainConfig, cutter: Cutter, directory: Path) -> None:
        torch.manual_seed(config.seed)
        self.config, self.cutter, self.directory = config, cutter, directory
        self.model = Transformer(config.model).to(config.device)
        initialise(self.model)
        matrices = [p for n, p in self.model.named_parameters() if n.startswith("layers.") and p.ndim == 2]
        others = [p for n, p in self.model.named_parameters() if not (n.startswith("layers.") and p.ndim == 2)]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, lr=config.muon_rate, momentum=0.95, weight_decay=config.weight_decay),
            torch.optim.AdamW(others, lr=config.adam_rate, betas=(0.9, 0.95), weight_decay=0.0),
        ]
        self.peaks = [config.muon_rate, config.adam_rate]
        self.average = {n: p.detach().clone() for n, p in self.model.named_parameters()} if config.ema else {}
        self.step = 0
        self.seconds = 0.0
        directory.mkdir(parents=True, exist_ok=True)
        if self.state_path.exists():
            self.resume()

    @property
    def state_path(self) -> Path:
        """Where the run is saved."""
        return self.directory / "state.pt"

    def resume(self) -> None:
        """Continue from `state.pt`. Raises ConfigError where it is the state of another network, CheckpointError as `read_state`."""
        # Through main memory: AdamW counts its steps there, and would wait for the GPU at every parameter if they came back on it.
        state = read_state(self.state_path)
        theirs = msgspec.json.decode(state["config"], type=TrainConfig)
        if (theirs.model, theirs.layout) != (self.config.model, self.config.layout):
            raise ConfigError(
                f"{self.directory} holds a run of another network ({_shape(theirs)}) than this one ({_shape(self.config)}).",
                "Give this run another --name, or pass that run's --preset and --layout to go on with it.",
            )
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for name, tensor in state.get("average", {}).items():
            self.average[name] = tensor.to(self.config.device)
        self.step, self.seconds = state["step"], state["seconds"]

    def start_from(self, *states: Path) -> None:
        """Begin with the mean of the weights of other runs; optimizers, step and schedule are new. Raises ConfigError as `mean_weights`."""
        self.model.load_state_dict(mean_weights(states, self.config.model))
        self.average = {n: p.detach().clone() for n, p in self.model.named_parameters()} if self.config.ema else {}

    def save(self, losses: Tensor | None = None) -> None:
        """Write `state.pt`, whole or not at all. Raises ConfigError, and leaves it as it is, where a weight or one of `losses`, the sums
        that no row of the log has yet, is no number any more."""
        numbers = [*self.model.parameters()] + ([] if losses is None else [losses])
        if not torch.stack([number.detach().isfinite().all() for number in numbers]).all():
            raise self._diverged()
        temporary = self.state_path.with_suffix(".tmp")
        torch.save(
            {
                "model": self.model.state_dict(),
                "optimizers": [o.state_dict() for o in self.optimizers],
                "average": self.average,
                "step": self.step,
                "seconds": self.seconds,
                "config": msgspec.json.encode(self.config).decode(),
            },
            temporary,
        )
        temporary.replace(self.state_path)

    def _diverged(self) -> ConfigError:
        return ConfigError(
            f"At step {self.step} the loss is no number any more; {self.state_path} is as it was before.",
            "Run it again with a smaller --rate.",
        )

    def _cut_log(self) -> Path:
        """The log without rows of steps that are trained again: a run that was killed had gone on behind its last checkpoint."""
        log = self.directory / "log.jsonl"
        kept = "".join(json.dumps(row) + "\n" for row in log_rows(log) if row["step"] <= self.step)
        if log.exists() and log.read_text(encoding="utf-8", errors="replace") != kept:
            temporary = log.with_suffix(".tmp")
            temporary.write_text(kept, encoding="utf-8")
            temporary.replace(log)
        return log

    @torch.no_grad()
    def _keep_average(self) -> None:
        """Move the averaged weights towards the present ones; early on faster, so that the start is soon forgotten."""
        if not self.average:
            return
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        parameters = dict(self.model.named_parameters())
        torch._foreach_lerp_(list(self.average.values()), [parameters[name].detach() for name in self.average], 1 - decay)

    @property
    def progress(self) -> float:
        """How much of the run is done, 0 to 1."""
        return max(self.step / self.config.steps, self.seconds / (60 * self.config.minutes))

    def run(self, until_step: int | None = None, stopped: Callable[[], bool] = lambda: False) -> None:
        """Train to the end of the run, to `until_step`, or until `stopped` says so, and save. Safe to kill at any time: at most
        `checkpoint_minutes` are lost. Raises ConfigError, and saves nothing, where the loss or a weight is no number any more."""
        config = self.config
        loss_of: Callable[..., tuple[Tensor, Tensor]] = packed_loss if config.layout == "split" else row_loss
        step_loss = torch.compile(loss_of) if config.compile else loss_of
        saved = self.seconds
        parts_sum, parts_count = torch.zeros(4, device=config.device), 0
        with self._cut_log().open("a") as log, closing(batches(self.cutter, config, self.step)) as source:
            # A GPU is still computing when a step's commands are given, so the clock runs on from step to step: it catches up wherever
            # something is waited for.
            clock = time.monotonic()
            while self.progress < 1.0 and self.step != until_step and not stopped():
                factor = rate_factor(self.step, self.progress, config)
                batch = _to(next(source), config.device)
                with torch.autocast(torch.device(config.device).type, dtype=torch.bfloat16):
                    loss, parts = step_loss(self.model, batch)
                loss.backward()
                nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                for optimizer, peak in zip(self.optimizers, self.peaks, strict=True):
                    for group in optimizer.param_groups:
                        group["lr"] = peak * factor
                    optimizer.step()
                    optimizer.zero_grad(set_to_none=True)
                self._keep_average()
                self.step += 1
                parts_sum += parts.float()
                parts_count += 1
                mean = (parts_sum / parts_count).tolist() if parts_count == LOGGED_STEPS else None
                now = time.monotonic()
                self.seconds, clock = self.seconds + now - clock, now
                if mean is not None:
                    if not all(map(math.isfinite, mean)):
                        raise self._diverged()
                    row = {"step": self.step, "seconds": round(self.seconds, 1), "rate": round(factor, 4)}
                    row |= dict(zip(("prefix", "suffix", "masked", "verify"), (round(m, 4) for m in mean), strict=True))
                    log.write(json.dumps(row) + "\n")
                    log.flush()
                    parts_sum, parts_count = torch.zeros(4, device=config.device), 0
                if self.seconds - saved >= 60 * config.checkpoint_minutes:
                    self.save(parts_sum)
                    saved, clock = self.seconds, time.monotonic()
        self.save(parts_sum)


def _to(batch: PackedBatch | RowBatch, device: str) -> PackedBatch | RowBatch:
    """The batch on its device; a GPU takes it from pinned memory, so that nobody waits for the copy."""
    tensors = [getattr(batch, name) for name in batch.__slots__]
    if torch.device(device).type == "cuda":
        tensors = [tensor.pin_memory() for tensor in tensors]
    return type(batch)(*(tensor.to(device, non_blocking=True) for tensor in tensors))


def _shape(config: TrainConfig) -> str:
    model = config.model
    return f"{config.layout}, {model.num_layers} layers of width {model.hidden_size}, {model.vocab_size} tokens"
