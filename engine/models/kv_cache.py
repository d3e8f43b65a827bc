"""Keys and values that outlive a forward pass: growing stacks of context, and the fixed buffer a canvas is denoised against.

Keys are kept unrotated, so that the same rows can be placed at any position later: RoPE is relative, which makes moving
the suffix when the prefix grows exact. Knows neither tokens nor holes.

Shape suffixes: B batch, K key/value heads, T key rows, C canvas rows, D head dim. Lists run over layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.models.attention import rotary_phases, rotate
from engine.models.config import ModelConfig


@dataclass(slots=True)
class KVStack:
    """Unrotated keys and values of one side of the context, [1, K, T, D] a layer, row 0 first encoded."""

    keys: list[Tensor]
    values: list[Tensor]

    @property
    def length(self) -> int:
        """Number of rows, the same in all layers."""
        return self.keys[0].shape[2] if self.keys else 0

    def crop(self, length: int) -> KVStack:
        """The first `length` rows (views, no copy)."""
        return KVStack([k[:, :, :length] for k in self.keys], [v[:, :, :length] for v in self.values])

    def extend(self, other: KVStack) -> KVStack:
        """This stack followed by the rows of `other`."""
        if not self.keys:
            return other
        return KVStack(
            [torch.cat(pair, dim=2) for pair in zip(self.keys, other.keys, strict=True)],
            [torch.cat(pair, dim=2) for pair in zip(self.values, other.values, strict=True)],
        )

    def rotated_keys(self, positions_T: Tensor, config: ModelConfig) -> list[Tensor]:
        """The keys with RoPE applied for the given positions [T]."""
        phases = rotary_phases(positions_T[None], config.rotary_dim, config.rope_theta)
        return [rotate(k, phases) for k in self.keys]


@dataclass(slots=True)
class ContextKV:
    """Rotated context rows followed by room for one canvas, in one buffer a layer, so that a step copies only the canvas.

    `keys[layer]` and `values[layer]` are [B, K, T + C, D]; the last C rows are overwritten by every step.
    """

    keys: list[Tensor]
    values: list[Tensor]
    context_rows: int

    @classmethod
    def assemble(cls, parts: list[tuple[KVStack, Tensor]], canvas: int, config: ModelConfig, batch: int = 1) -> ContextKV:
        """Place stacks at positions ([T] each) side by side and leave `canvas` rows free at the end."""
        filled = [(stack, positions) for stack, positions in parts if stack.length]
        if not filled:
            return cls([], [], 0)
        rotated = [stack.rotated_keys(positions, config) for stack, positions in filled]
        rows = sum(stack.length for stack, _ in filled)
        keys: list[Tensor] = []
        values: list[Tensor] = []
        for layer in range(len(rotated[0])):
            for target, pieces in (
                (keys, [r[layer] for r in rotated]),
                (values, [stack.values[layer] for stack, _ in filled]),
            ):
                first = pieces[0]
                buffer = first.new_empty(batch, first.shape[1], rows + canvas, first.shape[3])
                torch.cat([p.expand(batch, -1, -1, -1) for p in pieces], dim=2, out=buffer[:, :, :rows])
                target.append(buffer)
        return cls(keys, values, rows)

    def narrow(self, batch: int) -> ContextKV:
        """The first `batch` rows of the batch (views, no copy)."""
        return ContextKV([k[:batch] for k in self.keys], [v[:batch] for v in self.values], self.context_rows)

    def with_canvas(self, layer: int, k_BKCD: Tensor, v_BKCD: Tensor) -> tuple[Tensor, Tensor]:
        """Write this step's canvas rows behind the context and return all keys and values of the layer."""
        if not self.keys:
            return k_BKCD, v_BKCD
        end = self.context_rows + k_BKCD.shape[2]
        self.keys[layer][:, :, self.context_rows : end] = k_BKCD
        self.values[layer][:, :, self.context_rows : end] = v_BKCD
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]
