"""`dlsp engine`: in the foreground, --status and --stop, against a host process with a fake engine."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest

from dlsp.cli.engine import engine
from engine.config import EngineConfig
from engine.errors import ConfigError
from engine.serve import address
from engine.serve import host as host_module

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")

HOME = Path(__file__).parents[3]
SCRIPT = HOME / "tests" / "engine" / "serve" / "fake_host.py"


@pytest.fixture
def runtime(monkeypatch, tmp_path):
    folder = Path(tempfile.mkdtemp(prefix="dlsp-t", dir="/tmp"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield folder
    for running in address.running_hosts():
        os.kill(running.pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def host(runtime, tmp_path):
    facts = msgspec.json.encode(EngineConfig(model=str(tmp_path), idle_exit_seconds=20)).decode()
    command = [sys.executable, "-P", str(SCRIPT), "--config", facts]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(HOME)}) as process:
        process.stdout.readline()
        yield process
        process.kill()


def test_no_host_is_no_error(runtime, capsys):
    engine(status=True)
    engine(stop=True)
    assert capsys.readouterr().out == "No engine host is running.\n" * 2


def test_status_and_stop(host, runtime, capsys, tmp_path):
    engine(status=True)
    header, line = capsys.readouterr().out.splitlines()
    assert header.split() == ["PID", "MODEL", "STATE", "DEVICE", "MEMORY", "ADDRESS"]
    assert line.split()[0] == str(host.pid)
    assert str(runtime / "dlsp") in line
    assert any(state in line for state in ("starting", "loading", "ready"))
    megabytes = int(line.partition(" MB")[0].split()[-1])
    assert 10 < megabytes < 500
    engine(stop=True)
    assert capsys.readouterr().out == f"Stopped the engine host of {tmp_path} (process {host.pid}).\n"
    assert host.wait(5) == 0
    engine(status=True)
    assert capsys.readouterr().out == "No engine host is running.\n"


def test_a_host_that_hangs_is_listed_and_stopped_by_force(host, capsys, monkeypatch):
    monkeypatch.setattr("dlsp.cli.engine._STATUS_SECONDS", 0.2)
    monkeypatch.setattr("dlsp.cli.engine._STOP_SECONDS", 0.3)
    host.send_signal(signal.SIGSTOP)
    engine(status=True)
    assert "error (no_answer)" in capsys.readouterr().out
    engine(stop=True)
    assert host.wait(5) == -signal.SIGKILL


def test_in_the_foreground_it_says_where_it_serves_and_leaves_when_idle(runtime, capsys, monkeypatch):
    class Engine:
        model, device, dtype, fallback_reason, notice = "fake", "cpu", "float32", "", ""
        prompt_tokens = 640

        def close(self):
            pass

    monkeypatch.setattr(host_module.run_host, "__defaults__", (lambda config, progress: Engine(),))
    engine(device="cpu", idle=0.2)
    said = capsys.readouterr().out
    assert f"Serving nano on {runtime}/dlsp/" in said
    assert f"as process {os.getpid()}. Ctrl-C stops it." in said
    assert address.running_hosts() == []


def test_in_the_foreground_it_names_the_host_that_serves_already(host, capsys, tmp_path):
    engine(model=str(tmp_path), idle=20)
    assert f"Process {host.pid} serves {tmp_path} already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"dtype": "int3"}, "number format 'int3'"),
        ({"device": "tpu"}, "device 'tpu'"),
        ({"idle": 0.0}, "idle time"),
        ({"model": ""}, "model name"),
    ],
)
def test_options_that_make_no_sense(options, text):
    with pytest.raises(ConfigError, match=text):
        engine(**options)
