"""`dlsp bench` as it is called: options, floors without a model, the JSON line, and one-sentence errors."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dlsp.cli.bench import bench, bench_app
from engine.errors import DlspError

RUNNER = CliRunner()
SOURCE = "".join(f"def f{i}(a, b):\n    total = a + b\n    return total\n\n\n" for i in range(12))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "held_out.jsonl"
    rows = [
        {"package": "p", "split": "test", "path": "a.py", "text": SOURCE},
        {"package": "q", "split": "other", "path": "b.py", "text": "x = 1\n"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def call(*arguments: str, environment: dict[str, str] | None = None) -> Result:
    return RUNNER.invoke(bench_app, list(arguments), env={"DLSP_BENCH_DATA": "", "COLUMNS": "200"} | (environment or {}))


def figures(result: Result) -> dict:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.rstrip("\n").rsplit("\n", 1)[-1])


def write_humaneval(folder: Path) -> None:
    row = {"entry_point": "f", "suffix": "", "test": "def check(f):\n    assert f(2) == 2\n", "canonical_solution": "    return x\n"}
    with gzip.open(folder / "HumanEval-SingleLineInfilling.jsonl.gz", "wt") as file:
        for i in range(4):
            prompt = "def f(x):\n" + ("    return x\n" if i == 0 else "    y = x\n")
            file.write(json.dumps(row | {"task_id": str(i), "prompt": prompt}) + "\n")


def test_floors_run_without_a_model(tmp_path: Path) -> None:
    write_humaneval(tmp_path)
    out = tmp_path / "rows.jsonl"
    result = call("holes", "--baseline", "empty", "--baseline", "pass", "--out", str(out), environment={"DLSP_BENCH_DATA": str(tmp_path)})
    data = figures(result)
    assert list(data["results"]) == ["empty", "pass"]
    assert data["results"]["empty"]["pass_at_1"]["n"] == 1
    assert "model" not in data
    assert data["machine"]["cores"] >= 1
    assert {p.name for p in tmp_path.glob("rows*")} == {"rows.empty.jsonl", "rows.pass.jsonl"}
    limited = figures(call("holes", "--baseline", "empty", "--limit", "2", "--data", str(tmp_path)))
    assert limited["n"] == 2


def test_held_out_brings_all_floors(corpus: Path) -> None:
    data = figures(
        call("holes", "--set", "held-out", "--corpus", str(corpus), "--kind", "whole_line", "--n", "9", "--baseline", "copy-previous-line")
    )
    assert (data["n"], data["set"]) == (9, "held-out whole_line")
    assert list(data["results"]) == ["copy-previous-line"]
    assert data["results"]["copy-previous-line"]["pass_at_1"] is None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["holes"], r"benchmark data is not known\. Set DLSP_BENCH_DATA"),
        (["holes", "--baseline", "magic"], r"no baseline 'magic'\. Use empty, pass"),
        (["holes", "--set", "held-out"], r"held-out files are not known\. Pass --corpus"),
        (["holes", "--set", "nowhere.jsonl"], r"no case set"),
        (["holes", "--dtype", "int3"], r"no number format 'int3'"),
        (["keystroke", "--through", "wire"], r"cannot go through 'wire'\. Use engine or server"),
        (["steps"], r"held-out files are not known"),
    ],
)
def test_errors_are_ours(arguments: list[str], sentence: str) -> None:
    result = call(*arguments)
    assert isinstance(result.exception, DlspError), result.output
    with pytest.raises(DlspError, match=sentence):
        raise result.exception


def test_impossible_typing_is_named(corpus: Path) -> None:
    result = call("keystroke", "--corpus", str(corpus), "--warm", "99")
    assert isinstance(result.exception, DlspError)
    assert "smaller --warm" in str(result.exception)


def test_the_commands_are_there_under_both_names() -> None:
    assert bench is bench_app
    help_text = call("--help").output
    assert all(name in help_text for name in ("holes", "keystroke", "startup", "steps"))
