"""Length rules: how many tokens a hole gets, and where it ends. Pure functions and small rules; knows no network.

Three rules act while denoising. *End token*: the model closes the hole itself, a finished canvas without an end is continued.
*Expand and delete* (DreamOn, DreamLM/DreamOn): one token turns a slot into two, another removes its slot and all masks behind it.
*Exact*: the canvas keeps its size. For models without length tokens, *hypotheses* about the length come first: one batched
pass over all-mask canvases of several sizes, scored by `calibrated` or `entropy_fit`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.diffusion.canvas import Canvas, log_of

PROBES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128)
"""Canvas sizes that the batched probe tries."""

ONE_LINE_SLOTS = 48
"""The most slots a hypothesis for a single line may have; 99 % of code lines have fewer than 35 tokens."""

HYPOTHESES = 3
"""Lengths that are decoded together."""

LONGEST_ROUND = 12
LEAST_CIRCLING = 24
"""Tokens that come again and again at the end of a text that has lost its way: in a round at most, and in all at least."""


class LengthRule(Protocol):
    """What one hole may do to its length, and what a step's commits do to its canvas."""

    @property
    def changes(self) -> tuple[int, ...]:
        """Tokens that change the length when they are committed."""
        ...

    def end_from(self, canvas: Canvas) -> int:
        """The first slot that may hold the end."""
        ...

    def may_expand(self, canvas: Canvas) -> bool:
        """Whether a slot may still become two."""
        ...

    def settle(self, canvas: Canvas, chosen: Sequence[tuple[int, int, float]]) -> None:
        """Commit `chosen` (slot, token, probability; ascending slots) with all that follows from it."""
        ...

    def continues(self, canvas: Canvas) -> int:
        """Masks to add behind a finished canvas, 0 where the hole is complete."""
        ...


@dataclass(frozen=True, slots=True)
class EndToken:
    """The model says where the hole ends; up to `max_slots` a canvas without an end grows by `grow` slots (0: it does not)."""

    end: int
    grow: int = 0
    max_slots: int = 0

    @property
    def changes(self) -> tuple[int, ...]:
        return (self.end,)

    def end_from(self, canvas: Canvas) -> int:
        return max(canvas.frontier, canvas.text_end)

    def may_expand(self, canvas: Canvas) -> bool:
        return False

    def settle(self, canvas: Canvas, chosen: Sequence[tuple[int, int, float]]) -> None:
        for slot, token, probability in chosen:
            canvas.commit(slot, token, probability)

    def continues(self, canvas: Canvas) -> int:
        return max(0, min(self.grow, self.max_slots - canvas.size)) if canvas.end == canvas.size else 0


@dataclass(frozen=True, slots=True)
class ExpandDelete:
    """DreamOn's rule (DreamLM/DreamOn, eval/generator.py), limited to the hole.

    In one step: the chosen tokens are committed; the first committed `delete` takes every mask behind it along (deletion
    broadcasting); each committed `expand` becomes two masks; deleted slots go. A hole never has more than `max_slots`
    slots and expands at most `max_slots` times, after which `expand` is ruled out.
    """

    expand: int
    delete: int
    max_slots: int

    @property
    def changes(self) -> tuple[int, ...]:
        return (self.expand, self.delete)

    def end_from(self, canvas: Canvas) -> int:
        return 0

    def may_expand(self, canvas: Canvas) -> bool:
        return canvas.size < self.max_slots and canvas.expansions < self.max_slots

    def settle(self, canvas: Canvas, chosen: Sequence[tuple[int, int, float]]) -> None:
        gone: set[int] = set()
        expanding: list[int] = []
        for slot, token, probability in chosen:
            assert canvas.tokens[slot] == canvas.mask_id, "only masked slots are committed"
            if token == self.delete:
                canvas.decided += log_of(probability)
                gone |= {slot, *(behind for behind in canvas.masked if behind > slot)}
            elif slot in gone:
                continue
            elif token == self.expand:
                canvas.decided += log_of(probability)
                expanding.append(slot)
            else:
                canvas.tokens[slot], canvas.confidence[slot] = token, probability
        for slot in sorted(gone | set(expanding), reverse=True):
            if slot in gone:
                canvas.remove(slot)
            elif self.may_expand(canvas):
                canvas.insert(slot)
                canvas.expansions += 1

    def continues(self, canvas: Canvas) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class Exact:
    """As many tokens as there are slots; neither end nor expansion."""

    changes: tuple[int, ...] = ()

    def end_from(self, canvas: Canvas) -> int:
        return canvas.size

    def may_expand(self, canvas: Canvas) -> bool:
        return False

    def settle(self, canvas: Canvas, chosen: Sequence[tuple[int, int, float]]) -> None:
        for slot, token, probability in chosen:
            canvas.commit(slot, token, probability)

    def continues(self, canvas: Canvas) -> int:
        return 0


def probe_sizes(max_tokens: int, one_line: bool, least: int = 1) -> tuple[int, ...]:
    """Sizes to probe for a hole of at most `max_tokens` tokens and at least `least`: always one, never more than allowed."""
    most = max(least, min(max_tokens, ONE_LINE_SLOTS) if one_line else max_tokens)
    return tuple(size for size in PROBES if least <= size <= most) or (least,)


def calibrated(sizes: Sequence[int], confidence: Sequence[float]) -> list[float]:
    """CAL's score of each size (arXiv 2602.00476): mean of the largest probability over the masks, divided by what length
    alone makes of it, B(L) = exp(-1.77 L) + 0.56 exp(-0.06 L) + 0.24."""
    return [c / (math.exp(-1.77 * n) + 0.56 * math.exp(-0.06 * n) + 0.24) for n, c in zip(sizes, confidence, strict=True)]


def entropy_fit(sizes: Sequence[int], negentropy: Sequence[float]) -> list[float]:
    """LR-DLLM's stage I (arXiv 2602.07546): what is left of the mean of sum p log p over the masks, A(L), after the trend of
    this very prompt, A(L) ~ k ln L + c by least squares, is taken away: A(L) - k ln L."""
    logs = [math.log(n) for n in sizes]
    if len(sizes) < 3 or len(set(sizes)) < 2:
        return list(negentropy)
    slope = statistics.linear_regression(logs, negentropy).slope
    return [a - slope * x for a, x in zip(negentropy, logs, strict=True)]


def candidates(sizes: Sequence[int], policy: str, confidence: Sequence[float], negentropy: Sequence[float]) -> list[int]:
    """Sizes worth decoding, best first: one for `calibrated` and `entropy-fit`, up to three different ones for `hypotheses`
    (the best by each score, then the runner-up of the first)."""
    by_confidence = _ranked(sizes, calibrated(sizes, confidence))
    by_entropy = _ranked(sizes, entropy_fit(sizes, negentropy))
    if policy == "calibrated":
        return by_confidence[:1]
    if policy == "entropy-fit":
        return by_entropy[:1]
    return list(dict.fromkeys([by_confidence[0], by_entropy[0], *by_confidence[1:]]))[:HYPOTHESES]


def preference(inner: float, suffix: float | None) -> float:
    """What decides between finished hypotheses (PILL's stage III): the mean of the mean log-probability of the tokens inside
    and that of the first tokens of the suffix, given the finished hole; without a suffix the first alone."""
    return inner if suffix is None else 0.5 * inner + 0.5 * suffix


def cut_lines(text: str, max_lines: int) -> tuple[str, bool]:
    """`text` without what stands behind its first `max_lines` lines, and whether anything was cut. 0 means no limit."""
    if max_lines <= 0:
        return text, False
    position = -1
    for _ in range(max_lines):
        position = text.find("\n", position + 1)
        if position < 0:
            return text, False
    return text[:position], True


def goes_in_circles(tokens: Sequence[int]) -> bool:
    """Whether the end of a text is the same few tokens over and over: a model that has begun so does not find its way out.

    At least four rounds of at most `LONGEST_ROUND` tokens, and at least `LEAST_CIRCLING` tokens, so that short rows of equal
    things are none.
    """
    for period in range(1, LONGEST_ROUND + 1):
        span = max(LEAST_CIRCLING, 4 * period)
        if len(tokens) >= span and all(tokens[-n] == tokens[-n - period] for n in range(1, span - period + 1)):
            return True
    return False


def _ranked(sizes: Sequence[int], scores: Sequence[float]) -> list[int]:
    return [size for _, size in sorted(zip(scores, sizes, strict=True), key=lambda pair: (-pair[0], pair[1]))]
