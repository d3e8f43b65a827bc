"""Knows what benchmarks contain, so that no file of the corpus holds any of it: long lines, and runs of thirteen words.

It reads every JSON-lines file it is given and never writes what it read.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from engine.errors import ConfigError

WORDS_IN_A_GRAM = 13
SHORTEST_LINE = 45
"""Characters. Shorter lines are everywhere (`for i in range(len(numbers)):`)."""
FEWEST_DISTINCT_WORDS = 6
"""Of a gram, numbers aside: `0, 1, 2, 3, ...` is nobody's property."""
WORD = re.compile(r"\w+")


class Benchmarks:
    """The lines and grams of the benchmarks below a folder; empty for no folder. Raises ConfigError where none lie in the one given."""

    def __init__(self, folder: Path | None) -> None:
        self.files: list[str] = []
        programs: set[str] = set()
        for path in sorted(folder.rglob("*.jsonl*")) if folder else []:
            if path.name.endswith((".jsonl", ".jsonl.gz")):
                self.files.append(path.name)
                programs.update(text for row in _rows(path) for text in _texts(row))
        if folder and not self.files:
            raise ConfigError(
                f"There is no benchmark file (*.jsonl, *.jsonl.gz) below {folder}.",
                "Correct DLSP_BENCH_DATA, or unset it to build a corpus that is checked against none.",
            )
        self.programs = len(programs)
        self._lines = frozenset(s for text in programs for line in text.split("\n") if len(s := line.strip()) >= SHORTEST_LINE)
        self._grams = frozenset(
            g for text in programs for g in grams(text) if len({w for w in g if not w[0].isdigit()}) >= FEWEST_DISTINCT_WORDS
        )

    def refuse(self, text: str) -> str | None:
        """ "benchmark line" or "benchmark 13-gram" where `text` shares one with a benchmark, else None."""
        if not self._lines:
            return None
        if any(line.strip() in self._lines for line in text.split("\n") if len(line) >= SHORTEST_LINE):
            return "benchmark line"
        return None if self._grams.isdisjoint(grams(text)) else "benchmark 13-gram"

    def describe(self) -> dict[str, Any]:
        """What was checked, for the manifest."""
        return {"files": self.files, "programs": self.programs, "lines": len(self._lines), "grams": len(self._grams)}


def grams(text: str) -> Iterator[tuple[str, ...]]:
    """Every thirteen consecutive words, lower case and without punctuation."""
    words = WORD.findall(text.lower())
    return zip(*(islice(words, i, None) for i in range(WORDS_IN_A_GRAM)), strict=False)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    for number, line in enumerate(raw.decode().splitlines(), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ConfigError(f"Line {number} of the benchmark file {path.name} is not JSON.", "Fetch the file again.") from error
            if isinstance(row, dict):
                yield row


def _texts(row: dict[str, Any]) -> Iterator[str]:
    """An infilling row is put together, so that lines across its hole are seen; of other rows, every text counts."""
    rest = dict(row)
    if all(isinstance(row.get(key), str) for key in ("prompt", "suffix", "canonical_solution")):
        yield rest.pop("prompt") + rest.pop("canonical_solution") + rest.pop("suffix")
    for value in rest.values():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and len(text) >= SHORTEST_LINE:
                yield text
