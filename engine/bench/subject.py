"""The model under measurement: loads it and says exactly which one it is, by a hash of its files.

A name is not enough: a checkpoint under training keeps its name while its figures change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.api import InfillRequest
from engine.bench.data import Case
from engine.config import EngineConfig
from engine.models import checkpoint, store
from engine.runtime.decoding import MOST_SLOTS
from engine.runtime.engine import Engine
from engine.text.healing import heal
from engine.text.regions import split


def load(config: EngineConfig) -> tuple[Engine, dict[str, Any]]:
    """The engine and the facts to report about it. Raises CheckpointError and DeviceError as `Engine.load` does."""
    engine = Engine.load(config.model, device=config.device, dtype=config.dtype, threads=config.threads)
    facts = {"name": engine.model, "weights": digest(checkpoint.find(config.model)), "device": engine.device, "dtype": engine.dtype}
    if engine.fallback_reason:
        facts["fallback"] = engine.fallback_reason
    return engine, facts


def token_counter(engine: Engine) -> Callable[[str], int]:
    """How many tokens a text has for this model, encoded on its own with special tokens off."""
    return lambda text: len(engine.tokenizer.encode(text).ids) if text else 0


def slot_counter(engine: Engine, healing: bool) -> Callable[[Case], int]:
    """How many slots the true content of a case takes on this engine's canvas; never more than the engine allows.

    With `healing` the canvas begins with the word that is taken back from the prefix and ends before a line end that the
    engine adds itself.
    """

    def count(case: Case) -> int:
        if not healing:
            return min(MOST_SLOTS, max(1, len(engine.tokenizer.encode(case.middle).ids)))
        gap = split(InfillRequest(prefix=case.prefix, suffix=case.suffix)).gaps[0]
        text = heal(case.prefix, engine.tokenizer).forced.decode() + case.middle.removesuffix(gap.closing)
        return min(MOST_SLOTS, max(1, len(engine.tokenizer.encode(text).ids)))

    return count


def digest(folder: Path) -> str:
    """Sixteen hexadecimal digits that are equal for equal config, tokenizer and weights, whatever the folder is called.

    The hashes of a pulled model's weights are those that were checked when it was pulled: reading them again would take longer
    than many a bench.
    """
    model = store.read(folder)
    known = model.hashes() if model and not model.damaged() else {}
    total = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.suffix in (".json", ".safetensors") and p.name != store.MANIFEST):
        total.update(path.name.encode() + b"\0")
        if path.suffix == ".safetensors" and path.name in known:
            total.update(bytes.fromhex(known[path.name]))
            continue
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:16]
