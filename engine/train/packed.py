"""The packed training pass of the split layout: one window, both context streams and many canvases in one forward.

A window of L tokens is read left to right (prefix stream) and right to left (suffix stream); each of N canvases has a
hole [a, b) of its own and sees prefix rows < a, suffix rows >= b and its own C slots. Nothing sees a canvas from outside,
so every canvas here computes exactly what the cached inference pass computes for that hole (a test compares them).

A canvas does not know the length of its hole: towards the prefix its slot c stands at a + c, towards the suffix it stands
at b - C + c. Hence two rotary phases for one query, laid out in a head of twice the size: [q_prefix ; q_suffix] against
[k ; 0] for prefix and canvas rows and [0 ; k] for suffix rows.

Shape suffixes: B windows, L window tokens, N canvases, C slots, R = N * C canvas rows, T = 2 L + R keys, H heads, D head dim.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.models.attention import ROLES, rotary_phases, rotate
from engine.models.transformer import Transformer


@dataclass(slots=True)
class PackedBatch:
    """Inputs of one packed pass and what each row must predict.

    `tokens_BL` are the windows. `canvas_BR` are the canvas inputs (masked, revealed, or clean and shifted by one for a
    verify canvas), `target_BR` the true tokens, `weight_BR` the loss weight of each canvas row (0 where nothing is asked).
    `start_BN`, `end_BN` are the holes; `verify_BN` marks canvases read causally.
    """

    tokens_BL: Tensor
    canvas_BR: Tensor
    target_BR: Tensor
    weight_BR: Tensor
    start_BN: Tensor
    end_BN: Tensor
    verify_BN: Tensor


def canvas_mask(batch: PackedBatch) -> Tensor:
    """Who a canvas row may see: [B, 1, R, 2 L + R], keys ordered prefix stream, reversed suffix stream, canvases."""
    windows, length = batch.tokens_BL.shape
    canvases = batch.start_BN.shape[1]
    slots = batch.canvas_BR.shape[1] // canvases
    index = torch.arange(length, device=batch.tokens_BL.device)
    prefix_BNL = index < batch.start_BN[..., None]
    suffix_BNL = (length - 1 - index) >= batch.end_BN[..., None]
    context_BRL2 = torch.cat((prefix_BNL, suffix_BNL), dim=-1).repeat_interleave(slots, dim=1)
    slot = torch.arange(slots, device=index.device)
    inner_BNCC = (slot[None, :] <= slot[:, None]) | ~batch.verify_BN[..., None, None]
    own_BNCNC = inner_BNCC[:, :, :, None, :] & torch.eye(canvases, dtype=torch.bool, device=index.device)[None, :, None, :, None]
    own_BRR = own_BNCNC.reshape(windows, canvases * slots, canvases * slots)
    return torch.cat((context_BRL2, own_BRR), dim=-1)[:, None]


def packed_forward(model: Transformer, batch: PackedBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Normed hidden states of the prefix stream [B, L, M], of the suffix stream in window order [B, L, M], of the canvases [B, R, M]."""
    config = model.config
    device = batch.tokens_BL.device
    windows, length = batch.tokens_BL.shape
    canvases = batch.start_BN.shape[1]
    slots = batch.canvas_BR.shape[1] // canvases
    head, theta = config.head_dim, config.rope_theta

    index = torch.arange(length, device=device)
    streams = torch.cat((batch.tokens_BL, batch.tokens_BL.flip(1)), dim=0)
    stream_roles = torch.cat((torch.full_like(batch.tokens_BL, ROLES["prefix"]), torch.full_like(batch.tokens_BL, ROLES["suffix"])))
    positions = torch.cat((index.expand(windows, -1), index.flip(0).expand(windows, -1)), dim=0)
    stream_phases = rotary_phases(positions, head, theta)

    # A verify canvas feeds each slot the token before it, so its rows stand one position further left.
    slot = torch.arange(slots, device=device)
    back_BN = batch.verify_BN.long()
    to_prefix_BR = (batch.start_BN[..., None] + slot - back_BN[..., None]).flatten(1)
    to_suffix_BR = (batch.end_BN[..., None] - slots + slot - back_BN[..., None]).flatten(1)
    prefix_phases = rotary_phases(to_prefix_BR, head, theta)
    suffix_phases = rotary_phases(to_suffix_BR, head, theta)
    role_BN = torch.where(batch.verify_BN, ROLES["verify"], ROLES["canvas"])
    mask = canvas_mask(batch)

    x = model.embed(streams, stream_roles)
    c = model.embed(batch.canvas_BR, role_BN.repeat_interleave(slots, dim=1))
    for layer in model.blocks():
        q, k, v = layer.qkv(x)
        q, k = rotate(q, stream_phases), rotate(k, stream_phases)
        cq, ck, cv = layer.qkv(c)
        query = torch.cat((rotate(cq, prefix_phases), rotate(cq, suffix_phases)), dim=-1)
        canvas_k = rotate(ck, prefix_phases)
        key = torch.cat((F.pad(k[:windows], (0, head)), F.pad(k[windows:], (head, 0)), F.pad(canvas_k, (0, head))), dim=2)
        value = torch.cat((v[:windows], v[windows:], cv), dim=2)
        c_attended = F.scaled_dot_product_attention(
            query, key, F.pad(value, (0, head)), attn_mask=mask, scale=head**-0.5, enable_gqa=q.shape[1] != k.shape[1]
        )
        x = layer.finish(x, F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=q.shape[1] != k.shape[1]))
        c = layer.finish(c, c_attended[..., :head])
    x, c = model.norm(x), model.norm(c)
    return x[:windows], x[windows:].flip(1), c
