"""`dlsp bench` as it is called: options, floors without a model, the JSON line, and one-sentence errors."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner, Result

from dlsp.cli.bench import bench, bench_app
from engine.api import Decoding, Fill, InfillRequest, InfillResult
from engine.config import EngineConfig
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
        (["holes", "--length-policy", "guess"], r"no length policy 'guess'\. Use end-token"),
        (["holes", "--length-policy", "oracle", "--slots", "3"], r"oracle knows the number of slots"),
        (["holes", "--score", "luck"], r"no score 'luck'\. Use confidence, margin, entropy"),
        (["holes", "--schedule", "slow"], r"no schedule 'slow'\. Use threshold, factor, entropy-bound, fixed"),
        (["holes", "--remask", "all"], r"no remask rule 'all'\. Use none, confidence, remdm"),
        (["compare", "here.jsonl", "there.jsonl"], r"here\.jsonl cannot be read"),
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
    assert all(name in help_text for name in ("holes", "compare", "keystroke", "startup", "overhead", "idle", "steps", "load", "fetch"))


class FakeEngine:
    """An engine that fills every hole with "1", and an alternative with "2"; its tokens are characters."""

    model, family, notice = "fake", "fake", ""

    def __init__(self) -> None:
        self.asked: list[InfillRequest] = []

    def infill(self, request: InfillRequest) -> InfillResult:
        self.asked.append(request)
        fill = Fill(text="1", confidence=0.5, tokens=1)
        more = ((Fill(text="2", confidence=0.1, tokens=1),),) if request.decoding.alternatives > 1 else ()
        return InfillResult(fills=(fill,), finish="complete", forwards=2, steps=1, length_policy="fixed", others=more)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """Stands where the model would be loaded, so that no weights are."""
    engine = FakeEngine()

    def load(config: EngineConfig) -> tuple[FakeEngine, dict[str, str]]:
        return engine, {"name": config.model, "weights": "w", "dtype": config.dtype}

    subject = ModuleType("engine.bench.subject")
    subject.load, subject.token_counter = load, lambda engine: len  # type: ignore[attr-defined]
    subject.slot_counter = lambda engine, healing: lambda case: len(case.middle)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "engine.bench.subject", subject)
    return engine


@pytest.fixture
def own_set(tmp_path: Path) -> str:
    path = tmp_path / "own.jsonl"
    rows = [{"id": str(i), "prefix": "x = ", "suffix": "\n", "middle": middle} for i, middle in enumerate(("1", "2", "x12345"))]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(
    ("flags", "decoding"),
    [
        ([], Decoding()),
        (["--length-policy", "expand-delete"], Decoding(length="expand-delete")),
        (["--length-policy", "hypotheses"], Decoding(length="hypotheses")),
        (["--length-policy", "calibrated"], Decoding(length="calibrated")),
        (["--length-policy", "entropy-fit"], Decoding(length="entropy-fit")),
        (["--length-policy", "end-token"], Decoding(length="end-token")),
        (["--length-policy", "fixed:12"], Decoding(length="fixed", slots=12)),
        (["--slots", "48"], Decoding(slots=48)),
        (["--score", "margin"], Decoding(score="margin")),
        (["--schedule", "entropy-bound", "--level", "0.05"], Decoding(schedule="entropy-bound", level=0.05)),
        (["--early-commit"], Decoding(early_commit=True)),
        (["--no-early-commit"], Decoding(early_commit=False)),
        (["--stability", "0.01"], Decoding(stability=0.01)),
        (["--remask", "remdm"], Decoding(remask="remdm")),
        (["--temperature", "0.2", "--top-p", "0.9"], Decoding(temperature=0.2, top_p=0.9)),
        (["--seed", "7"], Decoding(seed=7)),
        (["--alternatives", "3"], Decoding(alternatives=3)),
        (["--no-healing"], Decoding(healing=False)),
    ],
)
def test_every_flag_reaches_the_engine(fake: FakeEngine, own_set: str, flags: list[str], decoding: Decoding) -> None:
    data = figures(call("holes", "--set", own_set, "--model", "m", *flags))
    assert [request.decoding for request in fake.asked] == [decoding] * 3
    assert data["decoding"]["length"] == decoding.length
    assert data["results"]["fake"]["exact_match"]["n"] == 1


def test_the_oracle_asks_case_by_case(fake: FakeEngine, own_set: str) -> None:
    data = figures(call("holes", "--set", own_set, "--model", "m", "--length-policy", "oracle"))
    assert [(r.decoding.length, r.decoding.slots) for r in fake.asked] == [("fixed", 1), ("fixed", 1), ("fixed", 6)]
    assert data["decoding"]["length"] == "oracle"
    lengths = data["results"]["fake"]["lengths"]
    assert [(b["true_tokens"], b["n"]) for b in lengths["buckets"]] == [("1-4", 2), ("5-8", 1)]
    assert lengths["right"]["n"] == 2


def test_alternatives_are_reported_beside_the_first_answer(fake: FakeEngine, own_set: str) -> None:
    result = call("holes", "--set", own_set, "--model", "m", "--alternatives", "2")
    found = figures(result)["results"]["fake"]
    assert (found["exact_match"]["n"], found["any_of"]["exact_match"]["n"], found["any_of"]["answers"]) == (1, 2, 2)
    assert "any of 2: exact match" in result.stdout


def test_a_run_goes_on_only_with_the_same_decoding(fake: FakeEngine, own_set: str, tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "rows.jsonl")]
    run = ["holes", "--set", own_set, "--model", "m", *out]
    figures(call(*run, "--length-policy", "fixed:4"))
    figures(call(*run, "--length-policy", "fixed:4"))
    assert len(fake.asked) == 3, "the second time everything was there"
    for flags in (
        ["--length-policy", "fixed:5"],
        ["--length-policy", "fixed:4", "--dtype", "int8"],
        ["--length-policy", "fixed:4", "--seed", "1"],
    ):
        result = call(*run, *flags)
        assert isinstance(result.exception, DlspError), flags
        assert "holds the rows of another run (" in str(result.exception)
    assert len(fake.asked) == 3


def test_two_runs_are_compared(fake: FakeEngine, own_set: str, tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("a.jsonl", "b.jsonl")]
    for path, length in zip(paths, ("fixed:4", "oracle"), strict=True):
        figures(call("holes", "--set", own_set, "--model", "m", "--length-policy", length, "--out", path))
    data = figures(call("compare", *paths))
    assert (data["n"], data["exact_match"]["discordant"]) == (3, 0)


@pytest.mark.parametrize("dtype", ["int8", "int4", "bfloat16"])
def test_number_formats(fake: FakeEngine, own_set: str, dtype: str) -> None:
    assert figures(call("holes", "--set", own_set, "--model", "m", "--dtype", dtype))["model"]["dtype"] == dtype


def test_loading_is_measured_and_says_what_was_loaded() -> None:
    data = figures(call("load", "--repeat", "1", "--device", "cpu", "--dtype", "float32"))
    assert (data["bench"], data["files"]) == ("load", 1)
    assert data["model"] == {"name": "nano", "device": "cpu", "dtype": "float32"}
    assert data["weight_bytes"] >= 2 * data["file_bytes"] * 0.9, "float32 takes twice what the file's bfloat16 does"
