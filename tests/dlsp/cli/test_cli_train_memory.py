"""A training command starts itself again once, with an allocator that keeps memory, and with its own arguments."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from dlsp.cli import main as command_line
from dlsp.cli import train_memory

GLIBC = sys.platform == "linux" and platform.libc_ver()[0] == "glibc"


@pytest.mark.skipif(not GLIBC, reason="only glibc is told")
def test_the_command_is_started_again_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda *call: calls.append(call))
    for name in train_memory._SETTINGS:
        monkeypatch.delenv(name, raising=False)
    train_memory.keep_memory()
    ((program, arguments, environment),) = calls
    assert program == sys.executable
    assert arguments == sys.orig_argv
    assert environment["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"
    monkeypatch.setattr(os, "environ", environment)
    train_memory.keep_memory()
    assert len(calls) == 1


@pytest.mark.skipif(not GLIBC, reason="only glibc is told")
def test_the_process_that_trains_has_it_and_its_arguments() -> None:
    script = (
        "import os, sys; from dlsp.cli.train_memory import keep_memory; keep_memory(); "
        "print(os.environ['GLIBC_TUNABLES'], sys.argv[1:], os.getpid())"
    )
    environment = {k: v for k, v in os.environ.items() if k not in train_memory._SETTINGS}
    with subprocess.Popen([sys.executable, "-c", script, "a b"], stdout=subprocess.PIPE, env=environment, text=True) as process:
        told, _ = process.communicate(timeout=60)
    assert told.split() == ["glibc.malloc.hugetlb=1", "['a", "b']", str(process.pid)]


def test_only_the_real_training_commands_do_so(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(command_line, "keep_memory", lambda: asked.append(sys.argv[1:]))
    for arguments in (["train", "run", "--help"], ["train", "adapt", "--help"], ["train", "export", "--help"], ["--version"]):
        monkeypatch.setattr(sys, "argv", ["dlsp", *arguments])
        with pytest.raises(SystemExit):
            command_line.main()
    assert [words[:2] for words in asked] == [["train", "run"], ["train", "adapt"]]
