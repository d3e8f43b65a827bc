"""ModelConfig: the facts that decide one network. Knows no file format and no family name."""

from __future__ import annotations

from typing import Literal

import msgspec

from engine.errors import ConfigError

AttentionKind = Literal["full", "block_causal", "split"]


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Shape and conventions of one `Transformer`.

    `attention` names who may see whom (see `engine.models.attention`), `logit_shift` is 1 where the hidden state
    at position i scores the token at i + 1 (models converted from autoregressive ones, such as Dream) and 0 where
    it scores the token at i (LLaDA, nano). `num_roles` > 0 adds one learned vector per role to the embeddings
    (the split layout tells prefix, suffix and canvas apart with it). `context_length` is the trained one, in tokens.
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
