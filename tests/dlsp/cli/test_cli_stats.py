from __future__ import annotations

import json
from pathlib import Path

import pytest

from dlsp.cli.main import main
from dlsp.log import counts_file
from dlsp.outcomes import Event
from dlsp.stats import Writer


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    return counts_file()


def run(*args: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["stats", *args])
    return int(ended.value.code or 0)


def fill(file: Path) -> None:
    writer = Writer(file, lambda: True)
    for event in (
        Event(event="shown", language="python", characters=10, source="model", latency_ms=80.0),
        Event(event="accepted", language="python", characters=10),
        Event(event="retained", after_s=30.0, of=10, characters=9),
        Event(event="empty", reason="mid_line", count=3),
        Event(event="latency", stages={"denoise": 50.0}),
    ):
        writer(event)
    writer.flush()


def test_for_people(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(file)
    assert run() == 0
    out = capsys.readouterr().out
    for part in ("shown          1", "(100%), 10 characters", "90% of 10 characters after 30 s", "80 ms median", "denoise 50 ms", "python"):
        assert part in out, part
    assert "3  mid_line           There is code behind the cursor" in out
    assert str(file) in out


def test_for_machines(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(file)
    assert run("--json", "--days", "1") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["shown"], summary["acceptance"], summary["reasons"]) == (1, 1.0, {"mid_line": 3})


def test_nothing_yet(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    assert "Nothing was asked in the last 30 days." in capsys.readouterr().out


def test_deleting(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(file)
    assert run("--delete") == 0
    assert not file.exists()
    assert run("--delete") == 0
    assert "no counts" in capsys.readouterr().out


def test_a_file_that_cannot_be_read_is_one_sentence(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.mkdir(parents=True)
    assert run() == 2
    assert capsys.readouterr().err.startswith(f"dlsp: {file} cannot be read")
