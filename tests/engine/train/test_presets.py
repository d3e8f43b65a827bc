"""`dlsp train` end to end at toy size: tokenizer, run, export, load, fill."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
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
