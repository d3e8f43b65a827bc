"""The `dlsp` command's frame: help, versions, exit statuses, and what it does not import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest
import typer

import dlsp
from dlsp.cli import main as frame
from dlsp.cli.main import main
from engine.config import DType
from engine.errors import HostError

COMMANDS = ["serve", "infill", "engine", "models", "stats", "replay", "doctor", "bench", "train"]


def run(*args: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(args))
    return int(ended.value.code or 0)


def command_that(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Register `dlsp fail`, which raises `error`."""

    def fail() -> None:
        raise error

    module = ModuleType("a_failing_command")
    module.fail = fail  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_failing_command", module)
    monkeypatch.setitem(frame._COMMANDS, "fail", frame._Entry("a_failing_command", "fail", ""))


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"dlsp {dlsp.__version__}\n"


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    out = capsys.readouterr().out
    for name in COMMANDS:
        assert f"\n  {name} " in out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists_and_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name, "--help") == 0
    assert f"Usage: dlsp {name}" in capsys.readouterr().out


def test_unknown_command_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("nonsense") == 2
    assert "No such command 'nonsense'" in capsys.readouterr().err


def test_error_is_one_sentence_with_the_next_action(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command_that(monkeypatch, HostError("The socket belongs to another user.", "Remove it."))
    assert run("fail") == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "dlsp: The socket belongs to another user. Remove it.\n")


def test_ctrl_c_is_130_without_a_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command_that(monkeypatch, KeyboardInterrupt())
    assert run("fail") == 130
    assert "Traceback" not in capsys.readouterr().err


def test_own_status_of_a_command_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    command_that(monkeypatch, typer.Exit(7))
    assert run("fail") == 7


def test_our_own_mistakes_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    command_that(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        main(["fail"])


def test_closed_pipe_is_quiet() -> None:
    reader = f"{sys.executable} -P -m dlsp doctor --json | true"
    ended = subprocess.run(["bash", "-c", reader], capture_output=True, text=True, timeout=300, check=False)
    assert ended.stderr == ""


@pytest.mark.parametrize("name", [["engine"], ["infill"], ["bench", "holes"], ["bench", "load"]])
def test_help_names_every_number_format(name: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*name, "--help") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert ", ".join(get_args(DType)[:-1]) + f" or {get_args(DType)[-1]}" in said


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_plain_everywhere(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name, "--help") == 0
    said = capsys.readouterr().out
    assert "--install-completion" not in said
    assert "─" not in said


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["serve", "--help"]])
def test_light_commands_import_nothing_heavy(args: list[str]) -> None:
    script = (
        "import sys; from dlsp.cli.main import main\n"
        f"try: main({args!r})\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'numpy', 'tokenizers'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    ended = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr


def test_console_script_is_installed_and_agrees() -> None:
    script = Path(sys.executable).with_name("dlsp")
    assert script.exists(), "run `make env`"
    out = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=300, check=True).stdout
    assert out == f"dlsp {dlsp.__version__}\n"
