"""Turns a training state into a checkpoint that the engine loads: sharded safetensors, config.json, tokenizer.json."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from engine.api import Schedule
from engine.errors import ConfigError
from engine.models.checkpoint import save
from engine.models.families import FAMILIES, InfillDefaults, own_config_json
from engine.models.transformer import Transformer
from engine.train.bpe import DOCUMENT, END, FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX, MASK, PAD
from engine.train.trainer import TrainConfig


def export(states: Sequence[Path], tokenizer_path: Path, destination: Path, name: str, infill: InfillDefaults | None = None) -> None:
    """Write the network of a training state, averaged weights where the run kept any, to `destination` in bfloat16.

    Of several states, runs of one network that began with each other's weights, the mean is written (model soups, arXiv 2203.05482),
    with the last one's configuration. Raises ConfigError where their networks have different shapes.
    """
    config, network = _network(states[-1])
    for parameter, mean in zip(network.parameters(), _means(states, config), strict=True):
        parameter.data.copy_(mean)
    tokens = {"mask": MASK, "end": END, "pad": PAD, "document": DOCUMENT}
    # The split layout counts each side of its own hole; in the others one row holds both sides, the canvas and the marks.
    side = config.window if config.layout == "split" else (config.window - config.canvas - 4) // 2
    # Windows are cut from single documents: text from other files is nothing it has learned to use.
    # What has learned to read its canvas left to right answers best that way (docs/decisions/0006-speculation.md).
    speculates = config.layout == "split" and config.verify_share > 0
    schedule: Schedule = "speculative" if speculates else "threshold"
    defaults = infill or InfillDefaults(canvas=config.canvas, schedule=schedule, prefix_tokens=side, suffix_tokens=side, snippets=False)
    if config.layout in ("suffix-first", "causal"):
        tokens |= {"fim_prefix": FIM_PREFIX, "fim_suffix": FIM_SUFFIX, "fim_middle": FIM_MIDDLE}
        defaults = msgspec.structs.replace(defaults, layout="suffix_first")
    save(network, own_config_json(config.model, tokens, defaults, name), FAMILIES[0], destination, dtype=torch.bfloat16)
    if tokenizer_path.resolve() != (destination / "tokenizer.json").resolve():
        shutil.copyfile(tokenizer_path, destination / "tokenizer.json")


def _network(state_path: Path) -> tuple[TrainConfig, Transformer]:
    state = torch.load(state_path, weights_only=True, map_location="cpu")
    config = msgspec.json.decode(state["config"], type=TrainConfig)
    network = Transformer(config.model)
    network.load_state_dict(state["model"])
    network.load_state_dict(state.get("average") or {}, strict=False)
    return config, network


def _means(states: Sequence[Path], config: TrainConfig) -> list[Tensor]:
    sums: list[Tensor] = []
    for path in states:
        theirs, network = _network(path)
        if theirs.model != config.model:
            raise ConfigError(f"The network of {path} has another shape than that of {states[-1]}.", "Take runs of one preset.")
        weights = [parameter.data for parameter in network.parameters()]
        sums = [total + each for total, each in zip(sums, weights, strict=True)] if sums else weights
    return [total / len(states) for total in sums]
