"""Real processes and real pipes: start-up, what is imported, both transports, cancellation, what is printed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lsp_stdio import DLSP, Server, home

SUPPORT = Path(__file__).resolve().parents[1] / "support"


@pytest.fixture
def env() -> Iterator[dict[str, str]]:
    with home() as env:
        yield env


@contextlib.contextmanager
def scripted(env: dict[str, str], seconds: float) -> Iterator[Server]:
    with Server(env, command=[sys.executable, str(SUPPORT / "scripted_server.py"), str(seconds)]) as server:
        server.initialize({"debounceMs": 0})
        server.wait_for_status("ready")
        yield server


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="this system does not tell how long a process has worked")
def seconds_to_initialize(env: dict[str, str]) -> float:
    """The time on the wall, or that of the processor where it is less: on a busy machine the wall says little."""
    with Server(env) as server:
        server.answer(server.request("initialize", {"processId": None, "rootUri": None, "capabilities": {}}))
        took = time.monotonic() - server.started
        assert server.answer(server.request("shutdown", None))["result"] is None
        server.notify("exit", None)
        _, status, usage = os.wait4(server.process.pid, 0)
        server.process.returncode = os.waitstatus_to_exitcode(status)
        assert server.process.returncode == 0
    return min(took, usage.ru_utime + usage.ru_stime)


def seconds_to_import_the_library() -> float:
    with subprocess.Popen([sys.executable, "-c", "import pygls.lsp.server"]) as library:
        _, status, usage = os.wait4(library.pid, 0)
        library.returncode = os.waitstatus_to_exitcode(status)
    assert library.returncode == 0
    return usage.ru_utime + usage.ru_stime


def test_initialize_is_answered_in_no_time(env: dict[str, str]) -> None:
    """Within 0.8 s; on a machine that takes longer for the protocol's own library alone, within half as much again as that."""
    tries = []
    for _ in range(3):
        tries.append((seconds_to_initialize(env), max(0.8, 1.5 * seconds_to_import_the_library())))
        if tries[-1][0] < tries[-1][1]:
            return
    raise AssertionError(f"seconds and what was allowed: {tries}")


def test_no_heavy_library_is_imported(env: dict[str, str]) -> None:
    code = (
        "import asyncio, json, sys\n"
        "from dlsp.cli.serve import _connection\n"
        "_connection()\n"
        "print(json.dumps([name for name in sys.modules if name.partition('.')[0] in "
        "('torch', 'transformers', 'tokenizers', 'numpy', 'safetensors', 'huggingface_hub', 'httpx', 'starlette', 'uvicorn')]))"
    )
    run = subprocess.run([sys.executable, "-P", "-c", code], env=env, capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == []


def test_ghost_text_over_stdio_and_printing_does_not_disturb_it(env: dict[str, str], tmp_path: Path) -> None:
    with scripted(env, 0) as server:
        uri = server.open(tmp_path / "a.py", "x = ")
        assert server.ghost(uri, 0, 4) == ["value"]
        server.change(uri, 2, "x = va")
        assert server.ghost(uri, 0, 6) == ["lue"]
        assert server.shut_down() == 0
        assert "this must not reach the editor" in server.stderr.decode()
        log = next(Path(env["HOME"]).rglob("server.log"))
        assert "ghost: 5 characters" in log.read_text()
        assert "x = " not in log.read_text()


def test_cancelling_over_stdio_stops_the_model(env: dict[str, str], tmp_path: Path) -> None:
    with scripted(env, 30) as server:
        uri = server.open(tmp_path / "a.py", "x = ")
        request = server.inline(uri, 0, 4)
        time.sleep(0.2)
        server.cancel(request)
        assert server.answer(request)["error"]["code"] == -32800
        server.until(lambda: b"told to stop" in server.stderr, "the end of the request")
        assert len(server.answers(request)) == 1


def test_an_editor_that_hangs_up_ends_the_server(env: dict[str, str]) -> None:
    with scripted(env, 30) as server:
        assert server.process.stdin
        server.process.stdin.close()
        assert server.process.wait(10) == 1


def test_arguments_that_clients_add_are_accepted(env: dict[str, str]) -> None:
    with Server(env, command=[*DLSP, "serve", "--stdio", f"--clientProcessId={os.getpid()}"]) as server:
        server.answer(server.request("initialize", {"processId": None, "rootUri": None, "capabilities": {}}))
        assert server.shut_down() == 0


def test_over_tcp_each_editor_has_a_session_of_its_own(env: dict[str, str]) -> None:
    process = subprocess.Popen([*DLSP, "serve", "--tcp", ":0"], env=env, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr
        line = next(line for line in process.stderr if "listens on" in line)
        host, port = re.search(r"on (\S+):(\d+)", line).groups()  # type: ignore[union-attr]
        assert host == "127.0.0.1"
        body = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"processId":null,"rootUri":null,"capabilities":{}}}'
        for _ in range(2):
            with socket.create_connection((host, int(port)), 10) as connection:
                connection.sendall(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
                connection.settimeout(10)
                assert b"inlineCompletionProvider" in connection.recv(65536)
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("address", ["nonsense", "1.2.3.4.5:x"])
def test_a_wrong_address_is_one_sentence(env: dict[str, str], address: str) -> None:
    run = subprocess.run([*DLSP, "serve", "--tcp", address], env=env, capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr.startswith("dlsp: ")
    assert "Traceback" not in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1


def test_a_port_that_is_taken_is_one_sentence(env: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = subprocess.run([*DLSP, "serve", "--tcp", str(port)], env=env, capture_output=True, text=True)
    assert run.returncode == 2
    assert f"Cannot listen on 127.0.0.1:{port}" in run.stderr
    assert "Traceback" not in run.stderr
