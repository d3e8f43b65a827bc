"""The examples of families agree with docs/models.md, and their names can be pulled."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.models import store
from engine.models.examples import EXAMPLES
from engine.models.families import FAMILIES

PAGE = (Path(__file__).parents[3] / "docs" / "models.md").read_text(encoding="utf-8")
FIGURES = {
    "dreamon": "DreamOn 7B",
    "dream": "Dream, Dream-Coder, DiffuCoder 7B",
    "diffucoder": "Dream, Dream-Coder, DiffuCoder 7B",
    "open-dcoder": "Open-dCoder 0.5B",
    "a2d-qwen2": "a2d Qwen2.5-Coder 0.5B",
    "a2d-qwen3": "a2d Qwen3 0.6B",
    "coda": "CoDA 1.7B",
    "llada": "LLaDA 8B, LLaDA 1.5",
    "illada": "iLLaDA 8B",
    "llada-moe": "LLaDA-MoE 7B-A1B",
    "rnd1": "RND1 30B-A3B",
    "stable-diffcoder": "Stable-DiffCoder 8B",
    "llada2": "LLaDA2 mini 16B-A1.4B",
}


def test_every_family_that_is_published_has_an_example() -> None:
    assert {family.name for family in FAMILIES} - EXAMPLES.keys() == {"dlsp", "a2d-llama"}
    assert all(store.is_name(example.id) for example in EXAMPLES.values())
    assert {name for name, example in EXAMPLES.items() if example.bfloat16} == FIGURES.keys()


@pytest.mark.parametrize("family", FIGURES)
def test_figures_are_those_of_the_page(family: str) -> None:
    example = EXAMPLES[family]
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| {FIGURES[family]} |")).strip("| ").split(" | ")
    assert row[1] == f"{example.parameters:.2f}B"
    for cell, figure in ((row[2], example.bfloat16), (row[4], example.int4)):
        weights, work = (float(number) for number in re.findall(r"[\d.]+", cell))
        assert figure == pytest.approx(weights + work, abs=0.11)
    assert f"`{example.id}`" in PAGE
