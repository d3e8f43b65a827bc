"""EngineConfig: what a host is started with, checked on creation. Reads no environment and no files."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from engine.errors import ConfigError

Device = str
"""`auto`, `cpu`, `mps`, `cuda` or `cuda:N`."""

DType = Literal["auto", "float32", "bfloat16", "float16", "int8", "int4"]
"""`int8` and `int4` store the weights in that many bits and compute in the device's natural floating-point format."""


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One engine: which model, where, and its limits. `threads` 0 leaves the number to torch."""

    model: str = "nano"
    device: Device = "auto"
    dtype: DType = "auto"
    threads: int = 0
    idle_exit_seconds: float = 900.0
    max_request_bytes: int = 4_000_000

    def __post_init__(self) -> None:
        if not self.model:
            raise ConfigError("The model name is empty.", 'Use "nano" or the path of a checkpoint folder.')
        kind, _, index = self.device.partition(":")
        if kind not in ("auto", "cpu", "mps", "cuda") or (index and (kind != "cuda" or not index.isdigit())):
            raise ConfigError(f"There is no device {self.device!r}.", "Use auto, cpu, mps, cuda or cuda:N.")
        if self.threads < 0:
            raise ConfigError(f"The number of threads cannot be {self.threads}.", "Use 0 for torch's own choice.")
        if self.idle_exit_seconds <= 0:
            raise ConfigError(f"The idle time cannot be {self.idle_exit_seconds} seconds.", "Use a positive number.")

    @property
    def key(self) -> str:
        """A short name that is equal exactly for configurations that can share one host."""
        facts = f"{self.model}\0{self.device}\0{self.dtype}\0{self.threads}"
        return hashlib.blake2b(facts.encode(), digest_size=6).hexdigest()
