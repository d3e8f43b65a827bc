"""Chooses device and number format, and says why when it could not have what was asked for."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from engine.errors import DeviceError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model runs. `fallback_reason` is empty unless `auto` found a GPU that it could not use."""

    device: torch.device
    dtype: torch.dtype
    fallback_reason: str = ""


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
    return Placement(chosen, DTYPES[dtype] if dtype != "auto" else _natural_dtype(chosen), reason)


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
