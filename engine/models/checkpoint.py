"""Finds, reads, loads, checks and writes checkpoints: config.json, a tokenizer and one or more safetensors files.

Only safetensors are loaded. Everything that headers tell is checked before the first weight is read, and then tensors stream into
the network block by block, so host memory holds no second copy. What bytes mean on disk is the business of `shards`.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.errors import CheckpointError, ConfigError, DlspError, UnknownFamilyError
from engine.models import shards, store
from engine.models.config import ModelConfig
from engine.models.families import KNOWN, Facts, Family, InfillDefaults, TokenIds, display_name, recognise
from engine.models.notices import licence_of
from engine.models.outline import outline
from engine.models.quantize import QuantizedLinear
from engine.models.shards import INDEX, Read, StoredTensor
from engine.models.store import BUILT_IN, mend
from engine.models.transformer import Transformer
from engine.text.tokenizer import REPAIR, Tokenizer, lookup

_WIDEST = 1 << 24
"""Far above every known vocabulary, and no product of two such numbers is too large for torch."""

_SAMPLES = 3
_SAMPLE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose config has been read and understood; weights are not loaded yet.

    `licence` is what its README says, else what its family has; `notice` is a sentence that its user should have read once, or empty.
    """

    directory: Path
    name: str
    family: Family
    config: ModelConfig
    infill: InfillDefaults
    raw: dict[str, Any]
    licence: str
    notice: str

    @property
    def built_in(self) -> bool:
        """Whether it came with dlsp."""
        return self.directory.parent == BUILT_IN

    def token_ids(self, find: Callable[[str], int | None]) -> TokenIds:
        """Special ids, looked up in the tokenizer by `find`. Raises CheckpointError where one is missing that the family needs."""
        try:
            return self.family.tokens(self.raw, find)
        except CheckpointError as error:
            raise CheckpointError(f"{self.directory}: {_brief(error)}", _action(error, self.directory)) from error
        except (TypeError, KeyError, ValueError, msgspec.ValidationError) as error:
            path = self.directory / "config.json"
            raise CheckpointError(f"{path} is not a valid model config ({_brief(error)}).", mend(path)) from error


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that `verify` looked at: what, whether it is right, a sentence about it, and what to do if it failed."""

    name: str
    state: Literal["ok", "failed"]
    detail: str
    action: str = ""


def find(path_or_name: str) -> Path:
    """The folder of a checkpoint: a path, the name of a built-in one (`nano`), or the name of a pulled one (`Org/Name[@revision]`)."""
    built_in = BUILT_IN / path_or_name
    if built_in.name == path_or_name != ".." and built_in.is_dir():  # a plain name, not a path such as "."
        return built_in
    path = Path(path_or_name).expanduser()
    if path_or_name and path.is_dir():
        return path
    if pulled := store.locate(path_or_name):
        return pulled
    raise _nowhere(path_or_name)


def read(directory: Path) -> Checkpoint:
    """Read and check config.json, also against what the files hold. Raises CheckpointError with the file and what is wrong with it."""
    path = directory / "config.json"
    try:
        raw = _raw(path)
        pulled = store.read(directory)
        if pulled is not None:  # some families tell their variants by name alone
            raw.setdefault("_name_or_path", pulled.manifest.id)
        facts = Facts(raw, lookup(directory), shards.names(directory))
        family = _family(facts, directory)
        config = family.config(raw)
        _check_size(config, family, facts.tensors, directory)
        infill = family.infill(facts)
    except FileNotFoundError as error:
        ours = directory.parent == BUILT_IN or store.read(directory)
        action = mend(directory) if ours else "Give the folder that holds config.json and the weights; if this is it, copy it again."
        raise CheckpointError(f"{directory} has no config.json, so it is not a checkpoint.", action) from error
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}).", mend(path)) from error
    except (json.JSONDecodeError, TypeError, KeyError, ValueError, msgspec.ValidationError, ConfigError) as error:
        raise CheckpointError(f"{path} is not a valid model config ({_brief(error)}).", mend(path)) from error
    except UnknownFamilyError as error:
        raise UnknownFamilyError(f"{path}: {_brief(error)}", error.action or KNOWN) from error
    except CheckpointError as error:
        where = "" if str(directory) in str(error) else f"{path}: "
        raise CheckpointError(f"{where}{_brief(error)}", _action(error, path)) from error
    licence, notice = licence_of(directory, family.licence, family.notice)
    return Checkpoint(directory, display_name(raw, directory.name), family, config, infill, raw, licence, notice)


def load_weights(model: Transformer, checkpoint: Checkpoint, report: Callable[[float], None] | None = None) -> None:
    """Copy every tensor into `model`, which is on its device, in its dtype, and quantized if it shall be.

    `report` gets 0 to 1. Raises CheckpointError naming file and tensor; everything but unreadable bytes is found before any is read.
    """
    destinations = _destinations(model)
    plan = _plan(checkpoint, {name: destination.shape for name, destination in destinations.items()})
    device = model.embed_tokens.weight.device
    reads = [destinations[name].read(tensor, row) for name, row, tensor in plan]
    with _one_thread() if device.type == "cpu" else contextlib.nullcontext():
        shards.stream(reads, report, pinned=device.type == "cuda")


def verify(directory: Path, hashes: Mapping[str, str] | None = None) -> Iterator[Check]:
    """Look at everything a checkpoint needs, one check at a time: config, tokenizer, index, and every shard to its last byte.

    `hashes` are the SHA-256 of files by name, where they were recorded. What a failed check leaves unknown is not looked at. Up to
    the check `shapes` only headers are read; files are read whole after it.
    """
    recorded = dict(hashes or {})
    broken: CheckpointError | None = None
    tensors: dict[str, StoredTensor] = {}
    reported = ""
    try:
        tensors = shards.locate(directory)
    except CheckpointError as error:
        broken = error
    checkpoint: Checkpoint | None = None
    try:
        checkpoint = read(directory)
        config = checkpoint.config
        yield Check("config.json", "ok", f"family {checkpoint.family.name}, {config.num_layers} layers of width {config.hidden_size}")
    except CheckpointError as error:
        if broken is None or _brief(broken) != _brief(error):  # else the weights are at fault, which is said below
            reported += _brief(error)
            yield _failed("config.json", error)
    if checkpoint is not None:
        yield _check_tokenizer(checkpoint)
    if broken is not None:
        reported += _brief(broken)
        yield _failed("tensors", broken)
    else:
        yield Check("tensors", "ok", f"{len(tensors)} tensors in {len({t.path for t in tensors.values()})} files")
    if checkpoint is not None and tensors:
        yield _check_fit(checkpoint)
    for path in sorted({tensor.path for tensor in tensors.values()}):
        yield _check_shard(path, [t for t in tensors.values() if t.path == path], recorded.pop(path.name, ""))
    for name, expected in sorted(recorded.items()):
        check = _check_file(directory / name, expected)
        if check.state == "ok" or f"{directory / name}" not in reported:  # the same damage is not told twice
            yield check


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


@dataclass(frozen=True, slots=True)
class _Destination:
    """Where the tensors of one parameter go: its shape, and what takes blocks of its rows (a tensor, or a quantized module)."""

    shape: tuple[int, ...]
    rows: Tensor | QuantizedLinear

    def read(self, tensor: StoredTensor, first: int) -> Read:
        """How `tensor` gets to the rows from `first` on."""
        rows = self.rows
        if isinstance(rows, QuantizedLinear):
            return Read(tensor, None, lambda row, block: rows.store(first + row, block))
        part = rows[first : first + tensor.rows]
        if part.device.type == "cpu" and part.dtype == shards.DTYPES[tensor.kind]:
            return Read(tensor, part, lambda row, block: None)
        # Moved before it is converted: the device converts faster, and only the copy from page-locked memory is fast.
        return Read(tensor, None, lambda row, block: _copy(block.to(part.device), part[row : row + len(block)]))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Reading is the bottleneck. Several threads would meet after each small step, and wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _copy(block: Tensor, to: Tensor) -> None:
    to.copy_(block)


def _destinations(model: nn.Module) -> dict[str, _Destination]:
    found = {}
    for name, parameter in model.named_parameters():
        data = parameter.data
        found[name] = _Destination(tuple(data.shape), data.view(-1, data.shape[-1]) if data.dim() > 1 else data.view(-1, 1))
    for name, module in model.named_modules():
        if isinstance(module, QuantizedLinear):
            found[f"{name}.weight"] = _Destination((module.out_features, module.in_features), module)
    return found


def _plan(checkpoint: Checkpoint, shapes: Mapping[str, tuple[int, ...]]) -> list[tuple[str, int, StoredTensor]]:
    """Parameter, first row, and tensor, for every tensor that is needed. Raises CheckpointError where they do not fit."""
    directory, family = checkpoint.directory, checkpoint.family
    stored = shards.locate(directory)
    plan: list[tuple[str, int, StoredTensor]] = []
    for name, shape in shapes.items():
        sources = family.sources(name)
        row = 0
        for source in sources:
            tensor = stored.get(source)
            if tensor is None:
                raise CheckpointError(f"{directory} has no tensor {source}, which config.json asks for ({name}).", mend(directory))
            if tensor.kind not in shards.DTYPES:
                raise CheckpointError(
                    f"{tensor.path}: the tensor {source} is stored as {tensor.kind}; dlsp loads F32, F16 and BF16.",
                    "Choose the checkpoint that is not quantized; dtype int8 or int4 makes it small while it loads.",
                )
            fits = tensor.shape == shape if len(sources) == 1 else tensor.shape[1:] == shape[1:]
            if not fits or row + tensor.rows > shape[0]:
                part = "" if len(sources) == 1 else f" for {len(sources)} tensors together"
                raise CheckpointError(
                    f"{tensor.path}: the tensor {source} is {_by(tensor.shape)} but config.json asks for {_by(shape)}{part} ({name}).",
                    mend(directory),
                )
            plan.append((name, row, tensor))
            row += tensor.shape[0]
        if row != shape[0]:
            raise CheckpointError(f"{directory}: {', '.join(sources)} have {row} rows together, {name} needs {shape[0]}.", mend(directory))
    used = {tensor.name for _, _, tensor in plan}
    if checkpoint.config.tie_word_embeddings:  # some write the shared matrix twice
        used.update(family.sources("lm_head.weight"))
    extra = sorted(name for name in stored.keys() - used if not any(fnmatch.fnmatch(name, pattern) for pattern in family.ignored))
    if extra:
        raise CheckpointError(
            f"{stored[extra[0]].path} holds tensors that config.json does not ask for: {extra[0]}"
            f"{f' and {len(extra) - 1} more' if len(extra) > 1 else ''}.",
            f"config.json and the weights belong to different models. {mend(directory)}",
        )
    return plan


def _nowhere(name: str) -> CheckpointError:
    """What to say of a name that means no model and no folder here."""
    path, said = Path(name).expanduser(), f"There is no model {name!r}"
    absolute = "Check the path: a folder with config.json and weights is wanted, and servers and editors need an absolute path."
    if path.is_file():
        return CheckpointError(f"{said}: this is a file.", "Give the folder that holds config.json and the weights.")
    if path.is_absolute():
        return CheckpointError(f"{said}: there is no such folder.", "Give the path of a folder with config.json and weights.")
    if "/" not in name and "\\" not in name:
        action = 'Use "nano", the name of a pulled model (`dlsp models` lists them), or the path of a folder with config.json and weights.'
        return CheckpointError(f"{said}, and no such folder in the working directory ({Path.cwd()}).", action)
    if not store.is_name(name) or path.parent.is_dir():
        return CheckpointError(f"{said}: there is no such folder in the working directory ({Path.cwd()}).", absolute)
    return CheckpointError(
        f"{said}: it has not been pulled, and there is no such folder in the working directory.",
        f"`dlsp models pull {store.parse(name)}` fetches a published model; for a folder give its absolute path.",
    )


def _raw(path: Path) -> dict[str, Any]:
    raw = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(raw, dict):
        raise TypeError("not a JSON object")
    return raw


def _check_size(config: ModelConfig, family: Family, tensors: frozenset[str], directory: Path) -> None:
    """Raise CheckpointError where config.json asks for another network than the headers show, before anything of that size is made."""
    layer, _, _ = family.sources("layers.0.input_norm.weight")[0].partition(".0.")
    held = _numbers(tensors, f"{layer}.")
    if held and held != config.num_layers:
        raise CheckpointError(f"config.json asks for {config.num_layers} layers, the files hold {held}.", mend(directory))
    if config.moe is not None and tensors:
        expert, _, _ = family.sources(f"layers.{config.moe.dense_layers}.moe.experts.0.down_proj.weight")[0].partition(".0.down_proj.")
        experts = _numbers(tensors, f"{expert}.")
        if experts != config.moe.num_experts and config.moe.dense_layers < config.num_layers:
            raise CheckpointError(f"config.json asks for {config.moe.num_experts} experts, the files hold {experts}.", mend(directory))
    name = family.sources("embed_tokens.weight")[0]
    embedding = shards.find(directory, name) if name in tensors else None
    if embedding is not None and embedding.shape != (config.vocab_size, config.hidden_size):
        raise CheckpointError(
            f"{embedding.path}: the tensor {name} is {_by(embedding.shape)} but config.json asks for "
            f"{_by((config.vocab_size, config.hidden_size))} (vocabulary by width).",
            mend(directory),
        )
    experts_size = (config.moe.num_experts, config.moe.expert_size, config.moe.shared_size) if config.moe else ()
    widest = max(config.vocab_size, config.hidden_size, config.intermediate_size, config.num_heads * config.head_dim, *experts_size)
    if widest > _WIDEST:
        raise CheckpointError(f"config.json asks for layers of width {widest:,}, which no network has.", mend(directory))


def _numbers(tensors: frozenset[str], before: str) -> int:
    """How many different numbers follow `before` in the names of tensors."""
    return len({name[len(before) :].partition(".")[0] for name in tensors if name.startswith(before)})


def _family(facts: Facts, directory: Path) -> Family:
    """The family; where there are no weights, which may have told it, that is said instead."""
    try:
        return recognise(facts)
    except UnknownFamilyError:
        if not facts.tensors and directory.is_dir():
            shards.locate(directory)
        raise


def _check_tokenizer(checkpoint: Checkpoint) -> Check:
    try:
        tokenizer = tokenizer_of(checkpoint)
        ids = checkpoint.token_ids(tokenizer.special_id)
    except CheckpointError as error:
        return _failed("tokenizer", error)
    return Check("tokenizer", "ok", f"{tokenizer.vocab_size} tokens, mask {ids.mask}, end {ids.end}")


def tokenizer_of(checkpoint: Checkpoint) -> Tokenizer:
    """The checkpoint's tokenizer. Raises CheckpointError where it is broken or has more tokens than the model.

    Fewer are fine: embeddings are often padded to a round number.
    """
    try:
        tokenizer = Tokenizer.from_folder(checkpoint.directory)
    except CheckpointError as error:
        raise CheckpointError(_brief(error), _action(error, checkpoint.directory)) from error
    if tokenizer.vocab_size > checkpoint.config.vocab_size:
        raise CheckpointError(
            f"{checkpoint.directory}: the tokenizer has {tokenizer.vocab_size} tokens, the model only {checkpoint.config.vocab_size}.",
            f"config.json and the tokenizer belong to different models. {mend(checkpoint.directory)}",
        )
    return tokenizer


def _check_fit(checkpoint: Checkpoint) -> Check:
    model = outline(checkpoint.config)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    try:
        plan = _plan(checkpoint, shapes)
    except CheckpointError as error:
        return _failed("shapes", error)
    kinds = sorted({tensor.kind for _, _, tensor in plan})
    count = sum(parameter.numel() for parameter in model.parameters())
    return Check("shapes", "ok", f"{count:,} parameters as {', '.join(kinds)}, all as config.json asks")


def _check_shard(path: Path, tensors: list[StoredTensor], expected: str) -> Check:
    """Read a shard to its end, and look for values that no weight has."""
    whole = _check_file(path, expected)
    if whole.state == "failed":
        return whole
    with path.open("rb") as file:
        for tensor in tensors:
            if tensor.kind in shards.DTYPES and not _finite(file, tensor):
                return Check(path.name, "failed", f"{path}: the tensor {tensor.name} holds values that are not finite.", mend(path))
    return Check(path.name, "ok", f"{len(tensors)} tensors, {whole.detail}")


def _check_file(path: Path, expected: str) -> Check:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except OSError as error:
        return Check(path.name, "failed", f"{path} cannot be read to its end ({error.strerror or error}).", mend(path))
    if expected and found != expected.lower():
        return Check(path.name, "failed", f"{path} is not the file that was pulled: its SHA-256 is {found}, not {expected}.", mend(path))
    return Check(path.name, "ok", f"{size:,} bytes, {'as recorded' if expected else 'no hash recorded'}")


def _finite(file: BinaryIO, tensor: StoredTensor) -> bool:
    """Whether a few stretches of the tensor, its ends among them, are finite."""
    dtype = shards.DTYPES[tensor.kind]
    length = min(tensor.size, _SAMPLE_BYTES)
    for sample in range(_SAMPLES):
        skipped = (tensor.size - length) * sample // (_SAMPLES - 1) // dtype.itemsize * dtype.itemsize
        file.seek(tensor.start + skipped)
        data = bytearray(file.read(length))
        if data and not bool(torch.isfinite(torch.frombuffer(data, dtype=dtype)).all()):
            return False
    return True


def _split(name: str, tensor: Tensor, family: Family, config: ModelConfig) -> list[tuple[str, Tensor]]:
    sources = family.sources(name)
    if len(sources) == 1:
        return [(sources[0], tensor)]
    heads, shared = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    sizes = [heads, shared, shared] if len(sources) == 3 else [tensor.shape[0] // 2] * 2
    return list(zip(sources, tensor.split(sizes), strict=True))


def _failed(name: str, error: CheckpointError) -> Check:
    return Check(name, "failed", _brief(error), error.action)


def _action(error: CheckpointError, path: Path) -> str:
    """The error's own next action; what a tokenizer file needs depends on the origin of its folder, which its reader does not know."""
    return mend(path.parent if path.is_file() else path) if error.action in ("", REPAIR) else error.action


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a single number"


def _brief(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing"
    if isinstance(error, DlspError):
        return error.args[0]
    return str(error).splitlines()[0] if str(error) else type(error).__name__
