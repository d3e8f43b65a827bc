"""Small random checkpoints in our own on-disk format, one per attention kind, and the tokenizer they share."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import family_checkpoints
from engine.models.checkpoint import save
from engine.models.families import FAMILIES, InfillDefaults, own_config_json
from engine.runtime.engine import Engine
from engine.text.tokenizer import Tokenizer
from engine.train import bpe
from tiny_models import SAMPLE, tiny_config, tiny_network

# The networks here are tiny: a second thread gains nothing, and on a busy machine the threads wait for each other.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    bpe.train([SAMPLE * 20], 400, path)
    return path


@pytest.fixture(scope="session")
def tokenizer(tokenizer_file: Path) -> Tokenizer:
    return Tokenizer(tokenizer_file)


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory, tokenizer_file: Path, tokenizer: Tokenizer):
    def make(attention: str = "split", shard_bytes: int = 15_000_000, **facts: object) -> Path:
        directory = tmp_path_factory.mktemp(f"tiny-{attention}")
        config = tiny_config(tokenizer, attention, **facts)
        tokens = {"mask": bpe.MASK, "end": bpe.END, "pad": bpe.PAD, "document": bpe.DOCUMENT}
        defaults = InfillDefaults(canvas=8, prefix_tokens=64, suffix_tokens=32)
        save(
            tiny_network(config),
            own_config_json(config, tokens, defaults, "tiny"),
            FAMILIES[0],
            directory,
            dtype=torch.float32,
            shard_bytes=shard_bytes,
        )
        shutil.copyfile(tokenizer_file, directory / "tokenizer.json")
        return directory

    return make


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Engine]:
    """Engines in float32 by name: `nano`, or a family's tiny checkpoint; `dreamon+NFC` has a tokenizer that normalises."""
    loaded: dict[str, Engine] = {}

    def get(name: str) -> Engine:
        if name not in loaded:
            family, _, normal = name.partition("+")
            path = name if name == "nano" else str(family_checkpoints.write(family, tmp_path_factory.mktemp(family)))
            if normal:
                file = Path(path) / "tokenizer.json"
                file.write_text(json.dumps(json.loads(file.read_text()) | {"normalizer": {"type": normal}}))
            loaded[name] = Engine.load(path, device="cpu", dtype="float32")
        return loaded[name]

    return get
