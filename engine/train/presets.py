"""Named training runs: what is trained, for how long, on what kind of machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from engine.errors import ConfigError
from engine.models.config import ModelConfig
from engine.text.tokenizer import Tokenizer
from engine.train.bpe import DOCUMENT, END, FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX, MASK
from engine.train.trainer import TrainConfig

PRESETS: dict[str, dict[str, Any]] = {
    # The size that ships, 7.2M parameters, in 112 minutes of two CPU cores. How the shipped weights went on from there: README.md.
    "cpu": {
        "model": {"hidden_size": 256, "intermediate_size": 768, "num_layers": 6, "num_heads": 4, "num_kv_heads": 4, "head_dim": 64},
        "run": {"window": 512, "holes": 16, "canvas": 16, "batch": 8, "minutes": 112.0},
    },
    # One H200 for 22 minutes: 30M parameters (60 MB in bfloat16), about three passes over the corpus. Sixteen cores draw the batches.
    # Half of the canvases are read left to right, for that is how `speculative` decoding checks its drafts.
    "h200": {
        "model": {"hidden_size": 448, "intermediate_size": 1344, "num_layers": 10, "num_heads": 7, "num_kv_heads": 7, "head_dim": 64},
        "run": {
            "window": 512,
            "holes": 16,
            "canvas": 16,
            "verify_share": 0.5,
            "package_weights": False,
            "batch": 96,
            "minutes": 22.0,
            "warmup_steps": 200,
            "checkpoint_minutes": 4.0,
            "device": "cuda",
            "workers": 14,
            "ema": 0.998,
        },
    },
    # For comparing layouts and recipes: 3.4M parameters, a quarter of an hour each when two cores have nothing else to do.
    "compare": {
        "model": {"hidden_size": 192, "intermediate_size": 576, "num_layers": 4, "num_heads": 3, "num_kv_heads": 3, "head_dim": 64},
        "run": {"window": 512, "holes": 16, "canvas": 16, "batch": 8, "steps": 1200, "minutes": 600.0},
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
    layout = changes.get("layout", "split")
    model = ModelConfig(
        vocab_size=tokenizer.vocab_size, qk_norm=True, context_length=plan["run"]["window"], **_ATTENTION[str(layout)], **plan["model"]
    )
    fim = [found(mark) or 0 for mark in (FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE)]
    if layout in ("suffix-first", "causal") and 0 in fim:
        raise ConfigError(f"The layout {layout} needs FIM marks, which this tokenizer lacks.", "Train one with `dlsp train tokenizer`.")
    return msgspec.convert({"model": msgspec.to_builtins(model), **ids, "fim_ids": fim, **plan["run"], **changes}, TrainConfig)


_ATTENTION: dict[str, dict[str, Any]] = {
    "split": {"attention": "split", "num_roles": 4},
    "full": {"attention": "full"},
    "suffix-first": {"attention": "block_causal", "block_length": 1, "num_roles": 4},
    "causal": {"attention": "block_causal", "block_length": 1, "logit_shift": 1},
}
