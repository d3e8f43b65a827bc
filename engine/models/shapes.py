"""How a foreign config.json becomes a ModelConfig: one function for each layout of keys, and what each family adds to it.

Whatever the network cannot do is refused by name. Which family uses which function stands in `engine.models.families`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from engine.errors import CheckpointError
from engine.models.config import ModelConfig, MoEConfig

Raw = dict[str, Any]
"""A config.json."""

Shape = Callable[[Raw], ModelConfig]

ANOTHER = "Use another model; `dlsp models` lists what dlsp knows."

_SIZES = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim"),
    *("d_model", "n_layers", "n_heads", "n_kv_heads", "mlp_hidden_size", "embedding_size"),
    *("num_experts", "num_experts_per_tok", "moe_intermediate_size", "expert_intermediate_size", "n_group", "topk_group"),
    *("block_size", "block_length", "bd_size"),
)
"""Keys that are whole numbers above 0 where they have a value at all."""

_COUNTS = ("num_shared_experts", "first_k_dense_replace", "dense_intermediate_size", "max_window_layers")
"""Keys that are whole numbers and may be 0."""


def check_numbers(raw: Raw) -> None:
    """Raises CheckpointError for a size in config.json that is no number, or none that a network can have."""
    for keys, least, wanted in ((_SIZES, 1, "a whole number above 0"), (_COUNTS, 0, "a whole number")):
        for key in keys:
            value = raw.get(key)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
                raise CheckpointError(f"config.json has {key} = {value!r}, but {key} must be {wanted}.")


def own_shape(raw: Raw) -> ModelConfig:
    """Our own format, which says everything itself."""
    return msgspec.convert(raw["model"], ModelConfig)


def _standard(raw: Raw, **differences: Any) -> ModelConfig:
    """The keys that Llama, Qwen and everything made from them share."""
    _refuse(raw, "hidden_act", raw.get("hidden_act", "silu") not in ("silu", "swish"))
    _refuse(raw, "mlp_bias", raw.get("mlp_bias"))
    layers, window = raw["num_hidden_layers"], raw.get("sliding_window")
    slides = raw.get("use_sliding_window") and window and (raw.get("max_window_layers") or 0) < layers
    _refuse(raw, "sliding_window", slides or "sliding_attention" in (raw.get("layer_types") or []))
    heads = raw["num_attention_heads"]
    shared = {
        "vocab_size": raw["vocab_size"],
        "hidden_size": raw["hidden_size"],
        "intermediate_size": differences.get("intermediate_size") or raw["intermediate_size"],
        "num_layers": layers,
        "num_heads": heads,
        "num_kv_heads": raw.get("num_key_value_heads") or heads,
        "head_dim": raw.get("head_dim") or raw["hidden_size"] // heads,
        "rope_theta": _rope_theta(raw),
        "norm_eps": raw["rms_norm_eps"],
        "tie_word_embeddings": raw.get("tie_word_embeddings", False),
    }
    return msgspec.convert(shared | differences, ModelConfig)


def _rope_theta(raw: Raw) -> float:
    """The base of RoPE, from the key that transformers 4 writes or the one that 5 writes; scaled variants are refused."""
    for key in ("rope_scaling", "rope_parameters"):
        scaling = raw.get(key) or {}
        _refuse(raw, key, not isinstance(scaling, dict))
        kind = scaling.get("rope_type") or scaling.get("type") or "default"
        _refuse(raw, key, kind != "default")
        if "rope_theta" in scaling:
            return float(scaling["rope_theta"])
    return float(raw["rope_theta"])


def biased_qwen(raw: Raw, **differences: Any) -> ModelConfig:
    """Qwen2: queries, keys and values always have biases, the output projection never, whatever attention_bias says."""
    return _standard(raw, qkv_bias=True, **differences)


def plain(raw: Raw, **differences: Any) -> ModelConfig:
    """Llama and Qwen3, where attention_bias would put one on the output projection too."""
    _refuse(raw, "attention_bias", raw.get("attention_bias"))
    return _standard(raw, **differences)


def blocks(raw: Raw, usual: int) -> dict[str, Any]:
    """Block-causal attention with the block length that config.json names, or the usual one; `usual` 0 is full attention."""
    length = next((raw[key] for key in ("block_size", "block_length", "bd_size") if raw.get(key)), usual)
    return {"attention": "block_causal", "block_length": length} if length else {}


def qwen_moe(raw: Raw, **differences: Any) -> ModelConfig:
    """Qwen3-MoE; every layer must route, as all known checkpoints do."""
    _refuse(raw, "decoder_sparse_step", raw.get("decoder_sparse_step", 1) != 1)
    _refuse(raw, "mlp_only_layers", raw.get("mlp_only_layers"))
    moe = MoEConfig(
        num_experts=raw["num_experts"],
        experts_per_token=raw["num_experts_per_tok"],
        expert_size=raw["moe_intermediate_size"],
        normalize=raw.get("norm_topk_prob", True),
    )
    return plain(raw, qk_norm=True, moe=moe, **differences)


def llada(raw: Raw) -> ModelConfig:
    """OLMo's keys; every switch that would make another network is refused."""
    wanted = {
        "block_type": "llama",
        "activation_type": "silu",
        "layer_norm_type": "rms",
        "layer_norm_with_affine": True,
        "bias_for_layer_norm": False,
        "include_bias": False,
        "include_qkv_bias": False,
        "rope": True,
        "alibi": False,
        "attention_layer_norm": False,
        "input_emb_norm": False,
        "scale_logits": False,
    }
    for key, value in wanted.items():
        _refuse(raw, key, raw.get(key, value) not in (value, None))
    for key in ("clip_qkv", "rope_scaling", "sliding_window"):
        _refuse(raw, key, raw.get(key))
    heads = raw["n_heads"]
    return ModelConfig(
        vocab_size=raw.get("embedding_size") or raw["vocab_size"],
        hidden_size=raw["d_model"],
        intermediate_size=raw.get("mlp_hidden_size") or raw["mlp_ratio"] * raw["d_model"],
        num_layers=raw["n_layers"],
        num_heads=heads,
        num_kv_heads=raw.get("n_kv_heads") or heads,
        head_dim=raw["d_model"] // heads,
        rope_theta=raw["rope_theta"],
        norm_eps=raw["rms_norm_eps"],
        tie_word_embeddings=raw.get("weight_tying", False),
    )


def llada_moe(raw: Raw) -> ModelConfig:
    """OLMoE's keys with norms per head; a router with groups, biases or shared experts has not been seen and is refused."""
    for key in ("clip_qkv", "moe_router_enable_expert_bias", "shared_expert_intermediate_size"):
        _refuse(raw, key, raw.get(key))
    _refuse(raw, "moe_router_score_function", (raw.get("moe_router_score_function") or "softmax") != "softmax")
    _refuse(raw, "router_num_group", (raw.get("router_num_group") or 1) > 1)
    frequency = raw.get("moe_layer_freq") or [1]
    frequency = frequency if isinstance(frequency, list) else [frequency]
    _refuse(raw, "moe_layer_freq", 0 in frequency[frequency.count(0) :])
    moe = MoEConfig(
        num_experts=raw["num_experts"],
        experts_per_token=raw["num_experts_per_tok"],
        expert_size=raw["expert_intermediate_size"],
        normalize=bool(raw.get("norm_topk_prob")),
        scale=raw.get("routed_scaling_factor") or 1.0,
        dense_layers=frequency.count(0),
    )
    return plain(
        raw,
        intermediate_size=raw.get("dense_intermediate_size") or raw["expert_intermediate_size"],
        qk_norm=raw.get("qk_layernorm") is not False,
        rotary_fraction=max(raw.get("partial_rotary_factor") or 0.0, 0.0) or 1.0,
        moe=moe,
    )


def llada2(raw: Raw) -> ModelConfig:
    """Ling's keys: norms per head always, half of each head rotated, sigmoid routing within groups, one shared expert."""
    _refuse(raw, "use_bias", raw.get("use_bias"))
    _refuse(raw, "norm_head", raw.get("norm_head"))
    size = raw["moe_intermediate_size"]
    moe = MoEConfig(
        num_experts=raw["num_experts"],
        experts_per_token=raw["num_experts_per_tok"],
        expert_size=size,
        scoring="sigmoid",
        normalize=raw["num_experts_per_tok"] > 1,
        scale=raw["routed_scaling_factor"],
        num_groups=raw["n_group"],
        groups_per_token=raw["topk_group"],
        choice_bias=True,
        shared_size=size * (raw.get("num_shared_experts") or 0),
        dense_layers=raw.get("first_k_dense_replace", 0),
    )
    return _standard(
        raw,
        qkv_bias=raw.get("use_qkv_bias", False),
        qk_norm=True,
        rotary_fraction=raw.get("partial_rotary_factor", 1.0),
        moe=moe,
        **blocks(raw, 32),
    )


def with_head(shape: Shape, tied: bool) -> Shape:
    """`shape` for a checkpoint whose tensors, not its config, say whether the output head is the embedding."""
    return lambda raw: msgspec.structs.replace(shape(raw), tie_word_embeddings=tied)


def _refuse(raw: Raw, key: str, unsupported: object) -> None:
    if unsupported:
        raise CheckpointError(f"config.json has {key} = {raw.get(key)!r}, which dlsp does not implement.", ANOTHER)


QWEN2_SHIFTED = partial(biased_qwen, logit_shift=1)
CODA = partial(plain, qk_norm=True, logit_shift=1)


def fast_dllm(raw: Raw) -> ModelConfig:
    """Qwen2, shifted, in blocks."""
    return QWEN2_SHIFTED(raw, **blocks(raw, 32))


def qwen3_blocks(usual: int) -> Shape:
    """Qwen3 in blocks, of the usual length where config.json names none."""
    return lambda raw: plain(raw, qk_norm=True, **blocks(raw, usual))


def a2d(base: Callable[..., ModelConfig], **differences: Any) -> Shape:
    """a2d: the base model with full attention (mdlm) or blocks (bd3lm).

    Nothing in its config tells the two apart, save where the file remembers its own name or was given a block_size.
    """
    return lambda raw: base(raw, **differences, **blocks(raw, 32 if "bd3lm" in str(raw.get("_name_or_path", "")) else 0))
