"""What the tests of ghost text in a real Neovim share: the plugin in front of answers from a script, and what is on the screen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lsp_stdio import ROOT
from neovim import Editor, find_neovim, find_old_neovim

NEW, OLD = find_neovim(), find_old_neovim()
SCRIPTED = ROOT / "tests" / "support" / "scripted_neovim.lua"

Start = Callable[..., Editor]


def script(editor: Editor, *texts: str | tuple[str, int], ms: int = 0) -> None:
    editor.lua("_G.script, _G.script_ms = ...", list(texts), ms)


def asked(editor: Editor) -> int:
    return int(editor.lua("return #_G.asked"))


def shown(editor: Editor, text: str) -> None:
    editor.until(lambda: editor.ghost() == text, f"ghost text {text!r}, but {editor.ghost()!r}", 20)


def saved(editor: Editor) -> str:
    editor.type("<Esc>:w<CR>")
    editor.until(lambda: not editor.lua("return vim.bo.modified"), "saved file", 20)
    return Path(editor.lua("return vim.api.nvim_buf_get_name(0)")).read_bytes().decode()


def marks(editor: Editor) -> list[tuple[int, int, str, str]]:
    """Row, column, position and text of every piece of ghost text."""
    found = editor.lua("return vim.api.nvim_buf_get_extmarks(0, vim.api.nvim_get_namespaces()['dlsp.ghost'], 0, -1, { details = true })")
    pieces = []
    for _, row, column, details in found:
        if "virt_text" in details:
            pieces.append((row, column, details["virt_text_pos"], "".join(chunk[0] for chunk in details["virt_text"])))
        for line in details.get("virt_lines", []):
            pieces.append((row, column, "below", "".join(chunk[0] for chunk in line)))
    return pieces
