"""Named training runs: what is trained, for how long, on what kind of machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from engine.errors import ConfigError
from engine.models.config import ModelConfig
from engine.text.tokenizer import Tokenizer
from engine.train.bpe import DOCUMENT, END, MASK
from engine.train.trainer import TrainConfig

PRESETS: dict[str, dict[str, Any]] = {
    # The shipped checkpoint: 7.2M parameters, 112 minutes of two CPU cores.
    "cpu": {
        "model": {"hidden_size": 256, "intermediate_size": 768, "num_layers": 6, "num_heads": 4, "num_kv_heads": 4, "head_dim": 64},
        "run": {"window": 512, "holes": 16, "canvas": 16, "batch": 8, "minutes": 112.0},
    },
    # A rehearsal of the whole path in about a minute; its model is of no use.
    "smoke": {
        "model": {"hidden_size": 64, "intermediate_size": 128, "num_layers": 2, "num_heads": 2, "num_kv_heads": 2, "head_dim": 32},
        "run": {"window": 128, "holes": 12, "canvas": 16, "batch": 2, "steps": 40, "warmup_steps": 5, "compile": False},
    },
}


def configure(preset: str, tokenizer: Tokenizer, **changes: object) -> TrainConfig:
    """The configuration of a preset for `tokenizer`, with `changes` to TrainConfig fields. Raises ConfigError for an unknown name."""
    if preset not in PRESETS:
        raise ConfigError(f"There is no training preset {preset!r}.", f"Choose one of: {', '.join(PRESETS)}.")
    found: Callable[[str], int | None] = tokenizer.special_id
    ids = {"mask_id": found(MASK), "end_id": found(END), "document_id": found(DOCUMENT)}
    if None in ids.values():
        raise ConfigError("The tokenizer lacks a special token.", "Train one with `dlsp train tokenizer`.")
    plan = PRESETS[preset]
    model = ModelConfig(
        vocab_size=tokenizer.vocab_size, attention="split", num_roles=4, qk_norm=True, context_length=plan["run"]["window"], **plan["model"]
    )
    return msgspec.convert({"model": msgspec.to_builtins(model), **ids, **plan["run"], **changes}, TrainConfig)
