"""Scored cases, and the JSON-lines file that lets an interrupted run go on where it stopped.

The first line of the file says which run it belongs to; a file is continued only by the same run. Knows no scoring.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from engine.bench.data import CaseSet
from engine.errors import DlspError


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What an answerer says to one case. `latency_ms` is wall time; a floor without a model leaves everything but the text."""

    text: str
    confidence: float = 0.0
    tokens: int = 0
    steps: int = 0
    forwards: int = 0
    latency_ms: float = 0.0
    finish: str = ""
    reason: str = ""
    length_policy: str = ""
    device: str = ""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One scored case. `passed` is None where there is nothing to execute, `parses` where parsing says nothing."""

    answerer: str
    id: str
    truth: str
    answer: Answer
    exact: bool
    same_program: bool
    similarity: float
    parses: bool | None = None
    passed: bool | None = None
    verdict: str = ""


class RowFile:
    """Rows on disk. `settings` is everything that changes answers, `cases` the set they answer."""

    def __init__(self, path: Path, answerer: str, settings: dict[str, Any], cases: CaseSet) -> None:
        self.path = path
        digest = hashlib.sha256("\0".join(case.id + case.middle for case in cases.cases).encode()).hexdigest()[:16]
        facts = {"answerer": answerer, "settings": settings | {"set": cases.name, "cases": digest}}
        self._heading = msgspec.json.encode(facts, order="sorted")

    def rows(self) -> dict[str, Row]:
        """The rows of an earlier, interrupted run by case; starts the file where there is none.

        A last line that was cut off is dropped. Raises DlspError where the file belongs to another run, is damaged or
        cannot be used.
        """
        try:
            raw = self.path.read_bytes() if self.path.exists() else b""
            if not raw:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.path.write_bytes(self._heading + b"\n")
                return {}
            whole, _, partial = raw.rpartition(b"\n")
            heading, *lines = whole.split(b"\n")
            if heading != self._heading:
                raise DlspError(f"{self.path} holds the rows of another run.", "Choose another --out, or delete the file.")
            if partial:
                self.path.write_bytes(whole + b"\n")
        except OSError as error:
            raise DlspError(f"{self.path} cannot be used for the rows ({error.strerror}).", "Choose another --out.") from error
        try:
            rows = [msgspec.json.decode(line, type=Row) for line in lines]
        except msgspec.MsgspecError as error:
            raise DlspError(f"{self.path} is damaged ({error}).", "Choose another --out, or delete the file.") from error
        return {row.id: row for row in rows}

    def append(self, row: Row) -> None:
        """Add one row. Raises DlspError where the file cannot be written."""
        try:
            with self.path.open("ab") as file:
                file.write(msgspec.json.encode(row) + b"\n")
        except OSError as error:
            raise DlspError(f"{self.path} cannot be written ({error.strerror}).", "Choose another --out.") from error
