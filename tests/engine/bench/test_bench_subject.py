"""What the benches know of a loaded model: lengths in its tokens, and the slots that a true answer takes on its canvas."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.bench.data import Case
from engine.bench.subject import digest, slot_counter, token_counter
from engine.runtime.decoding import MOST_SLOTS
from engine.text.tokenizer import Tokenizer

NANO = Path(__file__).parents[3] / "engine" / "weights" / "nano"


@pytest.fixture(scope="module")
def engine() -> Any:
    return SimpleNamespace(tokenizer=Tokenizer(NANO / "tokenizer.json"))


def test_texts_are_counted_on_their_own_with_special_tokens_off(engine: Any) -> None:
    count = token_counter(engine)
    assert count("") == 0
    assert count("return x\n") == len(engine.tokenizer.encode("return x\n").ids)
    assert count("<|mask|>") > 1


def test_the_canvas_holds_what_healing_takes_back(engine: Any) -> None:
    """The word in front of the cursor is written anew, so the truth takes the slots of both together."""
    count, slots = token_counter(engine), slot_counter(engine, healing=True)
    inside = Case(id="", prefix="total = num", suffix=" + 1\n", middle="bers")
    assert slots(inside) == count(" numbers")
    behind = Case(id="", prefix="for x in", suffix=":\n", middle=" numbers")
    assert slots(behind) == count(" in numbers")
    assert slots(behind) > count(" numbers")


def test_a_line_end_that_the_engine_adds_takes_no_slot(engine: Any) -> None:
    count, slots = token_counter(engine), slot_counter(engine, healing=True)
    whole_line = Case(id="", prefix="x = 1\n", suffix="z = 3\n", middle="y = 2\n")
    assert slots(whole_line) == count("\ny = 2")
    with_its_own = Case(id="", prefix="x = 1\n", suffix="\nz = 3\n", middle="y = 2")
    assert slots(with_its_own) == count("\ny = 2")


def test_without_healing_the_canvas_holds_the_truth_alone(engine: Any) -> None:
    case = Case(id="", prefix="x = 1\n", suffix="z = 3\n", middle="y = 2\n")
    assert slot_counter(engine, healing=False)(case) == token_counter(engine)("y = 2\n")


def test_no_more_slots_than_the_engine_has(engine: Any) -> None:
    assert slot_counter(engine, healing=True)(Case(id="", prefix="", suffix="", middle="a b " * 999)) == MOST_SLOTS


def test_a_model_is_known_by_its_files(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(b"weights")
    (second / "notes.md").write_text("not part of the model")
    assert digest(first) == digest(second)
    (second / "model.safetensors").write_bytes(b"other weights")
    assert digest(first) != digest(second)
