"""A person in a real Neovim with the embedded model: opens a Python file, types, sees ghost text, takes it, fills selections and holes,
saves. The configuration is the one in editors/nvim/README.md, word for word but for the paths.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lsp_stdio import have_weights, home, host_pids
from neovim import PLUGIN, Editor, find_neovim, find_old_neovim, running

NEW, OLD = find_neovim(), find_old_neovim()

BEFORE = '''"""Shapes on a plane."""


class Point:
    def __init__(self, x, y):
        self.x = x
'''
AREA = '''"""Shapes on a plane."""


class Rectangle:
    def __init__(self, width, height):
        self.width = width
        self.height = height

    def area(self):
        """The area of the rectangle."""
        ...

    def scale(self, factor):
        self.width = self.width * factor
        self.height = self.height * factor
'''

pytestmark = [pytest.mark.editor, pytest.mark.skipif(not have_weights(), reason="the embedded weights are missing")]

# All that the model says is shown, however long it took: this is a test of the way and not of the words.
SETTINGS = "{ minConfidence = 0, minCharacters = 1, deadlineMs = 60000, infillDeadlineMs = 0 }"
Open = Callable[..., Editor]


def blocks() -> list[str]:
    """The README's pieces of configuration."""
    return re.findall(r"```lua\n(.*?)```", (PLUGIN / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def init_lua(block: str, settings: str = SETTINGS) -> str:
    """A piece of configuration with this machine's paths, and with settings."""
    assert "/path/to/dlsp/editors/nvim" in block
    dlsp = str(Path(sys.executable).with_name("dlsp"))
    block = block.replace("/path/to/dlsp/editors/nvim", str(PLUGIN)).replace("/path/to/dlsp/.venv/bin/dlsp", dlsp)
    # The log is for `Editor.looks`; it is in the test's own folder.
    return f"require('vim.lsp.log').set_level('debug')\nvim.g.dlsp = {{ settings = {settings}, cmd = '{dlsp}' }}\n{block}\n"


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """One user for all tests here, so that the editors share one engine host and the model is loaded once."""
    with home() as env:
        yield env


@pytest.fixture
def open_editor(tmp_path: Path, environment: dict[str, str]) -> Iterator[Open]:
    """Opens shapes.py in a Neovim: `block` is the configuration."""
    with contextlib.ExitStack() as stack:

        def start(found: tuple[str, str], block: str, text: str = BEFORE) -> Editor:
            program, missing = found
            if not program:
                pytest.skip(f"no Neovim: {missing}")
            folder = tmp_path / "project"
            folder.mkdir()
            (folder / ".git").mkdir()
            (folder / "shapes.py").write_text(text)
            init = tmp_path / "init.lua"
            init.write_text(block)
            return stack.enter_context(running(program, init, folder / "shapes.py", environment))

        yield start


@pytest.fixture(params=["new", "old"])
def person(request: pytest.FixtureRequest, open_editor: Open) -> Open:
    """Opens a file in either Neovim with the setup that works in both, and waits for the model."""

    def start(text: str = BEFORE) -> Editor:
        setup = next(block for block in blocks() if "setup" in block)
        editor = open_editor(NEW if request.param == "new" else OLD, init_lua(setup), text)
        return ready(editor)

    return start


def ready(editor: Editor) -> Editor:
    editor.until(lambda: editor.status().get("state") == "ready", "ready model")
    return editor


def saved(editor: Editor) -> str:
    editor.type("<Esc>:w<CR>")
    editor.until(lambda: not editor.lua("return vim.bo.modified"), "saved file", 60)
    return Path(editor.lua("return vim.api.nvim_buf_get_name(0)")).read_text()


def test_ghost_text_is_shown_taken_and_saved(person: Open) -> None:
    editor = person()
    editor.type("Go")
    editor.type("self.y = ")
    ghost = editor.steady_ghost()
    assert editor.buffer() == BEFORE + "        self.y = \n"
    assert "\n" not in ghost.strip("\n")
    editor.type("<M-l>")
    editor.until(lambda: editor.lines()[-1] != "        self.y = ", "accepted text", 60)
    assert saved(editor) == BEFORE + "        self.y = " + ghost + "\n"
    assert not editor.errors()


def test_typing_along_keeps_the_ghost_text(person: Open) -> None:
    editor = person()
    editor.type("Go")
    editor.type("raise ValueEr")
    ghost = editor.steady_ghost()
    assert len(ghost) > 1, "half a name is finished by more than one character, or nobody could type along"
    editor.type(ghost[0])
    assert editor.ghost() == ghost[1:]
    assert editor.steady_ghost() == ghost[1:]


def test_taken_word_by_word_the_rest_stays(person: Open) -> None:
    editor = person("import numpy as np\nimport logging\n")
    editor.type("Go<CR>")
    editor.type("log = logging.")
    ghost = editor.steady_ghost()
    taken = ""
    while ghost[len(taken) :]:
        editor.type("<M-w>")
        editor.until(lambda so_far=taken: len(editor.lines()[-1]) > len("log = logging." + so_far), "a word more", 60)
        taken = editor.lines()[-1].removeprefix("log = logging.")
        assert ghost.startswith(taken)
        if taken != ghost:
            assert editor.ghost() == ghost[len(taken) :]
    assert saved(editor).endswith("log = logging." + ghost + "\n")


def test_a_selection_is_filled_in_one_step_of_undo(person: Open) -> None:
    # Nothing that the model would write itself, where it is sure of something else.
    text = "import numpy as 12345678\nimport logging\n\nx = np.zeros(3)\n"
    editor = person(text)
    editor.type("gg0f1v7l:")
    editor.type("Dlsp infill<CR>")
    editor.until(lambda: editor.buffer() != text, "filled selection")
    assert editor.lines()[0].startswith("import numpy as ")
    assert "12345678" not in editor.buffer()
    assert editor.lines()[1:] == text.splitlines()[1:]
    marks = "return #vim.api.nvim_buf_get_extmarks(0, vim.api.nvim_get_namespaces()['dlsp.busy'], 0, -1, {})"
    # The edit comes before the command's answer.
    editor.until(lambda: editor.lua(marks) == 0, "unmarked text")
    filled = editor.buffer()
    assert saved(editor) == filled
    editor.type("u")
    editor.until(lambda: editor.buffer() == text, "the text before, after one undo", 20)
    assert not editor.errors()


def test_holes_are_filled_and_undone_together(person: Open) -> None:
    editor = person(AREA)
    editor.type(":Dlsp holes<CR>")
    editor.until(lambda: "..." not in editor.buffer(), "filled holes")
    assert "def scale(self, factor):" in editor.buffer()
    compile(editor.buffer(), "shapes.py", "exec")
    editor.type("u")
    editor.until(lambda: editor.buffer() == AREA, "the text before, after one undo", 20)


def test_a_refinement_and_a_mistake_are_answered(person: Open) -> None:
    editor = person(AREA)
    editor.type(":6,7Dlsp refine 1<CR>")
    editor.until(lambda: editor.buffer() != AREA or "dlsp: " in editor.messages(), "another text, or a sentence")
    editor.type("2gg:Dlsp repair<CR>")
    editor.until(lambda: "no syntax error there" in editor.messages(), "a sentence", 60)
    assert editor.nvim.api.get_mode() == {"mode": "n", "blocking": False}
    assert "stack traceback" not in editor.messages()


def test_a_command_can_be_cancelled(person: Open) -> None:
    # Some forty lines take the model long enough for a person to change his mind.
    lines = "".join(f"    value_{i} = math.sqrt({i}) + math.sin({i})\n" for i in range(40))
    text = f"import math\n\n\ndef first():\n{lines}    return value_1\n"
    editor = person(text)
    # Both in one go: the command is under way when the second one comes, however fast the machine is.
    editor.lua("vim.cmd('5,44Dlsp infill') vim.cmd('Dlsp cancel')")
    marked = "return #vim.api.nvim_buf_get_extmarks(0, vim.api.nvim_get_namespaces()['dlsp.busy'], 0, -1, {})"
    editor.until(lambda: editor.lua(marked) == 0, "the end of the command", 60)
    assert editor.buffer() == text
    editor.type("GA  # end<Esc>")
    assert saved(editor) == text.rstrip() + "  # end\n"
    assert not editor.errors()


def test_it_is_switched_off_and_on_and_the_status_line_says_so(person: Open) -> None:
    editor = person()
    words = lambda: editor.lua("return require('dlsp').statusline()")  # noqa: E731
    assert words() == "dlsp"
    editor.type(":Dlsp toggle<CR>")
    editor.until(lambda: words() == "dlsp: off", "status line", 60)
    editor.type(":Dlsp toggle<CR>")
    editor.until(lambda: words() == "dlsp", "status line", 60)
    editor.type(":Dlsp snooze 5<CR>")
    editor.until(lambda: words() == "dlsp: snoozed 5 min", "status line", 60)
    editor.type("Go")
    editor.type("self.y = ")
    editor.until(lambda: editor.status().get("reason") == "snoozed", "a reason", 60)
    assert editor.ghost() == ""
    editor.type("<Esc>:Dlsp resume<CR>")
    editor.until(lambda: words() == "dlsp", "status line", 60)
    editor.type("A")
    editor.steady_ghost()
    editor.type("<Esc>")
    assert any(line.startswith("model     nano on ") for line in editor.lua("return require('dlsp.status').lines()"))


def test_the_status_reaches_the_editor(person: Open) -> None:
    editor = person()
    assert editor.status()["model"] == "nano"
    editor.nvim.command("let g:seen = 0 | autocmd User DlspStatus let g:seen += 1")
    editor.type("Go")
    editor.type("self.y = ")
    editor.until(lambda: editor.nvim.vars["seen"] > 0, "User DlspStatus")
    assert not editor.errors()


def test_the_log_is_opened(person: Open) -> None:
    editor = person()
    editor.type(":Dlsp log<CR>")
    editor.until(lambda: editor.lua("return vim.api.nvim_buf_get_name(0)").endswith("server.log"), "the log", 60)


def test_the_doctor_is_asked(person: Open) -> None:
    editor = person()
    editor.type(":Dlsp doctor<CR>")
    editor.until(lambda: "nano" in editor.buffer(), "the doctor's report", 120)
    assert "shapes.py" in editor.buffer()
    editor.type("q")
    editor.until(lambda: editor.buffer() == BEFORE, "the file", 20)


def test_a_killed_server_comes_back(person: Open) -> None:
    editor = person()
    server = "local c = require('dlsp.lsp').client(vim.api.nvim_get_current_buf()) return c and c.id"
    first = editor.lua(server)
    os.kill(server_pid(editor), signal.SIGKILL)

    editor.until(lambda: editor.lua(server) not in (None, first), "another server", 60)
    ready(editor)
    editor.type("Go")
    editor.type("self.y = ")
    editor.steady_ghost()
    assert not [line for line in editor.messages().splitlines() if "stack traceback" in line or re.search(r"\bE\d+:", line)]


def test_it_is_restarted(person: Open) -> None:
    editor = person()
    before = server_pid(editor)
    editor.type(":Dlsp restart<CR>")
    editor.until(lambda: server_pid(editor) not in (0, before), "another server", 60)
    ready(editor)
    editor.type("Go")
    editor.type("self.y = ")
    editor.steady_ghost()
    assert not editor.errors()


def test_a_killed_engine_comes_back(person: Open, environment: dict[str, str]) -> None:
    editor = person()
    for pid in host_pids(environment["HOME"]):
        os.kill(pid, signal.SIGKILL)
    editor.type("Go")
    editor.type("self.y = ")
    editor.until(editor.ghost, "ghost text")
    # The server may say that its engine was lost, for it was.
    assert not [line for line in editor.errors() if not re.search("engine host lost|host_lost", line)]


def server_pid(editor: Editor) -> int:
    """The process of the server that this Neovim started, 0 if there is none."""
    mine = editor.lua("return vim.fn.getpid()")
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == mine and b"serve" in (folder / "cmdline").read_bytes().split(b"\0"):
                return int(folder.name)
    return 0


# Other configurations of the README, and no server at all.


def test_neovims_own_inline_completion_and_tab(open_editor: Open) -> None:
    block = next(block for block in blocks() if "vim.lsp.inline_completion.enable()" in block)
    editor = ready(open_editor(NEW, init_lua(block)))
    editor.type("Go")
    editor.type("self.y = ")
    ghost = editor.steady_ghost()
    assert editor.lua("return require('dlsp.lsp').ghost(vim.api.nvim_get_current_buf())") == "builtin"
    editor.type("<Tab>")
    editor.until(lambda: editor.lines()[-1] != "        self.y = ", "accepted text", 60)
    assert saved(editor) == BEFORE + "        self.y = " + ghost + "\n"
    assert not editor.errors()


def test_two_lines_are_enough(open_editor: Open) -> None:
    block = next(block for block in blocks() if "vim.lsp.enable('dlsp')" in block)
    editor = ready(open_editor(NEW, init_lua(block)))
    editor.type("Go")
    editor.type("self.y = ")
    ghost = editor.steady_ghost()
    editor.type("<M-l>")
    editor.until(lambda: editor.lines()[-1] == "        self.y = " + ghost, "accepted text", 60)


@pytest.mark.parametrize("which", ["new", "old"])
def test_without_a_server_there_is_one_clear_sentence(open_editor: Open, which: str) -> None:
    block = f"vim.opt.runtimepath:append('{PLUGIN}')\nrequire('dlsp').setup({{ cmd = '/nowhere/bin/dlsp' }})\n"
    editor = open_editor(NEW if which == "new" else OLD, block)
    editor.until(lambda: "dlsp" in editor.messages(), "a sentence", 30)
    # All that helps is there on a screen of 80 columns, too.
    assert editor.messages().count("dlsp: see `:checkhealth dlsp`: the server `/nowhere/bin/dlsp`") == 1
    assert editor.nvim.api.get_mode() == {"mode": "n", "blocking": False}
    assert not editor.errors()
    editor.type(":checkhealth dlsp<CR>")
    editor.until(lambda: "cannot be run" in editor.buffer(), "the health check", 60)
    assert "ERROR" in editor.buffer()


def test_health(person: Open) -> None:
    editor = person()
    editor.type(":checkhealth dlsp<CR>")
    editor.until(lambda: "accept_word: <M-w>" in editor.buffer(), "the health check")
    report = editor.buffer()
    assert "ERROR" not in report
    assert "model: nano" in report
    assert "ghost text by own" in report
    assert re.search(r"client \d+ in \S+/project, for 1 buffers", report)
