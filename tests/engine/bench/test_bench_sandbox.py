"""What the sandbox calls a pass, and what a program cannot do to the machine. Real processes, short limits."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from engine.bench import sandbox as sandbox_module
from engine.bench.sandbox import Sandbox, SandboxLimits

pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")

LIMITS = SandboxLimits(wall_seconds=15.0, memory_bytes=128 << 20)


@pytest.fixture(scope="module", params=["as the system allows", "without namespaces"])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    box = Sandbox(LIMITS)
    if request.param == "without namespaces":
        box._wrapper = ()
        assert box.isolation == "process"
    return box


@pytest.mark.parametrize(
    ("program", "status", "detail"),
    [
        ("x = 1\nassert x == 1", "passed", ""),
        ("import math, typing, collections, hashlib, re\nassert hashlib.md5(b'').hexdigest()", "passed", ""),
        ("print('passed ' * 1000)\nimport sys\nsys.stderr.write('failed')\nsys.__stdout__.flush()", "passed", ""),
        ("open('here.txt', 'w').write('x')\nassert open('here.txt').read() == 'x'", "passed", ""),
        ("assert __name__ != '__main__'", "passed", ""),
        ("assert 1 == 2", "failed", "AssertionError"),
        ("def f(:", "failed", "SyntaxError"),
        ("input()", "failed", "EOFError"),
        ("def f(): f()\nf()", "failed", "RecursionError"),
        # Leaving early is no pass, whatever the exit status.
        ("import sys\nsys.exit(0)", "failed", "SystemExit"),
        ("import os\nos._exit(0)", "crashed", "exited without a verdict"),
        ("import os\nos.abort()", "crashed", "exited without a verdict"),
        ("import atexit\natexit.register(print, 'passed')\nraise SystemExit", "failed", "SystemExit"),
        # What generated code has no business with.
        ("import os\nos.fork()", "failed", "PermissionError"),
        ("import os\nos.system('true')", "failed", "PermissionError"),
        ("import subprocess\nsubprocess.run(['true'])", "failed", "PermissionError"),
        ("import os\nos.kill(os.getppid(), 9)", "failed", "PermissionError"),
        ("import ctypes\nctypes.CDLL(None)", "failed", "PermissionError"),
        ("import socket\nsocket.create_connection(('127.0.0.1', 9), 1)", "failed", "PermissionError"),
        ("import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9')", "failed", None),
        ("open('big', 'w').write('x' * (4 << 20))", "failed", "OSError"),
        ("x = 'x' * (1 << 28)", "failed", "MemoryError"),
        ("x = []\nwhile True: x.append('x' * 1_000_000)", "failed", "MemoryError"),
    ],
)
def test_verdicts(sandbox: Sandbox, program: str, status: str, detail: str | None) -> None:
    verdict = sandbox.run(program)
    assert (verdict.status, verdict.detail if detail is not None else None) == (status, detail)
    assert verdict.passed is (status == "passed")


@pytest.mark.parametrize("how", ["open({0!r}, 'w')", "import os\nos.mkdir({0!r})", "import os\nos.symlink('/etc', {0!r})"])
def test_nothing_is_written_outside_the_working_directory(sandbox: Sandbox, how: str, tmp_path: Path) -> None:
    target = tmp_path / "escaped"
    assert sandbox.run(how.format(str(target))).detail == "PermissionError"
    assert not os.path.lexists(target)


def test_existing_files_stay(sandbox: Sandbox, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    for program in (
        f"import os\nos.remove({str(victim)!r})",
        f"import os\nos.rename({str(victim)!r}, 'mine')",
        f"open({str(victim)!r}, 'a')",
    ):
        assert sandbox.run(program).detail == "PermissionError"
    assert victim.read_text() == "kept"


def test_an_endless_loop_costs_the_wall_time_only() -> None:
    box = Sandbox(SandboxLimits(wall_seconds=0.3))
    began = time.monotonic()
    # Even where it refuses every exception.
    verdict = box.run("while True:\n    try:\n        while True: pass\n    except BaseException: pass")
    assert (verdict.status, verdict.detail) == ("timeout", "0.3 s")
    assert time.monotonic() - began < 10


def test_leftover_threads_do_not_hold_the_verdict() -> None:
    began = time.monotonic()
    program = "import threading, time\ntry:\n    threading.Thread(target=time.sleep, args=(60,)).start()\nexcept RuntimeError: pass"
    assert Sandbox(LIMITS).run(program).passed
    assert time.monotonic() - began < 15


def test_the_token_cannot_be_guessed_from_the_answer_format() -> None:
    # A program that writes a plausible verdict wherever it can, then leaves.
    program = """
import os
for descriptor in range(3, 64):
    try:
        os.write(descriptor, b"passed 0123456789abcdef0123456789abcdef\\n")
    except OSError:
        pass
os._exit(0)
"""
    assert not Sandbox(LIMITS).run(program).passed


def test_the_working_directory_is_empty_and_goes_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_module.tempfile, "tempdir", str(tmp_path))
    assert Sandbox(LIMITS).run("import os\nassert os.listdir() == []\nos.mkdir('d')\nopen('d/f', 'w')").passed
    assert list(tmp_path.iterdir()) == []


def test_many_keep_their_order() -> None:
    programs = ["assert True", "assert False", "import sys; sys.exit(0)", "x = 1"]
    assert [v.passed for v in Sandbox(LIMITS).run_many(programs, workers=3)] == [True, False, False, True]


def test_text_that_is_no_unicode_is_a_failure_not_a_crash_of_ours() -> None:
    assert Sandbox(LIMITS).run("x = '\ud800'").status in ("passed", "failed")
