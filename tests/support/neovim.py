"""A person in a real Neovim: keys go in over RPC, what is looked at is the screen, the buffer and the messages.

Knows the plugin's names for what it draws; not what is tested.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lsp_stdio import ROOT

PLUGIN = ROOT / "editors" / "nvim"
CACHE = ROOT / ".cache" / "editors"
OLDEST, BUILTIN = (0, 10), (0, 12)
"""The oldest Neovim that the plugin takes, and the first with inline completion of its own."""


def version_of(program: str | Path) -> tuple[int, int]:
    """(0, 0) if it is none."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    match = re.match(r"NVIM v(\d+)\.(\d+)", said)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def find_neovim() -> tuple[str, str]:
    """The path of a Neovim with inline completion of its own, or the reason why there is none."""
    found = "no nvim on the PATH"
    for candidate in (CACHE / "nvim" / "bin" / "nvim", shutil.which("nvim")):
        if candidate and Path(candidate).exists():
            if version_of(candidate) >= BUILTIN:
                return str(candidate), ""
            found = f"{candidate} is not Neovim 0.12 or newer"
    return "", f"{found}; {_unavailable('nvim')}"


def find_old_neovim() -> tuple[str, str]:
    """The path of a Neovim from before that, or the reason why there is none."""
    for candidate in (CACHE / "nvim-0.10" / "bin" / "nvim", shutil.which("nvim")):
        if candidate and Path(candidate).exists() and OLDEST <= version_of(candidate) < BUILTIN:
            return str(candidate), ""
    return "", f"no Neovim 0.10 or 0.11; {_unavailable('nvim-0.10')}"


def _unavailable(folder: str) -> str:
    said = CACHE / folder / "unavailable"
    return said.read_text().strip() if said.exists() else "run `make editors`"


class Editor:
    """A Neovim over RPC, and what a person would look at."""

    def __init__(self, nvim: Any) -> None:
        self.nvim = nvim
        # The editors of several tests write into one log.
        self._earlier = 0
        self._earlier = len(self.log())

    def type(self, keys: str, pause: float = 0.02) -> None:
        """Keys one at a time, as fast as a person; `<...>` is one key."""
        for key in re.findall(r"<[A-Za-z][A-Za-z-]*(?:-.)?>|.", keys, re.DOTALL):
            self.nvim.input("<lt>" if key == "<" else key)
            time.sleep(pause)

    def lua(self, code: str, *args: Any) -> Any:
        return self.nvim.exec_lua(code, *args)

    def ghost(self) -> str:
        """The ghost text on the screen, whoever draws it, or an empty string. Lines end with a newline."""
        return self.lua(
            """
            local names, lines, shown = vim.api.nvim_get_namespaces(), {}, {}
            for _, name in ipairs({ 'dlsp.ghost', 'nvim.lsp.inline_completion' }) do
              for _, mark in ipairs(names[name] and vim.api.nvim_buf_get_extmarks(0, names[name], 0, -1, { details = true }) or {}) do
                local details = mark[4]
                for _, chunk in ipairs(details.virt_text or {}) do
                  if chunk[2] == 'DlspGhost' or chunk[2] == 'ComplHint' then shown[#shown + 1] = chunk[1] end
                end
                for _, line in ipairs(details.virt_lines or {}) do
                  lines[#lines + 1] = table.concat(vim.tbl_map(function(chunk) return chunk[1] end, line))
                end
              end
            end
            return table.concat(vim.list_extend({ table.concat(shown) }, lines), '\\n')
            """
        )

    def status(self) -> dict[str, Any]:
        return self.lua("return vim.g.dlsp_status or vim.empty_dict()")

    def until(self, condition: Callable[[], Any], what: str, seconds: float = 180.0) -> Any:
        """The first truthy value of `condition`."""
        end = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < end, f"no {what} in {seconds} s; {self.looks()}"
            time.sleep(0.02)
        return value

    def steady_ghost(self) -> str:
        """Ghost text that has stood for half a second: longer than the editor's own pause before it asks again."""

        def steady() -> str:
            seen = self.ghost()
            time.sleep(0.5)
            return seen if seen and self.ghost() == seen else ""

        return self.until(steady, "ghost text")

    def lines(self) -> list[str]:
        return list(self.nvim.current.buffer[:])

    def buffer(self) -> str:
        return "\n".join(self.lines()) + "\n"

    def cursor(self) -> tuple[int, int]:
        """Line from 1, byte column from 0."""
        row, column = self.nvim.current.window.cursor
        return row, column

    def mode(self) -> str:
        return str(self.nvim.api.get_mode()["mode"])

    def messages(self) -> str:
        return str(self.nvim.command_output("messages"))

    def log(self) -> list[str]:
        """Neovim's log of language clients, since this Neovim started."""
        path = Path(self.lua("return require('vim.lsp.log').get_filename()"))
        return path.read_text().splitlines()[self._earlier :] if path.exists() else []

    def errors(self) -> list[str]:
        """What a person would call an error, in the messages and in the log of language clients."""
        bad = re.compile(r"\bE\d+:|Error|stack traceback|Traceback")
        # Neovim logs every line that a server writes to its stderr as an error; what the server means by it stands in the line.
        harmless = re.compile(r'"stderr"\t"\d{4}-\S+ \S+ \d+ (INFO|DEBUG) ')
        log = [line for line in self.log() if line.startswith("[ERROR]") and not harmless.search(line)]
        return [line for line in self.messages().splitlines() if bad.search(line)] + log

    def looks(self) -> str:
        """All that may explain a failure."""
        said = [line for line in self.log() if '"rpc.' in line and "$/progress" not in line]
        return "\n".join([str(self.nvim.api.get_mode()), str(self.status()), self.messages(), self.buffer(), *said[-40:]])


@contextlib.contextmanager
def running(nvim: str, init: Path, file: Path, env: dict[str, str]) -> Iterator[Editor]:
    """A Neovim with a configuration and a file, in the file's folder; it is ended at the end."""
    import pynvim

    saved, here = dict(os.environ), Path.cwd()
    os.environ.clear()
    os.environ.update(env)
    os.chdir(file.parent)
    try:
        # pynvim hands on the environment and the working directory it finds.
        # Neovim's settings for Python files look for a Python provider, which takes seconds and has nothing to do with us.
        quick = ["--cmd", "let g:loaded_python3_provider = 0"]
        session = pynvim.attach("child", argv=[nvim, "--embed", "--headless", "-n", "-i", "NONE", "-u", str(init), *quick, file.name])
    finally:
        os.chdir(here)
        os.environ.clear()
        os.environ.update(saved)
    # Somebody looks at it, or Neovim would draw nothing and never ask for Enter.
    session.ui_attach(100, 30, rgb=True)
    try:
        yield Editor(session)
    finally:
        # It closes the pipe before it answers, which is what it was told to do.
        with contextlib.suppress(OSError, EOFError):
            session.command("qa!")
        session.close()
