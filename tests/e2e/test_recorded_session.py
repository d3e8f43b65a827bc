"""A recorded session, over real pipes: what is written, what is not, and that it can be run again."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lsp_stdio import DLSP, Server, home

SCRIPTED = str(Path(__file__).resolve().parents[1] / "support" / "scripted_server.py")


@pytest.fixture
def env() -> Iterator[dict[str, str]]:
    with home() as env:
        yield env


def session(env: dict[str, str], folder: Path, *arguments: str) -> str:
    """One short session; returns what the server said on stderr."""
    with Server(env, command=[sys.executable, SCRIPTED, "0", *arguments]) as server:
        server.initialize({"debounceMs": 0, "minConfidence": 0, "remoteToken": "hush-hush"})
        server.wait_for_status("ready")
        uri = server.open(folder / "a.py", "some_name = ")
        assert server.ghost(uri, 0, 12) == ["value"]
        server.change(uri, 2, "some_name = value")
        server.ghost(uri, 0, 17)
        assert server.shut_down() == 0
        return server.stderr.decode()


def test_record_and_replay(env: dict[str, str], tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    said = session(env, tmp_path, "--record", str(trace))
    assert f"is written to {trace}" in said
    if os.name == "posix":
        assert stat.S_IMODE(trace.stat().st_mode) == 0o600
    text = trace.read_text()
    assert "some_name" in text
    assert "hush-hush" not in text
    assert {json.loads(line)["from"] for line in text.splitlines()} == {"trace", "client", "server", "backend", "status"}
    run = subprocess.run([*DLSP, "replay", str(trace), "--fast", "--json"], env=env, capture_output=True, text=True, check=False)
    report = json.loads(run.stdout)
    assert (run.returncode, report["different"], report["unanswered"], report["crashes"]) == (0, [], 0, 0)
    assert report["answers"] == 4
    again = subprocess.run([*DLSP, "serve", "--record", str(trace)], env=env, capture_output=True, text=True, check=False, timeout=60)
    assert again.returncode == 2
    assert again.stderr.startswith(f"dlsp: {trace} exists already.")
    assert trace.read_text() == text


def test_counts_are_written_and_read_but_nothing_is_recorded_unasked(env: dict[str, str], tmp_path: Path) -> None:
    assert "is written to" not in session(env, tmp_path)
    files = {path.name: path for path in Path(env["HOME"]).rglob("*") if path.is_file()}
    assert {"server.log", "stats.jsonl"} <= set(files)
    for path in files.values():
        assert "some_name" not in path.read_text(errors="replace"), path
    run = subprocess.run([*DLSP, "stats", "--json"], env=env, capture_output=True, text=True, check=True)
    summary = json.loads(run.stdout)
    # The second one was offered behind the first, which was accepted; nobody looked at it.
    assert (summary["shown"], summary["accepted"], summary["ignored"]) == (2, 1, 1)
