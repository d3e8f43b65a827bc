"""Reuse: keys and values of prefix and suffix, kept within a request and from one keystroke to the next.

In the split layout a context row depends only on the rows farther from the hole, so what a new request shares with the
last one of the same document, counted from the far ends, is reused exactly; nothing is approximated.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch

from engine.models.attention import ROLES
from engine.models.kv_cache import KVStack
from engine.models.transformer import Transformer


@dataclass(slots=True)
class Side:
    """One context stack and the tokens it encodes, far end first."""

    tokens: list[int]
    stack: KVStack


@dataclass(frozen=True, slots=True)
class ContextRows:
    """Both stacks of a request, how many of their rows were there before, and the forward passes it took."""

    prefix: KVStack
    suffix: KVStack
    reused: int
    forwards: int


class ReuseStore:
    """Stacks of the most recently used documents."""

    def __init__(self, model: Transformer, documents: int = 8) -> None:
        self._model, self._limit = model, documents
        self._sides: OrderedDict[tuple[str, str], dict[int, Side]] = OrderedDict()

    def context(self, document: tuple[str, str], prefix_ids: list[int], suffix_ids: list[int]) -> ContextRows:
        """Stacks for a prefix and a suffix (both in document order), computing only the rows that are new."""
        sides = self._sides.pop(document, {})
        prefix, reused_before, first = self._extend(sides.get(1), prefix_ids, 1)
        suffix, reused_after, second = self._extend(sides.get(-1), suffix_ids[::-1], -1)
        self._sides[document] = {1: prefix, -1: suffix}
        while len(self._sides) > self._limit:
            self._sides.popitem(last=False)
        return ContextRows(prefix.stack, suffix.stack, reused_before + reused_after, first + second)

    def clear(self) -> None:
        """Forget everything."""
        self._sides.clear()

    def _extend(self, known: Side | None, tokens: list[int], direction: int) -> tuple[Side, int, int]:
        shared = _shared(known.tokens, tokens) if known is not None else 0
        past = known.stack.crop(shared) if known is not None and shared else None
        new = tokens[shared:]
        if not new:
            return Side(tokens, past if past is not None else KVStack([], [])), shared, 0
        device = self._model.embed_tokens.weight.device
        padding = [0] * (_rounded(len(new)) - len(new))
        rows = torch.tensor([new + padding], device=device)
        roles = torch.full_like(rows, ROLES["prefix" if direction > 0 else "suffix"])
        stack = self._model.encode(rows, direction, past, roles).crop(len(tokens))
        return Side(tokens, stack), shared, 1


class BlockStore:
    """Stacks of finished blocks of a block-causal model, of the most recently used documents."""

    def __init__(self, model: Transformer, documents: int = 8) -> None:
        self._model, self._limit = model, documents
        self._sides: OrderedDict[tuple[str, str], Side] = OrderedDict()

    def context(self, document: tuple[str, str], ids: list[int]) -> tuple[KVStack, int, int]:
        """The stack for `ids` (whole blocks), how many of its rows were there before, and the forward passes it took."""
        block = self._model.config.block_length
        assert len(ids) % block == 0, "only whole blocks are kept"
        known = self._sides.pop(document, Side([], KVStack([], [])))
        shared = _shared(known.tokens, ids) // block * block
        stack, forwards = known.stack.crop(shared), 0
        if shared < len(ids):
            device = self._model.embed_tokens.weight.device
            new = ids[shared:]
            rows = torch.tensor([new + [0] * (_rounded(len(new)) - len(new))], device=device)
            stack = self._model.encode(rows, 1, stack if shared else None, None, block_length=block).crop(len(ids))
            forwards = 1
        self._sides[document] = Side(ids, stack)
        while len(self._sides) > self._limit:
            self._sides.popitem(last=False)
        return stack, shared, forwards

    def clear(self) -> None:
        """Forget everything."""
        self._sides.clear()


def _shared(known: list[int], tokens: list[int]) -> int:
    """The number of tokens that both lists begin with."""
    return next((i for i, (a, b) in enumerate(zip(known, tokens, strict=False)) if a != b), min(len(known), len(tokens)))


def _rounded(rows: int) -> int:
    """The number of rows to encode for `rows` new ones; what is more is padding behind them, which nothing before it sees.

    Matrix libraries keep a kernel for every shape they meet: without this a host grew by a gigabyte in 300 requests.
    """
    quantum = 8 if rows <= 32 else 64
    return -(-rows // quantum) * quantum
