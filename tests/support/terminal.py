"""A person at a terminal: keys go in through tmux, and what is looked at is the screen. Knows nothing of what runs in it."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TMUX = shutil.which("tmux") or ""

_ESCAPE = re.compile(r"\x1b\[([0-9;]*)m|\x1b[^m]*m|\x0e|\x0f")
_COLUMNS, _ROWS = 120, 30
_numbers = itertools.count(1)


class Terminal:
    """A program in a terminal of its own. Use as a context manager; leaving it ends the program."""

    def __init__(self, command: list[str], env: dict[str, str], cwd: Path) -> None:
        # The path of a socket must be short, and HOME's is (see `lsp_stdio.home`).
        self._socket = Path(env["HOME"]) / f"tmux{next(_numbers)}"
        env = {name: value for name, value in env.items() if name not in ("TMUX", "TMUX_PANE")} | {"TERM": "xterm-256color"}
        size = ["-x", str(_COLUMNS), "-y", str(_ROWS)]
        # An entry that every system has; the one that tmux would name may be missing.
        program = ["env", "TERM=screen", "LC_ALL=C.UTF-8", *command]
        start = [TMUX, "-u", "-S", str(self._socket), "-f", "/dev/null", "new-session", "-d", *size, "-c", str(cwd), *program]
        subprocess.run(start, env=env, check=True, timeout=60)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run([TMUX, "-S", str(self._socket), "kill-server"], capture_output=True, check=False, timeout=60)

    def press(self, *keys: str, pause: float = 0.03) -> None:
        """Keys by tmux's names: `Enter`, `Tab`, `C-x`, `M-x`."""
        for key in keys:
            self._tmux("send-keys", key)
            time.sleep(pause)

    def type(self, text: str, pause: float = 0.03) -> None:
        """A text letter by letter, as fast as a person."""
        for letter in text:
            # A lone semicolon would end tmux's own command.
            self._tmux("send-keys", "-l", "\\;" if letter == ";" else letter)
            time.sleep(pause)

    def write(self, text: str) -> tuple[int, int]:
        """Type a text and look until it stands before the cursor; returns where that is then: row and column, from 0."""
        self.type(text)

        def there() -> tuple[int, int] | None:
            row, column = self.cursor()
            return (row, column) if self.lines()[row].ljust(column)[:column].endswith(text) else None

        return self.until(there, f"{text!r} before the cursor", 60)

    def lines(self) -> list[str]:
        """The screen, without blanks at the ends of lines."""
        return [line.rstrip() for line in self._tmux("capture-pane", "-p").split("\n")]

    def screen(self) -> str:
        return "\n".join(self.lines())

    def shows(self, text: str) -> bool:
        return text in self.screen()

    def cursor(self) -> tuple[int, int]:
        """Row and column, from 0."""
        column, row = self._tmux("display-message", "-p", "#{cursor_x} #{cursor_y}").split()
        return int(row), int(column)

    def coloured(self) -> list[list[tuple[str, str]]]:
        """The screen as rows of letters, each with the number of its colour, or an empty string for the terminal's own."""
        rows, colour = [], ""
        for text in self._tmux("capture-pane", "-p", "-e").split("\n"):
            row, at = [], 0
            while at < len(text):
                if escape := _ESCAPE.match(text, at):
                    colour = _colour_after(escape[1], colour)
                    at = escape.end()
                else:
                    row.append((text[at], colour))
                    at += 1
            rows.append(row)
        return rows

    def until(self, condition: Callable[[], Any], what: str, seconds: float = 240.0) -> Any:
        """The first truthy value of `condition`."""
        end = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < end, f"no {what} in {seconds} s; the screen:\n{self.screen()}"
            time.sleep(0.1)
        return value

    def ask_until(self, condition: Callable[[], Any], what: str, *keys: str, seconds: float = 400.0) -> Any:
        """The first truthy value of `condition` after keys that ask for it, pressed again when nothing came of them for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.press(*keys)
            again = time.monotonic() + 10
            while time.monotonic() < again:
                if value := condition():
                    return value
                time.sleep(0.1)
        raise AssertionError(f"no {what} in {seconds} s; the screen:\n{self.screen()}")

    def steady(self, look: Callable[[], Any], what: str) -> Any:
        """The first truthy value of `look` that has stood for half a second."""

        def steady() -> Any:
            seen = look()
            if seen:
                time.sleep(0.5)
            return seen if seen and look() == seen else None

        return self.until(steady, what)

    def _tmux(self, *arguments: str) -> str:
        command = [TMUX, "-S", str(self._socket), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, encoding="utf-8").stdout


def _colour_after(numbers: str | None, colour: str) -> str:
    """The colour of letters after an escape sequence; all else that it may set is left out."""
    if numbers is None:
        return colour
    codes = iter((numbers or "0").split(";"))
    for code in codes:
        if code in ("0", "39", ""):
            colour = ""
        elif code == "38":
            kind = next(codes, "")
            colour = ";".join([code, kind, *itertools.islice(codes, 1 if kind == "5" else 3)])
        elif code == "48":
            for _ in range(1 if next(codes, "") == "5" else 3):
                next(codes, "")
        elif len(code) == 2 and code[0] in "39":
            colour = code
    return colour
