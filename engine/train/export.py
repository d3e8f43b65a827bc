"""Turns a training state into a checkpoint that the engine loads: sharded safetensors, config.json, tokenizer.json."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch

from engine.api import Schedule
from engine.models.checkpoint import save
from engine.models.families import FAMILIES, InfillDefaults, own_config_json
from engine.models.transformer import Transformer
from engine.train.bpe import DOCUMENT, END, FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX, MASK, PAD
from engine.train.trainer import TrainConfig, mean_weights, read_state


def export(states: Sequence[Path], tokenizer_path: Path, destination: Path, name: str, infill: InfillDefaults | None = None) -> None:
    """Write the network of a training state, averaged weights where the run kept any, to `destination` in bfloat16.

    Of several states the mean is written (see `mean_weights`), with the last one's configuration. Raises ConfigError where their
    networks have different shapes, and CheckpointError as `read_state`.
    """
    last = read_state(states[-1])
    config = msgspec.json.decode(last["config"], type=TrainConfig)
    network = Transformer(config.model)
    network.load_state_dict(mean_weights(states, config.model))
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
