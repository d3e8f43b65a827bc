"""docs/models.md against the code: families, policies, memory figures, and commands that the command line takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import msgspec
import pytest
import torch
import typer

from dlsp.cli.bench import bench_app
from engine.api import Decoding, LengthPolicy, Remask, Schedule, Score
from engine.bench.decoding import choose
from engine.models.config import ModelConfig, MoEConfig
from engine.models.families import AFFORDABLE, FAMILIES, GROWTH, REFUSED
from engine.models.quantize import parameter_count
from engine.runtime.loading import footprint

PAGE = (Path(__file__).parents[3] / "docs" / "models.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| ")]

QWEN = {"vocab_size": 151936, "qk_norm": True, "head_dim": 128}
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "DreamOn 7B": ("dreamon", {"hidden_size": 3584, "intermediate_size": 18944, "num_layers": 28, "num_heads": 28, "num_kv_heads": 4}),
    "Dream, Dream-Coder, DiffuCoder 7B": (
        "dream",
        {"hidden_size": 3584, "intermediate_size": 18944, "num_layers": 28, "num_heads": 28, "num_kv_heads": 4},
    ),
    "Open-dCoder 0.5B": (
        "open-dcoder",
        {"hidden_size": 896, "intermediate_size": 4864, "num_layers": 24, "num_heads": 14, "num_kv_heads": 2, "head_dim": 64}
        | {"vocab_size": 151936, "qkv_bias": True, "tie_word_embeddings": True},
    ),
    "a2d Qwen2.5-Coder 0.5B": (
        "a2d-qwen2",
        {"hidden_size": 896, "intermediate_size": 4864, "num_layers": 24, "num_heads": 14, "num_kv_heads": 2, "head_dim": 64}
        | {"vocab_size": 151936, "qkv_bias": True},
    ),
    "a2d Qwen3 0.6B": (
        "a2d-qwen3",
        QWEN | {"hidden_size": 1024, "intermediate_size": 3072, "num_layers": 28, "num_heads": 16, "num_kv_heads": 8},
    ),
    "CoDA 1.7B": (
        "coda",
        QWEN
        | {
            "hidden_size": 2048,
            "intermediate_size": 6144,
            "num_layers": 28,
            "num_heads": 16,
            "num_kv_heads": 8,
            "tie_word_embeddings": True,
        },
    ),
    "LLaDA 8B, LLaDA 1.5": (
        "llada",
        {"vocab_size": 126464, "hidden_size": 4096, "intermediate_size": 12288, "num_layers": 32, "num_heads": 32, "num_kv_heads": 32},
    ),
    "iLLaDA 8B": (
        "illada",
        {"vocab_size": 155136, "hidden_size": 4096, "intermediate_size": 14336, "num_layers": 32, "num_heads": 32, "num_kv_heads": 8}
        | {"tie_word_embeddings": True},
    ),
    "LLaDA-MoE 7B-A1B": (
        "llada-moe",
        QWEN
        | {"vocab_size": 157184, "hidden_size": 2048, "intermediate_size": 8192, "num_layers": 16, "num_heads": 16, "num_kv_heads": 16}
        | {"moe": MoEConfig(num_experts=64, experts_per_token=8, expert_size=1024)},
    ),
    "RND1 30B-A3B": (
        "rnd1",
        QWEN
        | {"hidden_size": 2048, "intermediate_size": 6144, "num_layers": 48, "num_heads": 32, "num_kv_heads": 4}
        | {"moe": MoEConfig(num_experts=128, experts_per_token=8, expert_size=768)},
    ),
    "Stable-DiffCoder 8B": (
        "stable-diffcoder",
        {"vocab_size": 155136, "hidden_size": 4096, "intermediate_size": 14336, "num_layers": 32, "num_heads": 32, "num_kv_heads": 8},
    ),
    "LLaDA2 mini 16B-A1.4B": (
        "llada2",
        QWEN
        | {"vocab_size": 157184, "hidden_size": 2048, "intermediate_size": 5120, "num_layers": 20, "num_heads": 16, "num_kv_heads": 4}
        | {"moe": MoEConfig(num_experts=256, experts_per_token=8, expert_size=512, shared_size=512, dense_layers=1)},
    ),
}
"""The published shapes by the names of the page: family, and what differs from Qwen2.5 7B's vocabulary and an untied head."""


def config_of(shape: dict[str, Any]) -> ModelConfig:
    dream = {"vocab_size": 152064, "head_dim": 128, "qkv_bias": shape.get("vocab_size") is None, "tie_word_embeddings": False}
    return ModelConfig(**(dream | shape))


def needed(name: str, precision: Any) -> tuple[float, float]:
    """Weights and work space of a model in GB, with its family's longest default prompt."""
    family, shape = SHAPES[name]
    row = next(f for f in FAMILIES if f.name == family)
    assert row.decoding is not None
    room = min(row.context, AFFORDABLE) - GROWTH
    infill = msgspec.structs.replace(row.decoding, prefix_tokens=room - room // 3, suffix_tokens=room // 3)

    def figures(config: ModelConfig) -> tuple[float, float]:
        checkpoint: Any = SimpleNamespace(config=config, infill=infill)
        found = footprint(checkpoint, precision, torch.bfloat16)
        return found.weights / 1e9, found.workspace / 1e9

    weights, work = (deep(lambda config, part=part: figures(config)[part], config_of(shape)) for part in (0, 1))
    return weights, work


def deep(measure: Callable[[ModelConfig], float], config: ModelConfig) -> float:
    """`measure` of a whole model from models of two and of three layers: every further layer adds the same."""
    two, three = (measure(msgspec.structs.replace(config, num_layers=layers)) for layers in (2, 3))
    return two + (config.num_layers - 2) * (three - two)


@pytest.mark.parametrize("name", SHAPES)
def test_memory_is_what_the_engine_computes(name: str) -> None:
    (row,) = [row for row in ROWS if row[0] == name]
    count = deep(parameter_count, config_of(SHAPES[name][1])) / 1e9
    expected = [name, f"{count:.2f}B"]
    for precision in ("bfloat16", "int8", "int4"):
        weights, work = needed(name, precision)
        expected.append(f"{weights:.1f} + {work:.1f} GB")
    assert row == expected


@pytest.mark.parametrize(
    ("identifier", "name"),
    [
        ("Dream-org/DreamOn-v0-7B", "DreamOn 7B"),
        ("Dream-org/Dream-Coder-v0-Instruct-7B", "Dream, Dream-Coder, DiffuCoder 7B"),
        ("radicalnumerics/RND1-Base-0910", "RND1 30B-A3B"),
        ("fredzzp/open-dcoder-0.5B", "Open-dCoder 0.5B"),
    ],
)
def test_what_is_recommended_fits(identifier: str, name: str) -> None:
    rows = [row for row in ROWS if len(row) == 7 and row[1].strip("*`") == identifier]
    assert rows
    for row in rows:
        weights, work = needed(name, row[2])
        assert row[3:5] == [f"{weights:.1f} GB", f"{round(weights, 1) + round(work, 1):.1f} GB"]
        card = float(re.sub(r"[^0-9]", "", row[0])) * 2**30 / 1e9
        assert weights + work + 0.3 <= card, f"{identifier} in {row[2]} does not fit {row[0]}"


def test_every_family_is_there_as_it_is_decoded() -> None:
    table = {name: row for row in ROWS if len(row) == 8 for name in re.findall(r"`([^`]+)`", row[0])}
    assert set(table) == {family.name for family in FAMILIES}
    for family in FAMILIES:
        row = table[family.name]
        assert row[7].startswith(family.licence), family.name
        if family.decoding is not None:
            assert row[4].replace(" ", "_") == family.decoding.layout, family.name
            assert row[5] == family.decoding.length, family.name
            assert row[6] == f"{family.context:,}", family.name
            assert family.notice == "" or "only" in row[7] or "not for" in row[7] or "Llama" in row[7], family.name


def test_what_is_refused_is_named() -> None:
    for part, _ in REFUSED:
        assert part in PAGE


@pytest.mark.parametrize("kind", [LengthPolicy, Score, Schedule, Remask])
def test_every_choice_is_explained(kind: Any) -> None:
    for name in get_args(kind):
        assert not name or f"`{name}`" in PAGE, name


def commands() -> list[list[str]]:
    """Every `dlsp bench` command of the page, also those of the tables, which leave out the beginning."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    lines = [line.split(" && ")[0] for block in blocks for line in block.splitlines() if line.startswith("dlsp bench ")]
    found = [shlex.split(line, comments=True)[2:] for line in lines]
    found += [["holes", *shlex.split(text)] for text in re.findall(r"`(--(?:set|model) [^`]*--[^`]*)`", PAGE)]
    return found


def test_the_commands_are_ones() -> None:
    assert len(commands()) > 15
    group: Any = typer.main.get_command(bench_app)
    for name, *arguments in commands():
        context = group.commands[name].make_context(name, list(arguments))
        if name == "holes":
            choose(context.params["length_policy"], Decoding(slots=context.params["slots"]))
            assert context.params["score"] in get_args(Score)
            assert context.params["schedule"] in get_args(Schedule)
