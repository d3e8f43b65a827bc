from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlsp import log
from dlsp.log import SharedFileHandler, older, put_aside, set_level, start_log


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    for handler in root.handlers:
        if handler not in before:
            handler.close()
    root.handlers[:] = before
    root.setLevel(level)
    for name in ("pygls", "lsprotocol", "asyncio", "httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("dlsp.x", logging.INFO, "", 0, text, (), None)


def test_levels_and_the_silence_of_those_who_quote_documents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "logs" / "server.log"
    start_log(path)
    logging.getLogger("dlsp.a").debug("hidden")
    logging.getLogger("dlsp.a").info("told")
    logging.getLogger("dlsp.a").warning("logs in a box")
    logging.getLogger("pygls").error("Content: secret")
    logging.getLogger("httpx").info("GET")
    set_level("error")
    logging.getLogger("dlsp.a").warning("hidden as well")
    set_level("debug")
    logging.getLogger("pygls").debug("everything")
    said = capsys.readouterr().err
    assert "logs in a box" in said
    assert "told" not in said
    text = path.read_text()
    assert f" {os.getpid()} INFO dlsp.a: told" in text
    assert "everything" in text
    for absent in ("hidden", "secret", "GET"):
        assert absent not in text


@pytest.mark.skipif(os.name != "posix", reason="mode bits are POSIX")
def test_file_is_private(tmp_path: Path) -> None:
    handler = SharedFileHandler(tmp_path / "a.log", 10)
    handler.emit(record("one line that is longer than the file may be"))
    handler.emit(record("two"))
    handler.close()
    for path in (tmp_path / "a.log", older(tmp_path / "a.log")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_file_stays_bounded_and_keeps_the_latest(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    handler = SharedFileHandler(path, 1000)
    for number in range(300):
        handler.emit(record(f"line {number}"))
    handler.close()
    assert path.stat().st_size + older(path).stat().st_size <= 2 * 1020
    assert "line 299" in path.read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.log", "a.log.1"]


def test_servers_that_share_a_file_lose_no_line(tmp_path: Path) -> None:
    """Two processes write 400 lines each; every line is in one of the two halves, whole, unless it was rotated out."""
    path = tmp_path / "a.log"
    script = (
        "import sys, logging, time; from pathlib import Path; from dlsp.log import SharedFileHandler\n"
        "h = SharedFileHandler(Path(sys.argv[1]), 30_000)\n"
        "for n in range(400): h.emit(logging.LogRecord('x', 20, '', 0, sys.argv[2] * 40 + f' {n} end', (), None))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-P", "-c", script, str(path), name]) for name in "ab"]
    for writer in writers:
        assert writer.wait(60) == 0
    lines = older(path).read_text().splitlines() + path.read_text().splitlines()
    assert all(line.startswith(("a" * 40, "b" * 40)) and line.endswith(" end") for line in lines)
    # 800 lines of about 50 bytes are 40,000: there was one rotation, or two at the same moment would have lost the first half.
    assert len(lines) == 800


def test_handler_follows_the_name_when_another_process_rotates(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    handler = SharedFileHandler(path, 10_000)
    handler.emit(record("before"))
    os.replace(path, older(path))
    handler.emit(record("after"))
    path.unlink()
    handler.emit(record("again"))
    handler.close()
    assert older(path).read_text() == "before\n"
    assert path.read_text() == "again\n"


def test_only_one_rotates_and_a_dead_lock_does_not_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.log"
    path.write_text("x" * 100)
    assert not put_aside(path, 101)
    lock = tmp_path / "a.log.lock"
    lock.touch()
    assert not put_aside(path, 100)
    os.utime(lock, (0, 0))
    assert put_aside(path, 100)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.log.1"]
    assert not put_aside(path, 0)


def test_while_another_rotates_lines_go_on(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    handler = SharedFileHandler(path, 5)
    handler.emit(record("first"))
    (tmp_path / "a.log.lock").touch()
    handler.emit(record("second"))
    handler.close()
    assert path.read_text() == "first\nsecond\n"


def test_a_file_that_cannot_be_written_is_done_without(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    start_log(blocked / "server.log")
    logging.getLogger("dlsp").info("still here")
    said = capsys.readouterr().err
    assert "The log file cannot be written" in said
    assert "still here" in said


def test_default_places() -> None:
    assert log.log_file().name == "server.log"
    assert log.counts_file().name == "stats.jsonl"
