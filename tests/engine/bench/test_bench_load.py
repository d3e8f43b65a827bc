"""`dlsp bench load`: both ways are measured, the files are the model's, and the report says what depends on the system."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from rich.console import Console

from engine.bench import load
from engine.bench.load import LoadPlan
from engine.bench.report import show
from engine.config import EngineConfig


@pytest.fixture(scope="module")
def folder(make_checkpoint) -> Path:
    return make_checkpoint("full", shard_bytes=20_000)


def _shown(results: dict) -> tuple[str, dict]:
    written = io.StringIO()
    show(load.report(results, {"machine": {}}), Console(file=written, width=140))
    lines = written.getvalue().splitlines()
    return "\n".join(lines[:-1]), json.loads(lines[-1])


def test_reading_and_loading_are_measured_side_by_side(folder: Path) -> None:
    turns: list[tuple[int, int]] = []
    plan = LoadPlan(repeat=2)
    results = load.measure(EngineConfig(model=str(folder), device="cpu", dtype="float32"), plan, lambda *turn: turns.append(turn))
    files = list(folder.glob("*.safetensors"))
    assert results["files"] == len(files) > 3
    assert results["file_bytes"] == sum(path.stat().st_size for path in files)
    assert results["largest_file_bytes"] == max(path.stat().st_size for path in files)
    assert turns == [(1, 2), (2, 2)]
    for figures in results["times"].values():
        assert figures["read_ms"]["n"] == figures["load_ms"]["n"] == 2
        assert figures["ratio"] > 0
    text, data = _shown(results)
    assert "load / read" in text
    assert data["bench"] == "load"
    assert data["weight_bytes"] == results["weight_bytes"]
    assert "samples" not in data


def test_a_system_that_keeps_its_cache_is_measured_warm_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    monkeypatch.setattr(load, "_SELF", Path("/nonexistent"))
    results = load.measure(EngineConfig(model=str(folder), device="cpu", dtype="float32"), LoadPlan(repeat=1))
    assert list(results["times"]) == ["warm"]
    assert results["host_peak"] is None
    text, _ = _shown(results)
    assert "Cold reads skipped" in text
    assert "Main memory" not in text
