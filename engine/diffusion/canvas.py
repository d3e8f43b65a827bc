"""The canvas: the slots of one hole while it is denoised. Plain Python data; knows neither network nor text.

A slot is masked or committed to a token. Length rules insert and remove slots; everything that is known of a slot moves with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def log_of(probability: float) -> float:
    """The natural logarithm, finite also where a probability has underflowed."""
    return math.log(max(probability, 1e-30))


class Canvas:
    """`tokens[c]` is the token in slot c (the mask id where nothing is committed), `confidence[c]` its probability when
    it was committed, or the last proposal's while it is masked.

    `fixed[c]` marks slots that no remask rule may open, `remasked[c]` counts how often one did. `decided` is the sum of the
    log-probabilities of the decisions that left no token behind: removals and expansions.
    """

    __slots__ = ("confidence", "decided", "end_id", "expansions", "fixed", "mask_id", "remasked", "tokens")

    def __init__(self, size: int, mask_id: int, end_id: int, tokens: Sequence[int] | None = None) -> None:
        """`size` masked slots, or `tokens` (masks among them, perhaps) as they stand."""
        self.mask_id, self.end_id = mask_id, end_id
        self.tokens = [mask_id] * size if tokens is None else list(tokens)
        self.confidence = [0.0 if token == mask_id else 1.0 for token in self.tokens]
        self.fixed = [False] * len(self.tokens)
        self.remasked = [0] * len(self.tokens)
        self.decided = 0.0
        self.expansions = 0

    def copy(self) -> Canvas:
        """An independent canvas in the same state."""
        twin = Canvas(0, self.mask_id, self.end_id, self.tokens)
        twin.confidence, twin.fixed, twin.remasked = list(self.confidence), list(self.fixed), list(self.remasked)
        twin.decided, twin.expansions = self.decided, self.expansions
        return twin

    @property
    def size(self) -> int:
        """The number of slots."""
        return len(self.tokens)

    @property
    def masked(self) -> list[int]:
        """Slots that are still masked, left to right."""
        return [slot for slot, token in enumerate(self.tokens) if token == self.mask_id]

    @property
    def end(self) -> int:
        """The first slot that holds an end token, or `size` where none does."""
        try:
            return self.tokens.index(self.end_id)
        except ValueError:
            return self.size

    @property
    def frontier(self) -> int:
        """The first masked slot, or `size` where none is left."""
        try:
            return self.tokens.index(self.mask_id)
        except ValueError:
            return self.size

    @property
    def text_end(self) -> int:
        """The first slot behind all committed text; 0 where there is none."""
        for slot in range(self.size - 1, -1, -1):
            if self.tokens[slot] not in (self.mask_id, self.end_id):
                return slot + 1
        return 0

    @property
    def done(self) -> bool:
        """True when nothing before the end is masked."""
        return self.frontier >= self.end

    def content(self) -> list[int]:
        """Committed tokens from the left up to the first mask or end."""
        return self.tokens[: min(self.frontier, self.end)]

    def logprob(self) -> float:
        """Log-probability of the content and, where the hole is closed, of what closed it."""
        slots = range(min(self.end + 1, self.size) if self.done else self.frontier)
        return self.decided + sum(log_of(self.confidence[slot]) for slot in slots)

    def commit(self, slot: int, token: int, confidence: float) -> None:
        """Put `token` into a masked slot. An end token fills everything behind it as well."""
        assert self.tokens[slot] == self.mask_id, "only masked slots are committed"
        if token == self.end_id:
            assert slot >= self.text_end, "an end may not cut committed text"
            for behind in range(slot, self.size):
                if self.tokens[behind] == self.mask_id:
                    self.tokens[behind] = self.end_id
                    self.confidence[behind] = confidence if behind == slot else 1.0
            return
        assert slot < self.end, "nothing is committed behind the end"
        self.tokens[slot] = token
        self.confidence[slot] = confidence

    def remask(self, slot: int) -> None:
        """Open a committed slot again."""
        assert not self.fixed[slot], "a fixed slot stays"
        assert self.tokens[slot] not in (self.mask_id, self.end_id), "only committed text is opened again"
        self.tokens[slot] = self.mask_id
        self.remasked[slot] += 1

    def insert(self, slot: int, count: int = 1) -> None:
        """Put `count` masks in front of `slot`."""
        self.tokens[slot:slot] = [self.mask_id] * count
        self.confidence[slot:slot] = [0.0] * count
        self.fixed[slot:slot] = [False] * count
        self.remasked[slot:slot] = [0] * count

    def remove(self, slot: int) -> None:
        """Take a slot away."""
        for row in (self.tokens, self.confidence, self.fixed, self.remasked):
            del row[slot]
