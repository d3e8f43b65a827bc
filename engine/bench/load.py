"""Time to load a model, beside the time to read the same bytes from the same files and do nothing with them, and memory at the peak.

Both alternate in one process, with the files in the system's cache and, where the system drops them on request, without.
Knows nothing of what the model does.
"""

from __future__ import annotations

import gc
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine.bench import metrics
from engine.bench.report import Report, milliseconds, spread
from engine.config import EngineConfig
from engine.models import checkpoint as checkpoints
from engine.models import shards
from engine.runtime.device import Placement, place
from engine.runtime.loading import fill_network

BLOCK = 32 << 20
"""Bytes of one read of the floor: what the loader reads at a time, too."""

SMALL_FILES = 100_000_000
"""Bytes of files below which the report says that it says little."""

_SELF = Path("/proc/self")


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """How often each way is measured, after one unmeasured load."""

    repeat: int = 3


def measure(config: EngineConfig, plan: LoadPlan, on_progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Milliseconds to read and to load, cold and warm, and peak memory in bytes.

    `host_peak` is what the process held at most beyond what it held before, `host_extra` the part of it that is not the loaded
    weights; both are None where the system does not tell. Raises CheckpointError and DeviceError as `Engine.load` does.
    """
    checkpoint = checkpoints.read(checkpoints.find(config.model))
    placement = place(config.device, config.dtype)
    if config.threads:
        torch.set_num_threads(config.threads)
    files = sorted({tensor.path for tensor in shards.locate(checkpoint.directory).values()})
    sizes = [path.stat().st_size for path in files]
    weights, host_peak, device_peak = _first_load(checkpoint, placement)
    caches = ("cold", "warm") if hasattr(os, "posix_fadvise") else ("warm",)
    times: dict[str, tuple[list[float], list[float]]] = {cache: ([], []) for cache in caches}
    for turn in range(plan.repeat):
        for cache, (reading, loading) in times.items():
            for task, found in ((lambda: _read(files), reading), (lambda: _load(checkpoint, placement), loading)):
                if cache == "cold":
                    _forget(files)
                found.append(_milliseconds(task, placement))
                gc.collect()
        if on_progress:
            on_progress(turn + 1, plan.repeat)
    on_host = weights if placement.device.type == "cpu" else 0
    return {
        "files": len(files),
        "file_bytes": sum(sizes),
        "largest_file_bytes": max(sizes),
        "weight_bytes": weights,
        "host_peak": host_peak,
        "host_extra": None if host_peak is None else max(0, host_peak - on_host),
        "device_peak": device_peak,
        "times": {
            cache: {"read_ms": spread(reading), "load_ms": spread(loading), "ratio": round(metrics.median_ratio(loading, reading), 2)}
            for cache, (reading, loading) in times.items()
        },
        "samples": {cache: {"read_ms": reading, "load_ms": loading} for cache, (reading, loading) in times.items()},
    }


def report(results: dict[str, Any], facts: dict[str, Any]) -> Report:
    """One column for each state of the cache."""
    caches = list(results["times"])

    def cells(key: str) -> list[str]:
        return [milliseconds(results["samples"][cache][key]) for cache in caches]

    def rate(cache: str) -> str:
        seconds = results["times"][cache]["load_ms"]["p50"] / 1000
        return f"{results['file_bytes'] / 1e9 / seconds:.2f} GB/s" if seconds else "-"

    rows: list[tuple[str, Sequence[str]]] = [
        ("read only (the floor), p50 / p95", cells("read_ms")),
        ("load, p50 / p95", cells("load_ms")),
        ("load / read", [f"{results['times'][cache]['ratio']:.2f} x" for cache in caches]),
        ("loading rate", [rate(cache) for cache in caches]),
    ]
    notes = [
        f"{results['files']} files, {_megabytes(results['file_bytes'])}, the largest {_megabytes(results['largest_file_bytes'])}; "
        f"loaded weights {_megabytes(results['weight_bytes'])}."
    ]
    if results["host_peak"] is not None:
        notes.append(
            f"Main memory at the peak: {_megabytes(results['host_peak'])}, {_megabytes(results['host_extra'])} beyond the weights."
        )
    if results["device_peak"] is not None:
        notes.append(f"Device memory at the peak: {_megabytes(results['device_peak'])}.")
    if results["file_bytes"] < SMALL_FILES:
        notes.append(f"Files below {_megabytes(SMALL_FILES)} say little: fixed costs outweigh reading.")
    if "cold" not in caches:
        notes.append("Cold reads skipped: this system does not drop files from its cache on request.")
    data = {"bench": "load", **{key: value for key, value in results.items() if key != "samples"}, **facts}
    return Report(title="load: from files to a network on its device", columns=caches, rows=rows, data=data, notes=notes)


def _first_load(checkpoint: checkpoints.Checkpoint, placement: Placement) -> tuple[int, int | None, int | None]:
    """One unmeasured load: bytes of the weights, and the peaks of main and of device memory."""
    on_cuda = placement.device.type == "cuda"
    if on_cuda:
        torch.cuda.reset_peak_memory_stats(placement.device)
    before = _resident("VmRSS") if _reset_peak() else None
    network = fill_network(checkpoint, placement)
    after = _resident("VmHWM") if before is not None else None
    weights = sum(t.nbytes for t in network.parameters()) + sum(t.nbytes for t in network.buffers())
    host_peak = after - before if after is not None and before is not None else None
    return weights, host_peak, torch.cuda.max_memory_allocated(placement.device) if on_cuda else None


def _load(checkpoint: checkpoints.Checkpoint, placement: Placement) -> None:
    fill_network(checkpoint, placement)


def _read(files: Sequence[Path]) -> None:
    """Read every byte into one buffer, no larger than the largest file."""
    buffer = memoryview(bytearray(min(BLOCK, max(path.stat().st_size for path in files))))
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def _milliseconds(task: Callable[[], None], placement: Placement) -> float:
    began = time.perf_counter()
    task()
    if placement.device.type == "cuda":
        torch.cuda.synchronize(placement.device)
    return 1000 * (time.perf_counter() - began)


def _forget(files: Sequence[Path]) -> None:
    """Ask the system to drop the files from its cache. What was not written to the disk yet has to be, first."""
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _reset_peak() -> bool:
    try:
        (_SELF / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _resident(field: str) -> int | None:
    try:
        found = re.search(rf"^{field}:\s+(\d+) kB", (_SELF / "status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return 1024 * int(found.group(1)) if found else None


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
