"""The doctor: every kind of trouble is a line that names the cure, and none of them is a traceback."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import stat
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import msgspec
import pytest

from dlsp import doctor
from dlsp.backends.launch import launch
from dlsp.cli.main import main
from dlsp.doctor import Check, Plan, examine
from engine.api import HostAddress
from engine.config import EngineConfig
from engine.serve.address import version
from lsp_stdio import WEIGHTS, have_weights


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine of our own: no settings, no host, no editors. Its path is short, as that of a socket has to be."""
    folder = Path(tempfile.mkdtemp(prefix="dlsp-"))
    home = folder / "h"
    runtime = folder / "run"
    runtime.mkdir(mode=0o700)
    (folder / "bin").mkdir()
    places = {
        "HOME": home,
        "XDG_CONFIG_HOME": home / "c",
        "XDG_DATA_HOME": home / "d",
        "XDG_STATE_HOME": home / "s",
        "XDG_RUNTIME_DIR": runtime,
        "PATH": folder / "bin",
    }
    for name, value in places.items():
        monkeypatch.setenv(name, str(value))
    yield folder
    shutil.rmtree(folder)


def found(plan: Plan | None = None) -> dict[str, Check]:
    return {check.name: check for check in examine(plan or Plan())}


def settings(machine: Path, text: str) -> None:
    path = machine / "h" / "c" / "dlsp" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text)


def command(machine: Path, name: str, script: str) -> None:
    path = machine / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_healthy_machine_passes_everywhere_but_for_editors() -> None:
    assert have_weights(), "the embedded weights are missing"
    checks = found()
    assert {name: check.state for name, check in checks.items()} == {
        "python": "pass",
        "libraries": "pass",
        "settings": "pass",
        "excluded files": "pass",
        "log": "pass",
        "counts": "pass",
        "torch": "pass",
        "device": "pass",
        "model": "pass",
        "pulled models": "pass",
        "runtime folder": "pass",
        "engine host": "pass",
        "editors": "warn",
    }


def test_whatever_does_not_pass_names_a_cure_and_the_rest_does_not(machine: Path) -> None:
    settings(machine, 'device = "cuda:x"\nexclude = ["a/***[/b"]\nnonsense = 1\n')
    for check in examine(Plan(model=str(machine))):
        assert check.detail
        assert bool(check.fix) == (check.state != "pass"), check


def test_missing_torch_is_said_once_and_stops_what_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor.importlib.import_module

    def refuse(name: str, *args: str) -> object:
        if name == "torch":
            raise ImportError("No module named 'torch'")
        return real(name, *args)

    monkeypatch.setattr(doctor.importlib, "import_module", refuse)
    checks = found(Plan(load=True))
    assert checks["torch"].state == "fail"
    assert checks["torch"].fix == "Install dlsp again from its folder (docs/install.md)."
    assert checks["model"].state == "fail"
    assert "infill" not in checks
    assert checks["runtime folder"].state == "pass"


def test_no_cure_installs_a_package_of_that_name_from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LIBRARIES", ("pygls", "no-such-library"))
    check = found()["libraries"]
    assert (check.state, check.detail) == ("fail", "missing: no-such-library")
    assert check.fix == doctor.REINSTALL
    assert "pip" not in check.fix


def test_unusable_device_fails(machine: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device, so cuda is no unusable device")
    check = found(Plan(device="cuda"))["device"]
    assert check.state == "fail"
    assert "cuda" in check.detail


def test_missing_model_fails(machine: Path) -> None:
    assert "There is no model" in found(Plan(model=str(machine / "none")))["model"].detail


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "weights"])
def test_damaged_model_file_is_named(machine: Path, name: str) -> None:
    model = machine / "model"
    shutil.copytree(WEIGHTS, model)
    path = sorted(model.glob("*.safetensors"))[0] if name == "weights" else model / name
    path.write_bytes(path.read_bytes()[:100])
    check = found(Plan(model=str(model)))["model"]
    assert check.state == "fail"
    assert path.name in check.detail


def test_model_and_device_come_from_the_settings(machine: Path) -> None:
    settings(machine, 'model = "/no/such/model"\n')
    checks = found()
    assert "/no/such/model" in checks["model"].detail
    assert checks["settings"].state == "pass"
    assert "model" in checks["settings"].detail
    assert found(Plan(model="nano"))["model"].state == "pass"


@pytest.mark.parametrize(
    ("text", "what"), [("debounceMs = -1\n", "debounceMs"), ("nonsense = 1\n", "nonsense"), ("debounceMs = \n", "config.toml")]
)
def test_wrong_settings_are_named(machine: Path, text: str, what: str) -> None:
    settings(machine, text)
    check = found()["settings"]
    assert check.state == "fail"
    assert what in check.detail
    assert "config.toml" in check.fix


def test_settings_go_by_the_names_that_people_write(machine: Path) -> None:
    settings(machine, 'remoteUrl = "http://127.0.0.1:9"\ndebounceMs = 1\n')
    assert found()["settings"].detail.endswith("sets debounceMs, remoteUrl")


@pytest.fixture
def team(machine: Path) -> Iterator[HostAddress]:
    """An engine that answers every request with its prefix, as a server of a team."""
    model = machine / "model"
    model.mkdir()
    script = Path(__file__).parents[1] / "engine" / "serve" / "fake_host.py"
    facts = msgspec.json.encode(EngineConfig(model=str(model), idle_exit_seconds=60)).decode()
    address = asyncio.run(launch([sys.executable, "-P", str(script), "--config", facts, "--transport", "tcp"], 30))
    with httpx.stream("GET", f"{address.url}/v1/status", headers={"Authorization": f"Bearer {address.token}"}, trust_env=False) as answer:
        next(line for line in answer.iter_lines() if '"ready"' in line)
    yield address
    os.kill(address.pid, signal.SIGKILL)


def remote(machine: Path, url: str = "", token: str = "") -> None:
    address = f'remoteUrl = "{url}"\n' if url else ""
    settings(machine, f'backend = "remote"\nmodel = "/no/such/model"\n{address}remoteToken = "{token}"\n')


@pytest.mark.skipif(sys.platform == "win32", reason="the fixture ends the host by signal")
def test_a_team_server_is_asked_and_no_model_of_this_machine_looked_at(machine: Path, team: HostAddress) -> None:
    remote(machine, team.url, team.token)
    checks = found()
    assert (checks["team server"].state, checks["team server"].detail) == ("pass", f"{team.url} answers; dlsp {version()}")
    assert not {"torch", "device", "model", "infill", "pulled models", "runtime folder", "engine host"} & set(checks)
    assert repr(doctor._SAMPLE.prefix) in found(Plan(load=True))["infill"].detail
    assert found(Plan(model="nano"))["model"].state == "pass"


@pytest.mark.skipif(sys.platform == "win32", reason="the fixture ends the host by signal")
@pytest.mark.parametrize(("token", "says"), [("wrong", "does not accept the token"), ("", "asks for a token")])
def test_a_team_server_that_refuses_the_token_fails(machine: Path, team: HostAddress, token: str, says: str) -> None:
    remote(machine, team.url, token)
    checks = found(Plan(load=True))
    assert checks["team server"].state == "fail"
    assert says in checks["team server"].detail
    assert checks["team server"].fix == "Set `remoteToken` to the one it was started with."
    assert "infill" not in checks


@pytest.mark.skipif(sys.platform == "win32", reason="the fixture ends the host by signal")
def test_a_team_server_of_another_version_is_a_warning(machine: Path, team: HostAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    remote(machine, team.url, team.token)
    there = version()
    monkeypatch.setattr("engine.serve.address.version", lambda: "99.0")
    check = found()["team server"]
    assert (check.state, check.detail) == ("warn", f"{team.url} answers; dlsp {there} there, 99.0 here")
    assert "same version" in check.fix


@pytest.mark.parametrize(
    ("url", "detail", "fix"),
    [
        ("", "there is no `remoteUrl`", "such as https://dlsp.example.org"),
        ("http://127.0.0.1:9", "could not be made (connection refused)", "Check remoteUrl and that the engine runs there."),
        ("http://127.0.0.1:9/v1", "adds the paths itself", "without a path: http://127.0.0.1:9."),
    ],
)
def test_a_team_server_that_cannot_be_asked_fails(machine: Path, url: str, detail: str, fix: str) -> None:
    remote(machine, url)
    check = found()["team server"]
    assert check.state == "fail"
    assert detail in check.detail
    assert fix in check.fix


def test_something_else_at_the_address_fails(machine: Path) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"status": "ok"}')

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        remote(machine, f"http://127.0.0.1:{server.server_port}")
        check = found()["team server"]
    assert check.state == "fail"
    assert "not a valid Health" in check.detail
    assert "remoteUrl" in check.fix


def test_own_exclusions_are_shown(machine: Path) -> None:
    settings(machine, 'exclude = ["private/"]\n')
    check = found()["excluded files"]
    assert check.state == "pass"
    assert "private/" in check.detail


def test_patterns_and_ignore_files_are_listed(machine: Path) -> None:
    project = machine / "project"
    project.mkdir()
    (project / ".gitignore").write_text("build/\n")
    detail = found(Plan(root=project))["excluded files"].detail
    assert ".env*" in detail
    assert "*.pem" in detail
    assert str(project / ".gitignore") in detail


def test_secrets_that_are_let_in_are_a_warning(machine: Path) -> None:
    settings(machine, "excludeSecrets = false\n")
    check = found()["excluded files"]
    assert check.state == "warn"
    assert "*.pem" not in check.detail
    assert "excludeSecrets" in check.fix


@pytest.mark.parametrize(("name", "says"), [(".env.local", "excluded by"), ("build/a.py", "excluded by"), ("a.py", "not excluded")])
def test_one_file_may_be_asked_about(machine: Path, name: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    project = machine / "project"
    project.mkdir()
    (project / ".gitignore").write_text("build/\n")
    (project / name).parent.mkdir(exist_ok=True)
    (project / name).write_text("x = 1\n")
    check = found(Plan(file=project / name, root=project))["this file"]
    assert check.state == "pass"
    assert says in check.detail
    run("--file", str(project / name), "--root", str(project), "--json")
    assert says in {check["name"]: check for check in json.loads(capsys.readouterr().out)}["this file"]["detail"]


def test_a_file_with_a_key_in_it_and_one_that_is_not_there(machine: Path) -> None:
    (machine / "a.py").write_text("KEY = '''-----BEGIN RSA PRIVATE KEY-----'''\n")
    assert "holds a private key" in found(Plan(file=machine / "a.py", root=machine))["this file"].detail
    check = found(Plan(file=machine / "b.py", root=machine))["this file"]
    assert check.state == "warn"
    assert "no such file" in check.detail


def test_files_that_are_written_are_named(machine: Path) -> None:
    checks = found()
    assert str(machine / "h") in checks["log"].detail
    assert "nothing yet" in checks["log"].detail
    assert "stats.jsonl" in checks["counts"].detail
    path = Path(checks["log"].detail.removesuffix(" (nothing yet)"))
    path.parent.mkdir(parents=True)
    path.write_text("x" * 3000)
    settings(machine, "stats = false\n")
    checks = found()
    assert "3 kB" in checks["log"].detail
    assert "switched off" in checks["counts"].detail


def test_a_log_folder_that_cannot_be_written_is_named(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(found()["log"].detail.removesuffix(" (nothing yet)")).parent
    folder.mkdir(parents=True)
    (folder / "server.log").write_text("")
    access = os.access
    for theirs in (folder, folder / "server.log"):
        with monkeypatch.context() as patch:
            patch.setattr(os, "access", lambda path, mode, theirs=theirs: path != theirs and access(path, mode))
            check = found()["log"]
        assert check.state == "warn"
        assert f"{theirs} cannot be written" in check.detail
        assert f"chown -R $USER {folder}`" in check.fix
    (machine / "file").write_text("")
    monkeypatch.setattr(doctor, "log_file", lambda: machine / "file" / "log" / "server.log")
    check = found()["log"]
    assert f"{machine / 'file'} cannot be written" in check.detail
    assert "chown" not in check.fix, "not of a folder that others may use"


@pytest.mark.skipif(os.name != "posix", reason="mode bits are POSIX")
def test_runtime_folder_open_to_others_fails(machine: Path) -> None:
    folder = machine / "run" / "dlsp"
    folder.mkdir()
    folder.chmod(0o755)
    check = found()["runtime folder"]
    assert check.state == "fail"
    assert "chmod" in check.fix
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can make a socket that is somebody else's")
def test_socket_of_somebody_else_fails(machine: Path) -> None:
    folder = machine / "run" / "dlsp"
    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "x.sock"))
        os.chown(folder / "x.sock", 12345, 12345)
        check = found()["engine host"]
    assert check.state == "fail"
    assert "another user" in check.detail


@pytest.mark.parametrize(
    ("says", "state"),
    [
        ("NVIM v0.12.4", "pass"),
        ("NVIM v0.13.0-dev-123+gabc", "pass"),
        ("NVIM v1.0.0", "pass"),
        ("NVIM v0.10.4", "pass"),
        ("NVIM v0.9.5", "warn"),
        ("hello", "warn"),
    ],
)
def test_neovim_must_be_new_enough(machine: Path, says: str, state: str) -> None:
    command(machine, "nvim", f"echo '{says}'")
    checks = found()
    assert checks["neovim"].state == state
    assert "editors" not in checks


def test_other_editors_are_named(machine: Path) -> None:
    command(machine, "hx", "true")
    check = found()["editors"]
    assert (check.state, check.detail.split(" (")[0]) == ("pass", "Helix")


def test_load_really_fills_a_hole() -> None:
    check = found(Plan(load=True))["infill"]
    assert check.state in ("pass", "warn")
    assert " ms" in check.detail


def run(*args: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *args])
    return int(ended.value.code or 0)


def test_command_prints_a_line_a_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("pass  torch ") for line in lines)
    assert any(line.startswith("warn  editors ") for line in lines)
    assert any("fix: " in line for line in lines)


def test_command_fails_with_status_1_and_says_the_same_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--model", "/no/such/model", "--json") == 1
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["model"]["state"] == "fail"
    assert checks["model"]["fix"]


def test_command_refuses_a_device_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--device", "tpu") == 2
    assert "There is no device 'tpu'." in capsys.readouterr().err
