"""A private runtime folder for each test, and hosts with a fake engine that do not outlive it."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest

from engine.api import HostAddress, WireError
from engine.config import EngineConfig

SCRIPT = Path(__file__).with_name("fake_host.py")
HOME = SCRIPT.parents[3]


@pytest.fixture
def runtime(monkeypatch, tmp_path):
    """The folder that becomes XDG_RUNTIME_DIR; short, because a socket's path must be."""
    folder = Path(tempfile.mkdtemp(prefix="dlsp-t", dir="/tmp"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


class Hosts:
    """Starts hosts; `folder` is the fake model of all of them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.processes: list[subprocess.Popen] = []

    def config(self, **facts):
        return EngineConfig(**{"model": str(self.folder), "idle_exit_seconds": 30.0, **facts})

    def start(self, *arguments, config=None, **popen):
        """A starting host; `answer` waits for its line."""
        facts = msgspec.json.encode(config or self.config()).decode()
        command = [sys.executable, "-P", str(SCRIPT), "--config", facts, *arguments]
        popen = {"env": {**os.environ, "PYTHONPATH": str(HOME)}, "stderr": subprocess.PIPE, **popen}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True, **popen)
        self.processes.append(process)
        return process

    def answer(self, process):
        line = process.stdout.readline()
        for kind in (HostAddress, WireError):
            with contextlib.suppress(msgspec.ValidationError):
                answer = msgspec.json.decode(line, type=kind)
                if kind is WireError or answer.pid:
                    return answer
        raise AssertionError(f"{line!r} {process.stderr.read()!r}")

    def notes(self):
        path = self.folder / "notes"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def hosts(runtime, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    hosts = Hosts(folder)
    yield hosts
    for process in hosts.processes:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        if process.stderr:
            process.stderr.close()
