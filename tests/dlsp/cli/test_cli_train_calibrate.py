"""`dlsp train calibrate`: what is asked, what is refused, what is written, and what the table and the JSON line say."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dlsp.cli import train_calibrate
from dlsp.cli.main import main
from engine.bench.data import Case, CaseSet
from engine.models import checkpoint as checkpoints
from engine.models.checkpoint import save
from engine.models.families import FAMILIES, Calibration, InfillDefaults, own_config_json
from engine.runtime.calibration import Place, calibrated
from engine.text.tokenizer import Tokenizer
from engine.train import bpe
from engine.train.calibrate import Sample
from tiny_models import SAMPLE, tiny_config, tiny_network

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    bpe.train([SAMPLE * 20], 400, folder / "tokenizer.json")
    config = tiny_config(Tokenizer(folder / "tokenizer.json"), context_length=64)
    tokens = {"mask": bpe.MASK, "end": bpe.END, "pad": bpe.PAD, "document": bpe.DOCUMENT}
    defaults = InfillDefaults(canvas=4, prefix_tokens=32, suffix_tokens=16)
    save(tiny_network(config), own_config_json(config, tokens, defaults, "tiny"), FAMILIES[0], folder, dtype=torch.float32)
    return folder


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "model"))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "held_out.jsonl"
    text = "".join(f"def function_{i}(first):\n    return first + {i}\n\n\n" for i in range(60))
    rows = [{"package": split, "split": split, "path": "a.py", "language": "python", "text": text} for split in ("other", "test")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(*args: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["train", "calibrate", *args])
    return int(ended.value.code or 0)


class Guesses:
    """Stands in for a model: right less often than it says, and asked for raw confidence only."""

    def __init__(self) -> None:
        self.asked: list[CaseSet] = []

    def __call__(self, engine: object, cases: CaseSet, on_answer: Callable[[], None]) -> list[Sample]:
        assert getattr(engine, "calibration", "none") is None, "raw confidence is asked for"
        self.asked.append(cases)
        samples = []
        for number, case in enumerate(cases.cases):
            on_answer()
            raw = (number % 10) / 10 + 0.05
            place = Place(float(case.kind == "whole_line"), 0.0)
            samples.append(Sample(raw, place, True, random.Random(case.id).random() < raw * raw))
        return samples


def test_it_learns_from_one_split_judges_by_another_and_writes(
    folder: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    guesses = Guesses()
    monkeypatch.setattr(train_calibrate, "answer", guesses)
    weights = (folder / "model-00001-of-00001.safetensors").read_bytes()
    options = ("--model", str(folder), "--corpus", str(corpus), "--n", "160", "--seed", "3", "--device", "cpu", "--threads", "1")
    assert run(*options) == 0
    out = capsys.readouterr().out
    facts = json.loads(out.rstrip("\n").rsplit("\n", 1)[-1])
    found = checkpoints.read(folder).infill.calibration
    assert found is not None
    assert facts["calibration"] == {"slope": found.slope, "offset": found.offset, "at_indent": found.at_indent, "text_follows": 0.0}
    assert calibrated(found, 0.75, Place(0.0, 0.0), True) < 0.7, "it was right less often than it said"
    assert (folder / "model-00001-of-00001.safetensors").read_bytes() == weights
    assert facts["learned_from"] == {"rest_of_line": 53, "within_line": 53, "whole_line": 53}
    assert {case.id.split("/")[0] for cases in guesses.asked[:3] for case in cases.cases} == {"other"}
    assert [len(cases.cases) for cases in guesses.asked[3:6]] == [96, 32, 32]
    raw, after = facts["results"]["all kinds"]
    assert (raw["n"], after["n"]) == (160, 160)
    assert after["calibration_error"] < raw["calibration_error"]
    assert [shown["threshold"] for shown in after["shown"]] == list(train_calibrate.THRESHOLDS)
    for one in after["shown"]:
        assert one["precision"]["of"] == one["coverage"]["n"]
        assert one["precision"]["low"] <= one["precision"]["share"] <= one["precision"]["high"]
    assert "written to config.json." in out
    assert "of what is shown is right from" in out
    # A second time it starts from raw confidence again, which `Guesses` checks, and a dry run changes nothing.
    assert run(*options, "--n", "170", "--dry-run") == 0
    assert "not written." in capsys.readouterr().out
    assert checkpoints.read(folder).infill.calibration == found


def test_a_model_that_is_never_right_is_left_alone(
    folder: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = [Sample(0.5, Place(0.0, 0.0), True, False)] * 40
    monkeypatch.setattr(train_calibrate, "answer", lambda engine, cases, on_answer: wrong)
    before = (folder / "config.json").read_text()
    code = run("--model", str(folder), "--corpus", str(corpus), "--n", "10", "--device", "cpu", "--threads", "1")
    assert code != 0
    assert "0 of 120 answers were right; a calibration needs at least" in capsys.readouterr().err
    assert (folder / "config.json").read_text() == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--split", "test"), "The split 'test' is there to judge by, not to learn from. Pass another --split."),
        (("--split", "other", "--judge", "other"), "The split 'other' is there to judge by"),
        (("--split", "none"), "has no files of split 'none'"),
    ],
)
def test_what_may_not_be_learned_from(
    folder: Path, corpus: Path, options: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--model", str(folder), "--corpus", str(corpus), *options) != 0
    assert said in " ".join(capsys.readouterr().err.split())


def test_only_answers_with_text_count(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.api import Fill, InfillRequest, InfillResult

    class Engine:
        def infill(self, request: InfillRequest) -> InfillResult:
            text = {"a": "1", "b": " ", "c": "2"}[request.document]
            return InfillResult(fills=(Fill(text=text, confidence=0.4, tokens=1),), finish="length" if text == "2" else "complete")

    cases = CaseSet(name="", cases=tuple(Case(id=name, prefix="  ", suffix=")\n", middle="1") for name in "abc"))
    count: list[int] = []
    found = train_calibrate.answer(Engine(), cases, lambda: count.append(1))
    assert found == [Sample(0.4, Place(1.0, 1.0), True, True), Sample(0.4, Place(1.0, 1.0), False, False)]
    assert len(count) == 3


def test_a_table_without_a_threshold_that_is_good_enough_says_so() -> None:
    wrong = [Sample(0.5, Place(0.0, 0.0), True, i == 0) for i in range(10)]
    facts = {"learned_from": {"rest_of_line": 10}, "split": "other", "judge": "test", "written": False}
    report = train_calibrate.report({"rest_of_line": wrong}, Calibration(slope=1.0, offset=0.0), facts)
    assert any("At no threshold 60%" in note for note in report.notes)
    assert ("    >= 0.9: right, of all that is shown", ["none shown", "none shown"]) in list(report.rows)
