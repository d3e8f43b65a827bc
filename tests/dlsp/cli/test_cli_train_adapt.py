"""`dlsp train adapt`: which files are read, what is said, and the way of the result into the settings and out again."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch

from dlsp.cli import train_adapt, train_adapt_report
from dlsp.cli.main import main
from dlsp.settings import user_file
from engine.bench.rows import Answer, Row
from engine.errors import RequestError
from engine.models import store
from engine.models.checkpoint import save
from engine.models.families import FAMILIES, InfillDefaults, own_config_json
from engine.text.tokenizer import Tokenizer
from engine.train import bpe
from engine.train.adapt_files import Sources, SourceText
from tiny_models import SAMPLE, tiny_config, tiny_network

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr(train_adapt, "CHUNK", 3)  # the time is up after the first
    return tmp_path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    bpe.train([SAMPLE * 20], 400, folder / "tokenizer.json")
    config = tiny_config(Tokenizer(folder / "tokenizer.json"), context_length=64)
    tokens = {"mask": bpe.MASK, "end": bpe.END, "pad": bpe.PAD, "document": bpe.DOCUMENT}
    defaults = InfillDefaults(canvas=8, prefix_tokens=64, suffix_tokens=32)
    save(tiny_network(config), own_config_json(config, tokens, defaults, "tiny"), FAMILIES[0], folder, dtype=torch.float32)
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "my app"
    root.mkdir()
    for number in range(16):
        text = "".join(f"def function_{number}_{i}(first):\n    return first + {i}\n\n\n" for i in range(20))
        (root / f"module_{number}.py").write_text(text)
    return root


def run(*args: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(args))
    return int(ended.value.code or 0)


def test_ignored_secret_hidden_and_linked_files_are_not_read(tmp_path: Path) -> None:
    root = tmp_path / "top" / "repository"
    names = (
        "a.py",
        "b/c.py",
        "b/d.js",
        "b/ignored.py",
        "out/x.py",
        "private/y.py",
        "secrets.py",
        ".hidden/z.py",
        "env/e.py",
        "n.txt",
        "w.lua",
    )
    for path in (*names, "n.txt", "w.lua", "other/.git/config", "other/o.py", "node_modules/m.js"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("x = 1\n")
    (root / "env" / "pyvenv.cfg").write_text("")
    (tmp_path / "top" / ".git").mkdir()
    (tmp_path / "top" / ".gitignore").write_text("out/\n")
    (root / ".gitignore").write_text("ignored.py\n")
    (root / ".dlspignore").write_text("private/\n")
    (tmp_path / "outside.py").write_text("x = 1\n")
    (root / "link.py").symlink_to(tmp_path / "outside.py")
    (root / "linked").symlink_to(tmp_path)
    user_file().parent.mkdir(parents=True)
    user_file().write_text('exclude = ["*.lua"]\n')
    assert train_adapt.source_paths(root) == ["a.py", "b/c.py", "b/d.js"]


def test_time_goes_by_size() -> None:
    assert train_adapt.usual_minutes(0) == 4
    assert 4 < train_adapt.usual_minutes(1_000_000) < 10
    assert train_adapt.usual_minutes(10**9) == 10


def test_holes_are_drawn_from_all_languages_in_proportion() -> None:
    python = "".join(f"value_{i} = call_{i}(argument)\n" for i in range(100))
    go = "".join(f"value{i} := call{i}(argument)\n" for i in range(100))
    sources = Sources((), (SourceText("a.py", "python", python), SourceText("a.go", "go", go)), {})
    cases = train_adapt.draw_cases(sources, 40, 1)
    for kind, drawn in cases.items():
        assert len(drawn) == 40
        assert 15 <= sum(case.language == "go" for case in drawn) <= 25
        assert len({case.id for case in drawn}) == 40
        texts = {"python": python, "go": go}
        assert all(case.prefix + case.middle + case.suffix == texts[case.language] for case in drawn), kind
    with pytest.raises(RequestError, match="no line of code"):
        train_adapt.draw_cases(Sources((), (SourceText("a.go", "go", "// nothing\n"),), {}), 40, 1)


def rows(exact: list[bool]) -> train_adapt_report.Rows:
    found = [
        Row(
            answerer="", id=str(i), truth="x", answer=Answer(text="x", confidence=0.5), exact=right, same_program=right,
            similarity=1.0, parses=None, passed=None,
        )
        for i, right in enumerate(exact)
    ]  # fmt: skip
    return {"rest_of_line": found}


def test_the_same_holes_are_compared() -> None:
    before, after = [True] * 5 + [False] * 15, [True] * 4 + [False] + [True] * 9 + [False] * 6
    verdict = train_adapt_report.judge(rows(before), rows(after))
    assert (verdict.gained, verdict.lost) == (9, 1)
    assert 0.01 < verdict.p < 0.05
    assert train_adapt_report.judge(rows(before), rows(before)) == train_adapt_report.Verdict(0, 0, 1.0)


def test_one_interrupt_ends_early_and_two_end_at_once() -> None:
    usual = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), train_adapt.interruptible() as stopped:  # noqa: PT012
        assert not stopped()
        os.kill(os.getpid(), signal.SIGINT)
        assert stopped()
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the second interrupt was swallowed")
    assert signal.getsignal(signal.SIGINT) is usual


def options(repository: Path, tiny: Path) -> list[str]:
    return ["--repo", str(repository), "--model", str(tiny), "--minutes", "0.03", "--holes", "10", "--threads", "1", "--device", "cpu"]


def test_what_does_not_help_is_not_kept(repository: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "adapt", *options(repository, tiny)) == train_adapt.EXIT_NO_GAIN
    said = capsys.readouterr()
    assert "It did not help: nothing was kept." in said.out
    assert "13 files of my app to learn from" in said.err
    facts = json.loads(said.out.splitlines()[-1])
    assert (facts["kept"], facts["held_out"]) == (False, 3)
    assert store.installed() == []
    assert not any(path.is_file() for path in store.default_root().rglob("*"))


def test_a_kept_result_is_used_and_removed_like_any_model(
    repository: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", "adapt", *options(repository, tiny), "--force") == 0
    said = capsys.readouterr().out
    assert "it was kept because --force says so" in said
    assert "`dlsp models use adapted/my-app`" in said
    (model,) = store.installed()
    card = (model.folder / "MODEL_CARD.md").read_text()
    assert "13 files" in card
    assert "rest of line, exact match (n = 3)" in card
    assert "module_" not in card
    assert "function_" not in card
    (tmp_path / "elsewhere").mkdir()
    assert run("train", "adapt", "--repo", str(tmp_path / "elsewhere"), "--name", "my-app", "--model", str(tiny)) == 2
    assert "There is a model adapted/my-app already" in capsys.readouterr().err
    assert run("models") == 0
    assert "adapted/my-app@" in capsys.readouterr().out
    assert run("models", "verify", "adapted/my-app") == 0
    assert run("models", "use", "adapted/my-app") == 0
    assert 'model = "adapted/my-app"' in user_file().read_text()
    assert run("models", "remove", "adapted/my-app") != 0
    assert run("models", "use", "nano") == 0
    assert run("models", "remove", "adapted/my-app") == 0
    assert store.installed() == []


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "adapt", "--repo", str(tmp_path / "nowhere")) == 2
    assert "There is no folder" in capsys.readouterr().err
