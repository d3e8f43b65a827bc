"""Attention masks and the rotary embedding. Knows positions and layouts, not weights.

Shape suffixes: B batch, S query rows, T key rows, H heads, K key/value heads, D head dim.
A mask is bool, True where the query row may see the key row; None means that every row sees every row.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Role = Literal["prefix", "suffix", "canvas", "verify"]
ROLES: dict[Role, int] = {"prefix": 0, "suffix": 1, "canvas": 2, "verify": 3}
"""Row of the learned role vector for each part of the split layout."""


def block_causal_mask(positions_BS: Tensor, block_length: int, valid_BS: Tensor | None = None) -> Tensor:
    """A row sees its own block of `block_length` positions and all blocks before it; [B, 1, S, S] (BD3-LM, arXiv 2503.09573)."""
    block_BS = positions_BS // block_length
    mask = block_BS[:, :, None] >= block_BS[:, None, :]
    if valid_BS is not None:
        mask = mask & valid_BS[:, None, :]
    return mask[:, None]


def split_mask(prefix: int, canvas: int, suffix: int, device: torch.device | str = "cpu") -> Tensor:
    """The split layout over rows [prefix | canvas | suffix]: [1, 1, S, S].

    Prefix rows are causal, suffix rows see only suffix rows farther from the hole, canvas rows see everything.
    Nothing outside the canvas sees the canvas, so the keys and values of prefix and suffix never depend on the hole.
    """
    part = torch.tensor([0] * prefix + [1] * canvas + [2] * suffix, device=device)
    index = torch.arange(part.numel(), device=device)
    query, key = part[:, None], part[None, :]
    causal = (query == 0) & (key == 0) & (index[None, :] <= index[:, None])
    anti_causal = (query == 2) & (key == 2) & (index[None, :] >= index[:, None])
    return (causal | anti_causal | (query == 1))[None, None]


def rotary_phases(positions_BS: Tensor, rotary_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine of RoPE (arXiv 2104.09864) for the given positions: two float32 tensors [B, 1, S, D].

    `rotary_dim` is the number of dimensions of a head that are turned; it is D of the result.
    """
    inverse = theta ** (-torch.arange(0, rotary_dim, 2, device=positions_BS.device, dtype=torch.float32) / rotary_dim)
    angle = positions_BS[:, None, :, None].float() * inverse
    angle = torch.cat((angle, angle), dim=-1)
    return angle.cos(), angle.sin()


def rotate(x_BHSD: Tensor, phases: tuple[Tensor, Tensor]) -> Tensor:
    """Apply RoPE to queries or keys, first half of the head paired with the second (the Llama and Qwen convention).

    Phases narrower than the head turn its first dimensions and leave the others as they are.
    """
    cos, sin = phases
    width = cos.shape[-1]
    if width < x_BHSD.shape[-1]:
        return torch.cat((rotate(x_BHSD[..., :width], phases), x_BHSD[..., width:]), dim=-1)
    first, second = x_BHSD.chunk(2, dim=-1)
    turned = torch.cat((-second, first), dim=-1)
    return (x_BHSD * cos + turned * sin).to(x_BHSD.dtype)


def attend(q_BHSD: Tensor, k_BKTD: Tensor, v_BKTD: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
    """Scaled dot-product attention with grouped key/value heads: [B, H, S, D]."""
    grouped = q_BHSD.shape[1] != k_BKTD.shape[1]
    return F.scaled_dot_product_attention(q_BHSD, k_BKTD, v_BKTD, attn_mask=mask, is_causal=causal, enable_gqa=grouped)
