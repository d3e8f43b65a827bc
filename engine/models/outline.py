"""Networks without memory for their weights, and how they get it: what a loader needs before there is anything to load.

Knows no file and no number format of its own.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from engine.models.config import ModelConfig
from engine.models.transformer import Transformer

_ALIGNMENT = 64
"""Bytes: a cache line, and what vector instructions like."""


def outline(config: ModelConfig) -> Transformer:
    """The network without memory for its weights, to be counted, or to be given memory with `materialise`."""
    with torch.device("meta"), _NoInitialValues():
        return Transformer(config)


def materialise(network: nn.Module, device: torch.device) -> None:
    """Give every weight and buffer of an outline memory on `device`, with nothing in it yet. Shared weights stay shared.

    Raises RuntimeError, MemoryError or OSError, whichever the allocator prefers, where there is not enough.
    """
    places = [
        (module, name, tensor)
        for module in network.modules()
        for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
    ]
    distinct = {id(tensor): tensor for _, _, tensor in places}
    made = dict(zip(distinct, _empty(list(distinct.values()), device), strict=True))
    finished: dict[int, Tensor] = {
        key: nn.Parameter(made[key], requires_grad=False) if isinstance(tensor, nn.Parameter) else made[key]
        for key, tensor in distinct.items()
    }
    for module, name, tensor in places:
        setattr(module, name, finished[id(tensor)])


def _empty(like: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Uninitialised tensors of the same shapes and formats."""
    if device.type != "cpu" or not hasattr(mmap, "MADV_HUGEPAGE"):
        return [torch.empty(tensor.shape, dtype=tensor.dtype, device=device) for tensor in like]
    # One mapping in huge pages: with pages of 4 KB, most of the time of loading would go into the first touch of each.
    starts, end = [], 0
    for tensor in like:
        starts.append(end)
        end += -(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT
    memory = mmap.mmap(-1, max(end, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    whole = torch.frombuffer(memory, dtype=torch.uint8)
    return [whole[a : a + tensor.nbytes].view(tensor.dtype).view(tensor.shape) for a, tensor in zip(starts, like, strict=True)]


class _NoInitialValues(TorchFunctionMode):
    """Leaves tensors without memory as they are made. To fill them torch would first import a second of modules."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func in (nn.init.normal_, nn.init.kaiming_uniform_, nn.init.uniform_):
            return args[0] if args else given["tensor"]
        return (torch.empty if func is torch.randn else func)(*args, **given)
