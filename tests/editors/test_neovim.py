"""A person in a real Neovim: opens a Python file, types, sees ghost text from the embedded model, takes it with <Tab>, saves.

The configuration is the one in editors/nvim/README.md, word for word but for the paths.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lsp_stdio import ROOT, have_weights, home

PLUGIN = ROOT / "editors" / "nvim"
FETCHED = ROOT / ".cache" / "editors" / "nvim"
WANTED = (0, 12)

BEFORE = '''"""Shapes on a plane."""


class Point:
    def __init__(self, x, y):
        self.x = x
'''


def find_neovim() -> tuple[str, str]:
    """The path of a Neovim that is new enough, or the reason why there is none."""
    found = "no nvim on the PATH"
    for candidate in (FETCHED / "bin" / "nvim", shutil.which("nvim")):
        if candidate and Path(candidate).exists():
            said = subprocess.run([candidate, "--version"], capture_output=True, text=True, check=False, timeout=30).stdout
            match = re.match(r"NVIM v(\d+)\.(\d+)", said)
            if match and (int(match[1]), int(match[2])) >= WANTED:
                return str(candidate), ""
            found = f"{candidate} is not Neovim 0.12 or newer"
    unavailable = FETCHED / "unavailable"
    why = unavailable.read_text().strip() if unavailable.exists() else "run `make editors`"
    return "", f"{found}; {why}"


NVIM, MISSING = find_neovim()

pytestmark = [
    pytest.mark.editor,
    pytest.mark.skipif(not NVIM, reason=f"no Neovim: {MISSING}"),
    pytest.mark.skipif(not have_weights(), reason="the embedded weights are missing"),
]


class Editor:
    """A Neovim over RPC, and what a person would look at."""

    def __init__(self, nvim: Any) -> None:
        self.nvim = nvim

    def type(self, keys: str, pause: float = 0.03) -> None:
        """Keys one at a time, as fast as a person; `<...>` is one key."""
        for key in re.findall(r"<[A-Za-z-]+>|.", keys):
            self.nvim.input(key.replace("<", "<lt>") if key == "<" else key)
            time.sleep(pause)

    def ghost(self) -> str:
        """The ghost text on the screen, or an empty string."""
        marks = self.nvim.exec_lua(
            "local ns = vim.api.nvim_get_namespaces()['nvim.lsp.inline_completion']\n"
            "return ns and vim.api.nvim_buf_get_extmarks(0, ns, 0, -1, { details = true }) or {}"
        )
        lines: list[str] = []
        for *_, details in marks:
            lines.append("".join(text for text, *_ in details.get("virt_text", [])))
            lines += ["".join(text for text, *_ in line) for line in details.get("virt_lines", [])]
        return "\n".join(lines)

    def status(self) -> dict[str, Any]:
        return self.nvim.exec_lua("return vim.g.dlsp_status or vim.empty_dict()")

    def until(self, condition: Callable[[], Any], what: str, seconds: float = 180.0) -> Any:
        end = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < end, f"no {what} in {seconds} s; {self.looks()}"
            time.sleep(0.05)
        return value

    def steady_ghost(self) -> str:
        """Ghost text that has stood for half a second: longer than the editor's own pause before it asks again."""

        def steady() -> str:
            seen = self.ghost()
            time.sleep(0.5)
            return seen if seen and self.ghost() == seen else ""

        return self.until(steady, "ghost text")

    def buffer(self) -> str:
        return "\n".join(self.nvim.current.buffer[:]) + "\n"

    def looks(self) -> str:
        """All that may explain a failure."""
        log = Path(self.nvim.exec_lua("return vim.lsp.log.get_filename()"))
        said = [line for line in log.read_text().splitlines() if '"rpc.' in line and "$/progress" not in line] if log.exists() else []
        return "\n".join([str(self.nvim.api.get_mode()), str(self.status()), self.messages(), self.buffer(), *said[-40:]])

    def messages(self) -> str:
        return self.nvim.command_output("messages")


def init_lua(options: str) -> str:
    """The README's configuration with this machine's paths; `options` is the Lua of init_options."""
    setup, name_it, *_ = re.findall(r"```lua\n(.*?)```", (PLUGIN / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert "/path/to/dlsp/editors/nvim" in setup
    assert "/path/to/dlsp/.venv/bin/dlsp" in name_it
    setup = setup.replace("/path/to/dlsp/editors/nvim", str(PLUGIN))
    name_it = name_it.replace("/path/to/dlsp/.venv/bin/dlsp", str(Path(sys.executable).with_name("dlsp")))
    # The log is for `Editor.looks`; it is in the test's own folder.
    return f"{setup}\n{name_it}\nvim.lsp.log.set_level('debug')\nvim.lsp.config('dlsp', {{ init_options = {options} }})\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / ".git").mkdir()
    (folder / "shapes.py").write_text(BEFORE)
    return folder


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """One user for all tests here, so that the editors share one engine host and the model is loaded once."""
    with home() as env:
        yield env


@pytest.fixture
def editor(project: Path, tmp_path: Path, environment: dict[str, str]) -> Iterator[Editor]:
    import pynvim

    init = tmp_path / "init.lua"
    # All that the model says is shown, however long it took: this is a test of the way and not of the words.
    init.write_text(init_lua("{ minConfidence = 0, minCharacters = 1, deadlineMs = 60000 }"))
    saved, here = dict(os.environ), Path.cwd()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(project)
    try:
        # pynvim hands on the environment and the working directory it finds.
        nvim = pynvim.attach("child", argv=[NVIM, "--embed", "--headless", "-n", "-u", str(init), "shapes.py"])
    finally:
        os.chdir(here)
        os.environ.clear()
        os.environ.update(saved)
    try:
        yield Editor(nvim)
    finally:
        # It closes the pipe before it answers, which is what it was told to do.
        with contextlib.suppress(OSError, EOFError):
            nvim.command("qa!")
        nvim.close()


def test_ghost_text_is_shown_taken_and_saved(editor: Editor, project: Path) -> None:
    editor.until(lambda: editor.status().get("state") == "ready", "ready model")
    editor.type("Go")
    editor.type("self.y = ")
    ghost = editor.steady_ghost()
    before = editor.buffer()
    assert before == BEFORE + "        self.y = \n"
    assert "\n" not in ghost.strip("\n")
    editor.type("<Tab>")
    editor.until(lambda: editor.buffer() != before, "accepted text", 60)
    assert editor.buffer() == BEFORE + "        self.y = " + ghost + "\n"
    editor.type("<Esc>:w<CR>")
    editor.until(lambda: (project / "shapes.py").read_text() != BEFORE, "saved file", 60)
    assert (project / "shapes.py").read_text() == BEFORE + "        self.y = " + ghost + "\n"
    assert "Error" not in editor.messages()


def test_typing_along_keeps_the_ghost_text(editor: Editor) -> None:
    editor.until(lambda: editor.status().get("state") == "ready", "ready model")
    editor.type("Go")
    editor.type("raise ValueEr")
    ghost = editor.steady_ghost()
    assert len(ghost) > 1, "half a name is finished by more than one character, or nobody could type along"
    editor.type(ghost[0].replace("<", "<lt>"))
    assert editor.steady_ghost() == ghost[1:]


def test_tab_is_a_tab_where_there_is_no_ghost_text(editor: Editor) -> None:
    editor.until(lambda: editor.status().get("state"), "status")
    editor.nvim.command("lua vim.lsp.inline_completion.enable(false)")
    editor.nvim.command("set expandtab shiftwidth=4 softtabstop=4")
    editor.type("ggO<Tab>x<Esc>")
    editor.until(lambda: editor.nvim.current.buffer[0] == "    x", "indented line", 60)


def test_status_reaches_the_editor(editor: Editor) -> None:
    status = editor.until(lambda: editor.status().get("state") == "ready" and editor.status(), "ready model")
    assert status["model"] == "nano"
    editor.nvim.command("let g:seen = 0 | autocmd User DlspStatus let g:seen += 1")
    editor.type("Go")
    editor.type("self.y = ")
    editor.until(lambda: editor.nvim.vars["seen"] > 0, "User DlspStatus")
    assert "Error" not in editor.messages()
