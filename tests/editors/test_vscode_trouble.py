"""A person in a real VS Code whose server is missing, crashes or takes long, and whose files are not the plainest.

The server is the real one, but its model is scripted: it says `value`, as late as the test wants it to.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vscode_window import EXTENSION, STATUS, CodeServer, Window, missing, npm_run, vscode

SCRIPTED = Path(__file__).parents[1] / "support" / "scripted_server.py"
WHY = missing()
pytestmark = [pytest.mark.editor, pytest.mark.skipif(bool(WHY), reason=f"no VS Code: {WHY}")]
PLAIN = "def f(a):\n    x = old_text\n    return x\n"
FILES = {
    "windows.py": PLAIN.replace("\n", "\r\n"),
    "astral.py": 'def f(a):\n    s = "\U0001f600\U0001f600"; x = old_text\n    return x\n',
    "tabs.py": PLAIN.replace("    ", "\t"),
    "cancel.py": PLAIN,
    "restart.py": PLAIN,
    "early.py": PLAIN,
    "action.py": PLAIN.replace("old_text", "value"),
    "switch.py": PLAIN,
    "deaf.py": PLAIN,
}
DEAF = """
import json, os, pathlib, sys, time

while True:
    size = 0
    while header := sys.stdin.buffer.readline().strip():
        size = int(header.partition(b":")[2]) if header.lower().startswith(b"content-length") else size
    message = json.loads(sys.stdin.buffer.read(size))
    if message["method"] == "initialize":
        capabilities = {"textDocumentSync": 2, "inlineCompletionProvider": {}, "codeActionProvider": True}
        answer = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {"capabilities": capabilities}})
        print(f"Content-Length: {len(answer)}\\r\\n\\r\\n{answer}", end="", flush=True)
    elif message["method"] == "textDocument/inlineCompletion":
        pathlib.Path(sys.argv[1]).touch()
        os.close(0)
        time.sleep(3600)
"""
"""Hears nothing more from the first request for ghost text on, and does not end either."""
TALKATIVE = {"dlsp.minConfidence": 0, "dlsp.minCharacters": 1, "dlsp.deadlineMs": 60_000, "dlsp.infillDeadlineMs": 300_000}


class Scripted:
    """The window, and the program that its extension starts."""

    def __init__(self, server: CodeServer, window: Window, folder: Path) -> None:
        self.server, self.window, self.folder = server, window, folder
        self.program = folder.parent / "scripted"
        self._seconds = folder.parent / "seconds"
        self.program.write_text(
            f'#!/bin/sh\nexec {shlex.join([sys.executable, str(SCRIPTED)])} "$(cat {shlex.quote(str(self._seconds))})"\n'
        )
        self.program.chmod(0o755)
        self._seconds.write_text("0")

    def start(self, program: str | Path, **settings: Any) -> None:
        """Change the setting, as a person with the settings file open."""
        self.server.write_settings({"Machine": {"dlsp.serverPath": str(program), **TALKATIVE, **settings}})

    def answering_after(self, seconds: float) -> None:
        """A server whose model takes so long."""
        before = set(self.pids())
        self._seconds.write_text(str(seconds))
        self.window.command("dlsp: Restart the Server")
        self.window.until(lambda seen: seen["status"].startswith("dlsp scripted") and not before & set(self.pids()), "other server")

    def pids(self, program: Path = SCRIPTED) -> list[int]:
        """The processes that run it in this editor."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (folder / "cmdline").read_bytes().split(b"\0")
                home = f"HOME={self.server.env['HOME']}".encode()
                if str(program).encode() in command and home in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return sorted(found)

    def select_in(self, name: str) -> None:
        """Open a file and select what is to be filled."""
        self.window.open_file(name)
        self.window.press("Control+Home", "ArrowDown", "End", "Control+Shift+ArrowLeft")


@pytest.fixture(scope="module")
def trouble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scripted]:
    """One editor for all tests, which begins with a setting that leads nowhere."""
    npm_run("package")
    folder = tmp_path_factory.mktemp("trouble") / "project"
    (folder / ".git").mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_bytes(text.encode())
    with vscode(EXTENSION / "dist" / "dlsp.vsix", {"dlsp.serverPath": "/no/such/dlsp"}) as (server, window):
        window.open_folder(server, folder)
        yield Scripted(server, window, folder)


@pytest.fixture
def running(trouble: Scripted) -> Iterator[Scripted]:
    """The same with a server that runs and answers at once."""
    if not trouble.window.see()["status"].startswith("dlsp scripted"):
        trouble.start(trouble.program)
        trouble.window.until(lambda seen: seen["status"].startswith("dlsp scripted"), "running server")
    yield trouble
    trouble.window.press("Escape", "Escape", "Escape")
    trouble.window.command("Notifications: Clear All Notifications")
    while trouble.window.see()["tab"]:
        trouble.window.command("View: Revert and Close Editor")
        trouble.window.until(lambda seen: not seen["quickInput"], "closed command palette")


def test_a_path_that_leads_nowhere_is_named_and_ways_out_are_offered(trouble: Scripted) -> None:
    window = trouble.window
    seen = window.until(lambda seen: seen["notifications"] and seen["status"] == "dlsp not found" and seen, "word about it")
    assert seen["notifications"] == ["dlsp: The setting dlsp.serverPath names /no/such/dlsp, which is not a program that can be started."]
    window.do("click", selector=".notifications-toasts .monaco-button")
    window.until(lambda seen: [row.strip().split("...")[0] for row in seen["rows"]][:2] == ["Install", "Say where it is"], "ways out")
    window.press("Escape")


def test_a_server_that_crashes_at_the_start_is_given_up_with_its_own_last_words(trouble: Scripted) -> None:
    window, broken = trouble.window, trouble.folder.parent / "broken"
    broken.write_text("#!/bin/sh\necho 'ModuleNotFoundError: no module named torch' >&2\nexit 3\n")
    broken.chmod(0o755)
    trouble.start(broken)
    window.until(lambda seen: seen["status"] == "dlsp restarts", "another try")
    assert window.see()["notifications"] == []
    window.until(lambda seen: seen["status"] == "dlsp failed", "end of the tries")
    said = window.until(lambda seen: seen["notifications"], "word about it")
    why = f"{broken} ended with status 3: ModuleNotFoundError: no module named torch."
    assert said == [f"dlsp: {why} It has failed 6 times and is left alone now."]
    assert why in window.see()["statusLabel"]
    window.command("Notifications: Clear All Notifications")
    # What repairs it is a setting, and nobody wants to restart the window for it.
    trouble.start(trouble.program)
    window.until(lambda seen: seen["status"].startswith("dlsp scripted"), "running server")


def test_the_folder_of_the_program_will_do(running: Scripted) -> None:
    (before,) = running.pids()
    folder = running.folder.parent / "bin"
    folder.mkdir()
    (folder / "dlsp").symlink_to(running.program)
    running.start(folder)
    running.window.until(lambda _: (now := running.pids()) and before not in now, "another server")
    running.window.until(lambda seen: seen["status"].startswith("dlsp scripted"), "running server")


@pytest.mark.parametrize("name", ["windows.py", "astral.py", "tabs.py"])
def test_the_rest_of_the_file_stays_as_it_was(running: Scripted, name: str) -> None:
    window = running.window
    running.select_in(name)
    window.press("Control+k", "i")
    window.until(lambda seen: seen["dirty"], "filled selection")
    window.press("End", "Enter")
    window.type("q = ")
    assert window.steady_ghost() == "value"
    window.press("Tab")
    window.until(lambda seen: seen["lines"][2].strip().startswith("q = value"), "taken ghost text")
    window.press("Control+s")
    window.until(lambda seen: not seen["dirty"], "saved file")
    head, tail = FILES[name].split("old_text")
    indent, end = ("\t", "\n") if name == "tabs.py" else ("    ", "\r\n" if name == "windows.py" else "\n")
    assert (running.folder / name).read_bytes().decode() == f"{head}value{end}{indent}q = value{tail}"


def test_cancel_stops_the_work_and_leaves_text_and_history_alone(running: Scripted) -> None:
    running.answering_after(120)
    window = running.window
    window.open_file("cancel.py")
    window.press("Control+Home", "ArrowDown", "End")
    window.type("2")
    window.press("Escape", "Control+Shift+ArrowLeft", "Control+k", "i")
    window.until(lambda seen: any(said.startswith("dlsp: filling the selection") for said in seen["notifications"]), "progress")
    window.do("click", selector=".notifications-toasts .monaco-button")
    seen = window.until(lambda seen: not seen["notifications"] and "cancelled" in seen["statusLabel"] and seen, "end of the work")
    assert seen["lines"][1] == "    x = old_text2"
    window.press("Control+z")
    window.until(lambda seen: seen["lines"] == PLAIN.split("\n") and not seen["dirty"], "text before the letter was typed")


def test_a_restart_in_the_middle_is_said_and_leaves_one_server(running: Scripted) -> None:
    running.answering_after(120)
    window = running.window
    running.select_in("restart.py")
    window.press("Control+k", "i")
    window.until(lambda seen: any(said.startswith("dlsp: filling the selection") for said in seen["notifications"]), "progress")
    running.answering_after(0)
    window.until(lambda seen: seen["notifications"] == ["dlsp: Nothing was filled. The server ended meanwhile."], "word about it")
    for _ in range(3):
        window.command("dlsp: Restart the Server")
        window.until(lambda seen: not seen["quickInput"], "closed command palette")
    window.until(lambda seen: seen["status"].startswith("dlsp scripted") and len(running.pids()) == 1, "one server")


@pytest.mark.parametrize(("text", "pause_s"), [("q = 1; " * 3, 0.0), ("q", 0.5)], ids=["writing", "waiting"])
def test_a_server_that_hears_nothing_any_more_is_replaced_without_noise(running: Scripted, text: str, pause_s: float) -> None:
    window, folder = running.window, running.folder.parent
    script, now, program = folder / "deaf.py", folder / f"deaf-after-{pause_s}", folder / f"deaf-{pause_s}"
    script.write_text(DEAF)
    program.write_text(f"#!/bin/sh\n[ -e {now} ] && exec {running.program}\nexec {sys.executable} {script} {now}\n")
    program.chmod(0o755)
    running.start(program)
    window.until(lambda _: not running.pids(), "end of the other server")
    window.open_file("deaf.py")
    window.press("Control+Home", "ArrowDown", "End", "Enter")
    # Who writes makes changes that cannot be told; who waits has the editor ask for actions in vain.
    window.until(lambda _: (window.type(text), time.sleep(pause_s), now.exists())[2], "deaf server")
    window.until(lambda _: running.pids() and not running.pids(script), "another server instead of it")
    window.until(lambda seen: seen["status"].startswith("dlsp scripted"), "running server")
    assert [line for line in window.do("complaints") if re.search(r"EPIPE|destroyed|closed|disposed|unknown error", line)] == []


def test_a_wish_that_comes_before_the_server_runs_is_granted_when_it_does(running: Scripted) -> None:
    window = running.window
    running.select_in("early.py")
    window.command("dlsp: Restart the Server")
    window.press("Control+k", "i")
    window.until(lambda seen: "x = value" in "\n".join(seen["lines"]), "filled selection")
    assert window.save(running.folder / "early.py", PLAIN) == PLAIN.replace("old_text", "value")


def test_an_action_that_finds_nothing_says_so(running: Scripted) -> None:
    window = running.window
    running.select_in("action.py")
    # The bulb says that there are actions; asked before it is lit, the editor says "none" once and for all.
    window.until(lambda _: window.do("html", selector=".lightBulbWidget.codicon"), "light bulb")
    window.press("Control+.")
    actions = window.until(lambda seen: seen["actions"], "actions")
    window.press(*["ArrowDown"] * actions.index("dlsp: Fill the selection differently"), "Enter")
    said = window.until(lambda seen: seen["notifications"], "word about it")
    assert said[0].startswith("dlsp: The model ")
    assert not window.see()["dirty"]


def test_a_pause_and_a_language_are_switched_from_the_menu(running: Scripted) -> None:
    window = running.window
    window.open_file("switch.py")

    def choose(label: str) -> None:
        window.do("click", selector=STATUS)
        window.until(lambda seen: any(row.strip().startswith(label) for row in seen["rows"]), f"menu with {label}")
        window.type(label, 20)
        window.until(lambda seen: seen["rows"] and seen["rows"][0].strip().startswith(label), label)
        window.press("Enter")

    choose("Pause")
    window.until(lambda seen: seen["rows"] and seen["rows"][0].startswith("5 minutes"), "lengths of a pause")
    window.press("Enter")
    window.until(lambda seen: "until" in seen["status"] and "Paused until" in seen["statusLabel"], "pause")
    choose("Resume")
    window.until(lambda seen: "until" not in seen["status"], "end of the pause")
    # The log has the focus now, and it is still Python that is meant.
    window.command("dlsp: Show the Extension's Log")
    window.until(lambda _: window.do("html", selector=".panel .monaco-editor.focused"), "log with the focus")
    user = running.server.base / "data" / "User" / "settings.json"
    choose("Turn off in python")
    window.until(lambda seen: seen["status"] == "dlsp scripted off", "Python off")
    assert json.loads(user.read_text())["dlsp.languages"] == {"python": False}
    choose("Turn on in python")
    window.until(lambda seen: seen["status"] != "dlsp scripted off", "Python on")
    window.command("View: Toggle Panel Visibility")


def test_the_server_ends_with_the_editor(running: Scripted) -> None:
    assert running.pids()
    running.server.process.terminate()
    running.server.process.wait(30)
    running.window.until(lambda _: not running.pids(), "end of the server", 30)
