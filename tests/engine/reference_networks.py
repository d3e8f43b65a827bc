"""Independent networks that tiny checkpoints are compared with: transformers' own classes, and plain float64 loops.

Both read a checkpoint folder themselves and share nothing with `engine`. `visible` is [B, S, S] bool, True where a row may see.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor

CLASSES = {
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
    "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    "qwen3-moe": (transformers.Qwen3MoeConfig, transformers.Qwen3MoeForCausalLM),
}
SHAPE_KEYS = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
    "rms_norm_eps", "rope_theta", "rope_parameters", "num_experts", "num_experts_per_tok", "moe_intermediate_size", "norm_topk_prob",
)  # fmt: skip


def transformers_logits(layout: str, folder: Path, tokens_BS: Tensor, positions_BS: Tensor, visible_BSS: Tensor) -> Tensor:
    """Logits [B, S, V] in float32 of the stock class, with an explicit mask; row i is whatever the head makes of row i."""
    raw, tensors = _read(folder)
    config_class, network_class = CLASSES[layout]
    facts = {key: raw[key] for key in SHAPE_KEYS if key in raw}
    config = config_class(**facts, tie_word_embeddings=False, attn_implementation="eager")
    network = network_class(config).eval()
    tensors.setdefault("lm_head.weight", tensors["model.embed_tokens.weight"])
    if layout == "qwen3-moe":
        _fuse_experts(tensors, raw)
    missing, unexpected = network.load_state_dict(tensors, strict=False)
    assert not [*missing, *unexpected]
    bias = torch.where(visible_BSS[:, None], 0.0, torch.finfo(torch.float32).min)
    with torch.no_grad():
        return network(input_ids=tokens_BS, attention_mask=bias, position_ids=positions_BS).logits


def plain_logits(layout: str, folder: Path, tokens_BS: Tensor, positions_BS: Tensor, visible_BSS: Tensor) -> Tensor:
    """Logits [B, S, V] in float64 of LLaDA, LLaDA-MoE or LLaDA2, one head and one token at a time."""
    raw, tensors = _read(folder)
    weights = {name: tensor.double() for name, tensor in tensors.items()}
    rows = zip(tokens_BS, positions_BS, visible_BSS, strict=True)
    return torch.stack([PlainNetwork(layout, raw, weights).logits(*row) for row in rows])


class PlainNetwork:
    """A pre-norm Transformer written for reading: no batches, no fused tensors, no vectorised routing."""

    def __init__(self, layout: str, raw: dict[str, Any], weights: dict[str, Tensor]) -> None:
        self.layout, self.raw, self.w = layout, raw, weights
        llada = layout == "llada"
        self.layers = raw["n_layers"] if llada else raw["num_hidden_layers"]
        self.heads = raw["n_heads"] if llada else raw["num_attention_heads"]
        self.kv_heads = raw["n_kv_heads"] if llada else raw["num_key_value_heads"]
        self.size = (raw["d_model"] if llada else raw["hidden_size"]) // self.heads
        self.rotated = int(self.size * raw.get("partial_rotary_factor", 1))

    def logits(self, tokens_S: Tensor, positions_S: Tensor, visible_SS: Tensor) -> Tensor:
        """[S, V]."""
        names = {
            "llada": ("model.transformer.wte", "model.transformer.ln_f", "model.transformer.ff_out"),
            "llada-moe": ("model.embed_tokens", "model.norm", "lm_head"),
            "llada2": ("model.word_embeddings", "model.norm", "lm_head"),
        }[self.layout]
        embedding, norm, head = (self.w[f"{name}.weight"] for name in names)
        x = embedding[tokens_S]
        for n in range(self.layers):
            first, second = ("attn_norm", "ff_norm") if self.layout == "llada" else ("input_layernorm", "post_attention_layernorm")
            prefix = f"model.transformer.blocks.{n}." if self.layout == "llada" else f"model.layers.{n}."
            x = x + self._attention(prefix, self._norm(x, self.w[f"{prefix}{first}.weight"]), positions_S, visible_SS)
            x = x + self._feed_forward(prefix, n, self._norm(x, self.w[f"{prefix}{second}.weight"]))
        return self._norm(x, norm) @ head.T

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return x / (x.pow(2).mean(-1, keepdim=True) + self.raw["rms_norm_eps"]).sqrt() * weight

    def _attention(self, prefix: str, x: Tensor, positions_S: Tensor, visible_SS: Tensor) -> Tensor:
        if self.layout == "llada2":
            fused = self.w[f"{prefix}attention.query_key_value.weight"]
            sizes = [self.heads * self.size, self.kv_heads * self.size, self.kv_heads * self.size]
            q_weight, k_weight, v_weight = fused.split(sizes)
            out, norms = self.w[f"{prefix}attention.dense.weight"], ("attention.query_layernorm", "attention.key_layernorm")
        else:
            place = prefix if self.layout == "llada" else f"{prefix}self_attn."
            q_weight, k_weight, v_weight = (self.w[f"{place}{letter}_proj.weight"] for letter in "qkv")
            out = self.w[f"{place}{'attn_out' if self.layout == 'llada' else 'o_proj'}.weight"]
            norms = ("self_attn.q_norm", "self_attn.k_norm")
        outputs = []
        for head in range(self.heads):
            shared = head * self.kv_heads // self.heads
            q = x @ q_weight[head * self.size : (head + 1) * self.size].T
            k, v = (x @ w[shared * self.size : (shared + 1) * self.size].T for w in (k_weight, v_weight))
            if self.layout != "llada":
                q, k = (self._norm(y, self.w[f"{prefix}{name}.weight"]) for y, name in zip((q, k), norms, strict=True))
            q, k = self._rope(q, positions_S), self._rope(k, positions_S)
            scores = (q @ k.T / self.size**0.5).masked_fill(~visible_SS, -torch.inf)
            outputs.append(scores.softmax(-1).nan_to_num() @ v)
        return torch.cat(outputs, dim=-1) @ out.T

    def _rope(self, x: Tensor, positions_S: Tensor) -> Tensor:
        turned, half = x.clone(), self.rotated // 2
        for i in range(half):
            angle = positions_S.double() * self.raw["rope_theta"] ** (-2 * i / self.rotated)
            turned[:, i] = x[:, i] * angle.cos() - x[:, i + half] * angle.sin()
            turned[:, i + half] = x[:, i + half] * angle.cos() + x[:, i] * angle.sin()
        return turned

    def _swiglu(self, x: Tensor, gate: str, up: str, down: str) -> Tensor:
        g = x @ self.w[f"{gate}.weight"].T
        return (g / (1 + (-g).exp()) * (x @ self.w[f"{up}.weight"].T)) @ self.w[f"{down}.weight"].T

    def _feed_forward(self, prefix: str, layer: int, x: Tensor) -> Tensor:
        if self.layout == "llada":
            return self._swiglu(x, f"{prefix}ff_proj", f"{prefix}up_proj", f"{prefix}ff_out")
        expert = lambda row, part: self._swiglu(row, *(f"{prefix}mlp.{part}{name}_proj" for name in ("gate", "up", "down")))  # noqa: E731
        if self.layout == "llada2" and layer < self.raw["first_k_dense_replace"]:
            return expert(x, "")
        out = torch.zeros_like(x)
        for index, row in enumerate(x):
            scores = self.w[f"{prefix}mlp.gate.weight"] @ row
            chosen = self._softmax_choice(scores) if self.layout == "llada-moe" else self._grouped_choice(scores, prefix)
            for number, weight in chosen:
                out[index] += weight * expert(row, f"experts.{number}.")
        return out + expert(x, "shared_experts.") if self.layout == "llada2" else out

    def _softmax_choice(self, scores_E: Tensor) -> list[tuple[int, float]]:
        """The best experts with their share of all probability, which does not sum to 1."""
        shares = scores_E.softmax(-1).tolist()
        best = sorted(range(len(shares)), key=lambda e: -shares[e])[: self.raw["num_experts_per_tok"]]
        return [(e, shares[e]) for e in best]

    def _grouped_choice(self, scores_E: Tensor, prefix: str) -> list[tuple[int, float]]:
        """Sigmoid scores; biased ones decide, first on groups by their two best experts, then on experts within those groups."""
        open_shares = [1 / (1 + 2.718281828459045 ** (-s)) for s in scores_E.tolist()]
        biased = [s + b for s, b in zip(open_shares, self.w[f"{prefix}mlp.gate.expert_bias"].tolist(), strict=True)]
        size = len(biased) // self.raw["n_group"]
        groups = [list(range(g * size, (g + 1) * size)) for g in range(self.raw["n_group"])]
        groups.sort(key=lambda members: -sum(sorted((biased[e] for e in members), reverse=True)[:2]))
        allowed = [e for members in groups[: self.raw["topk_group"]] for e in members]
        best = sorted(allowed, key=lambda e: -biased[e])[: self.raw["num_experts_per_tok"]]
        total = sum(open_shares[e] for e in best)
        return [(e, self.raw["routed_scaling_factor"] * open_shares[e] / total) for e in best]


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    return json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")


def _fuse_experts(tensors: dict[str, Tensor], raw: dict[str, Any]) -> None:
    """transformers keeps all experts of a layer in one tensor."""
    for n in range(raw["num_hidden_layers"]):
        place = f"model.layers.{n}.mlp.experts."
        parts: dict[str, list[Tensor]] = {
            kind: [tensors.pop(f"{place}{e}.{kind}_proj.weight") for e in range(raw["num_experts"])] for kind in ("gate", "up", "down")
        }
        both = [torch.cat(pair) for pair in zip(parts["gate"], parts["up"], strict=True)]
        tensors[f"{place}gate_up_proj"], tensors[f"{place}down_proj"] = torch.stack(both), torch.stack(parts["down"])
