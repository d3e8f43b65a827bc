"""Weight-only quantization: linear layers that keep their weights in 8 or 4 bits and compute in floating point.

Rounds to the nearest level while weights stream in, so that no second copy is ever held; knows neither files nor families.

A diffusion model with full attention works on the whole prompt in every step, about a thousand rows, and is then bound by
arithmetic: dequantizing a piece of the weights into a scratch buffer and multiplying it costs little more than multiplying 16-bit
weights. Kernels that unpack inside the multiplication (torch's for CPU, torchao's) are made for one row and are slower here; the
figures are in docs/log.md. What is won is memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Literal

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.models.config import ModelConfig
from engine.models.outline import outline
from engine.models.transformer import Transformer

Precision = Literal["float32", "bfloat16", "float16", "int8", "int4"]
"""How weights are kept. `int8` and `int4` compute in a floating-point format besides."""

Quantization = Literal["", "int8", "int4"]

COMPUTE_DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

SCRATCH_ELEMENTS = 1 << 24
"""Weights dequantized at a time: enough for an efficient product, few enough for memory to be used again rather than asked for.
At 16 bits they take about what the cache of a large GPU holds."""

STORE_BLOCK = 1 << 19
"""On a CPU this many weights are quantized at a time, which its cache holds; `load_weights` lets one thread do it."""

GROUPS = (128, 64, 32, 16)
"""Weights along the input that share a 4-bit scale: the first of these that divides the input width."""


class QuantizedLinear(nn.Module, ABC):
    """Takes the place of an `nn.Linear`. Filled by `store` once it has memory; `attach_scratch` must have been called on its network.

    All layers of a network share one scratch buffer, so only one pass may run at a time.
    """

    scratch: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.out_features, self.in_features = linear.out_features, linear.in_features
        self.bias = linear.bias

    @abstractmethod
    def store(self, row: int, block: Tensor) -> None:
        """Quantize `block` [rows, in_features] of any floating-point format and keep it as the weights of the outputs from `row` on."""

    @abstractmethod
    def write(self, start: int, stop: int, out: Tensor) -> None:
        """Dequantize the weights of the outputs `start` to `stop` into `out` [stop - start, in_features]."""

    def weights(self) -> Tensor:
        """The weights that this layer computes with, [out_features, in_features], as a copy."""
        out = self.scratch.new_empty(self.out_features, self.in_features)
        self.write(0, self.out_features, out)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """As `nn.Linear`: [..., in_features] to [..., out_features]."""
        step = min(self.out_features, self.scratch.numel() // self.in_features)
        parts = []
        for start in range(0, self.out_features, step):
            stop = min(start + step, self.out_features)
            piece = self.scratch[: (stop - start) * self.in_features].view(-1, self.in_features)
            self.write(start, stop, piece)
            parts.append(F.linear(x, piece, None if self.bias is None else self.bias[start:stop]))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def _pieces(self, row: int, block: Tensor, device: torch.device) -> Iterator[tuple[slice, Tensor]]:
        """A block on the device in float32, cut so that intermediate copies stay small."""
        step = max(1, STORE_BLOCK // self.in_features) if device.type == "cpu" else len(block)
        for low in range(0, len(block), step):
            piece = block[low : low + step].to(device).float()
            yield slice(row + low, row + low + len(piece)), piece


class Int8Linear(QuantizedLinear):
    """One scale for each output, 255 levels around zero."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        like = linear.weight
        self.register_buffer("levels", torch.empty(like.shape, dtype=torch.int8, device=like.device))
        self.register_buffer("scale", torch.empty(self.out_features, 1, dtype=like.dtype, device=like.device))

    levels: Tensor
    scale: Tensor

    def store(self, row: int, block: Tensor) -> None:
        for rows, piece in self._pieces(row, block, self.levels.device):
            # The scale is rounded to its format first and the levels are chosen for the rounded one.
            largest = torch.maximum(piece.amax(dim=1, keepdim=True), -piece.amin(dim=1, keepdim=True))
            scale = _nonzero((largest / 127).to(self.scale.dtype))
            self.scale[rows] = scale
            self.levels[rows] = piece.div(scale.float()).round_().clamp_(-127, 127).to(torch.int8)

    def write(self, start: int, stop: int, out: Tensor) -> None:
        out.copy_(self.levels[start:stop]).mul_(self.scale[start:stop])


class Int4Linear(QuantizedLinear):
    """A scale and an offset for each group of inputs of each output, 16 levels between the group's smallest and largest weight.

    Two levels share a byte: the low half holds the first half of the group, so that unpacking copies whole stretches.
    """

    def __init__(self, linear: nn.Linear, group: int) -> None:
        super().__init__(linear)
        like = linear.weight
        groups = self.in_features // group
        self.group = group
        self.register_buffer("levels", torch.empty(self.out_features, groups, group // 2, dtype=torch.uint8, device=like.device))
        self.register_buffer("scale", torch.empty(self.out_features, groups, 1, dtype=like.dtype, device=like.device))
        self.register_buffer("offset", torch.empty(self.out_features, groups, 1, dtype=like.dtype, device=like.device))

    levels: Tensor
    scale: Tensor
    offset: Tensor

    def store(self, row: int, block: Tensor) -> None:
        for rows, piece in self._pieces(row, block, self.levels.device):
            grouped = piece.view(len(piece), -1, self.group)
            low, high = grouped.amin(dim=2, keepdim=True), grouped.amax(dim=2, keepdim=True)
            offset = low.to(self.offset.dtype)
            scale = _nonzero(((high - offset.float()) / 15).to(self.scale.dtype))
            self.scale[rows], self.offset[rows] = scale, offset
            levels = grouped.sub(offset.float()).div_(scale.float()).round_().clamp_(0, 15).to(torch.uint8)
            first, second = levels.chunk(2, dim=2)
            self.levels[rows] = first | (second << 4)

    def write(self, start: int, stop: int, out: Tensor) -> None:
        packed = self.levels[start:stop]
        grouped = out.view(stop - start, -1, self.group)
        first, second = grouped.chunk(2, dim=2)
        first.copy_(packed & 15)
        second.copy_(packed >> 4)
        grouped.mul_(self.scale[start:stop]).add_(self.offset[start:stop])


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """Passes to be made: `batch` prompts of `rows` tokens each. `scored` tokens get logits that are kept until all passes are
    made, `sampled` of them at a time are compared in float32."""

    rows: int = 2048
    batch: int = 1
    scored: int = 128
    sampled: int = 128


class Footprint(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that a model needs: its weights, and at most this much while it works on a prompt."""

    weights: int
    workspace: int

    @property
    def total(self) -> int:
        """Both."""
        return self.weights + self.workspace


def quantize(network: Transformer, kind: Quantization) -> None:
    """Replace the linear layers of a network made by `outline`, which has no memory yet, by quantized ones.

    Embeddings, norms and routers stay as they are, and so does an output head that is the embedding; a head of its own is kept
    in 8 bits whatever `kind` says, since its errors reach the logits directly. Layers whose width no group divides stay too.
    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if not isinstance(child, nn.Linear) or child.weight is network.embed_tokens.weight:
                continue
            group = next((size for size in GROUPS if child.in_features % size == 0), 0)
            if kind == "int8" or child is network.lm_head:
                setattr(parent, name, Int8Linear(child))
            elif kind == "int4" and group:
                setattr(parent, name, Int4Linear(child, group))


def attach_scratch(network: Transformer) -> None:
    """Give the quantized layers of `network`, which is on its device by now, the buffer that they share."""
    layers = [module for module in network.modules() if isinstance(module, QuantizedLinear)]
    if not layers:
        return
    widest = max(layer.in_features for layer in layers)
    largest = max(layer.in_features * layer.out_features for layer in layers)
    like = network.embed_tokens.weight
    scratch = torch.empty(max(widest, min(SCRATCH_ELEMENTS, largest)), dtype=like.dtype, device=like.device)
    for layer in layers:
        layer.scratch = scratch


def parameter_count(config: ModelConfig) -> int:
    """Number of weights, a shared output head counted once."""
    return sum(parameter.numel() for parameter in outline(config).parameters())


def weight_bytes(config: ModelConfig, precision: Precision, compute: torch.dtype = torch.bfloat16) -> int:
    """Bytes of all weights, scales included. `compute` is the format of what a quantized model does not quantize."""
    network = outline(config).to(COMPUTE_DTYPES.get(precision, compute))
    if precision == "int8" or precision == "int4":
        quantize(network, precision)
    return sum(t.nbytes for t in network.parameters()) + sum(t.nbytes for t in network.buffers())


def memory_needed(config: ModelConfig, precision: Precision, work: Work | None = None, compute: torch.dtype = torch.bfloat16) -> Footprint:
    """What passes of a given size need.

    The workspace is an upper estimate: activations of one layer, keys and values (of all layers, where a model keeps them),
    the attention mask, the logits, four float32 copies of those that are sampled at a time, and the scratch buffer of
    quantized layers.
    """
    work = work or Work()
    dtype = COMPUTE_DTYPES.get(precision, compute)
    heads = (config.num_heads + 2 * config.num_kv_heads) * config.head_dim
    inner = 2 * config.intermediate_size
    if config.moe is not None:
        inner = max(inner, 2 * (config.moe.experts_per_token * config.moe.expert_size + config.moe.shared_size))
    row = (4 * config.hidden_size + 2 * heads + 2 * inner) * dtype.itemsize + (3 * config.hidden_size + heads) * 4
    kept_layers = 1 if config.attention == "full" else config.num_layers
    row += 2 * kept_layers * config.num_kv_heads * config.head_dim * dtype.itemsize
    logits = config.vocab_size * (work.scored * dtype.itemsize + work.sampled * 4 * 4)
    scratch = SCRATCH_ELEMENTS * dtype.itemsize if precision in ("int8", "int4") else 0
    workspace = work.batch * (work.rows * row + work.rows**2 * dtype.itemsize) + logits + scratch
    return Footprint(weights=weight_bytes(config, precision, compute), workspace=workspace)


def _nonzero(scale: Tensor) -> Tensor:
    """All-equal weights have no spread; any scale does for them."""
    return torch.where(scale == 0, torch.ones_like(scale), scale)
