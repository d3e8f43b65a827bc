"""VS Code in a browser as a person has it before them: code-server with our extension, Chromium, keys in and the screen out.

Starts and ends processes and reads the screen; knows nothing of what is tested.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lsp_stdio import ROOT, home

EXTENSION = ROOT / "editors" / "vscode"
FETCHED = ROOT / ".cache" / "editors" / "vscode"
DRIVER = ROOT / "tests" / "editors" / "vscode_driver.mjs"
DLSP = Path(sys.executable).with_name("dlsp")
STATUS = '.statusbar-item[id="dlsp.dlsp.dlsp.status"]'
"""The extension's item in the status bar."""

# What keeps the editor from talking about itself, and, where a person's own extensions would help, from guessing at words.
QUIET = {
    "chat.disableAIFeatures": True,
    "editor.quickSuggestions": {"other": "off", "comments": "off", "strings": "off"},
    "editor.fontFamily": "'DejaVu Sans Mono', monospace",
    "editor.minimap.enabled": False,
    "extensions.autoCheckUpdates": False,
    "files.autoSave": "off",
    "git.enabled": False,
    "telemetry.telemetryLevel": "off",
    "update.mode": "none",
    "window.commandCenter": False,
    "workbench.colorTheme": "Default Dark Modern",
    "workbench.enableExperiments": False,
    "workbench.reduceMotion": "on",
    "workbench.secondarySideBar.defaultVisibility": "hidden",
    "workbench.startupEditor": "none",
    "workbench.tips.enabled": False,
}


def missing() -> str:
    """Why VS Code cannot be driven here, or "" if it can."""
    unavailable = FETCHED / "unavailable"
    if unavailable.exists():
        return unavailable.read_text(encoding="utf-8").strip()
    if not all((FETCHED / "bin" / name).exists() for name in ("node", "code-server", "chromium")):
        return "code-server and a browser are not there; run `make editors`"
    if not (EXTENSION / "node_modules").exists():
        return "the extension's build tools are not there; run `make editors`"
    return ""


def tools() -> dict[str, str]:
    """The environment in which the extension's npm scripts and the driver run."""
    return os.environ | {"PATH": f"{FETCHED / 'bin'}{os.pathsep}{os.environ['PATH']}", "npm_config_update_notifier": "false"}


def npm_run(script: str) -> str:
    """Run one of the extension's scripts; returns what it wrote. Fails if it fails."""
    done = subprocess.run(["npm", "run", "--silent", script], cwd=EXTENSION, env=tools(), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"npm run {script}: {done.stdout}\n{done.stderr}"
    return done.stdout


class CodeServer:
    """code-server with a profile of its own. `env` is that of the user; the profile is in its HOME."""

    def __init__(self, env: dict[str, str], vsix: Path, settings: dict[str, dict[str, Any]], *, trust: bool = False) -> None:
        self.env = env
        self.base = Path(env["HOME"]) / "vscode"
        self.base.mkdir(exist_ok=True)
        (self.base / "cs.yaml").write_text("")
        self.write_settings(settings)
        self._start(["--install-extension", str(vsix)]).wait(300)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        options = ["--auth", "none", "--disable-telemetry", "--disable-update-check"]
        # Telling whether a folder is trusted is a dialog before everything else; only one test is about it.
        options += [] if trust else ["--disable-workspace-trust"]
        self.log = self.base / "code-server.log"
        self.process = self._start(["--bind-addr", f"127.0.0.1:{self.port}", *options])

    def write_settings(self, settings: dict[str, dict[str, Any]]) -> None:
        """Settings files by the name of their folder: `User`, and `Machine`, where the path of a server belongs."""
        for name, content in settings.items():
            path = self.base / "data" / name / "settings.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content, indent=2))

    def url(self, folder: Path) -> str:
        return f"http://127.0.0.1:{self.port}/?folder={quote(str(folder))}"

    def wait(self, seconds: float = 180.0) -> None:
        """Until it takes connections."""
        end = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert time.monotonic() < end, f"code-server does not listen: {self.log.read_text()[-2000:]}"
            time.sleep(0.1)

    def logs(self) -> dict[str, str]:
        """What the editor and its extensions have logged, by file."""
        return {
            str(path.relative_to(self.base)): path.read_text(encoding="utf-8", errors="replace")
            for path in (self.base / "data" / "logs").rglob("*.log")
        }

    def close(self) -> None:
        """End it and all that it started, an extension host that lingers included."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def _start(self, arguments: list[str]) -> subprocess.Popen[bytes]:
        own = [
            "--config",
            str(self.base / "cs.yaml"),
            "--user-data-dir",
            str(self.base / "data"),
            "--extensions-dir",
            str(self.base / "exts"),
        ]
        with (self.base / "code-server.log").open("ab") as log:
            return subprocess.Popen(
                [str(FETCHED / "bin" / "code-server"), *own, *arguments],
                env=self.env,
                cwd=self.base,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


class Window:
    """One browser window. Every wait is for something to be seen, with a generous limit."""

    def __init__(self, env: dict[str, str]) -> None:
        self._log = Path(env["HOME"]) / "browser.log"
        with self._log.open("ab") as log:
            self._driver = subprocess.Popen(
                [str(FETCHED / "bin" / "node"), str(DRIVER), str(FETCHED), str(FETCHED / "bin" / "chromium")],
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self._answer() == {"ready": True}

    def do(self, deed: str, **details: Any) -> Any:
        """One deed of the driver."""
        assert self._driver.stdin
        self._driver.stdin.write(json.dumps({"deed": deed, **details}) + "\n")
        self._driver.stdin.flush()
        answer = self._answer()
        assert "error" not in answer, f"{deed} {details}: {answer['error']}"
        return answer["result"]

    def press(self, *keys: str) -> None:
        """Keys as playwright names them, such as `Control+s`, one after the other."""
        for key in keys:
            self.do("press", key=key)

    def type(self, text: str, pause_ms: int = 60) -> None:
        """Text, as fast as a person."""
        self.do("type", text=text, pause=pause_ms)

    def see(self) -> dict[str, Any]:
        """What is on the screen."""
        seen: dict[str, Any] = self.do("look")
        return seen

    def until(self, condition: Callable[[dict[str, Any]], Any], what: str, seconds: float = 180.0) -> Any:
        """The first truthy value of `condition`, asked again and again with what is on the screen."""
        end = time.monotonic() + seconds
        while not (value := condition(seen := self.see())):
            if time.monotonic() > end:
                with contextlib.suppress(AssertionError):
                    self.do("screenshot", path=str(self._log.with_name("failure.png")))
                raise AssertionError(f"no {what} in {seconds} s; on the screen: {json.dumps(seen, indent=1)}")
            time.sleep(0.1)
        return value

    def steady_ghost(self, seconds: float = 180.0) -> str:
        """Ghost text that has stood for half a second."""
        last, since = "", time.monotonic()

        def steady(seen: dict[str, Any]) -> str:
            nonlocal last, since
            if seen["ghost"] != last:
                last, since = seen["ghost"], time.monotonic()
            return last if last and time.monotonic() - since >= 0.5 else ""

        ghost: str = self.until(steady, "ghost text", seconds)
        return ghost

    def open_folder(self, server: CodeServer, folder: Path) -> None:
        self.do("open", url=server.url(folder))

    def open_file(self, name: str) -> None:
        """By its name, the way a person does."""
        self.press("Control+p")
        self.until(lambda seen: seen["quickInput"], "quick input")
        self.type(name, 20)
        self.until(lambda seen: any(row.startswith(name) for row in seen["rows"][:1]), f"{name} in the list")
        self.press("Enter")
        self.until(lambda seen: seen["tab"] == name and seen["lines"] and seen["focused"], f"{name} in an editor")

    def save(self, path: Path, was: str) -> str:
        """Press Ctrl+S; returns the file once it is no longer what it was."""
        self.press("Control+s")
        self.until(lambda seen: not seen["dirty"] and path.read_text() != was, f"saved {path.name}", 60)
        return path.read_text()

    def command(self, name: str) -> None:
        """Run a command of the palette. On a busy machine it may open before it takes the keys; then it is closed and asked again."""
        for patience in (20, 40, 180):
            self.press("F1")
            self.until(lambda seen: seen["quickInput"], "command palette")
            self.type(name, 10)
            try:
                self.until(lambda seen: any(name in row for row in seen["rows"][:1]), f"the command {name}", patience)
            except AssertionError:
                if patience == 180:
                    raise
                self.press("Escape", "Escape")
            else:
                self.press("Enter")
                return

    def picture(self, path: Path, **how: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.do("screenshot", path=str(path), **how)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            assert self._driver.stdin
            self._driver.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._driver.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._driver.pid, signal.SIGKILL)
        self._driver.wait(10)

    def _answer(self) -> dict[str, Any]:
        assert self._driver.stdout
        line = self._driver.stdout.readline()
        assert line, f"the browser's driver has ended: {self._log.read_text()[-2000:]}"
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextlib.contextmanager
def vscode(
    vsix: Path, settings: dict[str, Any], *, quiet: dict[str, Any] | None = None, trust: bool = False, installed: bool = False
) -> Iterator[tuple[CodeServer, Window]]:
    """An editor and a window, of a user who has nothing else. `settings` are dlsp's, `quiet` what else the user has set.

    `trust`: folders are not trusted until somebody says so. `installed`: the server is where uv and pipx put programs.
    """
    with home() as env:
        # On a busy machine two threads of the engine mostly wait for each other, and the test for them.
        env["OMP_NUM_THREADS"] = "1"
        if installed:
            link = Path(env["HOME"]) / ".local" / "bin" / "dlsp"
            link.parent.mkdir(parents=True)
            link.symlink_to(DLSP)
        server = CodeServer(env, vsix, {"User": QUIET | (quiet or {}), "Machine": settings}, trust=trust)
        window = None
        try:
            server.wait()
            window = Window(env)
            yield server, window
        finally:
            if window is not None:
                window.close()
            server.close()
            if kept := os.environ.get("DLSP_KEEP_LOGS"):
                shutil.copytree(server.base / "data" / "logs", Path(kept) / str(os.getpid()), dirs_exist_ok=True)


def server_pids(env: dict[str, str]) -> list[int]:
    """Language servers of this user."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (folder / "cmdline").read_bytes().split(b"\0")
            environment = (folder / "environ").read_bytes().split(b"\0")
            if b"serve" in command and b"--stdio" in command and f"HOME={env['HOME']}".encode() in environment:
                found.append(int(folder.name))
    return sorted(found)
