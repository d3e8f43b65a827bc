"""Turns the product of token probabilities into the probability that the text is exactly right, with numbers measured on held-out code.

A logistic curve over the logit (Platt 1999) that also counts where the hole stands; without numbers the product stays what it is. Knows
neither network nor how the numbers were found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from engine.models.conventions import Calibration
from engine.text.regions import Regions

MOST_CERTAIN = 12.0
"""Largest absolute logit that is told apart from others: a chance of six in a million."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a hole stands: behind nothing but the indent of its line, and before further text on its line (1.0) or not (0.0)."""

    at_indent: float
    text_follows: float


def calibrated(calibration: Calibration | None, raw: float, place: Place, whole: bool) -> float:
    """The probability, 0 to 1, that an answer of the raw confidence `raw` is right; for one place it rises with `raw`.

    What was cut off, and so is not `whole`, is never trusted more than raw: it was not asked for all of its tokens.
    """
    if calibration is None:
        return raw
    score = calibration.slope * logit(raw) + calibration.offset
    score += calibration.at_indent * place.at_indent + calibration.text_follows * place.text_follows
    # In this form exp() cannot overflow, whatever the numbers are.
    found = 0.5 * (1 + math.tanh(score / 2))
    return found if whole else min(raw, found)


def logit(probability: float) -> float:
    """log(p / (1 - p)), bounded."""
    if not 0 < probability < 1:
        return math.copysign(MOST_CERTAIN, probability - 0.5)
    return max(-MOST_CERTAIN, min(MOST_CERTAIN, math.log(probability) - math.log1p(-probability)))


def place_between(before: str, behind: str) -> Place:
    """The place of a hole between two texts."""
    return Place(float(not before.rpartition("\n")[2].strip()), float(bool(behind.partition("\n")[0].strip())))


def place_of(regions: Regions, gaps: Sequence[int]) -> Place:
    """The place of a hole with these gaps; another gap on the same line is text, whatever comes to stand in it."""
    before, behind = regions.texts[gaps[0]], regions.texts[gaps[-1] + 1]
    if gaps[0] > 0 and "\n" not in before:
        before = _SOMETHING
    if gaps[-1] + 1 < len(regions.gaps) and "\n" not in behind:
        behind = _SOMETHING
    return place_between(before, behind)


_SOMETHING = "x"
