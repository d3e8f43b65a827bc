"""Resolves how a request wants to be denoised against what its model does best and can do at all.

Knows names and limits; the algorithms are in `engine.diffusion`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.api import Decoding
from engine.diffusion.denoise import Plan
from engine.diffusion.remask import Remask
from engine.diffusion.sampler import ScoreKind, Wanted
from engine.diffusion.schedule import Schedule, ScheduleKind
from engine.errors import RequestError
from engine.models.config import AttentionKind
from engine.models.families import InfillDefaults, TokenIds

ScheduleName = Literal[ScheduleKind, "speculative"]

HYPOTHETICAL = ("hypotheses", "calibrated", "entropy-fit")
"""Length policies that try several lengths first."""

MOST_SLOTS = 512
MOST_ALTERNATIVES = 8

_LEVELS: dict[ScheduleKind, float] = {"factor": 1.0, "entropy-bound": 0.1, "fixed": 1.0}
_THRESHOLDS: dict[ScoreKind, float] = {"confidence": 0.9, "margin": 0.8, "entropy": 0.72}
"""A schedule's parameter where neither the request nor the model names one. Of two tokens at 0.9 and 0.1 the lead is 0.8 and
exp(-entropy) 0.72: three ways to say the same."""


@dataclass(frozen=True, slots=True)
class Options:
    """A request's decoding with every choice made. `slots` is the canvas a hole starts with."""

    length: str
    slots: int
    plan: Plan
    wanted: Wanted
    temperature: float
    top_p: float
    seed: int
    alternatives: int


def resolve(decoding: Decoding, defaults: InfillDefaults, ids: TokenIds, attention: AttentionKind) -> Options:
    """Every choice made. Raises RequestError for values out of range and for policies that this model cannot follow."""
    _check(decoding)
    length = decoding.length or defaults.length
    if length == "expand-delete" and ids.expand is None:
        raise RequestError("This model has no expand token, so it cannot change the length while it denoises.", _ALLOWED[attention])
    if attention != "full" and length in (*HYPOTHETICAL, "expand-delete"):
        raise RequestError(f"The length policy {length} needs a model that sees both sides of the hole at once.", _ALLOWED[attention])
    usual: ScheduleName = defaults.schedule or "threshold"
    if usual == "speculative" and (decoding.score or decoding.level or decoding.stability or decoding.remask or decoding.early_commit):
        usual = "threshold"  # what is asked for belongs to diffusion steps
    chosen = decoding.schedule or usual
    speculative = chosen == "speculative"
    if speculative and attention != "split":
        raise RequestError("The schedule speculative needs a model that also reads its canvas left to right.", "Use threshold.")
    kind: ScheduleKind = "threshold" if chosen == "speculative" else chosen
    score = decoding.score or defaults.score or "confidence"
    # A model that speculates names the threshold of what it cannot speculate on.
    named = "threshold" if defaults.schedule == "speculative" else defaults.schedule or "threshold"
    own = kind == named and score == (defaults.score or "confidence")
    level = decoding.level or (defaults.threshold if own else _THRESHOLDS[score] if kind == "threshold" else _LEVELS[kind])
    if kind == "threshold" and level > 1:
        raise RequestError(f"The level of the schedule threshold is a probability; it is {level:g}.", "Use a number from 0 to 1.")
    if kind == "fixed" and level != int(level):
        raise RequestError(f"The level of the schedule fixed is a number of tokens; it is {level:g}.", "Use 1, 2, 3 and so on.")
    remask = decoding.remask or "none"
    early = defaults.early_commit if decoding.early_commit is None else decoding.early_commit
    wanted = Wanted(score=score, entropy=kind == "entropy-bound", gap=early, held=remask == "confidence", logprobs=decoding.stability > 0)
    return Options(
        length=length,
        slots=decoding.slots or defaults.canvas,
        plan=Plan(
            schedule=Schedule(kind, level, defaults.left_bias),
            remask=Remask(remask),
            early_commit=early,
            stability=decoding.stability,
            speculative=speculative,
        ),
        wanted=wanted,
        temperature=decoding.temperature,
        top_p=decoding.top_p,
        seed=decoding.seed,
        alternatives=decoding.alternatives,
    )


_ALLOWED: dict[AttentionKind, str] = {
    "full": "Use hypotheses, calibrated, entropy-fit, end-token or fixed.",
    "split": "Use end-token or fixed.",
    "block_causal": "Use end-token or fixed.",
}


def _check(decoding: Decoding) -> None:
    limits: tuple[tuple[bool, str, str], ...] = (
        (0 <= decoding.slots <= MOST_SLOTS, f"slots must be from 0 to {MOST_SLOTS}", f"{decoding.slots}"),
        (decoding.level >= 0, "level must not be negative", f"{decoding.level:g}"),
        (decoding.stability >= 0, "stability must not be negative", f"{decoding.stability:g}"),
        (0 <= decoding.temperature <= 10, "temperature must be from 0 to 10", f"{decoding.temperature:g}"),
        (0 < decoding.top_p <= 1, "top_p must be above 0 and at most 1", f"{decoding.top_p:g}"),
        (0 <= decoding.seed < 2**63, "seed must not be negative", f"{decoding.seed}"),
        (
            1 <= decoding.alternatives <= MOST_ALTERNATIVES,
            f"alternatives must be from 1 to {MOST_ALTERNATIVES}",
            f"{decoding.alternatives}",
        ),
    )
    for fine, rule, value in limits:
        if not fine:
            raise RequestError(f"The decoding option {rule}; it is {value}.", "docs/models.md explains the options.")
