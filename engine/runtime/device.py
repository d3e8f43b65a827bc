"""Chooses device and number format, says why when it could not have what was asked for, and how much memory is free there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from engine.errors import DeviceError
from engine.models.quantize import COMPUTE_DTYPES, Precision, Quantization

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model runs. `dtype` is what it computes in; `quantize` says that its weights are kept in fewer bits than that.

    `automatic` means that nobody named the device. `fallback_reason` is empty unless `auto` found a GPU that it could not use.
    """

    device: torch.device
    dtype: torch.dtype
    fallback_reason: str = ""
    quantize: Quantization = ""
    automatic: bool = False

    @property
    def precision(self) -> Precision:
        """How the weights are kept: `int8`, or `bfloat16`."""
        if self.quantize:
            return self.quantize
        return next(name for name, dtype in COMPUTE_DTYPES.items() if dtype is self.dtype)


def place(device: str, dtype: str) -> Placement:
    """Resolve `auto`. Raises DeviceError where a device was named that cannot be used."""
    if device == "auto":
        chosen, reason = _automatic()
    else:
        chosen, reason = torch.device(device), ""
        problem = _problem(chosen)
        if problem:
            raise DeviceError(
                f"The device {device} cannot be used: {problem}.", "Use device auto or cpu; `dlsp doctor` shows what torch sees."
            )
    quantization: Quantization = "int8" if dtype == "int8" else "int4" if dtype == "int4" else ""
    compute = COMPUTE_DTYPES[dtype] if dtype in COMPUTE_DTYPES else _natural_dtype(chosen)
    return Placement(chosen, compute, reason, quantization, device == "auto")


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be allocated on `device`; None where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":
        return max(0, torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return free_host_memory()


def free_host_memory(proc: Path = PROC, cgroup: Path = CGROUP) -> int | None:
    """Bytes of main memory that can be had without swapping, within the limit of a container; None where nobody tells.

    What the system caches of files counts as free.
    """
    free: list[int] = []
    facts = _facts(proc / "meminfo")
    if "MemAvailable" in facts:
        free.append(1024 * facts["MemAvailable"])
    elif "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", {}) and proc == PROC:
        free.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    limit, used = _number(cgroup / "memory.max"), _number(cgroup / "memory.current")
    if limit is not None and used is not None:
        free.append(limit - used + _facts(cgroup / "memory.stat").get("inactive_file", 0))
    return max(0, min(free)) if free else None


def _facts(path: Path) -> Mapping[str, int]:
    """The lines `name value` or `name: value kB` of a file of the kernel."""
    try:
        lines = [line.replace(":", " ").split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {line[0]: int(line[1]) for line in lines if len(line) > 1 and line[1].isdigit()}


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _automatic() -> tuple[torch.device, str]:
    reasons = []
    for kind, present in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())):
        if present:
            problem = _problem(torch.device(kind))
            if not problem:
                return torch.device(kind), ""
            reasons.append(f"{kind}: {problem}")
    return torch.device("cpu"), "; ".join(reasons)


def _problem(device: torch.device) -> str:
    """Why a small computation on `device` fails, or an empty string."""
    if device.type == "cpu":
        return ""
    try:
        ones = torch.ones(8, 8, device=device)
        return "" if float((ones @ ones).sum().cpu()) == 512.0 else "it computes wrong sums"
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__


def _natural_dtype(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    capabilities: dict = getattr(torch.cpu, "get_capabilities", dict)()  # new in torch 2.12; without it float32 is always right
    if device.type == "cpu" and capabilities.get("avx512_bf16", False):
        return torch.bfloat16
    return torch.float32
