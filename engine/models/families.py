"""The families of checkpoints as data: how a foreign config, foreign tensor names and foreign tokens become ours.

Only this file and `shapes`, which it uses, read configs. It opens no file itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import msgspec

from engine.errors import CheckpointError, UnknownFamilyError
from engine.models import marks, shapes
from engine.models.config import ModelConfig
from engine.models.conventions import (
    APACHE,
    APPLE,
    BLOCKS,
    DREAM,
    DREAM_ON,
    IN_PLACE,
    LLADA2,
    LLAMA,
    MIT,
    NON_COMMERCIAL,
    RND1,
    Calibration,
    FimTokens,
    InfillDefaults,
    Marks,
    PromptLayout,
    Terms,
    TokenIds,
)
from engine.models.shapes import ANOTHER, Raw
from engine.models.tensor_names import llada2_sources, llada_sources, standard_sources

__all__ = [
    "FAMILIES",
    "Calibration",
    "Facts",
    "Family",
    "FimTokens",
    "InfillDefaults",
    "PromptLayout",
    "TokenIds",
    "display_name",
    "infill_defaults",
    "own_config_json",
    "recognise",
    "standard_sources",
]

KNOWN = "docs/models.md lists what dlsp can load."

Find = Callable[[str], int | None]
"""Looks a token up in the tokenizer by its string: its id, or None where there is no such token."""

GROWTH = 128
"""Tokens of the trained context that stay free for the hole (as it starts and as it grows) and for marks around the prompt."""

AFFORDABLE = 8192
"""Longest default prompt, in tokens: a model trained on more may be asked for more, but each step costs the whole of it."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a checkpoint says of itself: its config.json, its tokenizer's tokens, the names of its tensors (empty: not known yet)."""

    raw: Raw
    find: Find
    tensors: frozenset[str] = frozenset()

    @property
    def names(self) -> tuple[str, ...]:
        """Class names in config.json: the architectures, then what auto_map points to."""
        return tuple(dict.fromkeys([*self.architectures, *self.mapped]))

    @property
    def architectures(self) -> tuple[str, ...]:
        """Class names that config.json gives as its architectures."""
        stated = self.raw.get("architectures") or []
        return tuple(str(name) for name in ([stated] if isinstance(stated, str) else stated))

    @property
    def mapped(self) -> tuple[str, ...]:
        """Class names that auto_map points to, without their modules."""
        mapped = self.raw.get("auto_map") or {}
        values = [v for v in mapped.values() if isinstance(v, str)] if isinstance(mapped, dict) else []
        return tuple(v.rpartition(".")[2] for v in values)

    @property
    def qk_norm(self) -> bool:
        """Whether queries and keys have norms of their own."""
        return any(name.endswith(("q_norm.weight", "query_layernorm.weight")) for name in self.tensors)


@dataclass(frozen=True, slots=True)
class Family:
    """One row of the table.

    `classes` are the class names of config.json that lead here. `needs` are tokens that must be in the tokenizer, and
    `qk_norm` says whether there must (True) or must not (False) be norms of queries and keys, where class names alone do not
    decide. `context` is the trained context in tokens: what config.json calls its maximum is not what a model has seen.
    `shape` maps config.json, `marks` are the strings of special tokens, `sources` lists the checkpoint tensors that one parameter
    of `Transformer` is made of (joined along the first axis when there are several). With `head_by_tensor` the output head is
    its own where the checkpoint has such a tensor, whatever config.json says. Tensors whose names match a shell-style pattern of
    `ignored` are nobody's. `decoding` is how to decode, budgets of context excepted. Our own format, which says all this itself,
    has neither marks nor decoding.
    """

    name: str
    classes: tuple[str, ...]
    context: int
    shape: Callable[[Raw], ModelConfig]
    marks: Marks | None
    decoding: InfillDefaults | None
    terms: Terms = APACHE
    sources: Callable[[str], list[str]] = standard_sources
    needs: tuple[str, ...] = ()
    qk_norm: bool | None = None
    head_by_tensor: bool = False
    ignored: tuple[str, ...] = ("*.rotary_emb.inv_freq",)

    @property
    def licence(self) -> str:
        """Name of the licence of the weights."""
        return self.terms.licence

    @property
    def notice(self) -> str:
        """One sentence that a user must have read once; empty where the licence asks for nothing special."""
        return self.terms.notice

    def matches(self, facts: Facts) -> bool:
        """Whether a checkpoint is of this family."""
        return any(name in self.classes for name in facts.names) and not self.missing(facts)

    def missing(self, facts: Facts) -> list[str]:
        """What a checkpoint with this family's class name lacks to be one of it, in words."""
        lacks = [f"the token {token}" for token in self.needs if facts.find(token) is None]
        if facts.tensors and self.qk_norm is not None and self.qk_norm != facts.qk_norm:
            lacks.append("norms of queries and keys" if self.qk_norm else "projections without norms of queries and keys")
        return lacks

    def config(self, raw: Raw) -> ModelConfig:
        """The network that config.json describes. Raises CheckpointError for anything in it that the network cannot do."""
        shapes.check_numbers(raw)
        config = self.shape(raw)
        return msgspec.structs.replace(config, context_length=self.context) if self.context else config

    def tokens(self, raw: Raw, find: Find) -> TokenIds:
        """The special ids. Raises CheckpointError where one is missing, or where tokenizer and config.json disagree."""
        return _own_tokens(raw, find) if self.marks is None else _foreign_tokens(self.marks, raw, find)

    def infill(self, facts: Facts) -> InfillDefaults:
        """How to decode, with budgets: the trained context less the room for the hole, two thirds of it for the prefix."""
        if self.decoding is None:
            return infill_defaults(facts.raw)
        room = min(self.context, AFFORDABLE) - GROWTH
        chosen = self.decoding
        if chosen.layout == "in_place" and self.config(facts.raw).attention == "block_causal":
            chosen = BLOCKS
        chosen = msgspec.structs.replace(chosen, prefix_tokens=room - room // 3, suffix_tokens=room // 3)
        if chosen.layout == "suffix_first" and self.tokens(facts.raw, facts.find).fim is None:
            chosen = msgspec.structs.replace(chosen, layout="prefix_only", prefix_tokens=room, suffix_tokens=0)
        return chosen


def recognise(facts: Facts) -> Family:
    """The family of a checkpoint. Raises UnknownFamilyError with the facts that were found and those that were missing."""
    for part, why in REFUSED:
        if any(part in name for name in facts.names):
            raise UnknownFamilyError(f"this model cannot be used: {why} ({_found(facts)}).", ANOTHER)
    _check_agreement(facts)
    for family in FAMILIES:
        if family.matches(facts):
            if family.head_by_tensor and facts.tensors:
                tied = family.sources("lm_head.weight")[0] not in facts.tensors
                return replace(family, shape=shapes.with_head(family.shape, tied))
            return family
    near = {f.name: " and ".join(f.missing(facts)) for f in FAMILIES if any(name in f.classes for name in facts.names)}
    if ordinary := next((name for name in facts.names if name in ORDINARY), None):
        lacks = near.get("open-dcoder", "the class name of a diffusion model")
        raise UnknownFamilyError(
            f"this is an ordinary autoregressive model, which cannot fill holes: {ordinary} without {lacks} ({_found(facts)}).", ANOTHER
        )
    if near:
        lacking = "; ".join(f"{name} needs {lacks}" for name, lacks in near.items())
        raise UnknownFamilyError(f"no known family has all the facts of config.json and tensors ({_found(facts)}): {lacking}.", KNOWN)
    raise UnknownFamilyError(f"no known family has these architectures ({_found(facts)}).", KNOWN)


def _check_agreement(facts: Facts) -> None:
    """Raises UnknownFamilyError where architectures and auto_map name classes of different families."""
    stated, mapped = (
        {f.name for f in FAMILIES if any(name in f.classes for name in names)} | {name for name in names if name in ORDINARY}
        for names in (facts.architectures, facts.mapped)
    )
    if stated and mapped and not stated & mapped:
        raise UnknownFamilyError(
            f"config.json contradicts itself: its architectures name {' and '.join(facts.architectures)}, its auto_map "
            f"{' and '.join(dict.fromkeys(facts.mapped))}.",
            ANOTHER,
        )


def _found(facts: Facts) -> str:
    """The facts that were looked at, in words."""
    tokens = [t for t in dict.fromkeys(t for family in FAMILIES for t in family.needs) if facts.find(t) is not None]
    return ", ".join(
        [
            f"architectures {' and '.join(facts.names) or 'none'}",
            f"model_type {facts.raw.get('model_type', 'none')}",
            f"mask_token_id {facts.raw.get('mask_token_id', 'none')}",
            f"tokens {' '.join(tokens) or 'none that matter'}",
            f"norms of queries and keys {'unknown' if not facts.tensors else 'yes' if facts.qk_norm else 'no'}",
        ]
    )


def own_config_json(model: ModelConfig, tokens: dict[str, str], infill: InfillDefaults, name: str) -> Raw:
    """The config.json of a checkpoint in our own format."""
    return {
        "architectures": ["DlspInfiller"],
        "name": name,
        "model": msgspec.to_builtins(model),
        "tokens": tokens,
        "infill": msgspec.to_builtins(infill),
    }


def infill_defaults(raw: Raw) -> InfillDefaults:
    """Decoding defaults that a checkpoint in our own format carries; ours where it has none."""
    return msgspec.convert(raw.get("infill", {}), InfillDefaults)


def display_name(raw: Raw, fallback: str) -> str:
    """What a checkpoint calls itself."""
    return str(raw.get("name") or fallback)


# Tokens.


def _own_tokens(raw: Raw, find: Find) -> TokenIds:
    found: dict[str, int] = {}
    for role, token in msgspec.convert(raw["tokens"], dict[str, str]).items():
        index = find(token)
        if index is None:
            raise CheckpointError(f"the tokenizer has no token {token!r}, which config.json names as the {role} token.")
        found[role] = index
    marks = {role.removeprefix("fim_"): found.pop(role) for role in list(found) if role.startswith("fim_")}
    return msgspec.convert(found | ({"fim": marks} if marks else {}), TokenIds)


def _foreign_tokens(known: Marks, raw: Raw, find: Find) -> TokenIds:
    """Ids of a foreign tokenizer by their strings; config.json may add what has no string and must not contradict."""
    mask, stated = next((i for s in known.masks if (i := find(s)) is not None), None), raw.get("mask_token_id")
    if mask is not None and stated not in (mask, None):
        raise CheckpointError(f"the mask token is {mask} in the tokenizer but {stated} in config.json.")
    looked = " or ".join(known.masks)
    if mask is None and stated is not None and not known.bare:
        raise CheckpointError(
            f"config.json says that {stated} is the mask token, but the tokenizer does not have it (there is no {looked})."
        )
    mask, rows = stated if mask is None else mask, raw.get("embedding_size") or raw["vocab_size"]
    if not isinstance(mask, int) or isinstance(mask, bool):
        raise CheckpointError(f"the tokenizer has no mask token (there is no {looked}) and config.json names no mask_token_id.")
    if not 0 <= mask < rows:
        raise CheckpointError(f"the mask token {mask} has no embedding: config.json says that there are {rows}.")
    ends, stops = [i for s in known.ends if (i := find(s)) is not None], _ids(raw.get("eos_token_id"))
    if not ends and not stops:
        looked = " or ".join(known.ends)
        raise CheckpointError(f"the tokenizer has no end token (there is no {looked}) and config.json names no eos_token_id.")
    if ends and stops and not set(ends) & set(stops):
        raise CheckpointError(f"text ends with {ends} in the tokenizer but with {stops} in config.json (eos_token_id).")
    end, *stops = dict.fromkeys(ends + stops)
    fim = [i for s in known.fim if (i := find(s)) is not None]
    begin = find(known.begin) if known.begin else None
    return TokenIds(
        mask=mask,
        end=end,
        pad=raw.get("pad_token_id"),
        expand=find(known.expand) if known.expand else None,
        bos=begin,
        eos=end if begin is not None else None,
        fim=FimTokens(prefix=fim[0], suffix=fim[1], middle=fim[2]) if len(fim) == 3 else None,
        stops=tuple(stops),
    )


def _ids(value: object) -> list[int]:
    return [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, int)]


# name, classes, trained context, shape, marks, decoding; the first row that matches counts.
FAMILIES: tuple[Family, ...] = (
    Family("dlsp", ("DlspInfiller",), 0, shapes.own_shape, None, None, ignored=()),
    # Dream and its descendants saw 2,048 tokens, input and output together. The token for expansion makes a DreamOn.
    Family(
        "dreamon", ("DreamModel",), 2048, shapes.QWEN2_SHIFTED, marks.DREAM_ON, DREAM_ON, needs=("<|mask|>", "<|expand|>"), qk_norm=False
    ),
    Family("diffucoder", ("DreamModel",), 2048, shapes.QWEN2_SHIFTED, marks.DREAM, DREAM, APPLE, needs=("<|dlm_pad|>",), qk_norm=False),
    Family("dream", ("DreamModel",), 2048, shapes.QWEN2_SHIFTED, marks.DREAM, DREAM, qk_norm=False),
    # The class names of Dream, yet blocks, no shift, and Qwen3's norms of queries and keys.
    Family("dream-reasoner", ("DreamForCausalLM", "DreamModel"), 4096, shapes.qwen3_blocks(32), marks.QWEN_BARE, BLOCKS, qk_norm=True),
    # A stock Qwen2 class: only the mask token in its tokenizer tells it from an autoregressive model.
    Family("open-dcoder", ("Qwen2ForCausalLM",), 4096, shapes.QWEN2_SHIFTED, marks.OPEN_DCODER, IN_PLACE, needs=("<M>",)),
    # These classes make an output head of their own, though the config that they inherit says that it is tied.
    Family("a2d-qwen2", ("A2DQwen2LMHeadModel",), 1024, shapes.a2d(shapes.biased_qwen), marks.QWEN, IN_PLACE, head_by_tensor=True),
    Family("a2d-qwen3", ("A2DQwen3LMHeadModel",), 1024, shapes.a2d(shapes.plain, qk_norm=True), marks.QWEN, IN_PLACE, head_by_tensor=True),
    Family("a2d-llama", ("A2DLlamaLMHeadModel",), 1024, shapes.a2d(shapes.plain), marks.LLAMA, IN_PLACE, LLAMA, head_by_tensor=True),
    Family("llada", ("LLaDAModelLM",), 4096, shapes.llada, marks.LLADA, IN_PLACE, MIT, llada_sources, needs=("<|mdm_mask|>",)),
    # LLaDA's class with another tokenizer; its trained context is not published, so LLaDA's is taken.
    Family("illada", ("LLaDAModelLM",), 8192, shapes.llada, marks.ILLADA, IN_PLACE, sources=llada_sources),
    Family("llada-moe", ("LLaDAMoEModelLM", "LLaDAMoEModel"), 4096, shapes.llada_moe, marks.LING, IN_PLACE),
    Family("coda", ("CoDALanguageModel",), 4096, shapes.CODA, marks.QWEN, DREAM, NON_COMMERCIAL, head_by_tensor=True),
    Family("rnd1", ("RND1LM", "RND1"), 4096, partial(shapes.qwen_moe, logit_shift=1), marks.QWEN_BARE, RND1),
    # Seed-Coder continued as a diffusion model: of the block-causal ones, the one whose base learned to fill in the middle.
    Family(
        "stable-diffcoder",
        ("StableDiffcoderForCausalLM",),
        8192,
        lambda raw: shapes.plain(raw, **shapes.blocks(raw, 4)),
        marks.SEED,
        BLOCKS,
        MIT,
    ),
    Family("sdar", ("SDARForCausalLM",), 4096, shapes.qwen3_blocks(4), marks.QWEN_BARE, BLOCKS, MIT),
    Family(
        "sdar-moe", ("SDARMoeForCausalLM",), 4096, lambda raw: shapes.qwen_moe(raw, **shapes.blocks(raw, 4)), marks.QWEN_BARE, BLOCKS, MIT
    ),
    Family("fast-dllm", ("Fast_dLLM_QwenForCausalLM",), 2048, shapes.fast_dllm, marks.FAST_DLLM, BLOCKS),
    Family("llada2", ("LLaDA2MoeModelLM",), 32768, shapes.llada2, marks.LING, LLADA2, sources=llada2_sources),
)

REFUSED = (
    ("WeDLM", "it is causal and reorders tokens, and its licence is not for use within the EU"),
    ("DiffusionGemma", "it is trained on random tokens instead of masks and can only continue a text"),
    ("Nemotron", "how it is trained and scored is not published well enough to load it exactly"),
)
"""Diffusion models that are known and not supported, with the reason."""

ORDINARY = ("Qwen2ForCausalLM", "Qwen3ForCausalLM", "Qwen3MoeForCausalLM", "LlamaForCausalLM", "GPT2LMHeadModel", "MistralForCausalLM")
"""Class names of autoregressive models, which people may well point dlsp at."""
