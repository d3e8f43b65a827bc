"""The one network: a pre-norm Transformer with RMSNorm, RoPE, grouped-query attention and SwiGLU or experts, built from a ModelConfig.

It computes hidden states and logits and nothing else; masks, caches and layouts are handed in.

Shape suffixes: B batch, S rows, T key rows, V vocabulary, H heads, K key/value heads, D head dim, M model width.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.models.attention import attend, rotary_phases, rotate
from engine.models.config import ModelConfig
from engine.models.kv_cache import ContextKV, KVStack
from engine.models.moe import MoE


class RMSNorm(nn.Module):
    """Root-mean-square norm (arXiv 1910.07467), computed in float32."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), self.weight.shape, None, self.eps).to(x.dtype) * self.weight.to(x.dtype)


class Block(nn.Module):
    """One layer, cut at the attention so that cached, packed and plain passes share every weight and every operation."""

    def __init__(self, config: ModelConfig, index: int) -> None:
        super().__init__()
        width, head = config.hidden_size, config.head_dim
        self.heads, self.kv_heads, self.head_dim = config.num_heads, config.num_kv_heads, head
        self.input_norm = RMSNorm(width, config.norm_eps)
        self.qkv_proj = nn.Linear(width, (self.heads + 2 * self.kv_heads) * head, bias=config.qkv_bias)
        self.q_norm = RMSNorm(head, config.norm_eps) if config.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(head, config.norm_eps) if config.qk_norm else nn.Identity()
        self.o_proj = nn.Linear(self.heads * head, width, bias=False)
        self.mlp_norm = RMSNorm(width, config.norm_eps)
        self.moe: MoE | None = None
        if config.moe is not None and index >= config.moe.dense_layers:
            self.moe = MoE(config.moe, width)
        else:
            self.gate_up_proj = nn.Linear(width, 2 * config.intermediate_size, bias=False)
            self.down_proj = nn.Linear(config.intermediate_size, width, bias=False)

    def qkv(self, x_BSM: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Unrotated queries [B, H, S, D], keys and values [B, K, S, D]."""
        batch, rows, _ = x_BSM.shape
        packed = self.qkv_proj(self.input_norm(x_BSM)).view(batch, rows, -1, self.head_dim)
        q, k, v = packed.split([self.heads, self.kv_heads, self.kv_heads], dim=2)
        return self.q_norm(q).transpose(1, 2), self.k_norm(k).transpose(1, 2), v.transpose(1, 2)

    def finish(self, x_BSM: Tensor, attended_BHSD: Tensor) -> Tensor:
        """Output projection, residual, and the feed-forward half of the layer: [B, S, M]."""
        x_BSM = x_BSM + self.o_proj(attended_BHSD.transpose(1, 2).flatten(2))
        normed_BSM = self.mlp_norm(x_BSM)
        if self.moe is not None:
            return x_BSM + self.moe(normed_BSM)
        gate, up = self.gate_up_proj(normed_BSM).chunk(2, dim=-1)
        return x_BSM + self.down_proj(F.silu(gate) * up)


class Transformer(nn.Module):
    """Token ids to hidden states to logits."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.roles = nn.Embedding(config.num_roles, config.hidden_size) if config.num_roles else None
        self.layers = nn.ModuleList(Block(config, index) for index in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.embed_tokens.weight

    def blocks(self) -> list[Block]:
        """The layers, bottom first."""
        return cast("list[Block]", list(self.layers))

    def embed(self, tokens_BS: Tensor, roles_BS: Tensor | None = None) -> Tensor:
        """Token embeddings plus, where the model has them, role vectors: [B, S, M]."""
        x_BSM = self.embed_tokens(tokens_BS)
        if self.roles is not None and roles_BS is not None:
            x_BSM = x_BSM + self.roles(roles_BS)
        return x_BSM

    def forward(
        self,
        tokens_BS: Tensor,
        positions_BS: Tensor,
        *,
        mask: Tensor | None = None,
        roles_BS: Tensor | None = None,
        context: ContextKV | None = None,
    ) -> Tensor:
        """Normed hidden states [B, S, M].

        `mask` is [B or 1, 1, S, S], or [B or 1, 1, S, T + S] when `context` holds T rows that come before these.
        """
        x_BSM = self.embed(tokens_BS, roles_BS)
        phases = rotary_phases(positions_BS, self.config.rotary_dim, self.config.rope_theta)
        for index, layer in enumerate(self.blocks()):
            q, k, v = layer.qkv(x_BSM)
            q, k = rotate(q, phases), rotate(k, phases)
            if context is not None:
                k, v = context.with_canvas(index, k, v)
            x_BSM = layer.finish(x_BSM, attend(q, k, v, mask))
        return self.norm(x_BSM)

    def encode(self, tokens_1S: Tensor, direction: int, past: KVStack | None, roles_1S: Tensor | None, *, block_length: int = 1) -> KVStack:
        """Keys and values of context rows that see the rows encoded before them and those of their own block.

        `direction` is +1 for the prefix (rows run towards the hole left to right) and -1 for the suffix (rows run
        right to left): the split layout's two stacks, in which a block is one row. `past` holds whole blocks. Returns the
        whole stack: `past` followed by the new rows.
        """
        start = past.length if past is not None else 0
        rows = tokens_1S.shape[1]
        order = torch.arange(start + rows, device=tokens_1S.device) * direction
        phases = rotary_phases(order[None, start:], self.config.rotary_dim, self.config.rope_theta)
        past_keys = past.rotated_keys(order[:start], self.config) if past is not None and start else None
        mask = None
        if past_keys is not None or block_length > 1:
            block = order.abs() // block_length
            mask = (block[start:, None] >= block[None, :])[None, None]
        x_1SM = self.embed(tokens_1S, roles_1S)
        new = KVStack([], [])
        for index, layer in enumerate(self.blocks()):
            q, k, v = layer.qkv(x_1SM)
            new.keys.append(k)
            new.values.append(v)
            q, k = rotate(q, phases), rotate(k, phases)
            if past is not None and past_keys is not None:
                k, v = torch.cat((past_keys[index], k), dim=2), torch.cat((past.values[index], v), dim=2)
            if index + 1 < len(self.layers):  # the last layer's output feeds nobody
                x_1SM = layer.finish(x_1SM, attend(q, k, v, mask, causal=mask is None))
        return past.extend(new) if past is not None else new

    def logits(self, hidden_BSM: Tensor) -> Tensor:
        """Scores over the vocabulary, [B, S, V], in the hidden states' dtype; no shift is applied here."""
        return self.lm_head(hidden_BSM)
