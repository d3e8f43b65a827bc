"""Draws cursor positions from held-out source files: rest of a line, a whole line, or a span within a line.

Only lines of code are drawn: blank lines, comments, lines with a trailing comment, docstrings and the inside of longer
strings say nothing about completing code. Deterministic for a file and a seed; knows nothing of models.
"""

from __future__ import annotations

import ast
import io
import random
import tokenize
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from engine.bench.data import Case, CaseSet
from engine.bench.metrics import parse
from engine.errors import DlspError, RequestError

LINE_STRUCTURE = frozenset({tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER, tokenize.ENCODING})


class SourceFile(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a corpus file. `split` says what the package is kept for."""

    package: str
    path: str
    text: str
    split: str = ""


@dataclass(frozen=True, slots=True)
class CodeLine:
    """A line of code in a file: its number from 0, and the columns (code points) where its tokens and its names stand."""

    number: int
    text: str
    tokens: tuple[tuple[int, int], ...]
    names: tuple[tuple[int, int], ...]

    @property
    def indent(self) -> int:
        """The column of the first token."""
        return self.tokens[0][0]


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


def draw(files: list[SourceFile], kind: str, n: int, seed: int) -> CaseSet:
    """`n` cases of one kind of hole, packages drawn evenly and no line twice; fewer where the files have fewer lines.

    Kinds: `rest_of_line` (the suffix begins with the line end), `whole_line` (the cursor stands behind the indent of an
    otherwise empty line) and `within_line` (text of the line follows). In the first and the last, half of the cuts fall
    between tokens, a quarter inside a name, a quarter anywhere. Raises RequestError for an unknown kind.
    """
    if kind not in KINDS:
        raise RequestError(f"There is no kind of hole {kind!r}.", f"Use {', '.join(KINDS)}.")
    rng = random.Random(f"{kind}:{seed}")
    packages: dict[str, list[tuple[SourceFile, CodeLine]]] = {}
    for file in sorted(files, key=lambda f: (f.package, f.path)):
        packages.setdefault(file.package, []).extend((file, line) for line in code_lines(file.text))
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


def code_lines(text: str) -> list[CodeLine]:
    """The lines of a Python file that hold code and nothing else; none where it cannot be tokenized or parsed."""
    tree = parse(text)
    if tree is None:
        return []
    prose = _string_statements(tree)
    tokens: dict[int, list[tuple[int, int]]] = {}
    names: dict[int, list[tuple[int, int]]] = {}
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT or token.start[0] != token.end[0]:
                prose.update(range(token.start[0], token.end[0] + 1))
            elif token.type not in LINE_STRUCTURE:
                tokens.setdefault(token.start[0], []).append((token.start[1], token.end[1]))
                if token.type == tokenize.NAME:
                    names.setdefault(token.start[0], []).append((token.start[1], token.end[1]))
    except (tokenize.TokenError, SyntaxError):
        return []
    lines = text.split("\n")
    if any(c in text for c in "\r\f"):
        return []  # Python counts these as line ends or blanks, an editor does not: line numbers would disagree
    return [
        CodeLine(number - 1, lines[number - 1], tuple(spans), tuple(names.get(number, ())))
        for number, spans in sorted(tokens.items())
        if number not in prose and any(c.isalnum() for c in lines[number - 1])
    ]


def _string_statements(tree: ast.Module) -> set[int]:
    """Numbers of the lines that docstrings and other strings standing alone take."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


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
