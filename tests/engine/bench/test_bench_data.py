"""Reading case sets: the published format, own files, and what is said when something is missing or wrong."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from engine.bench import data
from engine.bench.baselines import BASELINES
from engine.bench.sandbox import Sandbox
from engine.errors import DlspError, RequestError

ROW = {
    "task_id": "SingleLineInfilling/HumanEval/0/L0",
    "entry_point": "add",
    "prompt": "def add(a, b):\n",
    "suffix": "\n\ndef other(): pass\n",
    "canonical_solution": "    return a + b\n",
    "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n",
}


def write_set(folder: Path, rows: list[dict[str, str]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with gzip.open(folder / "HumanEval-SingleLineInfilling.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize("sub", ["", "humaneval-infilling"])
def test_humaneval_is_found_in_the_folder_or_below(tmp_path: Path, sub: str) -> None:
    write_set(tmp_path / sub, [ROW])
    cases = data.load("humaneval-single", tmp_path)
    (case,) = cases.cases
    assert (case.id, case.middle, case.kind) == (ROW["task_id"], ROW["canonical_solution"], "single_line")
    assert cases.origin["as_published"] is False
    assert (cases.max_tokens, cases.max_lines) == (64, 1)
    assert Sandbox().run(case.program(case.middle)).passed
    assert not Sandbox().run(case.program("    return a - b\n")).passed


def test_absent_data_is_one_sentence_with_the_next_action(tmp_path: Path) -> None:
    with pytest.raises(DlspError, match=r"not known\. Set DLSP_BENCH_DATA or pass --data"):
        data.load("humaneval-single", None)
    with pytest.raises(DlspError, match=r"HumanEval-MultiLineInfilling\.jsonl\.gz is not in .* Download"):
        data.load("humaneval-multi", tmp_path)
    with pytest.raises(DlspError, match=r"no case set 'nonsense'\. Use held-out, humaneval-single"):
        data.load("nonsense", tmp_path)


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    write_set(tmp_path, [ROW] * 50)
    path = tmp_path / "HumanEval-SingleLineInfilling.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DlspError, match="damaged gzip"):
        data.load("humaneval-single", tmp_path)


def test_own_files(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    row = {"id": "a", "prefix": "x = ", "suffix": "\n", "middle": "1\n2", "kind": "odd"}
    path.write_text(json.dumps(row) + "\n\n" + json.dumps(row | {"id": "b", "middle": "3"}) + "\n")
    cases = data.load(str(path), None)
    assert [case.id for case in cases.cases] == ["a", "b"]
    assert cases.max_lines == 2
    path.write_text('{"id": "a"}\n')
    with pytest.raises(RequestError, match=r"Line 1 of mine\.jsonl is not a case"):
        data.load(str(path), None)
    path.write_text("\n")
    with pytest.raises(RequestError, match="has no cases"):
        data.load(str(path), None)


def test_rows_with_the_columns_of_published_sets(tmp_path: Path) -> None:
    path = tmp_path / "fim.jsonl"
    rows = [
        {"name": "HumanEval_0", "language": "py", "prompt": "def f(x):", "suffix": "\n    return y", "canonical_solution": "    y = x"},
        {"name": "HumanEval_0", "language": "js", "prompt": "f(", "suffix": ")", "canonical_solution": "1", "tests": "f()"},
        {"task_id": 7, "prefix": "def g():\n", "suffix": "", "canonical_solution": "    pass", "tests": "ignored", "entry_point": "g"},
        ROW | {"prompt": "def add(a, b): "},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    cases = data.load(str(path), None).cases
    assert [case.id for case in cases] == ["HumanEval_0:1", "HumanEval_0:2", "7:3", ROW["task_id"]]
    # A hole that is only compared is a line of its own; an executed one stands exactly where it was cut.
    assert [case.prefix for case in cases] == ["def f(x):\n", "f(\n", "def g():\n", "def add(a, b): "]
    assert [case.middle for case in cases] == ["    y = x", "1", "    pass", ROW["canonical_solution"]]
    assert [case.language for case in cases] == ["python", "javascript", "python", "python"]
    assert [bool(case.test) for case in cases] == [False, False, False, True]


def test_one_language_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "fim.jsonl"
    row = {"prompt": "", "suffix": "", "canonical_solution": "x"}
    path.write_text("".join(json.dumps(row | {"language": name}) + "\n" for name in ("py", "js", "py")))
    cases = data.load(str(path), None)
    assert cases.in_language("") is cases
    for name in ("py", "python"):
        chosen = cases.in_language(name)
        assert ([case.id for case in chosen.cases], chosen.name) == (["fim:1", "fim:3"], "fim python")
    with pytest.raises(RequestError, match=r"no cases in 'rust'\. It has javascript, python; leave --language out"):
        cases.in_language("rust")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ({"suffix": "", "canonical_solution": "x"}, "Line 1 of fim.jsonl has neither prompt nor prefix"),
        ({"prompt": "", "canonical_solution": "x"}, r"Line 1 of fim\.jsonl is not a case \(.*suffix"),
        ({"prompt": "", "suffix": "", "canonical_solution": None}, r"is not a case \(.*canonical_solution"),
        (["x"], "is not a case"),
    ],
)
def test_published_rows_that_lack_something_are_named(tmp_path: Path, line: object, sentence: str) -> None:
    path = tmp_path / "fim.jsonl"
    path.write_text(json.dumps(line) + "\n")
    with pytest.raises(RequestError, match=sentence):
        data.load(str(path), None)


def test_an_id_that_comes_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(2 * (json.dumps({"id": "a", "prefix": "", "suffix": "", "middle": "1"}) + "\n"))
    with pytest.raises(RequestError, match="more than one case with the id 'a'"):
        data.load(str(path), None)


def test_samples_are_seeded_and_keep_the_order() -> None:
    cases = tuple(data.Case(id=str(i), prefix="", suffix="", middle="x") for i in range(100))
    whole = data.CaseSet(name="s", cases=cases)
    first = [int(c.id) for c in whole.sample(10, 1).cases]
    assert first == sorted(first)
    assert len(set(first)) == 10
    assert first == [int(c.id) for c in whole.sample(10, 1).cases]
    assert first != [int(c.id) for c in whole.sample(10, 2).cases]
    assert whole.sample(0, 1) is whole
    assert whole.sample(1000, 1) is whole


@pytest.mark.bench_data
def test_published_sets_pass_with_their_own_solutions() -> None:
    where = os.environ.get("DLSP_BENCH_DATA")
    if not where:
        pytest.skip("DLSP_BENCH_DATA is not set: the published benchmark files are not here")
    for name in data.HUMANEVAL:
        cases = data.load(name, Path(where))
        assert cases.origin["as_published"] is True, name
        programs = [case.program(case.middle) for case in cases.sample(12, 0).cases]
        assert all(verdict.passed for verdict in Sandbox().run_many(programs, workers=2)), name


@pytest.mark.parametrize(
    ("name", "prefix", "suffix", "expected"),
    [
        ("empty", "x = 1\n", "y = 2\n", ""),
        # A whole line with its line end, as HumanEval-Infilling has it.
        ("copy-previous-line", "if x:\n    a = 1\n\n", "    b = 2\n", "    a = 1\n"),
        ("pass", "if x:\n", "y = 2\n", "    pass\n"),
        ("pass", "if x:\n    a = 1\n", "    b = 2\n", "    pass\n"),
        # Behind an indent nothing is indented twice.
        ("copy-previous-line", "if x:\n    a = 1\n    ", "\n", "a = 1"),
        ("pass", "if x:\n    ", "\n", "pass"),
        # Behind text: what the line above has after the same beginning, else after the same column.
        ("copy-previous-line", "self.a = a\nself.", "\n", "a = a"),
        ("copy-previous-line", "abcdef\nxyz", "\n", "def"),
        ("copy-matching-line", "self.a = 1\nother = 2\nself.", "\n", "a = 1"),
        ("copy-matching-line", "other = 2\nself.", "\n", " = 2"),
        # In front of text: not what stands there already.
        ("copy-previous-line", "f(a, b)\nf(", ")\n", "a, b"),
        ("copy-previous-line", "", "", ""),
        ("pass", "x = ", "\n", "pass"),
    ],
)
def test_floors(name: str, prefix: str, suffix: str, expected: str) -> None:
    assert BASELINES[name](data.Case(id="", prefix=prefix, suffix=suffix, middle="secret")) == expected
