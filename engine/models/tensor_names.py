"""Which checkpoint tensors a parameter of `Transformer` is made of, for each way of naming them that is in use.

Several names for one parameter are joined along the first axis. Knows no config and no file.
"""

from __future__ import annotations


def standard_sources(parameter: str) -> list[str]:
    """Tensor names of the Llama and Qwen layout for a parameter of `Transformer`."""
    return _sources(parameter, STANDARD)


def llada_sources(parameter: str) -> list[str]:
    """LLaDA: OLMo's names."""
    return _sources(parameter, LLADA)


def llada2_sources(parameter: str) -> list[str]:
    """LLaDA2: Ling's names."""
    return _sources(parameter, LLADA2)


def _sources(parameter: str, names: dict[str, list[str]]) -> list[str]:
    """`names` maps our module names to theirs; `{n}` stands for the layer, `{e}` for the expert, the kind is appended."""
    module, _, kind = parameter.rpartition(".")
    parts = module.split(".")
    numbers = {}
    if parts[0] == "layers":
        numbers["n"], parts = parts[1], ["layers", *parts[2:]]
    if "experts" in parts:
        at = parts.index("experts") + 1
        numbers["e"] = parts.pop(at)
    if kind == "choice_bias":  # a parameter of the router, which has a name of its own everywhere
        return [name.format(**numbers) for name in names[".".join([*parts, kind])]]
    return [f"{name.format(**numbers)}.{kind}" for name in names[".".join(parts)]]


_LAYER = "model.layers.{n}."
STANDARD: dict[str, list[str]] = {
    "embed_tokens": ["model.embed_tokens"],
    "roles": ["model.roles"],
    "norm": ["model.norm"],
    "lm_head": ["lm_head"],
    "layers.input_norm": [_LAYER + "input_layernorm"],
    "layers.qkv_proj": [_LAYER + f"self_attn.{x}_proj" for x in "qkv"],
    "layers.q_norm": [_LAYER + "self_attn.q_norm"],
    "layers.k_norm": [_LAYER + "self_attn.k_norm"],
    "layers.o_proj": [_LAYER + "self_attn.o_proj"],
    "layers.mlp_norm": [_LAYER + "post_attention_layernorm"],
    "layers.gate_up_proj": [_LAYER + "mlp.gate_proj", _LAYER + "mlp.up_proj"],
    "layers.down_proj": [_LAYER + "mlp.down_proj"],
    "layers.moe.router": [_LAYER + "mlp.gate"],
    "layers.moe.router.choice_bias": [_LAYER + "mlp.gate.expert_bias"],
    "layers.moe.experts.gate_up_proj": [_LAYER + "mlp.experts.{e}.gate_proj", _LAYER + "mlp.experts.{e}.up_proj"],
    "layers.moe.experts.down_proj": [_LAYER + "mlp.experts.{e}.down_proj"],
    "layers.moe.shared.gate_up_proj": [_LAYER + "mlp.shared_experts.gate_proj", _LAYER + "mlp.shared_experts.up_proj"],
    "layers.moe.shared.down_proj": [_LAYER + "mlp.shared_experts.down_proj"],
}
LLADA2 = STANDARD | {
    "embed_tokens": ["model.word_embeddings"],
    "layers.qkv_proj": [_LAYER + "attention.query_key_value"],  # one tensor, its rows in our order: queries, keys, values
    "layers.q_norm": [_LAYER + "attention.query_layernorm"],
    "layers.k_norm": [_LAYER + "attention.key_layernorm"],
    "layers.o_proj": [_LAYER + "attention.dense"],
}
_BLOCK = "model.transformer.blocks.{n}."
LLADA = {
    "embed_tokens": ["model.transformer.wte"],
    "norm": ["model.transformer.ln_f"],
    "lm_head": ["model.transformer.ff_out"],
    "layers.input_norm": [_BLOCK + "attn_norm"],
    "layers.qkv_proj": [_BLOCK + f"{x}_proj" for x in "qkv"],
    "layers.o_proj": [_BLOCK + "attn_out"],
    "layers.mlp_norm": [_BLOCK + "ff_norm"],
    "layers.gate_up_proj": [_BLOCK + "ff_proj", _BLOCK + "up_proj"],  # ff_proj goes through SiLU: it is the gate
    "layers.down_proj": [_BLOCK + "ff_out"],
}
