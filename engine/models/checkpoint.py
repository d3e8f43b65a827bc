"""Finds, reads, checks and writes checkpoints: config.json, tokenizer.json and one or more safetensors files.

Only safetensors are loaded. Tensors go to the model one at a time, so host memory never holds a second copy of a shard.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from engine.errors import CheckpointError, ConfigError, DlspError
from engine.models.config import ModelConfig
from engine.models.families import Family, InfillDefaults, TokenIds, display_name, infill_defaults, recognise
from engine.models.transformer import Transformer

INDEX = "model.safetensors.index.json"
BUILT_IN = Path(__file__).resolve().parent.parent / "weights"
REPAIR = "Reinstall dlsp, or point `model` at another checkpoint; `dlsp doctor` checks the files."


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose config has been read and understood; weights are not loaded yet."""

    directory: Path
    name: str
    family: Family
    config: ModelConfig
    infill: InfillDefaults
    raw: dict[str, Any]

    def token_ids(self, find: Callable[[str], int | None]) -> TokenIds:
        """Special ids, looked up in the tokenizer by `find`."""
        return self.family.tokens(self.raw, find)


def find(path_or_name: str) -> Path:
    """The folder of a checkpoint: a path, or the name of a built-in one (`nano`)."""
    built_in = BUILT_IN / path_or_name
    if path_or_name and "/" not in path_or_name and "\\" not in path_or_name and built_in.is_dir():
        return built_in
    path = Path(path_or_name).expanduser()
    if path.is_dir():
        return path
    raise CheckpointError(
        f"There is no model {path_or_name!r}.", 'Use "nano", or the path of a folder with config.json and safetensors files.'
    )


def read(directory: Path) -> Checkpoint:
    """Read and check config.json. Raises CheckpointError with the file and what is wrong with it."""
    path = directory / "config.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(raw, dict):
            raise TypeError("not a JSON object")
        family = recognise(raw)
        config, infill = family.config(raw), infill_defaults(raw)
    except FileNotFoundError as error:
        raise CheckpointError(f"{directory} has no config.json, so it is not a checkpoint.", REPAIR) from error
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}).", REPAIR) from error
    except (json.JSONDecodeError, TypeError, KeyError, msgspec.ValidationError, ConfigError) as error:
        raise CheckpointError(f"{path} is not a valid model config ({_brief(error)}).", REPAIR) from error
    except CheckpointError as error:
        raise type(error)(f"{path}: {error}", REPAIR) from error
    return Checkpoint(directory, display_name(raw, directory.name), family, config, infill, raw)


def shards(directory: Path) -> dict[str, Path]:
    """Tensor name -> file. Raises CheckpointError for a missing, foreign or truncated shard."""
    index = directory / INDEX
    if index.exists():
        try:
            names = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            files = {str(name): directory / Path(str(file)).name for name, file in names.items()}
        except (OSError, json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{index} is not a valid shard index ({_brief(error)}).", REPAIR) from error
        present = {path: set(_keys(path)) for path in sorted(set(files.values()))}
        for name, path in files.items():
            if name not in present[path]:
                raise CheckpointError(f"{path} does not hold the tensor {name}, although {INDEX} says so.", REPAIR)
        return files
    found = sorted(directory.glob("*.safetensors"))
    if not found:
        other = next((p.name for p in sorted(directory.iterdir()) if p.suffix in (".bin", ".pt", ".pth", ".ckpt")), None)
        if other:
            raise CheckpointError(f"{directory} holds only {other}: dlsp does not load pickle files.", "Convert it to safetensors first.")
        raise CheckpointError(f"{directory} holds no safetensors file.", REPAIR)
    return {name: path for path in found for name in _keys(path)}


def load_weights(model: Transformer, checkpoint: Checkpoint, report: Callable[[float], None] | None = None) -> None:
    """Copy every tensor into `model` (already on its device, in its dtype). Raises CheckpointError naming file and tensor."""
    files = shards(checkpoint.directory)
    parameters = dict(model.named_parameters())
    used: set[str] = set()
    for count, (name, parameter) in enumerate(parameters.items()):
        sources = checkpoint.family.sources(name)
        row = 0
        for source in sources:
            if source not in files:
                raise CheckpointError(f"{checkpoint.directory} has no tensor {source}.", REPAIR)
            tensor = _tensor(files[source], source)
            target = parameter.data[row : row + tensor.shape[0]] if len(sources) > 1 else parameter.data
            if target.shape != tensor.shape:
                raise CheckpointError(
                    f"{files[source]}: tensor {source} is {_by(tensor)} but the config asks for {_by(parameter)} ({name}).", REPAIR
                )
            target.copy_(tensor)
            row += tensor.shape[0]
            used.add(source)
        if row != parameter.shape[0]:
            raise CheckpointError(
                f"{checkpoint.directory}: {', '.join(sources)} have {row} rows together, {name} needs {parameter.shape[0]}.", REPAIR
            )
        if report:
            report((count + 1) / len(parameters))
    extra = sorted(set(files) - used - ({"lm_head.weight"} if checkpoint.config.tie_word_embeddings else set()))
    if extra:
        raise CheckpointError(f"{files[extra[0]]} holds {len(extra)} tensors that the config does not ask for, such as {extra[0]}.", REPAIR)


def save(
    model: Transformer,
    config_json: dict[str, Any],
    family: Family,
    directory: Path,
    *,
    dtype: torch.dtype,
    shard_bytes: int = 15_000_000,
) -> None:
    """Write config.json and sharded safetensors in the family's own tensor names; the tokenizer is copied by the caller."""
    directory.mkdir(parents=True, exist_ok=True)
    parts: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, parameter in model.named_parameters():
        for source, piece in _split(name, parameter.detach().to("cpu", dtype), family, model.config):
            nbytes = piece.numel() * piece.element_size()
            if parts[-1] and size + nbytes > shard_bytes:
                parts.append({})
                size = 0
            parts[-1][source] = piece.contiguous().clone()
            size += nbytes
    for old in directory.glob("*.safetensors"):
        old.unlink()
    weight_map: dict[str, str] = {}
    for number, part in enumerate(parts, 1):
        file = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        save_file(part, directory / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    total = sum(t.numel() * t.element_size() for part in parts for t in part.values())
    (directory / INDEX).write_text(
        json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=1, sort_keys=True) + "\n"
    )
    (directory / "config.json").write_text(json.dumps(config_json, indent=1) + "\n")


def _split(name: str, tensor: Tensor, family: Family, config: ModelConfig) -> list[tuple[str, Tensor]]:
    sources = family.sources(name)
    if len(sources) == 1:
        return [(sources[0], tensor)]
    heads, shared = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    sizes = [heads, shared, shared] if len(sources) == 3 else [config.intermediate_size] * 2
    return list(zip(sources, tensor.split(sizes), strict=True))


def _by(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape))


def _keys(path: Path) -> list[str]:
    try:
        with safe_open(path, framework="pt") as file:
            return list(file.keys())
    except FileNotFoundError as error:
        raise CheckpointError(f"The shard {path} is missing.", REPAIR) from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a whole safetensors file ({_brief(error)}).", REPAIR) from error


def _tensor(path: Path, name: str) -> Tensor:
    try:
        with safe_open(path, framework="pt") as file:
            return file.get_tensor(name)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: tensor {name} cannot be read ({_brief(error)}).", REPAIR) from error


def _brief(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing"
    if isinstance(error, DlspError):
        return error.args[0]
    return str(error).splitlines()[0] if str(error) else type(error).__name__
