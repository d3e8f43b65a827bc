"""A person in a real Emacs: opens a Python file, types, sees grey text behind the cursor, takes it with TAB, saves; and the same
text as completion, and fillings of a selection, with lsp-mode and with eglot.

The configurations are those in editors/configs/emacs, word for word but for the path and the limits.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lsp_stdio import ROOT, have_weights, home
from terminal import TMUX, Terminal

CONFIGS = ROOT / "editors" / "configs" / "emacs"
FETCHED = ROOT / ".cache" / "editors" / "emacs"
EMACS = FETCHED / "bin" / "emacs"
WHY_NOT = (FETCHED / "unavailable").read_text().strip() if (FETCHED / "unavailable").exists() else "run `make editors`"

pytestmark = [
    pytest.mark.editor,
    pytest.mark.skipif(not EMACS.exists(), reason=f"no Emacs with lsp-mode: {WHY_NOT}"),
    pytest.mark.skipif(not TMUX, reason="no tmux, which presses the keys; install it"),
    pytest.mark.skipif(not have_weights(), reason="the embedded weights are missing"),
]

BEFORE = '''"""Shapes on a plane."""


class Point:
    def __init__(self, x, y):
        self.x = x
'''

LINE = "        self.y = "

# What a person's own set-up decides: where a project begins, which other packages take part. At the end all that Emacs said is kept.
AROUND = """
(setq lsp-auto-guess-root t lsp-completion-provider :none lsp-diagnostics-provider :none
      make-backup-files nil auto-save-default nil create-lockfiles nil)
(add-hook 'kill-emacs-hook
          (lambda () (with-current-buffer "*Messages*" (write-region nil nil (expand-file-name "~/messages") nil 'quiet))))
"""


def init_el(name: str) -> str:
    """A configuration of the documentation with this machine's path. All that the model says is shown, however long it took."""
    text = (CONFIGS / name).read_text(encoding="utf-8")
    text, commands = re.subn(r"\'\(\"dlsp\" \"serve\"", f'\'("{Path(sys.executable).with_name("dlsp")}" "serve"', text)
    shown = "'(:deadlineMs 60000 :infillDeadlineMs 120000 :minConfidence 0 :minCharacters 1)"
    text, settings = re.subn(r"'\(:deadlineMs 300[^)]*\)", shown, text)
    assert (commands, settings) == (1, 1)
    text = text.replace("lsp-response-timeout 30", "lsp-response-timeout 150")
    return AROUND + text


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """One user for all tests here, so that the editors share one engine host and the model is loaded once."""
    with home() as env:
        yield env


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / ".git").mkdir()
    return tmp_path / "shapes.py"


def opened(file: Path, environment: dict[str, str], config: str) -> Terminal:
    (Path(environment["HOME"]) / ".emacs").write_text(init_el(config))
    terminal = Terminal([str(EMACS), "-nw", file.name], environment, file.parent)
    terminal.until(lambda: terminal.shows("class Point:"), "open file")
    return terminal


def saved(terminal: Terminal, file: Path, before: str) -> str:
    """What is in the file once it is no longer `before`."""
    terminal.press("C-x", "C-s")
    terminal.until(lambda: terminal.shows("Wrote ") and file.read_text() != before, "saved file", 60)
    return file.read_text()


def complaints(terminal: Terminal, environment: dict[str, str]) -> list[str]:
    """What Emacs said of errors in all the session, which ends with this question."""
    said = Path(environment["HOME"]) / "messages"
    said.unlink(missing_ok=True)
    terminal.press("C-x", "C-c")
    terminal.until(said.exists, "end of the session", 60)
    bad = ("error", "warning", "void-", "wrong type", "unknown", "not handled")
    return [line for line in said.read_text().splitlines() if any(word in line.lower() for word in bad)]


def ghost(terminal: Terminal, typed: str) -> str:
    """The line with the ghost text behind what was typed, or an empty string. It is in one colour that `shadow` alone has."""
    row, _ = terminal.cursor()
    line = terminal.lines()[row]
    behind = terminal.coloured()[row][len(typed) : len(line)]
    colours = {colour for letter, colour in behind if letter != " "}
    return line if line.startswith(typed) and len(colours) == 1 and colours != {""} else ""


def test_ghost_text_is_shown_taken_and_saved(file: Path, environment: dict[str, str]) -> None:
    file.write_text(BEFORE)
    with opened(file, environment, "lsp-mode.el") as terminal:
        terminal.until(lambda: terminal.shows("dlsp:ready"), "ready model", 400)
        terminal.press("M->", "C-p", "C-e", "Enter")
        terminal.type("self.y = ")
        line = terminal.steady(lambda: ghost(terminal, LINE), "ghost text")
        assert file.read_text() == BEFORE
        terminal.press("Tab")
        terminal.until(lambda: not ghost(terminal, LINE), "ordinary text", 60)
        assert saved(terminal, file, BEFORE) == BEFORE + line + "\n"
        assert complaints(terminal, environment) == []


def test_typing_on_puts_the_ghost_text_away(file: Path, environment: dict[str, str]) -> None:
    file.write_text(BEFORE)
    with opened(file, environment, "lsp-mode.el") as terminal:
        terminal.until(lambda: terminal.shows("dlsp:ready"), "ready model", 400)
        terminal.press("M->", "C-p", "C-e", "Enter")
        terminal.type("self.y = ")
        terminal.steady(lambda: ghost(terminal, LINE), "ghost text")
        terminal.type("9")
        row, _ = terminal.cursor()
        terminal.until(lambda: terminal.lines()[row].strip().startswith("self.y = 9"), "typed letter", 60)
        terminal.press("C-g")
        assert saved(terminal, file, BEFORE) == BEFORE + "        self.y = 9\n"
        assert complaints(terminal, environment) == []


def test_a_selection_is_filled_and_taken_back_in_one_step(file: Path, environment: dict[str, str]) -> None:
    before = BEFORE + "        self.y = None\n"
    file.write_text(before)
    with opened(file, environment, "lsp-mode.el") as terminal:
        terminal.until(lambda: terminal.shows("dlsp:ready"), "ready model", 400)
        terminal.press("M->", "C-p", "C-e", "C-Space", "C-b", "C-b", "C-b", "C-b", "M-x")
        terminal.type("lsp-execute-code-action")
        terminal.press("Enter")
        terminal.until(lambda: terminal.shows("Select code action"), "question for the action", 60)
        terminal.type("dlsp: Fill the selection")
        terminal.press("Enter")
        terminal.until(lambda: not terminal.shows("self.y = None"), "filled selection", 400)
        text = saved(terminal, file, before)
        assert text.startswith(BEFORE + LINE)
        assert text.endswith("\n")
        assert "None" not in text
        terminal.press("C-_")
        terminal.until(lambda: terminal.shows("self.y = None"), "text that was there", 60)
        assert saved(terminal, file, text) == before
        assert complaints(terminal, environment) == []


def test_commands_answer_in_the_echo_area(file: Path, environment: dict[str, str]) -> None:
    file.write_text(BEFORE)
    with opened(file, environment, "lsp-mode.el") as terminal:
        terminal.until(lambda: terminal.shows("dlsp:ready"), "ready model", 400)
        terminal.press("M-x")
        terminal.type("dlsp-snooze")
        terminal.press("Enter")
        terminal.until(lambda: terminal.shows("Minutes:"), "question for the minutes", 60)
        terminal.type("10")
        terminal.press("Enter")
        terminal.until(lambda: terminal.shows("for 10 minutes"), "answer to snooze", 60)
        terminal.press("M-x")
        terminal.type("dlsp-resume")
        terminal.press("Enter")
        terminal.until(lambda: terminal.shows("Completions are on"), "answer to resume", 60)
        assert complaints(terminal, environment) == []


def test_eglot_completes_and_fills(file: Path, environment: dict[str, str]) -> None:
    file.write_text(BEFORE)
    with opened(file, environment, "eglot.el") as terminal:
        terminal.until(lambda: terminal.shows("[eglot:"), "connection")
        terminal.press("M->", "C-p", "C-e", "Enter")
        row, column = terminal.write("self.y = ")

        def completed() -> str:
            """The text that completion put in."""
            return terminal.lines()[row][column:]

        # Asked for again and again: nobody waits in a completion for a model to be loaded.
        taken = terminal.ask_until(completed, "completed text", "M-C-i")
        text = saved(terminal, file, BEFORE)
        assert text.startswith(BEFORE + LINE + taken)
        terminal.press("C-Space", *["C-b"] * len(taken), "M-x")
        terminal.type("eglot-code-actions")
        terminal.press("Enter")
        terminal.until(lambda: terminal.shows("dlsp: Fill the selection"), "question for the action", 60)
        terminal.press("C-g", "C-g")
        assert complaints(terminal, environment) == []
