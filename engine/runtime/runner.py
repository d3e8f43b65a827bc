"""Runners turn a prompt and a canvas into logits: one keeps the context's keys and values, one recomputes everything.

The plain runner is the reference: it works for every attention kind and applies the logit shift; the cached one is for
the split layout, where the context never sees the hole. A test holds the two together.

Shape suffixes: B batch, S rows, C canvas slots, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from engine.diffusion.denoise import Forward
from engine.models.attention import ROLES, block_causal_mask, split_mask
from engine.models.kv_cache import ContextKV
from engine.models.transformer import Transformer
from engine.runtime.reuse import ReuseStore


@dataclass(frozen=True, slots=True)
class Opened:
    """A canvas ready to be denoised: `forward` gives its logits; what opening it cost and saved."""

    forward: Forward
    reused: int
    forwards: int


class Runner(Protocol):
    """Opens canvases between a prefix and a suffix."""

    def open(self, document: tuple[str, str], prefix_ids: list[int], suffix_ids: list[int], canvas: int) -> Opened:
        """Prepare a canvas of `canvas` slots between `prefix_ids` and `suffix_ids`."""
        ...


class CachedRunner:
    """For the split layout: a step costs the canvas, not the file."""

    def __init__(self, model: Transformer) -> None:
        assert model.config.attention == "split", "only a context that never sees the hole can be kept"
        self._model = model
        self.reuse = ReuseStore(model)

    def open(self, document: tuple[str, str], prefix_ids: list[int], suffix_ids: list[int], canvas: int) -> Opened:
        """Prepare a canvas; keys and values of the context are computed, or reused, once."""
        rows = self.reuse.context(document, prefix_ids, suffix_ids)
        model, config = self._model, self._model.config
        device = model.embed_tokens.weight.device
        before, behind = rows.prefix.length, rows.suffix.length
        positions = torch.arange(before, device=device)
        far_first = before + canvas + torch.arange(behind - 1, -1, -1, device=device)
        context = ContextKV.assemble([(rows.prefix, positions), (rows.suffix, far_first)], canvas, config.rope_theta)
        slots = torch.arange(before, before + canvas, device=device)[None]
        roles = torch.full_like(slots, ROLES["canvas"])

        def forward(tokens: list[int]) -> Tensor:
            ids = torch.tensor([tokens], device=device)
            return model.logits(model(ids, slots, roles_BS=roles, context=context))[0]

        return Opened(forward, rows.reused, rows.forwards)


class PlainRunner:
    """The reference: every step is a full pass over prefix, canvas and suffix."""

    def __init__(self, model: Transformer) -> None:
        self._model = model

    def open(self, document: tuple[str, str], prefix_ids: list[int], suffix_ids: list[int], canvas: int) -> Opened:
        """Prepare a canvas. Nothing is kept, so nothing is reused."""
        before, _behind = len(prefix_ids), len(suffix_ids)

        def forward(tokens: list[int]) -> Tensor:
            scores = full_logits(self._model, [*prefix_ids, *tokens, *suffix_ids], (before, before + canvas))
            return scores[before : before + canvas]

        return Opened(forward, 0, 0)


def full_logits(model: Transformer, token_ids: list[int], hole: tuple[int, int]) -> Tensor:
    """Logits [S, V] of one full pass in which row i scores the token AT position i, for every attention kind.

    `hole` = (start, end) of the canvas; only the split layout asks for it. There, prefix rows are scored by the row
    before them and suffix rows by the row behind them; the outermost rows, which nothing scores, are zero. With a logit
    shift of 1 the first row is scored by itself, as the models that use the shift do.
    """
    config = model.config
    device = model.embed_tokens.weight.device
    rows = len(token_ids)
    tokens = torch.tensor([token_ids], device=device)
    positions = torch.arange(rows, device=device)[None]
    mask: Tensor | None
    if config.attention == "split":
        start, end = hole
        roles = torch.full_like(tokens, ROLES["canvas"])
        roles[:, :start], roles[:, end:] = ROLES["prefix"], ROLES["suffix"]
        mask = split_mask(start, end - start, rows - end, device)
        scores = model.logits(model(tokens, positions, mask=mask, roles_BS=roles))[0]
        nothing = torch.zeros_like(scores[:1])
        before = torch.cat((nothing, scores[: max(start - 1, 0)])) if start else scores[:0]
        behind = torch.cat((scores[end + 1 :], nothing)) if end < rows else scores[:0]
        return torch.cat((before, scores[start:end], behind))
    mask = block_causal_mask(positions, config.block_length) if config.attention == "block_causal" else None
    scores = model.logits(model(tokens, positions, mask=mask))[0]
    if config.logit_shift:
        scores = torch.cat((scores[:1], scores[:-1]))
    return scores
