"""`dlsp train` end to end at toy size: tokenizer, run, export, load, fill."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from dlsp.cli.train import train_app
from engine.api import InfillRequest
from engine.errors import ConfigError, DeviceError
from engine.runtime.engine import Engine
from engine.text.tokenizer import Tokenizer
from engine.train.presets import PRESETS, configure
from tiny_models import SAMPLE


def test_the_smoke_preset_goes_from_text_to_a_model_that_fills_holes(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    row = {"package": "a", "split": "train", "path": "a.py", "text": SAMPLE * 30}
    for name in ("train", "held_out"):
        (tmp_path / "corpus" / f"{name}.jsonl").write_text((json.dumps(row) + "\n") * 6)
    runner = CliRunner()
    for command in (
        ["tokenizer", "--vocabulary", "350"],
        ["run", "--preset", "smoke"],
        ["export", "--out", str(tmp_path / "model"), "--title", "toy"],
    ):
        result = runner.invoke(train_app, [command[0], "--work", str(tmp_path), *command[1:]])
        assert result.exit_code == 0, result.output
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert log[-1]["prefix"] < log[0]["prefix"]
    engine = Engine.load(str(tmp_path / "model"), device="cpu", dtype="float32")
    assert engine.model == "toy"
    assert engine.infill(InfillRequest(prefix="def add(first, second):\n    total = ", suffix="\n    return total\n")).finish


def test_presets_make_valid_configurations(tokenizer: Tokenizer) -> None:
    for name in PRESETS:
        assert configure(name, tokenizer).model.vocab_size == tokenizer.vocab_size
    with pytest.raises(ConfigError, match="cpu, h200, compare, smoke"):
        configure("gpu", tokenizer)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_device_that_is_not_there_is_said_before_the_corpus_is_read(tmp_path: Path, tokenizer_file: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(tokenizer_file.read_bytes())
    result = CliRunner().invoke(train_app, ["run", "--work", str(tmp_path), "--preset", "h200"])
    assert isinstance(result.exception, DeviceError), result.exception
    assert "cuda cannot be used" in str(result.exception)


def test_the_mean_of_runs_is_exported_and_begun_with(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    row = {"package": "a", "split": "train", "path": "a.py", "text": SAMPLE * 30}
    (tmp_path / "corpus" / "train.jsonl").write_text((json.dumps(row) + "\n") * 6)
    (tmp_path / "corpus" / "held_out.jsonl").write_text(json.dumps(row) + "\n")
    runner = CliRunner()

    def call(*command: str) -> None:
        result = runner.invoke(train_app, [command[0], "--work", str(tmp_path), *command[1:]])
        assert result.exit_code == 0, result.output

    call("tokenizer", "--vocabulary", "350")
    call("run", "--preset", "smoke", "--steps", "2", "--name", "one")
    call("run", "--preset", "smoke", "--steps", "2", "--name", "two", "--seed", "9", "--start", str(tmp_path / "one" / "state.pt"))
    both = [part for name in ("one", "two") for part in ("--start", str(tmp_path / name / "state.pt"))]
    call("run", "--preset", "smoke", "--steps", "2", "--name", "three", "--rate", "1e-9", *both)
    for out, names in {"three": ["three"], "one": ["one"], "two": ["two"], "mean": ["one", "two"]}.items():
        call("export", "--out", str(tmp_path / f"m-{out}"), *(part for name in names for part in ("--name", name)))
    one, two, three, mean = (
        load_file(tmp_path / f"m-{name}" / "model-00001-of-00001.safetensors") for name in ("one", "two", "three", "mean")
    )
    assert any(not torch.equal(one[key], two[key]) for key in one)
    for key in one:
        torch.testing.assert_close(mean[key].float(), (one[key].float() + two[key].float()) / 2, rtol=1e-2, atol=1e-3)
        torch.testing.assert_close(three[key], mean[key], rtol=1e-2, atol=1e-3)
    result = runner.invoke(
        train_app,
        ["run", "--work", str(tmp_path), "--preset", "compare", "--steps", "1", "--batch", "1", "--name", "other", "--no-compile"],
    )
    assert result.exit_code == 0, result.output
    refused = runner.invoke(
        train_app, ["export", "--work", str(tmp_path), "--name", "one", "--name", "other", "--out", str(tmp_path / "no")]
    )
    assert isinstance(refused.exception, ConfigError)
    assert "another shape" in str(refused.exception)
