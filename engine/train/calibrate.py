"""Finds the calibration of a checkpoint from answers whose truth is known, judges it, and writes it into config.json.

Knows samples, not where they come from; what a calibration means is in `engine.runtime.calibration`.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from engine.errors import CheckpointError, RequestError
from engine.models import checkpoint as checkpoints
from engine.models import store
from engine.models.families import Calibration
from engine.runtime.calibration import Place, calibrated, logit

BINS = 10
LEAST = 30
"""Right answers, and wrong ones, that a fit needs."""

CAUTION = 1.0
"""Weight of the prior that the raw confidence is right as it is: that of a few samples, so that few of them cannot say absurd things."""

_ROUNDS = 50
_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer with text: its raw confidence (0 to 1), where its hole stands, whether it is whole, and whether exactly right."""

    raw: float
    place: Place
    whole: bool
    right: bool


def fit(samples: Sequence[Sample]) -> Calibration:
    """The most likely calibration (logistic regression by Newton's method, pulled a little towards raw confidence).

    Answers that were cut off are left out. Raises RequestError where there is too little to learn from, and where raw confidence
    does not tell right from wrong.
    """
    whole = [sample for sample in samples if sample.whole]
    right = sum(sample.right for sample in whole)
    if min(right, len(whole) - right) < LEAST:
        raise RequestError(
            f"{right} of {len(whole)} answers were right; a calibration needs at least {LEAST} right and {LEAST} wrong ones.",
            "Pass a larger --n, or train the model further.",
        )
    features = np.array([[logit(s.raw), 1.0, s.place.at_indent, s.place.text_follows] for s in whole])
    truth = np.array([float(s.right) for s in whole])
    identity = np.array([1.0, 0.0, 0.0, 0.0])
    weights = identity.copy()
    for _ in range(_ROUNDS):
        predicted = 0.5 * (1 + np.tanh(features @ weights / 2))
        slope = features.T @ (truth - predicted) - CAUTION * (weights - identity)
        curvature = (features * (predicted * (1 - predicted))[:, None]).T @ features + CAUTION * np.eye(4)
        step = np.linalg.solve(curvature, slope)
        weights = weights + step
        if float(np.abs(step).max()) < 1e-9:
            break
    numbers = [round(float(weight), _DIGITS) for weight in weights]
    if numbers[0] <= 0:
        raise RequestError(
            "The model's confidence does not tell right answers from wrong ones, so it cannot be calibrated.", "Train it further."
        )
    return Calibration(slope=numbers[0], offset=numbers[1], at_indent=numbers[2], text_follows=numbers[3])


def confidences(samples: Sequence[Sample], calibration: Calibration | None) -> list[float]:
    """The confidence of each sample under a calibration; raw without one."""
    return [calibrated(calibration, sample.raw, sample.place, sample.whole) for sample in samples]


def brier(confidence: Sequence[float], samples: Sequence[Sample]) -> float:
    """Mean squared distance of confidence from what came true: 0 is best (Brier 1950). 0.0 without samples."""
    return sum((c - s.right) ** 2 for c, s in zip(confidence, samples, strict=True)) / max(1, len(samples))


def calibration_error(confidence: Sequence[float], samples: Sequence[Sample]) -> float:
    """Expected calibration error over ten bins of equal width: how far a bin's mean confidence is from its share of right answers,
    averaged over samples (Naeini et al. 2015). 0.0 without samples."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    for c, s in zip(confidence, samples, strict=True):
        bins.setdefault(min(BINS - 1, int(BINS * c)), []).append((c, s.right))
    off = sum(abs(sum(c for c, _ in found) - sum(right for _, right in found)) for found in bins.values())
    return off / max(1, len(samples))


def writable(folder: Path) -> None:
    """Raises RequestError for a checkpoint that cannot carry a calibration, before any work is put into it."""
    checkpoint = checkpoints.read(folder)
    if checkpoint.family.decoding is not None:
        raise RequestError(
            f"{folder} is a checkpoint of the family {checkpoint.family.name}, whose config.json has no place for a calibration.",
            "Only checkpoints in dlsp's own format can be calibrated.",
        )
    if store.read(folder) is not None:
        raise RequestError(
            f"{folder} is an installed model, whose files are recorded by their hashes.", "Copy the folder and calibrate the copy."
        )


def write(folder: Path, calibration: Calibration) -> None:
    """Put the calibration into the folder's config.json, whole or not at all. Raises CheckpointError where that fails."""
    path = folder / "config.json"

    def change(raw: dict[str, dict[str, object]]) -> None:
        raw["infill"] = raw.get("infill", {}) | {"calibration": msgspec.to_builtins(calibration)}

    _rewrite(path, change)


def _rewrite(path: Path, change: Callable[[dict[str, dict[str, object]]], None]) -> None:
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        change(raw)
        mode = path.stat().st_mode & 0o777
        try:
            draft.write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
            draft.chmod(mode)
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be written ({error.strerror or error}).", "Check its permissions and the free space."
        ) from error
