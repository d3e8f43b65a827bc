"""A private runtime folder for each test, and local backends over a host with a fake engine (tests/engine/serve/fake_host.py)."""

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest

from dlsp.backends.local import LocalBackend, RestartPolicy
from engine.config import EngineConfig
from engine.serve import address

SCRIPT = Path(__file__).parents[2] / "engine" / "serve" / "fake_host.py"


@pytest.fixture
def runtime(monkeypatch, tmp_path):
    """The folder that becomes XDG_RUNTIME_DIR; short, because a socket's path must be."""
    folder = Path(tempfile.mkdtemp(prefix="dlsp-t", dir="/tmp"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield folder
    for host in address.running_hosts():
        os.kill(host.pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


class FakeHosts:
    """Makes local backends whose host is the fake one; `folder` is the model of all of them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.backends: list[LocalBackend] = []
        self.transport = "auto"

    def command(self, config):
        facts = msgspec.json.encode(config).decode()
        return [sys.executable, "-P", str(SCRIPT), "--config", facts, "--transport", self.transport]

    def backend(self, command=None, **policy):
        config = EngineConfig(model=str(self.folder), idle_exit_seconds=5)
        policy = RestartPolicy(**{"start_timeout": 15.0, "first_pause": 0.05, **policy})
        backend = LocalBackend(config, command or self.command, policy)
        self.backends.append(backend)
        return backend

    def notes(self):
        path = self.folder / "notes"
        return path.read_text().splitlines() if path.exists() else []

    def loads(self):
        """The process ids that have loaded, in order."""
        return [int(line.split()[1]) for line in self.notes() if line.startswith("load ")]


@pytest.fixture
async def fake_hosts(runtime, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    hosts = FakeHosts(folder)
    yield hosts
    for backend in hosts.backends:
        await backend.close()
