"""`dlsp engine`: in the foreground, --status, --stop and --http, against a host process with a fake engine."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
import msgspec
import pytest

from dlsp.cli.engine import engine
from engine.config import EngineConfig
from engine.errors import ConfigError, HostError
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
        reads_snippets = True

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


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def answer_of(url, seconds=20.0):
    """What /healthz says there, once it does."""
    give_up = time.monotonic() + seconds
    while True:
        try:
            return httpx.get(f"{url}/healthz", trust_env=False).json()
        except httpx.HTTPError:
            assert time.monotonic() < give_up
            time.sleep(0.02)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"http": "0.0.0.0:8012"}, "everybody in the network .* needs a token.*DLSP_HTTP_TOKEN"),
        ({"http": "nowhere:x"}, "no address to serve at"),
        ({"http": "8012", "token": "two words"}, "do not fit into a header"),
        ({"allow_origin": ["https://mine.example"]}, "--http, which is missing"),
    ],
)
def test_addresses_that_make_no_sense(options, text):
    with pytest.raises(ConfigError, match=text):
        engine(**options)


def test_a_port_in_use_ends_the_command(runtime, monkeypatch):
    monkeypatch.setattr(host_module.run_host, "__defaults__", (lambda config, progress: None,))
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(HostError, match=r"uses port \d+ on 127.0.0.1 already"):
        engine(device="cpu", http=str(other.getsockname()[1]))
    assert address.running_hosts() == []


def test_without_a_host_it_serves_both_and_stays(runtime, tmp_path):
    port = free_port()
    script = (
        "import fake_host; from engine.serve import host; host.run_host.__defaults__ = (fake_host.load,); import dlsp.cli.engine as e; "
    )
    script += f"e.engine(model={str(tmp_path)!r}, idle=0.3, http='{port}', token='right')"
    environment = {**os.environ, "PYTHONPATH": f"{HOME}:{SCRIPT.parent}"}
    with subprocess.Popen([sys.executable, "-P", "-c", script], stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            line = process.stdout.readline()
            assert f"and for other tools on http://127.0.0.1:{port} as process {process.pid}" in line
            time.sleep(1.0)
            headers = {"Authorization": "Bearer right"}
            assert httpx.get(f"http://127.0.0.1:{port}/healthz", headers=headers, trust_env=False).json()["pid"] == process.pid
            assert httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == 401
            (record,) = address.running_hosts()
            assert record.doors == (f"http://127.0.0.1:{port}",)
            process.send_signal(signal.SIGINT)
            assert process.wait(15) == 0
        finally:
            process.kill()


def test_a_host_of_an_editor_is_asked_to_open_the_door(host, capsys, tmp_path):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    seen = []

    def look():
        seen.append(answer_of(url))
        engine(status=True)
        host.send_signal(signal.SIGTERM)

    looker = threading.Thread(target=look)
    looker.start()
    engine(model=str(tmp_path), idle=20, http=str(port))
    looker.join(20)
    said = capsys.readouterr().out
    assert seen[0]["pid"] == host.pid
    assert f"Process {host.pid} serves {tmp_path} already, to your editors; it now also answers other tools on {url}." in said
    assert f".sock {url}\n" in said
    assert "That process has stopped (stopped), and with it the address for other tools." in said


def test_when_that_host_is_killed_the_command_takes_over(host, capsys, tmp_path, monkeypatch):
    class Engine:
        model, device, dtype, fallback_reason, notice = "fake", "cpu", "float32", "", ""
        prompt_tokens = 640
        reads_snippets = True

        def close(self):
            pass

    monkeypatch.setattr(host_module.run_host, "__defaults__", (lambda config, progress: Engine(),))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    pids = []

    def look():
        pids.append(answer_of(url)["pid"])
        host.kill()
        while (pid := answer_of(url)["pid"]) == pids[0]:
            time.sleep(0.02)
        pids.append(pid)
        os.kill(os.getpid(), signal.SIGTERM)

    looker = threading.Thread(target=look)
    looker.start()
    engine(model=str(tmp_path), idle=20, http=str(port))
    looker.join(20)
    assert pids == [host.pid, os.getpid()]
    assert "this one takes over" in capsys.readouterr().out


def test_other_models_in_memory_are_named(host, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("dlsp.cli.engine._hold_open", None)
    monkeypatch.setattr(host_module, "run_host", lambda options, announce: None)
    engine(model="nano", http=str(free_port()))
    assert f"--model {tmp_path} --device auto" in capsys.readouterr().err
