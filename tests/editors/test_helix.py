"""A person in a real Helix: opens a Python file, types, takes dlsp's item from the popup, fills a selection, takes it back, saves.

The configuration is editors/configs/helix, word for word but for the path and the limits.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lsp_stdio import ROOT, have_weights, home
from terminal import TMUX, Terminal

FETCHED = ROOT / ".cache" / "editors" / "helix"
HELIX = str(FETCHED / "bin" / "hx") if (FETCHED / "bin" / "hx").exists() else shutil.which("hx") or shutil.which("helix") or ""
WHY_NOT = (FETCHED / "unavailable").read_text().strip() if (FETCHED / "unavailable").exists() else "run `make editors`"

pytestmark = [
    pytest.mark.editor,
    pytest.mark.skipif(not HELIX, reason=f"no Helix: {WHY_NOT}"),
    pytest.mark.skipif(not TMUX, reason="no tmux, which presses the keys; install it"),
    pytest.mark.skipif(not have_weights(), reason="the embedded weights are missing"),
]

BEFORE = '''"""Shapes on a plane."""


class Point:
    def __init__(self, x, y):
        self.x = x
'''


def languages_toml() -> str:
    """The configuration of the documentation with this machine's path. All that the model says is shown, however long it took."""
    text = (ROOT / "editors" / "configs" / "helix" / "languages.toml").read_text(encoding="utf-8")
    for written, here in (
        ('command = "dlsp"', f'command = "{Path(sys.executable).with_name("dlsp")}"'),
        ("timeout = 30", "timeout = 150"),
        ("{ deadlineMs = 300 }", "{ deadlineMs = 60000, infillDeadlineMs = 120000, minConfidence = 0.0, minCharacters = 1 }"),
    ):
        assert text.count(written) == 1
        text = text.replace(written, here)
    return text


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """One user for all tests here, so that the editors share one engine host and the model is loaded once."""
    with home() as env:
        config = Path(env["XDG_CONFIG_HOME"]) / "helix"
        config.mkdir()
        (config / "languages.toml").write_text(languages_toml())
        yield env


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / ".git").mkdir()
    return tmp_path / "shapes.py"


def complaints(environment: dict[str, str]) -> list[str]:
    """What Helix's log calls an error. What a server writes on stderr is none, whatever it says."""
    log = Path(environment["XDG_CACHE_HOME"]) / "helix" / "helix.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [line for line in lines if "[ERROR]" in line and " err <- " not in line]


def opened(file: Path, environment: dict[str, str]) -> Terminal:
    terminal = Terminal([HELIX, file.name], environment, file.parent)
    terminal.until(lambda: terminal.shows("class Point:") and terminal.shows("NOR"), "open file")
    return terminal


def saved(terminal: Terminal, file: Path) -> str:
    """What is in the file once Helix says that it has written it; the file itself is there earlier, or gone for a moment."""
    terminal.press("Escape")
    terminal.type(":w")
    terminal.until(lambda: ":w" in terminal.screen().strip().splitlines()[-1], "command line", 60)
    terminal.press("Enter")
    terminal.until(lambda: terminal.shows(" written, "), "saved file", 60)
    return file.read_text()


def test_the_popup_offers_the_text_and_it_is_taken_and_saved(file: Path, environment: dict[str, str]) -> None:
    file.write_text(BEFORE)
    with opened(file, environment) as terminal:
        terminal.press("g", "e", "o")
        row, column = terminal.write("self.y = ")

        def popup() -> bool:
            """The popup below the cursor."""
            return " text" in terminal.lines()[row + 1]

        # Asked for again and again: nobody waits in a popup for a model to be loaded.
        terminal.ask_until(popup, "popup", "C-x")
        assert terminal.lines()[row].endswith("self.y ="), "nothing is put in before it is chosen"
        terminal.press("C-n")
        terminal.until(lambda: terminal.shows("dlsp nano"), "chosen item", 60)
        terminal.press("Enter")
        taken = terminal.steady(lambda: terminal.lines()[row][column:], "text that was taken")
        text = saved(terminal, file)
    assert text.startswith(BEFORE + "        self.y = " + taken)
    assert text.count("\n") == BEFORE.count("\n") + 1
    assert complaints(environment) == []


def test_a_selection_is_filled_and_taken_back_in_one_step(file: Path, environment: dict[str, str]) -> None:
    before = BEFORE + "        self.y = None\n"
    file.write_text(before)
    with opened(file, environment) as terminal:
        terminal.type("/None")
        terminal.press("Enter")

        # Asked for again while the server starts.
        terminal.ask_until(lambda: terminal.shows("dlsp: Fill the selection"), "menu of actions", "Space", "a")
        terminal.press("Enter")
        terminal.until(lambda: not terminal.shows("self.y = None") and not terminal.shows("dlsp:"), "filled selection", 400)
        text = saved(terminal, file)
        assert text.startswith(BEFORE + "        self.y = ")
        assert text.endswith("\n")
        assert "None" not in text
        terminal.press("u")
        terminal.until(lambda: terminal.shows("self.y = None"), "text that was there", 60)
        assert saved(terminal, file) == before
    assert complaints(environment) == []
