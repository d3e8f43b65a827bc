"""Which files of a repository make a model: the weights, what is needed to read them, and what people should read.

Knows names only; where the files are and how they get here is not known.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable
from pathlib import Path

from engine.errors import CheckpointError
from engine.models.shards import INDEX
from engine.models.store import MANIFEST

CONFIG = "config.json"
WEIGHTS = "*.safetensors"

_TEXTS = ("*.json", "*.txt", "*.model", "*.tiktoken", "README.md", "LICEN[CS]E*", "NOTICE*")
"""Configs, tokenizers, and what people should read. Never a program, never a pickle."""

_NO_TEXTS = ("*.bin.index.json", "*.h5.index.json", "*.msgpack.index.json", MANIFEST)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
_OTHER_WEIGHTS = ("*.gguf", "*.h5", "*.msgpack", "*.onnx", "*.npz")
_CONVERT = "Look for a revision with safetensors files, or convert it to them elsewhere and run `dlsp models use PATH`."


def is_text(name: str) -> bool:
    """Whether a file besides the weights is taken."""
    return _matches(name, _TEXTS) and not _matches(name, _NO_TEXTS)


def check(model: str, names: list[str]) -> None:
    """Raises CheckpointError for a repository whose files cannot be a model that dlsp loads. `names` may have folders."""
    top = [name for name in names if "/" not in name]
    if not any(_matches(name, (WEIGHTS,)) for name in top):
        raise _without_weights(model, names)
    if CONFIG not in top:
        raise CheckpointError(f"{model} has no {CONFIG}, so it is not a whole model.", "An adapter must be merged into its model first.")


def weight_files(model: str, names: Iterable[str], folder: Path) -> list[str]:
    """The weights among `names` that belong together: those that the index in `folder` names, else the file there is.

    Raises CheckpointError for an index that cannot be read or names a file that is not there.
    """
    found = sorted(name for name in names if _matches(name, (WEIGHTS,)))
    if not (folder / INDEX).is_file():
        return ["model.safetensors"] if "model.safetensors" in found else found
    try:
        wanted = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{model}: {INDEX} is not a valid shard index.", "Name another revision.") from error
    missing = [name for name in wanted if name not in found]
    if missing:
        raise CheckpointError(
            f"{model} is not complete: {INDEX} names {missing[0]}, which the repository does not have.", "Name another revision."
        )
    return wanted


def _without_weights(model: str, names: list[str]) -> CheckpointError:
    pickle = next((name for name in sorted(names) if _matches(name, _PICKLES)), None)
    other = next((name for name in sorted(names) if _matches(name, _OTHER_WEIGHTS)), None)
    if pickle:
        return CheckpointError(f"{model} has its weights only as pickle files ({pickle}), which can run code when they are read.", _CONVERT)
    if other:
        return CheckpointError(f"{model} has no safetensors files, only {other}, which dlsp does not read.", _CONVERT)
    return CheckpointError(f"{model} has no weights: no safetensors file at the top of the repository.", "Check the name of the model.")


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name.rpartition("/")[2], pattern) for pattern in patterns)
