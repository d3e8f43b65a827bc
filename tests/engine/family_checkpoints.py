"""Tiny random checkpoints of every family, in the family's own on-disk format: real config keys, tensor names and token strings.

Nothing here is taken from `engine.models`: names and shapes are written down a second time, so that a test which loads such a
checkpoint compares two accounts of the same format.
"""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.train import bpe
from tiny_models import SAMPLE

WIDTH, LAYERS, HEADS, KV_HEADS, HEAD_DIM, INNER = 32, 2, 4, 2, 8, 48
EXPERTS, CHOSEN, EXPERT_INNER = 8, 2, 16

QWEN_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")
LLADA_TOKENS = ("<|startoftext|>", "<|endoftext|>", "<|mdm_mask|>", "<|eot_id|>")
LING_TOKENS = ("<|startoftext|>", "<|endoftext|>", "<|role_end|>", "<|mask|>")
SEED_TOKENS = (
    "<[begin\u2581of\u2581sentence]>", "<[PAD\u2581TOKEN]>", "<[end\u2581of\u2581sentence]>", "<[MASK_TOKEN]>",
    "<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>",
)  # fmt: skip
NEVER_MASK = "<|unused_3|>"


@dataclass(frozen=True)
class Recipe:
    """How a family writes a checkpoint: its class, the layout of keys and tensors, its special tokens, and what it says of them.

    `ids` maps keys of config.json to token strings; `extra` are further keys.
    """

    architecture: str
    model_type: str
    layout: str
    tokens: tuple[str, ...]
    ids: Mapping[str, str]
    extra: Mapping[str, Any]


_EOS = {"eos_token_id": "<|endoftext|>", "pad_token_id": "<|endoftext|>"}
_DREAM = {**_EOS, "bos_token_id": "<|endoftext|>", "mask_token_id": "<|mask|>"}
_DREAM_EXTRA = {"attention_bias": False, "rope_theta": 1e6, "max_position_embeddings": 131072, "use_sliding_window": False,
                "sliding_window": None, "max_window_layers": 28, "tie_word_embeddings": False}  # fmt: skip
_QWEN_EXTRA = {"rope_theta": 1e6, "max_position_embeddings": 32768, "use_sliding_window": False, "tie_word_embeddings": True}
_SDAR = {**_EOS, "mask_token_id": "<|MASK|>"}
_LLADA_EXTRA = {
    "block_type": "llama", "activation_type": "silu", "layer_norm_type": "rms", "layer_norm_with_affine": True, "rope": True,
    "alibi": False, "include_bias": False, "include_qkv_bias": False, "bias_for_layer_norm": False, "attention_layer_norm": False,
    "weight_tying": False, "rope_theta": 500000.0, "rms_norm_eps": 1e-5, "max_sequence_length": 4096, "clip_qkv": None,
    "input_emb_norm": False, "scale_logits": False,
}  # fmt: skip
_MOE_EXTRA = {"num_experts": EXPERTS, "num_experts_per_tok": CHOSEN, "moe_intermediate_size": EXPERT_INNER, "decoder_sparse_step": 1,
              "mlp_only_layers": [], "norm_topk_prob": True, "rope_theta": 1e6, "tie_word_embeddings": False}  # fmt: skip

RECIPES: dict[str, Recipe] = {
    "dreamon": Recipe("DreamModel", "Dream", "qwen2", (*QWEN_TOKENS, "<|beginoftext|>", "<|mask|>", "<|expand|>"), _DREAM, _DREAM_EXTRA),
    "dream": Recipe("DreamModel", "Dream", "qwen2", (*QWEN_TOKENS, "<|beginoftext|>", "<|mask|>"), _DREAM, _DREAM_EXTRA),
    "diffucoder": Recipe(
        "DreamModel", "Dream", "qwen2", (*QWEN_TOKENS, "<|beginoftext|>", "<|mask|>", "<|dlm_pad|>"), _DREAM, _DREAM_EXTRA
    ),
    "open-dcoder": Recipe("Qwen2ForCausalLM", "qwen2", "qwen2", (*QWEN_TOKENS, "<M>"), _EOS, _QWEN_EXTRA),
    # The config says tied, the checkpoint has a head of its own.
    "a2d-qwen2": Recipe(
        "A2DQwen2LMHeadModel", "a2d-qwen2", "qwen2", (*QWEN_TOKENS, "<|mask|>"), {"eos_token_id": "<|im_end|>"}, _QWEN_EXTRA
    ),
    "a2d-qwen2-bd3lm": Recipe(
        "A2DQwen2LMHeadModel", "a2d-qwen2", "qwen2", (*QWEN_TOKENS, "<|mask|>"), _EOS, {**_QWEN_EXTRA, "block_size": 8}
    ),
    "a2d-qwen3": Recipe(
        "A2DQwen3LMHeadModel", "a2d-qwen3", "qwen3", (*QWEN_TOKENS, "<|mask|>"), _EOS, {**_QWEN_EXTRA, "attention_bias": False}
    ),
    "a2d-llama": Recipe(
        "A2DLlamaLMHeadModel", "a2d-llama", "llama", ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|mask|>"),
        {"eos_token_id": "<|end_of_text|>"},
        {"rope_theta": 500000.0, "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True},
    ),
    "llada": Recipe("LLaDAModelLM", "llada", "llada", LLADA_TOKENS, {**_EOS, "mask_token_id": "<|mdm_mask|>"}, _LLADA_EXTRA),
    # Another tokenizer under the same class: the mask is known by its id alone.
    "illada": Recipe("LLaDAModelLM", "llada", "llada", (NEVER_MASK, *SEED_TOKENS[:3]),
                     {"eos_token_id": SEED_TOKENS[2], "pad_token_id": SEED_TOKENS[1], "mask_token_id": NEVER_MASK}, _LLADA_EXTRA),
    "llada-moe": Recipe(
        "LLaDAMoEModelLM", "llada", "llada-moe", LING_TOKENS, _EOS,
        {"num_experts": EXPERTS, "num_experts_per_tok": CHOSEN, "expert_intermediate_size": EXPERT_INNER, "dense_intermediate_size": 64,
         "shared_expert_intermediate_size": None, "norm_topk_prob": None, "qk_layernorm": True, "moe_layer_freq": [1] * LAYERS,
         "moe_router_enable_expert_bias": False, "moe_router_score_function": "softmax", "routed_scaling_factor": 1,
         "router_num_group": None, "router_topk_group": None, "partial_rotary_factor": 1, "clip_qkv": None, "attention_bias": False,
         "rope_theta": 50000.0, "rms_norm_eps": 1e-5, "tie_word_embeddings": False},
    ),
    "coda": Recipe("CoDALanguageModel", "CoDA", "qwen3", (*QWEN_TOKENS, "<|mask|>"),
                   {"eos_token_id": "<|im_end|>", "pad_token_id": "<|endoftext|>", "mask_token_id": "<|mask|>"},
                   {**_QWEN_EXTRA, "attention_bias": False}),
    "rnd1": Recipe("RND1LM", "rnd1", "qwen3-moe", (*QWEN_TOKENS, NEVER_MASK),
                   {"eos_token_id": "<|im_end|>", "pad_token_id": "<|endoftext|>", "mask_token_id": NEVER_MASK},
                   {**_MOE_EXTRA, "rope_scaling": False, "sliding_window": False, "use_sliding_window": False}),
    "stable-diffcoder": Recipe("StableDiffcoderForCausalLM", "llama", "llama", SEED_TOKENS,
                               {"eos_token_id": SEED_TOKENS[2], "pad_token_id": SEED_TOKENS[1], "bos_token_id": SEED_TOKENS[0]},
                               {"rope_theta": 500000.0, "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": False,
                                "rope_scaling": None}),
    "sdar": Recipe("SDARForCausalLM", "sdar", "qwen3", (*QWEN_TOKENS, "<|MASK|>"), _SDAR,
                   {"rope_theta": 1e6, "attention_bias": False, "block_size": 4, "tie_word_embeddings": False}),
    "sdar-moe": Recipe("SDARMoeForCausalLM", "sdar_moe", "qwen3-moe", (*QWEN_TOKENS, "<|MASK|>"), _SDAR, _MOE_EXTRA),
    "fast-dllm": Recipe("Fast_dLLM_QwenForCausalLM", "Fast_dLLM_Qwen", "qwen2", (*QWEN_TOKENS, "|<MASK>|"),
                        {"eos_token_id": "<|im_end|>"}, {**_QWEN_EXTRA, "bd_size": 8, "layer_types": ["full_attention"] * LAYERS}),
    # As transformers 5 writes it: the base of RoPE in rope_parameters.
    "dream-reasoner": Recipe("DreamForCausalLM", "Dream", "qwen3", (*QWEN_TOKENS, "<|MASK|>"), _SDAR,
                             {"attention_bias": False, "block_size": 8, "tie_word_embeddings": False,
                              "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "llada2": Recipe(
        "LLaDA2MoeModelLM", "llada2_moe", "llada2", LING_TOKENS, {**_EOS, "mask_token_id": "<|mask|>"},
        {"num_experts": EXPERTS, "num_experts_per_tok": CHOSEN, "moe_intermediate_size": EXPERT_INNER, "num_shared_experts": 1,
         "n_group": 4, "topk_group": 2, "routed_scaling_factor": 2.5, "first_k_dense_replace": 1, "partial_rotary_factor": 0.5,
         "use_qkv_bias": False, "use_bias": False, "use_qk_norm": True, "norm_head": False, "norm_topk_prob": True,
         "rope_theta": 600000.0, "tie_word_embeddings": False, "block_size": 8},
    ),
}  # fmt: skip
"""One recipe a name; `a2d-qwen2-bd3lm` is a variant, every other name is a family's."""


def write(family: str, folder: Path, **changes: Any) -> Path:
    """A checkpoint of `family` in `folder`, which is made. `changes` replace keys of config.json, None removes one."""
    recipe = RECIPES[family]
    folder.mkdir(parents=True, exist_ok=True)
    ids = _write_tokenizer(recipe.tokens, folder / "tokenizer.json")
    rows = -(-len(ids) // 16) * 16 + 16  # more rows than tokens, as most published models have
    raw = _config(recipe, rows) | {key: ids[token] for key, token in recipe.ids.items()}
    raw = {key: value for key, value in (raw | changes).items() if value is not None or key not in changes}
    (folder / "config.json").write_text(json.dumps(raw, indent=1))
    save_file(_tensors(family, recipe, rows), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _write_tokenizer(tokens: tuple[str, ...], path: Path) -> dict[str, int]:
    """A byte-level BPE with the given special tokens; the ids of all its tokens."""
    text = _plain_tokenizer()
    for number, token in enumerate(bpe.SPECIAL_TOKENS):  # our own marks must not be found in a foreign tokenizer
        text = text.replace(json.dumps(token, ensure_ascii=False), json.dumps(f"<|reserved_{number}|>"))
    tokenizer = tokenizers.Tokenizer.from_str(text)
    tokenizer.add_special_tokens(list(tokens))
    tokenizer.save(str(path))
    return tokenizer.get_vocab(with_added_tokens=True)


@functools.cache
def _plain_tokenizer() -> str:
    with tempfile.TemporaryDirectory() as folder:
        return bpe.train([SAMPLE * 20], 320, Path(folder) / "tokenizer.json").to_str()


def _config(recipe: Recipe, rows: int) -> dict[str, Any]:
    if recipe.layout == "llada":
        shape = {"d_model": WIDTH, "n_layers": LAYERS, "n_heads": HEADS, "n_kv_heads": HEADS, "mlp_hidden_size": INNER,
                 "mlp_ratio": 4, "vocab_size": rows, "embedding_size": rows}  # fmt: skip
    else:
        shape = {
            "vocab_size": rows, "hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "hidden_act": "silu", "rms_norm_eps": 1e-6,
        }  # fmt: skip
        if recipe.layout in ("qwen3", "qwen3-moe", "llada2"):
            shape["head_dim"] = HEAD_DIM
        if recipe.layout == "llada-moe":  # MHA, and no size of an ordinary feed-forward under the usual key
            shape |= {"num_key_value_heads": HEADS}
            del shape["intermediate_size"]
    named = {"architectures": [recipe.architecture], "model_type": recipe.model_type, "torch_dtype": "float32"}
    if recipe.model_type not in ("qwen2",):
        named["auto_map"] = {"AutoModel": f"modeling_tiny.{recipe.architecture}"}
    return named | shape | dict(recipe.extra)


def _tensors(family: str, recipe: Recipe, rows: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(sum(family.encode()))
    tensors: dict[str, Tensor] = {}

    def add(name: str, *shape: int) -> None:
        drawn = torch.randn(shape, generator=generator)
        tensors[name] = 1 + 0.3 * drawn if len(shape) == 1 and name.endswith("weight") else 0.25 * drawn

    kv = (HEADS if recipe.layout in ("llada", "llada-moe") else KV_HEADS) * HEAD_DIM
    if recipe.layout == "llada":
        add("model.transformer.wte.weight", rows, WIDTH)
        for n in range(LAYERS):
            block = f"model.transformer.blocks.{n}."
            for norm in ("attn_norm", "ff_norm"):
                add(f"{block}{norm}.weight", WIDTH)
            for name, out in (("q_proj", WIDTH), ("k_proj", kv), ("v_proj", kv), ("attn_out", WIDTH)):
                add(f"{block}{name}.weight", out, WIDTH)
            add(f"{block}ff_proj.weight", INNER, WIDTH)
            add(f"{block}up_proj.weight", INNER, WIDTH)
            add(f"{block}ff_out.weight", WIDTH, INNER)
        add("model.transformer.ln_f.weight", WIDTH)
        add("model.transformer.ff_out.weight", rows, WIDTH)
        return tensors
    add("model.word_embeddings.weight" if recipe.layout == "llada2" else "model.embed_tokens.weight", rows, WIDTH)
    for n in range(LAYERS):
        layer = f"model.layers.{n}."
        add(f"{layer}input_layernorm.weight", WIDTH)
        add(f"{layer}post_attention_layernorm.weight", WIDTH)
        if recipe.layout == "llada2":
            add(f"{layer}attention.query_key_value.weight", WIDTH + 2 * kv, WIDTH)
            add(f"{layer}attention.dense.weight", WIDTH, WIDTH)
            add(f"{layer}attention.query_layernorm.weight", HEAD_DIM)
            add(f"{layer}attention.key_layernorm.weight", HEAD_DIM)
        else:
            for name, out in (("q_proj", WIDTH), ("k_proj", kv), ("v_proj", kv), ("o_proj", WIDTH)):
                add(f"{layer}self_attn.{name}.weight", out, WIDTH)
                if recipe.layout == "qwen2" and name != "o_proj":
                    add(f"{layer}self_attn.{name}.bias", out)
            if recipe.layout in ("qwen3", "qwen3-moe", "llada-moe"):
                add(f"{layer}self_attn.q_norm.weight", HEAD_DIM)
                add(f"{layer}self_attn.k_norm.weight", HEAD_DIM)
        parts = {"": INNER}
        if recipe.layout in ("qwen3-moe", "llada-moe") or (recipe.layout == "llada2" and n >= recipe.extra["first_k_dense_replace"]):
            parts = {f"experts.{e}.": EXPERT_INNER for e in range(EXPERTS)}
            add(f"{layer}mlp.gate.weight", EXPERTS, WIDTH)
            if recipe.layout == "llada2":
                add(f"{layer}mlp.gate.expert_bias", EXPERTS)
                parts["shared_experts."] = EXPERT_INNER
        for part, inner in parts.items():
            add(f"{layer}mlp.{part}gate_proj.weight", inner, WIDTH)
            add(f"{layer}mlp.{part}up_proj.weight", inner, WIDTH)
            add(f"{layer}mlp.{part}down_proj.weight", WIDTH, inner)
    add("model.norm.weight", WIDTH)
    if not recipe.extra.get("tie_word_embeddings") or recipe.architecture in ("A2DQwen2LMHeadModel", "A2DQwen3LMHeadModel"):
        add("lm_head.weight", rows, WIDTH)
    return tensors
