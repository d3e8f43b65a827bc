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
    """What an answerer says to one case; `others` are the further alternatives, best first.

    `latency_ms` is wall time, and like `steps` and `forwards` that of the whole request, all alternatives included.
    A floor without a model leaves everything but the text.
    """

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
    others: tuple[str, ...] = ()


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One scored case. `passed` is None where there is nothing to execute, `parses` where parsing says nothing.

    `text_tokens` and `true_tokens` are the lengths of the answer and of the true content, None without a tokenizer.
    `any_exact` and `any_passed` say whether one of the answers, the alternatives included, is right.
    """

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
    text_tokens: int | None = None
    true_tokens: int | None = None
    any_exact: bool = False
    any_passed: bool | None = None


class Heading(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a row file. `settings` is everything that changes answers, the set and its digest included."""

    answerer: str
    settings: dict[str, Any]


class RowFile:
    """Rows on disk. `settings` is everything that changes answers, `cases` the set they answer."""

    def __init__(self, path: Path, answerer: str, settings: dict[str, Any], cases: CaseSet) -> None:
        self.path = path
        digest = hashlib.sha256("\0".join(case.id + case.middle for case in cases.cases).encode()).hexdigest()[:16]
        self._heading = Heading(answerer=answerer, settings=settings | {"set": cases.name, "cases": digest})
        self._heading_line = msgspec.json.encode(self._heading, order="sorted")

    def rows(self) -> dict[str, Row]:
        """The rows of an earlier, interrupted run by case; starts the file where there is none.

        A last line that was cut off is dropped. Raises DlspError where the file belongs to another run, is damaged or
        cannot be used.
        """
        try:
            raw = self.path.read_bytes() if self.path.exists() else b""
            if not raw:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.path.write_bytes(self._heading_line + b"\n")
                return {}
            whole, _, partial = raw.rpartition(b"\n")
            heading, *lines = whole.split(b"\n")
            if heading != self._heading_line:
                raise DlspError(
                    f"{self.path} holds the rows of another run{self._difference(heading)}.", "Choose another --out, or delete the file."
                )
            if partial:
                self.path.write_bytes(whole + b"\n")
        except OSError as error:
            raise DlspError(f"{self.path} cannot be used for the rows ({error.strerror}).", "Choose another --out.") from error
        return _decode(lines, self.path)

    def append(self, row: Row) -> None:
        """Add one row. Raises DlspError where the file cannot be written."""
        try:
            with self.path.open("ab") as file:
                file.write(msgspec.json.encode(row) + b"\n")
        except OSError as error:
            raise DlspError(f"{self.path} cannot be written ({error.strerror}).", "Choose another --out.") from error

    def _difference(self, line: bytes) -> str:
        """The first setting that the heading `line` of a file has otherwise, as ` (name: there, not here)`."""
        try:
            there = msgspec.to_builtins(msgspec.json.decode(line, type=Heading))
        except msgspec.MsgspecError:
            return ""
        there, here = _flat(there), _flat(msgspec.to_builtins(self._heading))
        name = next((n for n in sorted(there.keys() | here.keys()) if there.get(n) != here.get(n)), None)
        return "" if name is None else f" ({name.removeprefix('settings.')}: {there.get(name)!r} there, {here.get(name)!r} here)"


def read(path: Path) -> tuple[Heading, dict[str, Row]]:
    """A finished or interrupted row file: its heading, and its rows by case, without a last line that was cut off.

    Raises DlspError where it cannot be read, or is no row file.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DlspError(f"{path} cannot be read ({error.strerror}).", "Pass a file that `dlsp bench holes --out` wrote.") from error
    first, *lines = raw.rpartition(b"\n")[0].split(b"\n")
    try:
        heading = msgspec.json.decode(first, type=Heading)
    except msgspec.MsgspecError as error:
        raise DlspError(f"{path} is no row file ({error}).", "Pass a file that `dlsp bench holes --out` wrote.") from error
    return heading, _decode(lines, path)


def _decode(lines: list[bytes], path: Path) -> dict[str, Row]:
    try:
        rows = [msgspec.json.decode(line, type=Row) for line in lines]
    except msgspec.MsgspecError as error:
        raise DlspError(f"{path} is damaged ({error}).", "Choose another --out, or delete the file.") from error
    return {row.id: row for row in rows}


def _flat(facts: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names."""
    flat: dict[str, Any] = {}
    for name, value in facts.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
