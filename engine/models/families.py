"""The families of checkpoints as data: how a foreign config and foreign tensor names become ours.

The only file that reads configs, names token ids, or knows how a checkpoint spells its weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from engine.errors import CheckpointError, UnknownFamilyError
from engine.models.config import ModelConfig


class InfillDefaults(msgspec.Struct, frozen=True, kw_only=True):
    """How a checkpoint wants to be decoded: canvas length in slots, commit threshold, and context budgets in tokens."""

    canvas: int = 16
    threshold: float = 0.9
    left_bias: float = 0.0
    prefix_tokens: int = 512
    suffix_tokens: int = 512


class TokenIds(msgspec.Struct, frozen=True, kw_only=True):
    """Ids with a meaning of their own. `document` begins a document, where the model knows such a token."""

    mask: int
    end: int
    pad: int | None = None
    document: int | None = None


@dataclass(frozen=True, slots=True)
class Family:
    """One row of the table.

    `architectures` are the class names that select it, `config` maps the checkpoint's config.json, `tokens` finds the
    special ids (by string, through the given look-up), `sources` lists the checkpoint tensors that one parameter of
    `Transformer` is made of (joined along the first axis when there are several).
    """

    name: str
    architectures: tuple[str, ...]
    config: Callable[[dict[str, Any]], ModelConfig]
    tokens: Callable[[dict[str, Any], Callable[[str], int | None]], TokenIds]
    sources: Callable[[str], list[str]]


def standard_sources(parameter: str) -> list[str]:
    """Tensor names of the Llama / Qwen layout for a parameter of `Transformer`."""
    head, _, tail = parameter.partition(".")
    if head != "layers":
        return [parameter if head == "lm_head" else f"model.{parameter}"]
    layer, _, name = tail.partition(".")
    module, _, kind = name.rpartition(".")
    places = {
        "input_norm": ["input_layernorm"],
        "qkv_proj": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
        "q_norm": ["self_attn.q_norm"],
        "k_norm": ["self_attn.k_norm"],
        "o_proj": ["self_attn.o_proj"],
        "mlp_norm": ["post_attention_layernorm"],
        "gate_up_proj": ["mlp.gate_proj", "mlp.up_proj"],
        "down_proj": ["mlp.down_proj"],
    }
    return [f"model.layers.{layer}.{place}.{kind}" for place in places[module]]


def _own_config(raw: dict[str, Any]) -> ModelConfig:
    return msgspec.convert(raw["model"], ModelConfig)


def _own_tokens(raw: dict[str, Any], find: Callable[[str], int | None]) -> TokenIds:
    found: dict[str, int] = {}
    for role, token in raw["tokens"].items():
        index = find(token)
        if index is None:
            raise CheckpointError(f"the tokenizer has no token {token!r}, which config.json names as the {role} token.")
        found[role] = index
    return msgspec.convert(found, TokenIds)


FAMILIES: tuple[Family, ...] = (Family("dlsp", ("DlspInfiller",), _own_config, _own_tokens, standard_sources),)


def own_config_json(model: ModelConfig, tokens: dict[str, str], infill: InfillDefaults, name: str) -> dict[str, Any]:
    """The config.json of a checkpoint in our own format."""
    return {
        "architectures": ["DlspInfiller"],
        "name": name,
        "model": msgspec.to_builtins(model),
        "tokens": tokens,
        "infill": msgspec.to_builtins(infill),
    }


def infill_defaults(raw: dict[str, Any]) -> InfillDefaults:
    """Decoding defaults of a checkpoint; ours where it has none."""
    return msgspec.convert(raw.get("infill", {}), InfillDefaults)


def display_name(raw: dict[str, Any], fallback: str) -> str:
    """What a checkpoint calls itself."""
    return str(raw.get("name") or fallback)


def recognise(raw: dict[str, Any]) -> Family:
    """The family of a config.json. Raises UnknownFamilyError with the facts that were looked at."""
    named = raw.get("architectures") or []
    for family in FAMILIES:
        if any(a in family.architectures for a in named):
            return family
    known = ", ".join(a for family in FAMILIES for a in family.architectures)
    raise UnknownFamilyError(
        f"config.json names the architectures {named or 'nothing'} (model_type {raw.get('model_type', 'missing')!r}); "
        f"known ones are: {known}."
    )
