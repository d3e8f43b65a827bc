"""Draws cursor positions from held-out source files: rest of a line, a whole line, or a span within a line.

Only lines of code are drawn: blank lines, comments, lines with a trailing comment, docstrings and the inside of longer
strings say nothing about completing code. Deterministic for a file and a seed; knows nothing of models, nor how code is told
from comments.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from engine.bench import data
from engine.bench.data import Case, CaseSet
from engine.bench.held_out_lines import LANGUAGES, CodeLine, code_lines
from engine.errors import DlspError, RequestError

__all__ = ["KINDS", "SourceFile", "code_lines", "draw", "draw_languages", "read"]


class SourceFile(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a corpus file. `split` says what the package is kept for, `language` is its name in the corpus."""

    package: str
    path: str
    text: str
    split: str = ""
    language: str = "python"

    @property
    def language_id(self) -> str:
        """The LSP language id."""
        return data.LANGUAGES.get(self.language, self.language)


def read(path: Path, split: str = "test") -> list[SourceFile]:
    """The files of a corpus's JSON-lines file that belong to `split` (all of them where it is empty).

    Raises DlspError where the file is absent or holds none.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DlspError(
            f"{path} cannot be read ({error.strerror}).", "Build the corpus with `dlsp train corpus`, or check the path."
        ) from error
    try:
        files = [msgspec.json.decode(line, type=SourceFile) for line in raw.split(b"\n") if line.strip()]
    except msgspec.MsgspecError as error:
        raise RequestError(f"{path} is not a corpus file ({error}).", "Each line has package, split, path and text.") from error
    chosen = [f for f in files if not split or f.split == split]
    if not chosen:
        raise DlspError(f"{path} has no files of split {split!r}.", "Pass another --split.")
    return chosen


def draw(files: Sequence[SourceFile], kind: str, n: int, seed: int) -> CaseSet:
    """`n` cases of one kind of hole, packages drawn evenly and no line twice; fewer where the files have fewer lines.

    A package's languages are mixed as it has them.

    Kinds: `rest_of_line` (the suffix begins with the line end), `whole_line` (the cursor stands behind the indent of an
    otherwise empty line) and `within_line` (text of the line follows). In the first and the last, half of the cuts fall
    between tokens, a quarter inside a name, a quarter anywhere. Raises RequestError for an unknown kind.
    """
    if kind not in KINDS:
        raise RequestError(f"There is no kind of hole {kind!r}.", f"Use {', '.join(KINDS)}.")
    rng = random.Random(f"{kind}:{seed}")
    packages: dict[str, list[tuple[SourceFile, CodeLine]]] = {}
    for file in sorted(files, key=lambda f: (f.package, f.path)):
        packages.setdefault(file.package, []).extend((file, line) for line in code_lines(file.text, file.language_id))
    pools = [pool for _, pool in sorted(packages.items()) if pool]
    for pool in pools:
        rng.shuffle(pool)
    cases: list[Case] = []
    while pools and len(cases) < n:
        index = rng.randrange(len(pools))
        file, line = pools[index].pop()
        if not pools[index]:
            del pools[index]
        span = KINDS[kind](line, rng)
        if span is not None:
            cases.append(_case(file, line, span, kind))
    return CaseSet(name=f"held-out {kind}", cases=tuple(cases), origin={"files": len(files), "packages": len(packages), "seed": seed})


def draw_languages(files: Sequence[SourceFile], kind: str, n: int, seed: int, language: str = "") -> CaseSet:
    """`n` cases in each language, one language after another; in `language` alone where it is given, by any of its names.

    The cases of a language are those that `draw` gives for its files alone. Raises RequestError for a language that the
    files do not have, and for one whose lines of code cannot be told from comments.
    """
    wanted = data.LANGUAGES.get(language, language)
    if wanted and wanted not in LANGUAGES:
        raise RequestError(f"Holes cannot be drawn in {language!r}.", f"Use {', '.join(LANGUAGES)}, or leave --language out for all.")
    found = sorted({file.language_id for file in files} & set(LANGUAGES))
    if wanted and wanted not in found:
        raise RequestError(f"The held-out files have nothing in {language!r}.", f"They have {', '.join(found)}; or pass another --split.")
    sets = [draw([file for file in files if file.language_id == name], kind, n, seed) for name in ([wanted] if wanted else found)]
    if len(sets) == 1:
        return msgspec.structs.replace(sets[0], name=f"{sets[0].name} {wanted}".rstrip())
    origin: dict[str, str | bool | int] = {"files": len(files), "packages": len({file.package for file in files}), "seed": seed}
    return CaseSet(name=f"held-out {kind}", cases=tuple(case for drawn in sets for case in drawn.cases), origin=origin)


def _case(file: SourceFile, line: CodeLine, span: tuple[int, int], kind: str) -> Case:
    lines = file.text.split("\n")
    before = "\n".join(lines[: line.number])
    start, end = span
    return Case(
        id=f"{file.package}/{file.path}:{line.number + 1}:{start + 1}-{end + 1}",
        prefix=(before + "\n" if line.number else "") + line.text[:start],
        suffix="\n".join([line.text[end:], *lines[line.number + 1 :]]),
        middle=line.text[start:end],
        kind=kind,
        path=file.path,
        language=file.language_id,
    )


def _whole_line(line: CodeLine, rng: random.Random) -> tuple[int, int] | None:
    return line.indent, len(line.text.rstrip())


def _rest_of_line(line: CodeLine, rng: random.Random) -> tuple[int, int] | None:
    end = len(line.text.rstrip())
    start = _cut(line, rng, line.indent, end - 1)
    return None if start is None else (start, end)


def _within_line(line: CodeLine, rng: random.Random) -> tuple[int, int] | None:
    """At least the last character of the line stays behind the hole, and the hole is not blank."""
    last = len(line.text.rstrip()) - 1
    ends = sorted(c for c in (_cut(line, rng, line.indent, last) for _ in range(2)) if c is not None)
    if len(ends) < 2 or not line.text[ends[0] : ends[1]].strip():
        return None
    return ends[0], ends[1]


def _cut(line: CodeLine, rng: random.Random, low: int, high: int) -> int | None:
    """A column in [low, high]: half between tokens, a quarter inside a name, a quarter anywhere."""
    if low > high:
        return None
    between = [c for span in line.tokens for c in span if low <= c <= high]
    inside = [c for start, end in line.names for c in range(start + 1, end) if low <= c <= high]
    choice = rng.random()
    if choice < 0.5 and between:
        return rng.choice(between)
    if choice < 0.75 and inside:
        return rng.choice(inside)
    return rng.randint(low, high)


KINDS: dict[str, Callable[[CodeLine, random.Random], tuple[int, int] | None]] = {
    "rest_of_line": _rest_of_line,
    "whole_line": _whole_line,
    "within_line": _within_line,
}
"""How each kind chooses the columns [start, end) of its hole."""
