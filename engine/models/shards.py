"""Safetensors files as they lie on disk: which tensor is where, and its bytes, read in order without a second copy.

Knows headers, indexes and offsets; nothing of networks, families or configs. The headers are checked against the file's size
before anything is read, and files are read rather than mapped, so a file that shrinks meanwhile is an error and not a crash.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from engine.errors import CheckpointError
from engine.models.store import mend

INDEX = "model.safetensors.index.json"

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""What weights may be stored as. Other kinds (8-bit, 4-bit) need scales that only the program that wrote them knows."""

_BITS = {"BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}
_BITS |= {"I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64}
_LARGEST_HEADER = 100_000_000
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor in a file: `start` and `size` are the bytes it takes, `kind` is safetensors' name of its number format."""

    name: str
    path: Path
    kind: str
    shape: tuple[int, ...]
    start: int
    size: int

    @property
    def columns(self) -> int:
        """Length of the last axis; a vector is a column, so that vectors join along it as matrices do along their rows."""
        return self.shape[-1] if len(self.shape) > 1 else 1

    @property
    def rows(self) -> int:
        """All axes but the last in one."""
        return math.prod(self.shape) // (self.columns or 1)


@dataclass(frozen=True, slots=True)
class Read:
    """One tensor on its way: where it lies, and the rows of a destination that it fills.

    `into` is memory that the bytes can be read into as they are (a contiguous CPU tensor of the same number format), or None;
    then `put(row, block)` gets the tensor block by block, each [rows, columns] on the CPU and valid only during the call.
    """

    tensor: StoredTensor
    into: Tensor | None
    put: Callable[[int, Tensor], None]


def names(directory: Path) -> frozenset[str]:
    """Names of all tensors, from the index where there is one. Empty where there are no weights (yet)."""
    if (directory / INDEX).exists():
        return frozenset(_index(directory))
    return frozenset(name for path in _files(directory) for name in header(path))


def find(directory: Path, name: str) -> StoredTensor | None:
    """One tensor, by the header of the file that the index names; None where tensor or file are not there (yet)."""
    if (directory / INDEX).exists():
        file = _index(directory).get(name)
        files = [directory / file] if file and (directory / file).exists() else []
    else:
        files = _files(directory)
    return next((tensors[name] for path in files if name in (tensors := header(path))), None)


def locate(directory: Path) -> dict[str, StoredTensor]:
    """Every tensor of a checkpoint by name.

    Raises CheckpointError for missing, foreign, truncated or contradictory shards, naming file and tensor.
    """
    if not (directory / INDEX).exists():
        files = _files(directory)
        if not files:
            raise _without_weights(directory)
        return _joined({path.name: header(path) for path in files})
    index = _index(directory)
    present = {file: header(directory / file, by_index=True) for file in sorted(set(index.values()))}
    for name, file in index.items():
        if name not in present[file]:
            elsewhere = next((other for other, tensors in present.items() if name in tensors), None)
            hint = f"; it is in {elsewhere}" if elsewhere else ""
            raise CheckpointError(f"{directory / file} does not hold the tensor {name}, although {INDEX} says so{hint}.", mend(directory))
    return _joined(present)


def header(path: Path, by_index: bool = False) -> dict[str, StoredTensor]:
    """The tensors of one file. Raises CheckpointError where the file is missing, foreign, or not as long as it says."""
    try:
        with path.open("rb") as file:
            length = os.fstat(file.fileno()).st_size
            size = int.from_bytes(file.read(8), "little")
            if length < 8 or not 2 <= size <= _LARGEST_HEADER:
                raise ValueError("it does not begin like one")
            if 8 + size > length:
                raise ValueError(f"it ends inside its header, at {length:,} bytes")
            content = json.loads(file.read(size))
        tensors = {name: _stored(name, path, facts, 8 + size) for name, facts in content.items() if name != "__metadata__"}
    except FileNotFoundError as error:
        named = f", which {INDEX} names," if by_index else ""
        raise CheckpointError(f"The shard {path}{named} is missing.", mend(path)) from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror or error}).", "Check its permissions and the disk.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is not a whole safetensors file ({error}).", mend(path)) from error
    last = max(tensors.values(), key=lambda t: t.start + t.size, default=None)
    if last is not None and last.start + last.size > length:
        short = last.start + last.size - length
        raise CheckpointError(
            f"{path} is truncated: {short:,} bytes are missing of {last.start + last.size:,}, the tensor {last.name} is cut off.",
            mend(path),
        )
    return tensors


def stream(reads: Iterable[Read], report: Callable[[float], None] | None = None, block_bytes: int = 32 << 20, pinned: bool = False) -> None:
    """Carry out the reads, file by file and from front to back, one open file at a time.

    Apart from the destinations this holds one block of at most `block_bytes` (or one row, if that is longer) in memory;
    `pinned` keeps it page-locked, which copies to a CUDA device faster. `report` gets 0 to 1.
    """
    ordered = sorted(reads, key=lambda read: (read.tensor.path, read.tensor.start))
    total = sum(read.tensor.size for read in ordered) or 1
    staged = max((_block_rows(read, block_bytes) * _row_bytes(read.tensor) for read in ordered if read.into is None), default=0)
    buffer = torch.empty(staged, dtype=torch.uint8, pin_memory=pinned)
    done = 0
    position = 0
    while position < len(ordered):
        path = ordered[position].tensor.path
        try:
            with path.open("rb", buffering=0) as file:
                _read_ahead(file)
                while position < len(ordered) and ordered[position].tensor.path == path:
                    read = ordered[position]
                    for size in _one(file, read, buffer, block_bytes):
                        done += size
                        if report:
                            report(done / total)
                    position += 1
        except OSError as error:
            name = ordered[position].tensor.name
            raise CheckpointError(
                f"{path}: the tensor {name} cannot be read ({error.strerror or error}).", f"Check the disk. {mend(path)}"
            ) from error


def _one(file: BinaryIO, read: Read, buffer: Tensor, block_bytes: int) -> Iterable[int]:
    """Read one tensor, yielding the bytes of each block."""
    tensor = read.tensor
    file.seek(tensor.start)
    if read.into is not None:
        memory = _memory(read.into.view(-1).view(torch.uint8))
        for begin in range(0, tensor.size, block_bytes):
            yield _fill(file, memory[begin : begin + block_bytes], tensor)
        return
    row_bytes, step = _row_bytes(tensor), _block_rows(read, block_bytes)
    for row in range(0, tensor.rows, step):
        count = min(step, tensor.rows - row)
        part = buffer[: count * row_bytes]
        size = _fill(file, _memory(part), tensor)
        read.put(row, part.view(DTYPES[tensor.kind]).view(count, -1))
        yield size


def _fill(file: BinaryIO, memory: memoryview, tensor: StoredTensor) -> int:
    """Read until `memory` is full. A raw read may return less than was asked for."""
    got = 0
    while got < len(memory):
        count = file.readinto(memory[got:])  # type: ignore[attr-defined]
        if not count:
            raise CheckpointError(
                f"{tensor.path} became shorter while it was read: the tensor {tensor.name} is cut off.", mend(tensor.path)
            )
        got += count
    return got


def _memory(bytes_: Tensor) -> memoryview:
    return bytes_.numpy().data


def _row_bytes(tensor: StoredTensor) -> int:
    return tensor.columns * DTYPES[tensor.kind].itemsize


def _block_rows(read: Read, block_bytes: int) -> int:
    return max(1, min(read.tensor.rows, block_bytes // max(1, _row_bytes(read.tensor))))


def _read_ahead(file: BinaryIO) -> None:
    """Tell the system that the whole file is wanted, so that it reads on while we copy. Only some systems listen."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)


def _stored(name: str, path: Path, facts: dict, base: int) -> StoredTensor:
    kind, shape = str(facts["dtype"]), tuple(int(size) for size in facts["shape"])
    begin, end = (int(offset) for offset in facts["data_offsets"])
    if kind not in _BITS:
        raise ValueError(f"the tensor {name} has the unknown number format {kind}")
    if not 0 <= begin <= end or any(size < 0 for size in shape) or end - begin != math.prod(shape) * _BITS[kind] // 8:
        raise ValueError(f"the header is wrong about the bytes of the tensor {name}")
    return StoredTensor(name, path, kind, shape, base + begin, end - begin)


def _index(directory: Path) -> dict[str, str]:
    """Tensor name -> file name, as the index says it."""
    path = directory / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        entries = {str(name): str(file) for name, file in index.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        said = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path} is not a valid shard index ({said}).", mend(path)) from error
    for name, file in entries.items():
        if not file.endswith(".safetensors") or file != Path(file).name or "\\" in file:
            raise CheckpointError(
                f"{path} puts the tensor {name} into {file!r}, which is not the name of a safetensors file in this folder.", mend(path)
            )
    return entries


def _files(directory: Path) -> list[Path]:
    """The weights where there is no index. Beside `model.safetensors` other files are adapters or duplicates."""
    alone = directory / "model.safetensors"
    return [alone] if alone.exists() else sorted(directory.glob("*.safetensors"))


def _joined(files: dict[str, dict[str, StoredTensor]]) -> dict[str, StoredTensor]:
    found: dict[str, StoredTensor] = {}
    for tensors in files.values():
        for name, tensor in tensors.items():
            if name in found:
                raise CheckpointError(f"{found[name].path} and {tensor.path.name} both hold the tensor {name}.", mend(tensor.path.parent))
            found[name] = tensor
    return found


def _without_weights(directory: Path) -> CheckpointError:
    pickles = sorted(path.name for path in directory.iterdir() if path.suffix in _PICKLES)
    if pickles:
        return CheckpointError(
            f"{directory} holds only {pickles[0]}: dlsp does not load pickle files, which can run code.",
            "Choose a revision with safetensors files, or convert it.",
        )
    return CheckpointError(f"{directory} holds no safetensors file.", mend(directory))
