"""Removes files that repeat others: verbatim, in part, or with other names in the same shape.

Fingerprints are winnowed hashes of runs of lines (Schleimer, Wilkerson and Aiken, 2003): of every few runs the smallest
hash is kept, so a shared stretch is found wherever it stands. It knows text, not where it came from.
"""

from __future__ import annotations

import re
from hashlib import blake2b

RUN, SHAPE_RUN = 5, 12
"""Lines in a run, of text as it stands and of its shape."""
WINNOW = 4
"""Of this many neighbouring runs one is kept, so a stretch of RUN + WINNOW - 1 shared lines is always seen."""
SHORTEST_SHAPE = 40
"""Files of fewer lines are too like each other in shape to be judged by it."""
WORD = re.compile(r"[A-Za-z_]\w*|[0-9][\w.]*|\"[^\"\n]*\"|'[^'\n]*'")


class Seen:
    """What has been kept so far. About 30 bytes of memory a line of source."""

    def __init__(self, repeated: float, same_shape: float, reserved: float) -> None:
        self._repeated, self._same_shape, self._reserved_share = repeated, same_shape, reserved
        self._texts: set[int] = set()
        self._runs: set[int] = set()
        self._shapes: set[int] = set()
        self._reserved: set[int] = set()

    def refuse(self, text: str, reserve: bool = False) -> str | None:
        """Why `text` adds too little to what was kept: "duplicate", "near duplicate", "same shape", or "held out" where it
        repeats reserved text; None where it is kept, and then it is remembered. `reserve` marks it as held out.
        """
        lines = [stripped for line in text.split("\n") if len(stripped := line.strip()) > 3]
        whole = _hash("\n".join(lines))
        if whole in self._texts:
            return "duplicate"
        runs = fingerprints(lines, RUN)
        if not reserve and _share(runs, self._reserved) > self._reserved_share:
            return "held out"
        if _share(runs, self._runs) > self._repeated:
            return "near duplicate"
        shapes = fingerprints(WORD.sub("a", "\n".join(lines)).split("\n"), SHAPE_RUN) if len(lines) >= SHORTEST_SHAPE else set()
        if not reserve and _share(shapes, self._shapes) > self._same_shape:
            return "same shape"
        self._texts.add(whole)
        self._runs |= runs
        self._shapes |= shapes
        if reserve:
            self._reserved |= runs
        return None


def fingerprints(lines: list[str], run: int) -> set[int]:
    """The winnowed 64-bit hashes of every `run` consecutive lines; one hash where there are fewer lines than that."""
    hashes = [_hash("\n".join(lines[i : i + run])) for i in range(max(1, len(lines) - run + 1))]
    if len(hashes) <= WINNOW:
        return {min(hashes)}
    return set(map(min, zip(*(hashes[i:] for i in range(WINNOW)), strict=False)))


def _share(found: set[int], known: set[int]) -> float:
    return len(found & known) / len(found) if found else 0.0


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")
