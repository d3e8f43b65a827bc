"""Training passes of the layouts that `nano` was compared with: one row of tokens for a window, each row with its own holes.

- *full*: holes in place, every row sees every row (the LLaDA and Dream way). Only what is masked is learned from.
- *suffix-first*: suffix, then prefix, causal; canvases behind it see the suffix, the prefix up to their hole, and themselves.
- *causal*: suffix, prefix, middle, end, every row from all before it: the autoregressive FIM peer (arXiv 2207.14255).

The split layout, which ships, has a packed pass of its own (`packed.py`). Knows windows and token ids, not files.

Shape suffixes: B windows, S row tokens, R scored rows, M model width.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.models.attention import ROLES
from engine.models.transformer import Transformer
from engine.train.cuts import Window
from engine.train.noise import corrupt

RowLayout = Literal["full", "suffix-first", "causal"]

PROMPT_WEIGHT = 0.5
"""Weight of the next-token loss on prefix and suffix, as the prefix stream of the split layout has it."""


@dataclass(slots=True)
class RowBatch:
    """Inputs of one pass: `tokens_BS` with positions and roles; `limit_BS` and `own_BS` say who sees whom (see `row_mask`).

    `rows_BR` are the rows whose hidden states are scored against `targets_BR` with `weights_BR`; `prompt_BR` marks those of
    the context.
    """

    tokens_BS: Tensor
    positions_BS: Tensor
    roles_BS: Tensor
    limit_BS: Tensor
    own_BS: Tensor
    rows_BR: Tensor
    targets_BR: Tensor
    weights_BR: Tensor
    prompt_BR: Tensor


@dataclass(frozen=True, slots=True)
class RowPlan:
    """How rows are made: their layout, length and canvases, and the ids of mask, end and FIM marks."""

    layout: RowLayout
    length: int
    canvas: int
    holes: int
    mask_id: int
    end_id: int
    fim: tuple[int, int, int]
    """Marks of prefix, suffix and middle."""


@dataclass(slots=True)
class _Row:
    tokens: list[int]
    positions: list[int]
    roles: list[int]
    limit: list[int]
    own: list[int]
    scored: list[tuple[int, int, float, bool]]


def make_rows(windows: Sequence[Window], plan: RowPlan, rng: random.Random) -> RowBatch:
    """One row for each window, padded to the same shapes."""
    make = {"full": _full, "suffix-first": _suffix_first, "causal": _causal}[plan.layout]
    rows = [make(window, plan, rng) for window in windows]
    length = max(len(row.tokens) for row in rows)
    scored = max(len(row.scored) for row in rows)

    def padded(values: list[list[int]], size: int, filler: int) -> Tensor:
        return torch.tensor([v + [filler] * (size - len(v)) for v in values])

    items = [row.scored + [(0, 0, 0.0, False)] * (scored - len(row.scored)) for row in rows]
    return RowBatch(
        padded([row.tokens for row in rows], length, plan.mask_id),
        padded([row.positions for row in rows], length, 0),
        padded([row.roles for row in rows], length, 0),
        padded([row.limit for row in rows], length, 0),
        padded([row.own for row in rows], length, -1),
        torch.tensor([[item[0] for item in row] for row in items]),
        torch.tensor([[item[1] for item in row] for row in items]),
        torch.tensor([[item[2] for item in row] for row in items]),
        torch.tensor([[item[3] for item in row] for row in items]),
    )


def row_mask(batch: RowBatch) -> Tensor:
    """Who sees whom: [B, 1, S, S]. A row sees the rows before its `limit`, and those that share its `own` number (from 1 on).

    Padding has neither, and sees itself alone so that no row is without keys.
    """
    size = batch.tokens_BS.shape[1]
    index = torch.arange(size, device=batch.tokens_BS.device)
    before = index < batch.limit_BS[..., None]
    together = (batch.own_BS[..., None] == batch.own_BS[:, None, :]) & (batch.own_BS[..., None] > 0)
    context = (batch.own_BS == 0)[:, None, :]
    return ((before & context) | together | torch.eye(size, dtype=torch.bool, device=index.device))[:, None]


def row_loss(model: Transformer, batch: RowBatch) -> tuple[Tensor, Tensor]:
    """The scalar to minimise, and its detached parts [4]: context, nothing, holes, nothing (as the trainer's log names them)."""
    roles = batch.roles_BS if model.roles is not None else None
    hidden = model(batch.tokens_BS, batch.positions_BS, mask=row_mask(batch), roles_BS=roles)
    picked = hidden.gather(1, batch.rows_BR[..., None].expand(-1, -1, hidden.shape[-1]))
    losses = F.cross_entropy(model.logits(picked).float().flatten(0, 1), batch.targets_BR.flatten(), reduction="none")
    weights = batch.weights_BR.flatten()
    prompt = weights * batch.prompt_BR.flatten()
    holes = weights - prompt
    context = (losses * prompt).sum() / prompt.sum().clamp(min=1e-6)
    inside = (losses * holes).sum() / holes.sum().clamp(min=1e-6)
    nothing = torch.zeros_like(inside)
    return inside + PROMPT_WEIGHT * context, torch.stack((context, nothing, inside, nothing)).detach()


def _full(window: Window, plan: RowPlan, rng: random.Random) -> _Row:
    chosen: list[tuple[int, int]] = []
    spans = sorted(window.holes, key=lambda _: rng.random())
    for a, b in spans:
        if len(chosen) < plan.holes and b - a <= 2 * plan.canvas and all(b <= c or d <= a for c, d in chosen):
            chosen.append((a, b))
    tokens: list[int] = []
    scored: list[tuple[int, int, float, bool]] = []
    at = 0
    for a, b in sorted(chosen):
        tokens += window.tokens[at:a]
        if len(tokens) + plan.canvas > plan.length:
            break
        example = corrupt(window.tokens[a:b], plan.canvas, plan.mask_id, plan.end_id, rng, verify_share=0.0)
        scored += [
            (len(tokens) + slot, target, weight, False)
            for slot, (target, weight) in enumerate(zip(example.targets, example.weights, strict=True))
        ]
        tokens += example.inputs
        at = min(b, a + plan.canvas)  # what is behind a full canvas is the rest of its hole
    tokens = (tokens + window.tokens[at:])[: plan.length]
    scored = [item for item in scored if item[0] < len(tokens)]
    scored += [(0, 0, 0.0, False)] * (plan.holes * plan.canvas - len(scored))
    size = len(tokens)
    return _Row(tokens, list(range(size)), [ROLES["prefix"]] * size, [size] * size, [0] * size, scored)


def _prompt(window: Window, plan: RowPlan, b: int, length: int) -> tuple[list[int], list[int]]:
    """Suffix and prefix marks with what stands behind `b` and before it, in `length` tokens of the window."""
    prefix_mark, suffix_mark, _ = plan.fim
    return [suffix_mark, *window.tokens[b:length], prefix_mark], window.tokens[:b]


def _suffix_first(window: Window, plan: RowPlan, rng: random.Random) -> _Row:
    length = plan.length - 2
    a, b = rng.choice([(a, b) for a, b in window.holes if b <= length] or [(0, 1)])
    suffix, prefix = _prompt(window, plan, b, length)
    offset = len(suffix)
    tokens = [*suffix, *prefix]
    size = len(tokens)
    row = _Row(
        tokens,
        list(range(size)),
        [ROLES["suffix"]] * offset + [ROLES["prefix"]] * len(prefix),
        list(range(1, size + 1)),
        [0] * size,
        [(at, tokens[at + 1], 1.0, True) for at in range(size - 1)],
    )
    starts = [a, *(max(0, b - rng.randint(0, 24)) for _ in range(plan.holes - 1))]
    for number, start in enumerate(starts, 1):
        example = corrupt(window.tokens[start:b], plan.canvas, plan.mask_id, plan.end_id, rng, verify_share=0.0)
        first = len(row.tokens)
        row.tokens += example.inputs
        row.positions += [offset + start + slot for slot in range(plan.canvas)]
        row.roles += [ROLES["canvas"]] * plan.canvas
        row.limit += [offset + start] * plan.canvas
        row.own += [number] * plan.canvas
        row.scored += [
            (first + slot, target, weight, False)
            for slot, (target, weight) in enumerate(zip(example.targets, example.weights, strict=True))
        ]
    return row


def _causal(window: Window, plan: RowPlan, rng: random.Random) -> _Row:
    length = plan.length - 4
    a, b = rng.choice([(a, b) for a, b in window.holes if b <= length] or [(0, 1)])
    suffix, prefix = _prompt(window, plan, b, length)
    middle = [plan.fim[2], *prefix[a:], plan.end_id]
    tokens = [*suffix, *prefix[:a], *middle]
    size, inside = len(tokens), len(suffix) + a
    scored = [(at, tokens[at + 1], 1.0, at < inside) for at in range(size - 1) if tokens[at + 1] not in plan.fim]
    scored += [(0, 0, 0.0, True)] * (size - 1 - len(scored))
    return _Row(tokens, list(range(size)), [ROLES["prefix"]] * size, list(range(1, size + 1)), [0] * size, scored)
