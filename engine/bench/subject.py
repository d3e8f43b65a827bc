"""The model under measurement: loads it and says exactly which one it is, by a hash of its files.

A name is not enough: a checkpoint under training keeps its name while its figures change.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from engine.config import EngineConfig
from engine.models import checkpoint
from engine.runtime.engine import Engine


def load(config: EngineConfig) -> tuple[Engine, dict[str, Any]]:
    """The engine and the facts to report about it. Raises CheckpointError and DeviceError as `Engine.load` does."""
    engine = Engine.load(config.model, device=config.device, dtype=config.dtype, threads=config.threads)
    facts = {"name": engine.model, "weights": digest(checkpoint.find(config.model)), "device": engine.device, "dtype": engine.dtype}
    if engine.fallback_reason:
        facts["fallback"] = engine.fallback_reason
    return engine, facts


def digest(folder: Path) -> str:
    """Sixteen hexadecimal digits that are equal for equal config, tokenizer and weights, whatever the folder is called."""
    total = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.suffix in (".json", ".safetensors")):
        total.update(path.name.encode() + b"\0")
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:16]
