"""The trainer when something goes wrong, and when it is told to stop."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
import torch

from dlsp.cli.train_compare import _last_losses
from engine.errors import CheckpointError, ConfigError
from engine.text.tokenizer import Tokenizer
from engine.train import trainer as module
from engine.train.cuts import Cutter
from engine.train.export import export
from engine.train.presets import PRESETS
from engine.train.trainer import TrainConfig, Trainer
from tiny_models import SAMPLE, tiny_config


@pytest.fixture
def config(tokenizer: Tokenizer) -> TrainConfig:
    return TrainConfig(
        model=tiny_config(tokenizer), mask_id=3, end_id=2, document_id=1, window=64, holes=6, canvas=8, batch=1, steps=20, warmup_steps=2,
        compile=False,
    )  # fmt: skip


@pytest.fixture
def cutter(config: TrainConfig, tokenizer: Tokenizer, tmp_path: Path) -> Cutter:
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps({"package": "a", "split": "train", "path": "a.py", "text": SAMPLE * 6}) + "\n")
    return Cutter(path, tokenizer, 1, config.window, config.holes)


def test_a_package_is_drawn_as_often_as_its_weight_says(tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = [{"package": "often", "text": "x = 1\n" * 200, "weight": 4.0}, {"package": "seldom", "text": "y = 2\n" * 200}]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def share(weighted: bool) -> float:
        cutter, rng = Cutter(path, tokenizer, 1, 32, 2, weighted), random.Random(1)
        return sum("x" in tokenizer.decode(cutter.draw(rng).tokens) for _ in range(400)) / 400

    assert 0.74 < share(weighted=True) < 0.86, "four times in five"
    assert 0.43 < share(weighted=False) < 0.57, "every second time"


class Late(torch.Tensor):
    """Numbers that take a while to come from the device that computes them."""

    def float(self) -> torch.Tensor:  # type: ignore[override]
        time.sleep(0.05)
        return torch.zeros(4)


def test_the_clock_counts_what_the_device_takes(
    config: TrainConfig, cutter: Cutter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss_of = module.packed_loss
    monkeypatch.setattr(module, "packed_loss", lambda *inputs: (loss_of(*inputs)[0], torch.zeros(4).as_subclass(Late)))
    trainer = Trainer(config, cutter, tmp_path / "run")
    began = time.monotonic()
    trainer.run()
    took = time.monotonic() - began
    assert trainer.seconds == pytest.approx(took, abs=0.3)
    assert trainer.seconds > 20 * 0.05


def test_what_goes_wrong_with_a_batch_ends_the_run(
    config: TrainConfig, cutter: Cutter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise ValueError("no such window")

    monkeypatch.setattr(module, "draw", broken)
    with pytest.raises(ValueError, match="no such window"):
        Trainer(config, cutter, tmp_path / "run").run()


def test_a_run_that_is_stopped_is_saved_where_it_is(config: TrainConfig, cutter: Cutter, tmp_path: Path) -> None:
    trainer = Trainer(config, cutter, tmp_path / "run")
    trainer.run(stopped=lambda: trainer.step == 3)
    assert Trainer(config, cutter, tmp_path / "run").step == 3


def test_a_loss_that_is_no_number_ends_the_run_and_saves_nothing(
    config: TrainConfig, cutter: Cutter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss_of = module.packed_loss
    monkeypatch.setattr(module, "packed_loss", lambda *inputs: (loss_of(*inputs)[0], torch.full((4,), torch.nan)))
    trainer = Trainer(config, cutter, tmp_path / "run")
    with pytest.raises(ConfigError, match="At step 20 the loss is no number any more"):
        trainer.run()
    assert not trainer.state_path.exists()


@pytest.mark.parametrize("what", ["loss", "weight"])
@pytest.mark.parametrize("ends", ["until_step", "stopped", "steps", "checkpoint"])
def test_what_has_diverged_is_never_saved_over_what_was_good(
    config: TrainConfig, cutter: Cutter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, ends: str
) -> None:
    """Between two rows of the log as well, whatever it is that saves."""
    Trainer(config, cutter, tmp_path / "run").run(until_step=2)
    good = (tmp_path / "run" / "state.pt").read_bytes()
    changes = {"steps": {"steps": 5}, "checkpoint": {"checkpoint_minutes": 0.0}}.get(ends, {})
    trainer = Trainer(msgspec.structs.replace(config, **changes), cutter, tmp_path / "run")
    loss_of = module.packed_loss
    if what == "loss":
        monkeypatch.setattr(module, "packed_loss", lambda *inputs: (loss_of(*inputs)[0], torch.full((4,), torch.inf)))
    else:
        monkeypatch.setattr(module, "packed_loss", lambda *inputs: (torch.nan * loss_of(*inputs)[0], torch.zeros(4)))
    with pytest.raises(ConfigError, match="the loss is no number any more.*smaller --rate"):
        trainer.run(until_step=5 if ends == "until_step" else None, stopped=lambda: ends == "stopped" and trainer.step == 5)
    assert (tmp_path / "run" / "state.pt").read_bytes() == good


def test_the_log_goes_on_where_the_state_does(config: TrainConfig, cutter: Cutter, tmp_path: Path) -> None:
    """A run that was killed had written rows behind its last checkpoint, the last of them perhaps in part."""
    directory = tmp_path / "run"
    Trainer(config, cutter, directory).run()
    log = directory / "log.jsonl"
    whole = log.read_text()
    log.write_text(whole + '{"step": 40, "masked": 1.0}\n{"step": 60, "mas')
    assert [row["step"] for row in module.log_rows(log)] == [20, 40]
    assert _last_losses(log)["step"] == 40
    Trainer(config, cutter, directory).run()
    assert log.read_text() == whole
    log.write_text('{"st')
    assert _last_losses(log) == {}


def test_a_state_that_is_missing_or_broken_is_one_sentence(config: TrainConfig, cutter: Cutter, tmp_path: Path) -> None:
    (tmp_path / "broken.pt").write_bytes(b"no state at all")
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "folder.pt").mkdir()
    torch.save({"weight": torch.ones(2)}, tmp_path / "other.pt")
    trainer = Trainer(config, cutter, tmp_path / "run")
    for name in ("missing", "broken", "empty", "folder", "other"):
        said = "There is no training state" if name == "missing" else "cannot be read"
        with pytest.raises(CheckpointError, match=said):
            trainer.start_from(tmp_path / f"{name}.pt")
        with pytest.raises(CheckpointError, match=said):
            export([tmp_path / f"{name}.pt"], tmp_path / "tokenizer.json", tmp_path / "out", "name")


def test_a_corpus_that_is_missing_or_empty_is_one_sentence(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is no corpus file .*`dlsp train corpus`"):
        Cutter(tmp_path / "train.jsonl", tokenizer, 1, 64, 6)
    (tmp_path / "train.jsonl").write_text("")
    with pytest.raises(ConfigError, match="holds nothing to learn from.*`dlsp train corpus`"):
        Cutter(tmp_path / "train.jsonl", tokenizer, 1, 64, 6)


def test_a_run_of_another_network_is_not_gone_on_with(config: TrainConfig, cutter: Cutter, tmp_path: Path) -> None:
    Trainer(config, cutter, tmp_path / "run").save()
    other = msgspec.structs.replace(config, model=msgspec.structs.replace(config.model, num_layers=config.model.num_layers + 1))
    with pytest.raises(ConfigError, match="holds a run of another network .* --name"):
        Trainer(other, cutter, tmp_path / "run")


def test_batches_of_the_gpu_preset_fit_a_small_shared_memory(
    config: TrainConfig, cutter: Cutter, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker gives 64 MB unless it is told otherwise, and a worker that finds no room dies of a bus error."""
    found: dict = {}
    monkeypatch.setattr(module, "DataLoader", lambda *_, **options: found.update(options) or iter([None]))
    plan = PRESETS["h200"]["run"]
    whole = msgspec.structs.replace(config, **{name: plan[name] for name in ("window", "holes", "canvas", "batch", "workers")})
    next(module.batches(cutter, whole, 0))
    assert found["num_workers"] == plan["workers"]
    batch = module.draw(_sized(cutter, whole), whole, 0)
    size = sum(getattr(batch, name).nbytes for name in batch.__slots__)
    assert found["num_workers"] * (found["prefetch_factor"] + 1) * size < 48e6


def _sized(cutter: Cutter, config: TrainConfig) -> Cutter:
    cutter.length, cutter.holes = config.window, config.holes
    return cutter


@pytest.mark.skipif(sys.platform == "win32", reason="signals and forked workers are for POSIX")
def test_a_signal_to_the_whole_group_saves_the_run(tmp_path: Path, tokenizer_file: Path) -> None:
    """As `timeout` sends it, and Ctrl-C: to the run and to its workers."""
    (tmp_path / "corpus").mkdir()
    row = {"package": "a", "split": "train", "path": "a.py", "text": SAMPLE * 30}
    (tmp_path / "corpus" / "train.jsonl").write_text((json.dumps(row) + "\n") * 6)
    (tmp_path / "tokenizer.json").write_bytes(tokenizer_file.read_bytes())
    words = ["train", "run", "--work", str(tmp_path), "--preset", "smoke", "--workers", "1", "--steps", "1000000"]
    log = tmp_path / "run" / "log.jsonl"
    with subprocess.Popen([sys.executable, "-m", "dlsp", *words], stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            limit = time.monotonic() + 120
            while not (log.exists() and log.read_text()) and time.monotonic() < limit and process.poll() is None:
                time.sleep(0.1)
            os.killpg(process.pid, signal.SIGTERM)
            said, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130, said
    assert "saved in" in said
    assert torch.load(tmp_path / "run" / "state.pt", weights_only=True)["step"] >= 20
