"""The canvas: the slots of one hole while it is denoised. Plain Python data; knows neither network nor text.

A slot is masked or committed to a token. Once an end token is committed, all slots behind it hold end tokens too.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Canvas:
    """`tokens[c]` is the token in slot c (the mask id where nothing is committed), `confidence[c]` its probability when
    it was committed, or the last proposal's while it is masked."""

    size: int
    mask_id: int
    end_id: int
    tokens: list[int] = field(init=False)
    confidence: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = [self.mask_id] * self.size
        self.confidence = [0.0] * self.size

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
    def done(self) -> bool:
        """True when nothing before the end is masked."""
        return self.frontier >= self.end

    def content(self) -> list[int]:
        """Committed tokens from the left up to the first mask or end."""
        return self.tokens[: min(self.frontier, self.end)]

    def commit(self, slot: int, token: int, confidence: float) -> None:
        """Put `token` into a masked slot. An end token fills everything behind it as well."""
        assert self.tokens[slot] == self.mask_id, "only masked slots are committed"
        if token == self.end_id:
            assert all(t in (self.mask_id, self.end_id) for t in self.tokens[slot:]), "an end may not cut committed text"
            for behind in range(slot, self.size):
                if self.tokens[behind] == self.mask_id:
                    self.tokens[behind] = self.end_id
                    self.confidence[behind] = confidence if behind == slot else 1.0
            return
        assert slot < self.end, "nothing is committed behind the end"
        self.tokens[slot] = token
        self.confidence[slot] = confidence
