"""Calibrated confidence: the curve, where a hole stands, what a checkpoint says of it, and that the engine applies it once."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest

from engine.api import Decoding, Hole, InfillRequest, InfillResult
from engine.errors import CheckpointError
from engine.models import checkpoint as checkpoints
from engine.models.families import Calibration
from engine.runtime.calibration import MOST_CERTAIN, Place, calibrated, logit, place_between, place_of
from engine.runtime.engine import Engine
from engine.text.regions import split

NOWHERE = Place(0.0, 0.0)
CURVE = Calibration(slope=0.8, offset=0.3, at_indent=-1.0, text_follows=-0.5)


def test_without_numbers_nothing_changes() -> None:
    for raw in (0.0, 1e-300, 0.37, 1.0):
        assert calibrated(None, raw, Place(1.0, 1.0), True) == raw
    same = Calibration(slope=1.0, offset=0.0)
    assert calibrated(same, 0.37, Place(1.0, 1.0), True) == pytest.approx(0.37)


def test_the_order_of_answers_at_a_place_stays() -> None:
    for place in (NOWHERE, Place(1.0, 0.0), Place(0.0, 1.0), Place(1.0, 1.0)):
        found = [calibrated(CURVE, raw / 1000, place, True) for raw in range(1001)]
        assert found == sorted(found)
        assert len(set(found)) == len(found)
        assert 0 <= found[0] < 0.01
        assert 0.99 < found[-1] <= 1


def test_places_count() -> None:
    expected = 1 / (1 + math.exp(-(0.8 * logit(0.6) + 0.3 - 1.0)))
    assert calibrated(CURVE, 0.6, Place(1.0, 0.0), True) == pytest.approx(expected)
    assert calibrated(CURVE, 0.6, Place(0.0, 1.0), True) < calibrated(CURVE, 0.6, NOWHERE, True)


def test_what_was_cut_off_is_never_trusted_more_than_raw() -> None:
    assert calibrated(CURVE, 0.6, NOWHERE, True) > 0.6
    assert calibrated(CURVE, 0.6, NOWHERE, False) == 0.6
    assert calibrated(CURVE, 0.6, Place(1.0, 1.0), False) == calibrated(CURVE, 0.6, Place(1.0, 1.0), True) < 0.6


@pytest.mark.parametrize("slope", [1e-6, 1.0, 1e300])
@pytest.mark.parametrize("offset", [-1e300, 0.0, 1e300])
def test_numbers_of_any_size_give_a_probability(slope: float, offset: float) -> None:
    for raw in (0.0, 5e-324, 0.5, 1.0):
        assert 0 <= calibrated(Calibration(slope=slope, offset=offset), raw, NOWHERE, True) <= 1


def test_logits_are_bounded() -> None:
    assert logit(0.0) == logit(1e-200) == -MOST_CERTAIN
    assert logit(1.0) == MOST_CERTAIN
    assert logit(0.5) == 0


@pytest.mark.parametrize(
    ("before", "behind", "at_indent", "text_follows"),
    [
        ("x = 1\n    ", "\ny = 2\n", 1.0, 0.0),
        ("", "", 1.0, 0.0),
        ("x = ", "\n  z", 0.0, 0.0),
        ("f(", ")\n", 0.0, 1.0),
        ("f(", "  \t\n)", 0.0, 0.0),
    ],
)
def test_where_a_hole_stands(before: str, behind: str, at_indent: float, text_follows: float) -> None:
    assert place_between(before, behind) == Place(at_indent, text_follows)


def test_holes_and_locks_have_places_of_their_own() -> None:
    request = InfillRequest(
        prefix="def f():\n    ",
        suffix="\n",
        holes=(Hole(after=" "), Hole(after="\n    "), Hole(draft="a = 1 + b", locked=((0, 4),))),
    )
    regions = split(request)
    assert regions.recipes == ((0,), (1,), ("a = ", 2))
    places = [place_of(regions, [part for part in recipe if isinstance(part, int)]) for recipe in regions.recipes]
    # The first two share a line, so neither is alone on it.
    assert places == [Place(1.0, 1.0), Place(0.0, 0.0), Place(0.0, 0.0)]


@pytest.fixture(scope="module")
def raw_folder(make_checkpoint) -> Path:
    return make_checkpoint("split")


@pytest.fixture(scope="module")
def engines(raw_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Engine, Engine]:
    """The same weights without and with a calibration."""
    folder = Path(shutil.copytree(raw_folder, tmp_path_factory.mktemp("calibrated") / "model"))
    edit(folder, {"slope": 0.5, "offset": 1, "at_indent": -0.25, "text_follows": -0.5})
    return tuple(Engine.load(str(f), device="cpu", dtype="float32") for f in (raw_folder, folder))  # type: ignore[return-value]


def edit(folder: Path, calibration: object) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["infill"]["calibration"] = calibration
    path.write_text(json.dumps(config))


def both(engines: tuple[Engine, Engine], request: InfillRequest) -> tuple[InfillResult, InfillResult]:
    one, other = (engine.infill(request) for engine in engines)
    assert [fill.text for fill in one.fills] == [fill.text for fill in other.fills]
    return one, other


def test_the_engine_applies_it_once_to_every_hole(engines: tuple[Engine, Engine]) -> None:
    holes = (Hole(after=" = "), Hole(after="\n    return ("), Hole())
    fixed = Decoding(length="fixed", slots=3)  # a random network does not know where to end
    request = InfillRequest(prefix="def add(first, second):\n    ", suffix="\n", holes=holes, decoding=fixed)
    raw, found = both(engines, request)
    places = [Place(1.0, 1.0), Place(0.0, 0.0), Place(0.0, 0.0)]
    calibration = engines[1].calibration
    assert raw.finish == "complete"
    for one, other, place in zip(raw.fills, found.fills, places, strict=True):
        assert other.confidence == pytest.approx(calibrated(calibration, one.confidence, place, True))
        assert other.confidence != pytest.approx(one.confidence)


def test_a_hole_of_several_gaps_and_alternatives_get_it_too(engines: tuple[Engine, Engine]) -> None:
    locked = Hole(draft="a = first + b", noise=1.0, locked=((2, 3),), max_tokens=12)
    raw, found = both(engines, InfillRequest(prefix="    ", suffix=")\n", holes=(locked,), decoding=Decoding(alternatives=3)))
    place = Place(1.0, 1.0)
    assert len(raw.others) == len(found.others) >= 1
    for one, other in zip((raw.fills, *raw.others), (found.fills, *found.others), strict=True):
        whole = calibrated(engines[1].calibration, one[0].confidence, place, True)
        assert other[0].confidence == pytest.approx(whole) or other[0].confidence == pytest.approx(min(one[0].confidence, whole))


def test_a_draft_that_stands_is_no_guess(engines: tuple[Engine, Engine]) -> None:
    _, found = both(engines, InfillRequest(prefix="x = ", suffix="\n", holes=(Hole(draft="1", noise=0.0),)))
    assert found.fills[0].confidence == 1.0


def test_an_answer_that_was_stopped_is_not_more_sure(engines: tuple[Engine, Engine]) -> None:
    request = InfillRequest(prefix="x = ", suffix="\n", holes=(Hole(max_tokens=40, max_lines=0),))
    seen: list[list[float]] = []
    for engine in engines:
        steps: list[object] = []
        result = engine.infill(request, cancelled=lambda steps=steps: len(steps) >= 2, on_step=steps.append)  # type: ignore[misc]
        assert result.finish == "cancelled"
        seen.append([fill.confidence for fill in result.fills])
    assert seen[1][0] <= seen[0][0]


def test_a_config_that_says_nothing_is_the_identity(raw_folder: Path) -> None:
    assert checkpoints.read(raw_folder).infill.calibration is None


@pytest.mark.parametrize(
    ("calibration", "said"),
    [
        ({"slope": -1.0, "offset": 0.0}, "the slope of the calibration must be above 0, it is -1"),
        ({"slope": 0, "offset": 0.0}, "the slope of the calibration must be above 0, it is 0"),
        ({"slope": 1.0}, "missing required field `offset`"),
        ({"slope": "steep", "offset": 0.0}, "Expected `float`, got `str`"),
        ({"slope": float("inf"), "offset": 0.0}, "must be finite"),
        ({"slope": 1.0, "offset": float("nan")}, "must be finite"),
        ({"slope": 1.0, "offset": 0.0, "kind": 1.0}, "unknown field `kind`"),
        ([1.0, 0.0], "calibration"),
    ],
)
def test_malformed_numbers_are_refused(raw_folder: Path, tmp_path: Path, calibration: object, said: str) -> None:
    folder = Path(shutil.copytree(raw_folder, tmp_path / "model"))
    edit(folder, calibration)
    with pytest.raises(CheckpointError) as caught:
        checkpoints.read(folder)
    assert said in str(caught.value)
    assert "config.json is not a valid model config" in str(caught.value)
    assert caught.value.action
