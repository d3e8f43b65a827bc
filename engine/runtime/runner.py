"""Runners turn prompts and canvases into logits, one for each way a model sees its context.

`InPlaceRunner`: every row sees every row, so a step is a full pass over prompt and canvases; all gaps are denoised jointly.
`SplitRunner`: the context never sees the hole, its keys and values are kept. `BlockRunner`: blocks see only what is before
them, so finished blocks are kept and the suffix goes in front. The latter two fill one canvas at a time.
`PlainRunner` recomputes everything for either and is the reference that tests hold them to.

Shape suffixes: B drafts, S rows, T context rows, C canvas slots, V vocabulary, M model width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from engine.diffusion.denoise import Forward
from engine.models.attention import ROLES, block_causal_mask, split_mask
from engine.models.families import TokenIds
from engine.models.kv_cache import ContextKV
from engine.models.transformer import Transformer
from engine.runtime.reuse import BlockStore, ReuseStore

SCORED_SUFFIX = 8
"""Tokens behind the hole that vote on a hypothesis."""

PASS_ROWS = 8192
"""The most rows of tokens in one pass: more drafts than fit are scored in several, so that memory stays bounded."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A canvas of `slots` slots ready to be denoised: `forward` gives its logits; what opening it cost and saved.

    `verify`, where the network has such a reading, takes the first tokens of every draft, as many in each, and scores them left
    to right: row n scores slot n from the context and the tokens before it.
    """

    forward: Forward
    slots: int
    reused: int = 0
    forwards: int = 0
    verify: Forward | None = None


class RollingRunner(Protocol):
    """Opens one canvas after another between a prefix and a suffix. `slots` is the size of each, 0 where it varies."""

    slots: int

    def open(self, document: tuple[str, str], prefix_ids: list[int], suffix_ids: list[int]) -> Opened:
        """Prepare the next canvas. Its drafts have exactly one hole each."""
        ...


class _Contexts:
    """The rows of a context beside the canvases of a batch: made once for the largest batch that is seen."""

    def __init__(self, make: Callable[[int], ContextKV]) -> None:
        self._make = make
        self._largest = 0
        self._context: ContextKV | None = None

    def get(self, batch: int) -> ContextKV:
        """Room for `batch` canvases."""
        if self._context is None or batch > self._largest:
            self._context, self._largest = self._make(batch), batch
        return self._context if batch == self._largest else self._context.narrow(batch)


class SplitRunner:
    """For the split layout: a step costs the canvas, not the file."""

    def __init__(self, model: Transformer, ids: TokenIds, slots: int) -> None:
        assert model.config.attention == "split", "only a context that never sees the hole can be kept"
        self._model, self._mask_id, self.slots = model, ids.mask, slots
        self.reuse = ReuseStore(model)

    def open(self, document: tuple[str, str], prefix_ids: list[int], suffix_ids: list[int]) -> Opened:
        """Prepare a canvas; keys and values of the context are computed, or reused, once."""
        rows = self.reuse.context(document, prefix_ids, suffix_ids)
        model, slots, device = self._model, self.slots, self._model.embed_tokens.weight.device
        before, behind = rows.prefix.length, rows.suffix.length
        far_first = before + slots + torch.arange(behind - 1, -1, -1, device=device)
        parts = [(rows.prefix, torch.arange(before, device=device)), (rows.suffix, far_first)]
        contexts = _Contexts(lambda batch: ContextKV.assemble(parts, slots, model.config, batch))
        positions = torch.arange(before, before + slots, device=device)[None]

        def forward(drafts: Sequence[Sequence[Sequence[int]]]) -> list[list[Tensor]]:
            batch = len(drafts)
            tokens_BC = torch.tensor([list(holes[0]) for holes in drafts], device=device)
            roles_BC = torch.full_like(tokens_BC, ROLES["canvas"])
            scores = model.logits(model(tokens_BC, positions.expand(batch, -1), roles_BS=roles_BC, context=contexts.get(batch)))
            return [[row] for row in scores]

        def verify(drafts: Sequence[Sequence[Sequence[int]]]) -> list[list[Tensor]]:
            batch, rows_read = len(drafts), len(drafts[0][0])
            tokens_BN = torch.tensor([[self._mask_id, *holes[0][:-1]] for holes in drafts], device=device)
            roles_BN = torch.full_like(tokens_BN, ROLES["verify"])
            mask = torch.ones(rows_read, before + behind + rows_read, dtype=torch.bool, device=device).tril(before + behind)[None, None]
            hidden = model(tokens_BN, positions[:, :rows_read] - 1, mask=mask, roles_BS=roles_BN, context=contexts.get(batch))
            return [[row] for row in model.logits(hidden)]

        return Opened(forward, slots, rows.reused, rows.forwards, verify if model.config.num_roles > ROLES["verify"] else None)


class BlockRunner:
    """For block-causal models: the suffix is put in front (with FIM tokens) or left out, finished blocks are kept."""

    def __init__(self, model: Transformer, ids: TokenIds) -> None:
        assert model.config.attention == "block_causal", "finished blocks stay the same only where they see nothing later"
        self._model, self._ids, self.slots = model, ids, 0
        self.reuse = BlockStore(model)

    def open(self, document: tuple[str, str], prefix_ids: list[int], suffix_ids: list[int]) -> Opened:
        """Prepare the rest of the block that the prompt ends in."""
        model, block = self._model, self._model.config.block_length
        device, shift = model.embed_tokens.weight.device, model.config.logit_shift
        prompt = arrange(self._ids, prefix_ids, suffix_ids)
        whole = len(prompt) // block * block
        tail, slots = prompt[whole:], block - len(prompt) % block
        stack, reused, forwards = self.reuse.context(document, prompt[:whole])
        # A shifted model scores the first slot of a block by the last row before it, which sees nothing of the block.
        lead = prompt[whole - 1 : whole] if shift and whole else []
        first = whole - len(lead)
        positions = torch.arange(first, whole + block, device=device)[None]
        kept = [(stack, torch.arange(whole, device=device))]
        contexts = _Contexts(lambda batch: ContextKV.assemble(kept, positions.shape[1], model.config, batch))
        mask = None
        if lead:
            mask = torch.ones(1 + block, whole + 1 + block, dtype=torch.bool, device=device)
            mask[0, whole:] = False
            mask[1:, whole] = False
            mask = mask[None, None]

        def forward(drafts: Sequence[Sequence[Sequence[int]]]) -> list[list[Tensor]]:
            batch = len(drafts)
            tokens_BS = torch.tensor([[*lead, *tail, *holes[0]] for holes in drafts], device=device)
            hidden = model(tokens_BS, positions.expand(batch, -1), mask=mask, context=contexts.get(batch))
            scorers = torch.arange(whole - first + len(tail), positions.shape[1], device=device) - shift
            return [[row] for row in model.logits(hidden[:, scorers.clamp_min(0)])]

        return Opened(forward, slots, reused, forwards)


class PlainRunner:
    """The reference for canvases that follow each other: every step is a full pass over prompt and canvas, draft by draft."""

    def __init__(self, model: Transformer, ids: TokenIds, slots: int) -> None:
        self._model, self._ids, self.slots = model, ids, slots

    def open(self, document: tuple[str, str], prefix_ids: list[int], suffix_ids: list[int]) -> Opened:
        """Prepare a canvas. Nothing is kept, so nothing is reused."""
        config = self._model.config
        before, behind, slots = prefix_ids, suffix_ids, self.slots
        if config.attention == "block_causal":
            before, behind = arrange(self._ids, prefix_ids, suffix_ids), []
            slots = config.block_length - len(before) % config.block_length

        def forward(drafts: Sequence[Sequence[Sequence[int]]]) -> list[list[Tensor]]:
            start, end = len(before), len(before) + slots
            return [[full_logits(self._model, [*before, *holes[0], *behind], (start, end))[start:end]] for holes in drafts]

        def verify(drafts: Sequence[Sequence[Sequence[int]]]) -> list[list[Tensor]]:
            return [[verify_logits(self._model, before, [self._ids.mask, *holes[0][:-1]], behind, slots)] for holes in drafts]

        return Opened(forward, slots, verify=verify if config.num_roles > ROLES["verify"] else None)


class InPlaceRunner:
    """For full attention: prompt and all canvases of a draft in one row, drafts of different lengths in one padded batch."""

    def __init__(self, model: Transformer, ids: TokenIds) -> None:
        assert model.config.attention == "full", "masks in place need a suffix that they can see"
        self._model = model
        self._front = [] if ids.bos is None else [ids.bos]
        self._back = [] if ids.eos is None else [ids.eos]
        self._filler = ids.mask

    def open(self, texts: Sequence[list[int]], passed: Callable[[], None] = lambda: None) -> Forward:
        """Logits for the canvases that stand between `texts` (one text more than there are canvases). `passed` hears of every
        pass through the network before it is made."""

        def forward(drafts: Sequence[Sequence[Sequence[int]]]) -> list[list[Tensor]]:
            rows, spans = zip(*(self._row(texts, holes) for holes in drafts), strict=True)
            wanted = [[slot for start, end in draft for slot in range(start, end)] for draft in spans]
            scores = self._score(rows, wanted, passed)
            return [list(s.split([end - start for start, end in draft])) for s, draft in zip(scores, spans, strict=True)]

        return forward

    def suffix_logprobs(
        self, texts: Sequence[list[int]], drafts: Sequence[Sequence[Sequence[int]]], passed: Callable[[], None] = lambda: None
    ) -> list[float] | None:
        """For each finished draft the mean log-probability of the first `SCORED_SUFFIX` tokens behind its last hole, all of
        them masked at once; None where nothing stands there."""
        truth = texts[-1][:SCORED_SUFFIX]
        if not truth:
            return None
        hidden_texts = [*texts[:-1], [self._filler] * len(truth) + texts[-1][len(truth) :]]
        rows, spans = zip(*(self._row(hidden_texts, holes) for holes in drafts), strict=True)
        scores = self._score(rows, [list(range(draft[-1][1], draft[-1][1] + len(truth))) for draft in spans], passed)
        truth_N1 = torch.tensor(truth, device=scores[0].device)[:, None]
        return [float(s.float().log_softmax(dim=-1).gather(1, truth_N1).mean()) for s in scores]

    def _row(self, texts: Sequence[list[int]], holes: Sequence[Sequence[int]]) -> tuple[list[int], list[tuple[int, int]]]:
        """One row of token ids, and the span of each hole in it."""
        row = [*self._front, *texts[0]]
        spans = []
        for hole, text in zip(holes, texts[1:], strict=True):
            spans.append((len(row), len(row) + len(hole)))
            row += [*hole, *text]
        return row + self._back, spans

    def _score(self, rows: Sequence[list[int]], wanted: Sequence[list[int]], passed: Callable[[], None]) -> list[Tensor]:
        """Logits [N, V] AT the wanted slots of each row, in passes of at most `PASS_ROWS` rows."""
        size = max(1, PASS_ROWS // max(map(len, rows)))
        scores: list[Tensor] = []
        for start in range(0, len(rows), size):
            passed()
            scores += self._pass(rows[start : start + size], wanted[start : start + size])
        return scores

    def _pass(self, rows: Sequence[list[int]], wanted: Sequence[list[int]]) -> list[Tensor]:
        model, device = self._model, self._model.embed_tokens.weight.device
        longest = max(map(len, rows))
        tokens_BS = torch.tensor([row + [self._filler] * (longest - len(row)) for row in rows], device=device)
        positions_BS = torch.arange(longest, device=device).expand(len(rows), -1)
        mask = None
        if any(len(row) < longest for row in rows):
            lengths = torch.tensor([len(row) for row in rows], device=device)
            mask = (positions_BS < lengths[:, None])[:, None, None, :].expand(-1, 1, longest, -1)
        hidden = model(tokens_BS, positions_BS, mask=mask)
        # The head is the widest matrix of the model: only rows that are asked for go through it.
        picked = [hidden[b, [max(slot - model.config.logit_shift, 0) for slot in slots]] for b, slots in enumerate(wanted)]
        return list(model.logits(torch.cat(picked)).split([len(slots) for slots in wanted]))


def arrange(ids: TokenIds, prefix_ids: list[int], suffix_ids: list[int]) -> list[int]:
    """The prompt of a block-causal model: suffix, then prefix, told apart by FIM tokens; the prefix alone without them."""
    start = [] if ids.bos is None else [ids.bos]
    if ids.fim is None or not suffix_ids:
        return [*start, *prefix_ids]
    return [*start, ids.fim.suffix, *suffix_ids, ids.fim.prefix, *prefix_ids, ids.fim.middle]


def verify_logits(model: Transformer, before: list[int], read: list[int], behind: list[int], slots: int) -> Tensor:
    """Logits [N, V] of one full pass of the split layout in which the canvas is read left to right.

    `read` is a mask and then the first N - 1 tokens of a canvas of `slots` slots: row n scores slot n from both contexts and the
    tokens before it, and stands where the slot before it does.
    """
    device = model.embed_tokens.weight.device
    start, rows = len(before), len(read)
    tokens = torch.tensor([[*before, *read, *behind]], device=device)
    index = torch.arange(tokens.shape[1], device=device)
    inside = (index >= start) & (index < start + rows)
    positions = torch.where(inside, index - 1, torch.where(index < start, index, index - rows + slots))
    roles = torch.full_like(tokens, ROLES["verify"])
    roles[:, :start], roles[:, start + rows :] = ROLES["prefix"], ROLES["suffix"]
    mask = split_mask(start, rows, len(behind), device) & ~(inside[:, None] & inside[None, :] & (index[None, :] > index[:, None]))
    hidden = model(tokens, positions[None], mask=mask, roles_BS=roles)
    return model.logits(hidden[0, start : start + rows])


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
