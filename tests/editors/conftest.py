"""Fixtures for tests that drive a real Neovim."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lsp_stdio import home
from neovim import PLUGIN, Editor, running
from neovim_scripted import NEW, OLD, SCRIPTED, Start


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Editor]]:
    """Starts a Neovim with the plugin and the script for a server: `options` is the Lua of `setup`, `first` and `last` go around it."""
    with ExitStack() as stack:
        env = stack.enter_context(home())

        def start(found: tuple[str, str], options: str = "{}", *, first: str = "", last: str = "", text: str = "x = 1\n") -> Editor:
            program, missing = found
            if not program:
                pytest.skip(f"no Neovim: {missing}")
            folder = tmp_path / "project"
            folder.mkdir()
            (folder / ".git").mkdir()
            file, init = folder / "shapes.py", tmp_path / "init.lua"
            file.write_bytes(text.encode())
            init.write_text(
                f"vim.opt.runtimepath:append('{PLUGIN}')\nvim.cmd.luafile('{SCRIPTED}')\n{first}\n"
                f"vim.g.dlsp = {{ cmd = _G.scripted }}\nrequire('dlsp').setup({options})\n{last}\n"
            )
            editor = stack.enter_context(running(program, init, file, env))
            editor.until(lambda: editor.lua("return require('dlsp.lsp').client(vim.api.nvim_get_current_buf()) ~= nil"), "client", 30)
            return editor

        yield start


@pytest.fixture(params=["new", "old"])
def start(request: pytest.FixtureRequest, launch: Start) -> Start:
    """The same for both Neovims."""
    found = NEW if request.param == "new" else OLD
    return lambda *args, **more: launch(found, *args, **more)
