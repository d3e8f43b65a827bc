"""ModelConfig: the facts that decide one network. Knows no file format and no family name."""

from __future__ import annotations

from typing import Literal

import msgspec

from engine.errors import ConfigError

AttentionKind = Literal["full", "block_causal", "split"]


class MoEConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Mixture-of-experts feed-forward layers.

    The router scores experts with `scoring`; `experts_per_token` of them are used, chosen within the
    `groups_per_token` best of `num_groups` groups where there are groups, with a learned `choice_bias` added for the
    choice alone (DeepSeek-V3, arXiv 2412.19437). Weights are renormalised to sum to 1 if `normalize`, then multiplied by
    `scale`. `shared_size` > 0 adds one expert that every token uses; the first `dense_layers` layers have an ordinary
    feed-forward of `ModelConfig.intermediate_size`.
    """

    num_experts: int
    experts_per_token: int
    expert_size: int
    scoring: Literal["softmax", "sigmoid"] = "softmax"
    normalize: bool = True
    scale: float = 1.0
    num_groups: int = 1
    groups_per_token: int = 1
    choice_bias: bool = False
    shared_size: int = 0
    dense_layers: int = 0

    def __post_init__(self) -> None:
        for name in ("num_experts", "experts_per_token", "expert_size", "num_groups", "groups_per_token"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"model config: {name} must be positive, it is {getattr(self, name)}")
        if self.num_experts % self.num_groups or self.groups_per_token > self.num_groups:
            raise ConfigError(
                f"model config: {self.num_experts} experts cannot form {self.num_groups} groups of which {self.groups_per_token} count"
            )
        eligible = self.num_experts // self.num_groups * self.groups_per_token
        if self.experts_per_token > eligible:
            raise ConfigError(f"model config: {self.experts_per_token} experts a token are asked for, but only {eligible} are eligible")


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Shape and conventions of one `Transformer`.

    `attention` names who may see whom (see `engine.models.attention`), `logit_shift` is 1 where the hidden state
    at position i scores the token at i + 1 (models converted from autoregressive ones, such as Dream) and 0 where
    it scores the token at i (LLaDA, nano). `num_roles` > 0 adds one learned vector per role to the embeddings
    (the split layout tells prefix, suffix and canvas apart with it). `context_length` is the trained one, in tokens.
    `rotary_fraction` is the share of each head's dimensions, from the first on, that RoPE turns.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-6
    qkv_bias: bool = False
    qk_norm: bool = False
    tie_word_embeddings: bool = True
    attention: AttentionKind = "full"
    block_length: int = 0
    logit_shift: int = 0
    num_roles: int = 0
    context_length: int = 2048
    rotary_fraction: float = 1.0
    moe: MoEConfig | None = None

    def __post_init__(self) -> None:
        for name in ("vocab_size", "hidden_size", "intermediate_size", "num_layers", "num_heads", "num_kv_heads"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"model config: {name} must be positive, it is {getattr(self, name)}")
        if self.num_heads % self.num_kv_heads:
            raise ConfigError(f"model config: {self.num_heads} attention heads cannot share {self.num_kv_heads} key/value heads evenly")
        if self.head_dim <= 0 or self.head_dim % 2:
            raise ConfigError(f"model config: head_dim must be even and positive for RoPE, it is {self.head_dim}")
        if self.attention == "block_causal" and self.block_length <= 0:
            raise ConfigError("model config: block_causal attention needs a positive block_length")
        if self.logit_shift not in (0, 1):
            raise ConfigError(f"model config: logit_shift must be 0 or 1, it is {self.logit_shift}")
        if self.attention == "split" and self.num_roles < 3:
            raise ConfigError("model config: split attention needs num_roles >= 3 (prefix, suffix, canvas)")
        if not 0 < self.rotary_fraction <= 1 or self.rotary_dim % 2 or self.rotary_dim == 0:
            raise ConfigError(f"model config: RoPE cannot turn {self.rotary_fraction} of {self.head_dim} dimensions")
        if self.attention == "split" and self.rotary_fraction != 1:
            raise ConfigError("model config: split attention needs rotary_fraction 1, because it stores keys unrotated")

    @property
    def rotary_dim(self) -> int:
        """Dimensions of a head that RoPE turns."""
        return int(self.head_dim * self.rotary_fraction)
