"""Loading a network onto a device: refused in time and with the numbers, shared weights shared, and looked at afterwards."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import torch

import family_checkpoints
from engine.errors import CheckpointError, DeviceError
from engine.models import checkpoint as checkpoints
from engine.models import outline as outlines
from engine.models.checkpoint import Checkpoint
from engine.models.self_test import SelfTest
from engine.models.transformer import Transformer
from engine.runtime import loading
from engine.runtime.device import Placement, place
from engine.runtime.loading import fill_network, footprint, load_network

CPU = Placement(torch.device("cpu"), torch.float32)


@pytest.fixture
def tiny(make_checkpoint) -> Checkpoint:
    return checkpoints.read(make_checkpoint("full"))


@pytest.fixture
def large(tiny: Checkpoint) -> Checkpoint:
    """A checkpoint that says it has seven billion weights; whoever tries to load them fails."""
    config = msgspec.structs.replace(
        tiny.config, vocab_size=152064, hidden_size=3584, intermediate_size=18944, num_layers=28, num_heads=28, num_kv_heads=4, head_dim=128
    )
    infill = msgspec.structs.replace(tiny.infill, prefix_tokens=1280, suffix_tokens=640)
    return replace(tiny, config=config, infill=infill)


def test_a_network_is_ready_to_run(tiny: Checkpoint) -> None:
    network = load_network(tiny, CPU)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert network.lm_head.weight is network.embed_tokens.weight
    expected = Transformer(tiny.config)
    checkpoints.load_weights(expected, tiny)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), expected.parameters(), strict=True))


def test_both_ways_of_having_memory_give_the_same_network(tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = fill_network(tiny, CPU)
    monkeypatch.delattr(outlines.mmap, "MADV_HUGEPAGE", raising=False)
    network = fill_network(tiny, CPU)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), expected.parameters(), strict=True))
    assert network.lm_head.weight is network.embed_tokens.weight


def test_routers_stay_float32(tmp_path: Path) -> None:
    checkpoint = checkpoints.read(family_checkpoints.write("llada2", tmp_path / "model"))
    network = load_network(checkpoint, replace(CPU, dtype=torch.bfloat16))
    assert {parameter.dtype for parameter in network.layers[1].moe.router.parameters()} == {torch.float32}
    assert network.layers[1].moe.experts[0].down_proj.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("quantized", ["", "int8", "int4"])
def test_a_prompt_goes_through_on_every_precision(tiny: Checkpoint, quantized: str) -> None:
    network = load_network(tiny, replace(CPU, quantize=quantized))
    with torch.inference_mode():
        hidden = network(torch.arange(10)[None], torch.arange(10)[None])
        assert torch.isfinite(network.logits(hidden)).all()


def test_a_model_that_does_not_fit_is_refused_with_the_numbers(large: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "free_memory", lambda device: 12_000_000_000)
    monkeypatch.setattr(loading, "materialise", _forbidden)
    needed = footprint(large, "bfloat16", torch.bfloat16)
    with pytest.raises(DeviceError) as caught:
        load_network(large, replace(CPU, dtype=torch.bfloat16))
    said = str(caught.value)
    assert f"needs {needed.total / 1e9:.1f} GB in bfloat16 ({needed.weights / 1e9:.1f} GB of weights" in said
    assert "main memory has 12.0 GB free" in said
    assert "Set dtype to int8 (" in said
    assert " or int4 (" in said


@pytest.mark.parametrize(
    ("free", "precision", "said", "unsaid"),
    [
        (6.5e9, "bfloat16", "Set dtype to int4 (", "int8"),
        (6.5e9, "int8", "Set dtype to int4 (", "or int4"),
        (1e9, "bfloat16", "Choose a smaller model", "Set dtype"),
        (1e9, "int4", "Choose a smaller model", "Set dtype"),
        (14e9, "float32", "Set dtype to int8", "float32 ("),
    ],
)
def test_only_what_fits_is_proposed(
    large: Checkpoint, monkeypatch: pytest.MonkeyPatch, free: float, precision: str, said: str, unsaid: str
) -> None:
    monkeypatch.setattr(loading, "free_memory", lambda device: int(free))
    placed = replace(place("cpu", precision), dtype=torch.float32 if precision == "float32" else torch.bfloat16)
    with pytest.raises(DeviceError) as caught:
        loading.check_fit(large, placed)
    action = caught.value.action
    assert said in action
    assert unsaid not in action


def test_more_is_needed_where_many_lengths_are_compared(large: Checkpoint) -> None:
    comparing = replace(large, infill=msgspec.structs.replace(large.infill, length="hypotheses"))
    one, many = (footprint(c, "bfloat16", torch.bfloat16) for c in (large, comparing))
    assert many.weights == one.weights
    assert many.workspace > 2 * one.workspace


def test_a_system_that_tells_nothing_is_tried(tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "free_memory", lambda device: None)
    load_network(tiny, CPU)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), OSError(12, "Cannot allocate memory")])
def test_an_allocation_that_fails_all_the_same_is_told_in_numbers(
    tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(loading, "materialise", _raising(error))
    with pytest.raises(DeviceError, match=r"needs 0\.\d GB in float32"):
        load_network(tiny, CPU)


def test_a_large_model_does_not_run_on_the_cpu_unasked(large: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "materialise", _forbidden)
    placed = Placement(torch.device("cpu"), torch.bfloat16, "cuda: no kernel image", automatic=True)
    with pytest.raises(DeviceError) as caught:
        load_network(large, placed)
    said = str(caught.value)
    assert "no kernel image" in said
    assert f"{loading.weight_bytes(large.config, 'bfloat16') / 1e9:.1f} GB of memory" in said
    assert "s for each denoise step" in said
    assert 'Set device to "cpu"' in caught.value.action


def test_a_small_model_runs_on_the_cpu_unasked(tiny: Checkpoint) -> None:
    load_network(tiny, replace(CPU, automatic=True))
    load_network(checkpoints.read(checkpoints.find("nano")), replace(CPU, automatic=True))


def test_a_large_model_runs_on_the_cpu_where_it_was_asked_for(large: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "free_memory", lambda device: 100_000_000_000)
    loading.check_fit(large, replace(CPU, dtype=torch.bfloat16))


def test_a_network_that_contradicts_its_family_is_refused(tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def wrong(network: Transformer, lines: list[list[int]], mask: int) -> SelfTest:
        asked.append(mask)
        assert all(lines)
        return SelfTest(configured=-9.0, other=-1.0, agreement=1.0, samples=24, suffix_effect=1.0, wrong_shift=True, one_sided=False)

    monkeypatch.setattr(loading, "self_test", wrong)
    with pytest.raises(CheckpointError, match=r"family dlsp.*one place off.*-9\.0.*-1\.0"):
        load_network(tiny, CPU)
    assert asked == [3]


def test_the_built_in_model_is_not_examined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "self_test", _forbidden)
    load_network(checkpoints.read(checkpoints.find("nano")), CPU)


def test_loading_imports_none_of_torchs_slow_modules() -> None:
    """Filling an outline with initial values, or emptying it, would import a second of modules that nothing needs."""
    code = (
        "import sys, torch\n"
        "from engine.models import checkpoint as checkpoints\n"
        "from engine.runtime.device import place\n"
        "from engine.runtime.loading import load_network\n"
        "before = set(sys.modules)\n"
        "load_network(checkpoints.read(checkpoints.find('nano')), place('cpu', 'int8'))\n"
        "print(len([name for name in set(sys.modules) - before if name.startswith('torch.')]))\n"
    )
    root = Path(checkpoints.__file__).parents[2]
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20


def _forbidden(*_arguments: object) -> None:
    raise AssertionError("this must not be reached")


def _raising(error: Exception):
    def fail(*_arguments: object) -> None:
        raise error

    return fail
