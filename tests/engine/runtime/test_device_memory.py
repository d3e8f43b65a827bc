"""Where a model may run, in what format, and how much memory the system says is free."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.errors import DeviceError
from engine.runtime import device as devices
from engine.runtime.device import Placement, free_host_memory, free_memory, place


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_floating_point_format_is_computed_in_and_kept(dtype: str) -> None:
    placed = place("cpu", dtype)
    assert placed == Placement(torch.device("cpu"), getattr(torch, dtype))
    assert placed.precision == dtype


@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_a_quantized_model_computes_in_the_natural_format_of_its_device(dtype: str) -> None:
    placed = place("cpu", dtype)
    assert placed.quantize == placed.precision == dtype
    assert placed.dtype == place("cpu", "auto").dtype
    assert placed.dtype.is_floating_point


def test_only_a_device_that_nobody_named_is_automatic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert place("auto", "auto").automatic
    assert place("auto", "auto").device.type == "cpu"
    assert not place("cpu", "auto").automatic


def test_a_gpu_that_cannot_compute_is_passed_over_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(devices, "_problem", lambda device: "no kernel image is available" if device.type == "cuda" else "")
    placed = place("auto", "auto")
    assert placed.device.type == "cpu"
    assert placed.fallback_reason == "cuda: no kernel image is available"
    with pytest.raises(DeviceError, match=r"cuda:1 cannot be used: no kernel image is available.*device auto or cpu"):
        place("cuda:1", "auto")


def _system(tmp_path: Path, available: int | None, limit: str = "", used: int = 0, cached: int = 0) -> tuple[Path, Path]:
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    proc.mkdir()
    cgroup.mkdir()
    if available is not None:
        (proc / "meminfo").write_text(f"MemTotal:       99999999 kB\nMemFree:        7 kB\nMemAvailable:   {available} kB\n")
    if limit:
        (cgroup / "memory.max").write_text(f"{limit}\n")
        (cgroup / "memory.current").write_text(f"{used}\n")
        (cgroup / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\nactive_file 9\n")
    return proc, cgroup


def test_free_memory_is_what_can_be_had_without_swapping(tmp_path: Path) -> None:
    assert free_host_memory(*_system(tmp_path, 1000)) == 1_024_000


def test_a_containers_limit_counts_and_its_file_cache_is_free(tmp_path: Path) -> None:
    assert free_host_memory(*_system(tmp_path, 1000, "600000", used=500_000, cached=100_000)) == 200_000


def test_a_container_without_limit_has_what_the_system_has(tmp_path: Path) -> None:
    assert free_host_memory(*_system(tmp_path, 1000, "max", used=500_000)) == 1_024_000


def test_a_container_over_its_limit_has_nothing(tmp_path: Path) -> None:
    assert free_host_memory(*_system(tmp_path, 1000, "100", used=500)) == 0


def test_where_nobody_tells_nothing_is_known(tmp_path: Path) -> None:
    assert free_host_memory(*_system(tmp_path, None)) is None


def test_this_machine_tells() -> None:
    free = free_memory(torch.device("cpu"))
    assert free is None or free > 50_000_000
