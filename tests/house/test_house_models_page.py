"""docs/models.md against the engine's defaults and what `dlsp models` offers; its figures and commands have tests in tests/engine."""

from __future__ import annotations

import json
from pathlib import Path

from engine.models.examples import EXAMPLES
from engine.models.families import AFFORDABLE, FAMILIES
from engine.runtime.decoding import _LEVELS, _THRESHOLDS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")


def test_whatever_can_be_pulled_by_the_list_is_on_the_page() -> None:
    assert {example.id for example in EXAMPLES.values() if f"`{example.id}`" not in PAGE} == set()


def test_defaults_are_those_of_the_engine() -> None:
    nano = json.loads((ROOT / "engine" / "weights" / "nano" / "config.json").read_text(encoding="utf-8"))["infill"]
    (dreamon,) = (family.decoding for family in FAMILIES if family.name == "dreamon")
    assert dreamon is not None
    said = (
        f"up to {AFFORDABLE:,} rows",
        f"never longer than {AFFORDABLE:,} tokens",
        f"| {nano['prefix_tokens']} + {nano['suffix_tokens']} |",
        f"starts with {dreamon.canvas} slots",
        f"{_THRESHOLDS['confidence']:g} by default ({_THRESHOLDS['margin']:g} for `margin`, {_THRESHOLDS['entropy']:g} for `entropy`",
        f"below `level`, {_LEVELS['factor']:g} by default",
        f"`level` nats, {_LEVELS['entropy-bound']:g} by default",
    )
    assert [each for each in said if each not in " ".join(PAGE.split())] == []
