"""How families want to be decoded: layout of the prompt, defaults of denoising, tokens with a meaning of their own.

Plain structs and a few shared values; which family uses which of them stands in `engine.models.families`.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import msgspec

from engine.api import LengthPolicy, Schedule, Score

PromptLayout = Literal["in_place", "suffix_first", "prefix_only"]
"""Where the masks stand: between prefix and suffix; behind suffix and prefix, which FIM tokens tell apart; behind the prefix
alone, for models that cannot see what follows."""


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How sure a checkpoint may be: the logit of "exactly right" is `slope` times that of the product of token probabilities, plus
    `offset`, plus `at_indent` where the hole begins its line, plus `text_follows` where the line goes on behind it.

    `dlsp train calibrate` measures these numbers. Raises ValueError for numbers that would not keep the order of answers.
    """

    slope: float
    offset: float
    at_indent: float = 0.0
    text_follows: float = 0.0

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.slope, self.offset, self.at_indent, self.text_follows))):
            raise ValueError("the numbers of the calibration must be finite")
        if self.slope <= 0:
            raise ValueError(f"the slope of the calibration must be above 0, it is {self.slope:g}")


class InfillDefaults(msgspec.Struct, frozen=True, kw_only=True):
    """How a checkpoint wants to be decoded.

    `length` is the length policy, `canvas` the slots a hole starts with, `score` ranks proposals, `schedule` with its
    `threshold` (the level, whatever the schedule) says how many are committed; budgets of context are in tokens.
    `calibration` makes confidence a probability; without it confidence is the product of token probabilities. `snippets` says
    whether text from other files helps; a model trained on single documents may be better without.
    """

    layout: PromptLayout = "in_place"
    length: LengthPolicy = "end-token"
    canvas: int = 16
    score: Score = "confidence"
    schedule: Schedule = "threshold"
    threshold: float = 0.9
    left_bias: float = 0.0
    early_commit: bool = False
    prefix_tokens: int = 512
    suffix_tokens: int = 512
    calibration: Calibration | None = None
    snippets: bool = True


class FimTokens(msgspec.Struct, frozen=True, kw_only=True):
    """Ids that mark the parts of a suffix-first prompt: suffix mark, suffix, prefix mark, prefix, middle mark."""

    prefix: int
    suffix: int
    middle: int


class TokenIds(msgspec.Struct, frozen=True, kw_only=True):
    """Ids with a meaning of their own.

    `end` closes a hole: everything behind it is empty (where the policy is `expand-delete` it removes its own slot and the
    masks behind it). `expand` turns one slot into two. `document` begins a document, `bos` and `eos` stand around every
    prompt, `stops` end the text besides `end`; each where the model knows such a token.
    """

    mask: int
    end: int
    pad: int | None = None
    document: int | None = None
    expand: int | None = None
    bos: int | None = None
    eos: int | None = None
    fim: FimTokens | None = None
    stops: tuple[int, ...] = ()


class Marks(NamedTuple):
    """Strings of special tokens, of which a tokenizer may have any.

    The first of `masks` and of `ends` that it has is the one; further ends stop a text too. `fim` are the marks of prefix,
    suffix and middle. `begin` is set where a prompt stands between it and the end token, `expand` where one slot can become two.
    `bare` says that the mask is published as a number alone: only then is one believed that has none of these strings.
    """

    masks: tuple[str, ...]
    ends: tuple[str, ...]
    fim: tuple[str, ...] = ()
    begin: str = ""
    expand: str = ""
    bare: bool = False


class Terms(NamedTuple):
    """A licence of weights, and one sentence for whoever uses them, empty where there is nothing to heed."""

    licence: str
    notice: str = ""


APACHE = Terms("Apache-2.0")
MIT = Terms("MIT")
APPLE = Terms("Apple AMLR", "The weights of DiffuCoder are for research only (Apple Machine Learning Research Model licence).")
LLAMA = Terms("Llama Community", "Weights made from Llama come under Meta's community licence, which has conditions on use and naming.")
NON_COMMERCIAL = Terms("CC-BY-NC-4.0", "The weights of CoDA are for non-commercial use only (CC-BY-NC-4.0).")

# How to decode. Never a fixed number of tokens a step: measured, that costs 5 to 15 points of pass@1 (docs/models.md).

IN_PLACE = InfillDefaults(length="hypotheses", canvas=32, score="confidence", threshold=0.9, left_bias=1.0)
"""No token for lengths: guess several, decode the best together. 0.9 is the threshold of Fast-dLLM (arXiv 2505.22618)."""

DREAM = msgspec.structs.replace(IN_PLACE, score="entropy", threshold=0.72)
"""The authors decode by entropy; exp(-entropy) of a slot with one rival is 0.72 where the better token has 0.9."""

DREAM_ON = msgspec.structs.replace(DREAM, length="expand-delete", canvas=64)
"""64 slots: of 4 to 64 they gave the best pass@1 (91.7 against 88.5) and the fewest passes, since one delete clears the rest."""

BLOCKS = InfillDefaults(layout="suffix_first", length="end-token", canvas=32, score="confidence", threshold=0.9, left_bias=1.0)
"""Masks cannot stand before text they should see, so the suffix goes first; the model writes its end token itself."""

RND1 = msgspec.structs.replace(DREAM, schedule="entropy-bound", threshold=0.1)
"""RND1's own sampler offers this bound (nats) on the entropy of what is committed at once (EB-sampler)."""

LLADA2 = msgspec.structs.replace(BLOCKS, threshold=0.95)
"""The authors' threshold for turning a mask into a token."""
