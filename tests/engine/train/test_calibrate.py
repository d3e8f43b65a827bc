"""Fitting a calibration: known curves are found again, too little data is refused, config.json is written whole or not at all."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
from pathlib import Path

import pytest

import family_checkpoints
from engine.errors import CheckpointError, RequestError
from engine.models import checkpoint as checkpoints
from engine.models.families import Calibration
from engine.runtime.calibration import Place, logit
from engine.train.calibrate import LEAST, Sample, brier, calibration_error, confidences, fit, writable, write

TRUE = Calibration(slope=0.7, offset=-0.5, at_indent=-1.2, text_follows=0.6)


def drawn(n: int, seed: int = 0, truth: Calibration = TRUE) -> list[Sample]:
    rng = random.Random(seed)
    samples = []
    for _ in range(n):
        raw = rng.random()
        place = Place(float(rng.random() < 0.3), float(rng.random() < 0.3))
        score = truth.slope * logit(raw) + truth.offset + truth.at_indent * place.at_indent + truth.text_follows * place.text_follows
        samples.append(Sample(raw, place, True, rng.random() < 1 / (1 + math.exp(-score))))
    return samples


def test_a_known_curve_is_found_again() -> None:
    found = fit(drawn(20_000))
    for name in ("slope", "offset", "at_indent", "text_follows"):
        assert getattr(found, name) == pytest.approx(getattr(TRUE, name), abs=0.1), name


def test_on_other_samples_it_is_better_than_raw() -> None:
    found, others = fit(drawn(2000)), drawn(4000, 1)
    raw, after = confidences(others, None), confidences(others, found)
    assert calibration_error(after, others) < 0.03 < calibration_error(raw, others)
    assert brier(after, others) < brier(raw, others) - 0.01


def test_few_samples_move_little_and_cut_off_answers_not_at_all() -> None:
    same = drawn(4000, 2, Calibration(slope=1.0, offset=0.0))
    found = fit(same[:200])
    assert found.slope == pytest.approx(1, abs=0.4)
    cut = [Sample(0.99, Place(0.0, 0.0), False, False)] * 500
    assert fit(same + cut) == fit(same)


def test_answers_that_confidence_separates_perfectly_give_finite_numbers() -> None:
    samples = [Sample(0.9 if i % 2 else 0.1, Place(0.0, 0.0), True, bool(i % 2)) for i in range(400)]
    found = fit(samples)
    assert 1 < found.slope < 10
    assert found.at_indent == found.text_follows == 0


def test_too_little_and_meaningless_data_are_refused() -> None:
    with pytest.raises(RequestError, match=rf"0 of 99 answers were right; a calibration needs at least {LEAST} right.*larger --n"):
        fit([Sample(0.5, Place(0.0, 0.0), True, False)] * 99)
    with pytest.raises(RequestError, match="0 of 0 answers"):
        fit([])
    with pytest.raises(RequestError, match="does not tell right answers from wrong ones"):
        fit([Sample(0.1 if i % 2 else 0.9, Place(0.0, 0.0), True, bool(i % 2)) for i in range(2000)])


def test_the_measures_by_hand() -> None:
    samples = [Sample(0.0, Place(0.0, 0.0), True, right) for right in (True, False, False, True)]
    assert brier([1.0, 0.0, 0.5, 0.5], samples) == pytest.approx((0 + 0 + 0.25 + 0.25) / 4)
    # One bin holds 1.0 (right) and 0.95 (right), another 0.05 and 0.01 (one right).
    samples = [Sample(0.0, Place(0.0, 0.0), True, right) for right in (True, True, True, False)]
    assert calibration_error([1.0, 0.95, 0.05, 0.01], samples) == pytest.approx((0.05 + 0.94) / 4)
    assert calibration_error([], []) == brier([], []) == 0


@pytest.fixture
def folder(make_checkpoint, tmp_path: Path) -> Path:
    return Path(shutil.copytree(make_checkpoint("split"), tmp_path / "model"))


def test_config_json_gets_the_numbers_and_nothing_else_changes(folder: Path) -> None:
    writable(folder)
    before = json.loads((folder / "config.json").read_text())
    files = sorted(p.name for p in folder.iterdir())
    write(folder, TRUE)
    write(folder, TRUE)
    after = json.loads((folder / "config.json").read_text())
    assert checkpoints.read(folder).infill.calibration == TRUE
    assert after["infill"].pop("calibration") == {"slope": 0.7, "offset": -0.5, "at_indent": -1.2, "text_follows": 0.6}
    before["infill"].pop("calibration", None)
    assert after == before
    assert list(after) == list(before)
    assert sorted(p.name for p in folder.iterdir()) == files


def test_a_write_that_fails_leaves_the_old_config(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, files = (folder / "config.json").read_text(), sorted(p.name for p in folder.iterdir())

    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(CheckpointError, match=r"config.json cannot be written \(No space left on device\)\. Check its permissions"):
        write(folder, TRUE)
    assert (folder / "config.json").read_text() == before
    assert sorted(p.name for p in folder.iterdir()) == files


def test_foreign_checkpoints_have_no_place_for_it(tmp_path: Path) -> None:
    foreign = family_checkpoints.write("dream", tmp_path / "dream")
    with pytest.raises(RequestError, match=r"of the family dream.*Only checkpoints in dlsp's own format"):
        writable(foreign)
