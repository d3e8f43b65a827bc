"""Reads benchmark cases: the four HumanEval-Infilling sets and JSON-lines files of holes.

Every case is a text with one hole whose true content is known. Knows nothing of models and scores, and reads no environment.

A line of an own file is a `Case`, or it has the columns that published sets share: `prompt` (or `prefix`), `suffix` and
`canonical_solution`. With `test` and `entry_point` it is executed as HumanEval-Infilling is; without them (SantaCoder-FIM) only
its text is compared, and the hole is a line of its own: a prompt without a line end gets one, as the published evaluations
of diffusion models give it (pengzhangzhi/Open-dLLM, eval/eval_infill).
"""

from __future__ import annotations

import gzip
import hashlib
import random
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from engine.errors import DlspError, RequestError

_T = TypeVar("_T")


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One hole. `middle` is the true content; with `test` and `entry_point` the filled program can be executed.

    `language` is an LSP language id; only Python programs are executed and parsed.
    """

    id: str
    prefix: str
    suffix: str
    middle: str
    kind: str = ""
    path: str = ""
    language: str = "python"
    entry_point: str = ""
    test: str = ""

    def program(self, completion: str) -> str:
        """The official scoring program of HumanEval-Infilling for this completion."""
        return f"{self.prefix}{completion}{self.suffix}\n{self.test}\ncheck({self.entry_point})\n"


class CaseSet(msgspec.Struct, frozen=True, kw_only=True):
    """Cases with what is reported about their origin, and the hole limits that suit them."""

    name: str
    cases: tuple[Case, ...]
    max_tokens: int = 64
    max_lines: int = 1
    origin: dict[str, str | bool | int] = msgspec.field(default_factory=dict)

    def sample(self, n: int, seed: int) -> CaseSet:
        """A seeded sample of `n` cases in their original order; everything where `n` is 0 or not smaller than the set."""
        if n <= 0 or n >= len(self.cases):
            return self
        chosen = sorted(random.Random(f"{self.name}:{seed}").sample(range(len(self.cases)), n))
        return msgspec.structs.replace(self, cases=tuple(self.cases[i] for i in chosen))

    def in_language(self, language: str) -> CaseSet:
        """The cases in one language; all of them where it is empty. Raises RequestError where there are none."""
        if not language:
            return self
        wanted = LANGUAGES.get(language, language)
        cases = tuple(case for case in self.cases if case.language == wanted)
        if not cases:
            there = ", ".join(sorted({case.language for case in self.cases}))
            raise RequestError(f"The set {self.name} has no cases in {language!r}.", f"It has {there}; leave --language out for all.")
        return msgspec.structs.replace(self, name=f"{self.name} {wanted}", cases=cases)


LANGUAGES = {
    "py": "python",
    "js": "javascript",
    "ts": "typescript",
    "rs": "rust",
    "rb": "ruby",
    "sh": "shellscript",
    "shell": "shellscript",
}
"""How published sets and the corpus name languages, and the LSP language ids; other names stand for themselves."""


@dataclass(frozen=True, slots=True)
class _Published:
    file: str
    kind: str
    sha256: str
    max_tokens: int
    max_lines: int


HUMANEVAL = {
    "humaneval-single": _Published(
        "HumanEval-SingleLineInfilling.jsonl.gz", "single_line", "1277073e7ddce163ef68598c2bca777f688a53df99422f097e37362090f88e1f", 64, 1
    ),
    "humaneval-multi": _Published(
        "HumanEval-MultiLineInfilling.jsonl.gz", "multi_line", "2f341612eee1d35da1357a4f365e0c0b3ba6e2b62eb491e88aaefa4855af0349", 256, 32
    ),
    "humaneval-random": _Published(
        "HumanEval-RandomSpanInfilling.jsonl.gz", "random_span", "b4f330d8a8ff97bf85d9def497dffcae4d741e506449386a877236e422e33e8d", 128, 32
    ),
    "humaneval-light": _Published(
        "HumanEval-RandomSpanInfillingLight.jsonl.gz",
        "random_span_light",
        "1432250ecac0cb56e6f97f8faf0970419ef892a98fda7e1f5aa4c4b87209b760",
        128,
        32,
    ),
}
"""The published files by the names the command line knows, with the hash each was published with."""


class _HumanEvalRow(msgspec.Struct):
    task_id: str
    entry_point: str
    prompt: str
    suffix: str
    canonical_solution: str
    test: str


class _PublishedRow(msgspec.Struct):
    """The columns that published infilling sets share; not every set has every column."""

    suffix: str
    canonical_solution: str
    prompt: str | None = None
    prefix: str | None = None
    task_id: str | int | None = None
    id: str | int | None = None
    name: str | None = None
    language: str = "python"
    entry_point: str = ""
    test: str = ""


def load(name: str, folder: Path | None) -> CaseSet:
    """The cases of a named set in `folder` (or its sub-folder `humaneval-infilling`), or of the JSON-lines file `name`.

    Raises DlspError where the data is absent, and RequestError where a row cannot be read.
    """
    if name in HUMANEVAL:
        return _load_humaneval(name, folder)
    path = Path(name)
    if not path.is_file():
        raise DlspError(f"There is no case set {name!r}.", f"Use held-out, {', '.join(HUMANEVAL)}, or the path of a JSON-lines file.")
    raw = _read(path)
    cases = tuple(_own_case(line, path, number) for number, line in _lines(raw))
    if not cases:
        raise RequestError(f"{path} has no cases.", "Write one JSON object a line with id, prefix, suffix, middle and kind.")
    repeated = next((name for name, n in Counter(case.id for case in cases).items() if n > 1), None)
    if repeated is not None:
        raise RequestError(f"{path} has more than one case with the id {repeated!r}.", "Give every case an id of its own.")
    longest = max(case.middle.strip("\n").count("\n") for case in cases) + 1
    return CaseSet(name=path.stem, cases=cases, max_lines=longest, origin={"file": path.name, "sha256": hashlib.sha256(raw).hexdigest()})


def _load_humaneval(name: str, folder: Path | None) -> CaseSet:
    published = HUMANEVAL[name]
    if folder is None:
        raise DlspError(
            "The folder with the benchmark data is not known.",
            "Set DLSP_BENCH_DATA or pass --data DIR; `dlsp bench fetch --data DIR` downloads the files.",
        )
    places = [folder / published.file, folder / "humaneval-infilling" / published.file]
    path = next((p for p in places if p.is_file()), None)
    if path is None:
        raise DlspError(
            f"{published.file} is not in {folder}.",
            "Download it with `dlsp bench fetch --data DIR`.",
        )
    raw = _read(path)
    digest = hashlib.sha256(raw).hexdigest()
    cases = []
    for number, line in _lines(raw):
        row = _decode(line, _HumanEvalRow, path, number)
        case = Case(
            id=row.task_id,
            prefix=row.prompt,
            suffix=row.suffix,
            middle=row.canonical_solution,
            kind=published.kind,
            path="solution.py",
            entry_point=row.entry_point,
            test=row.test,
        )
        cases.append(case)
    origin: dict[str, str | bool | int] = {"file": path.name, "sha256": digest, "as_published": digest == published.sha256}
    return CaseSet(name=name, cases=tuple(cases), max_tokens=published.max_tokens, max_lines=published.max_lines, origin=origin)


def _own_case(line: bytes, path: Path, number: int) -> Case:
    """A line of an own file in either form."""
    if "canonical_solution" not in _decode(line, dict, path, number):
        return _decode(line, Case, path, number)
    row = _decode(line, _PublishedRow, path, number)
    prefix = row.prefix if row.prompt is None else row.prompt
    if prefix is None:
        raise RequestError(f"Line {number} of {path.name} has neither prompt nor prefix.", "See `dlsp bench holes --help` for the fields.")
    language = LANGUAGES.get(row.language, row.language)
    executed = bool(row.test and row.entry_point and language == "python")
    own = next((str(value) for value in (row.task_id, row.id, row.name) if value is not None), path.stem)
    return Case(
        # Published sets may cut several holes into one program and call them all by its name; the line tells them apart.
        id=own if executed else f"{own}:{number}",
        prefix=prefix if executed or not prefix or prefix.endswith("\n") else prefix + "\n",
        suffix=row.suffix,
        middle=row.canonical_solution,
        kind="published",
        language=language,
        entry_point=row.entry_point if executed else "",
        test=row.test if executed else "",
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DlspError(f"{path} cannot be read ({error.strerror}).", "Check its permissions.") from error


def _lines(raw: bytes) -> list[tuple[int, bytes]]:
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise DlspError("The case file is a damaged gzip archive.", "Download it again.") from error
    return [(number, line) for number, line in enumerate(raw.split(b"\n"), 1) if line.strip()]


def _decode(line: bytes, kind: type[_T], path: Path, number: int) -> _T:
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.MsgspecError as error:
        raise RequestError(
            f"Line {number} of {path.name} is not a case ({error}).", "See `dlsp bench holes --help` for the fields."
        ) from error
