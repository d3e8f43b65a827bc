"""Run as a script: a picture of a real Neovim with the plugin and the embedded model, as an SVG. `neovim_picture.py NVIM OUT.svg`

A terminal (tmux) runs the editor, keys are sent to it as a person's would be, and its screen is drawn with its colours.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from html import escape
from pathlib import Path

from lsp_stdio import home
from neovim import PLUGIN

COLUMNS, ROWS = 78, 20
WIDTH, HEIGHT, PADDING = 8.4, 18, 12
PLAIN, GROUND = "#e0e2ea", "#14161b"
TEXT = '''"""Readings of a sensor, and what they mean."""
import logging

log = logging.getLogger(__name__)


class Reading:
    def __init__(self, name, value, unit):
        self.name = name
        self.value = value
'''
INIT = """
vim.o.number, vim.o.laststatus, vim.o.ruler, vim.o.termguicolors = true, 2, false, true
vim.o.statusline = " %f %m%=%{v:lua.require'dlsp'.statusline()} "
vim.opt.runtimepath:append('{plugin}')
require('dlsp').setup({ cmd = '{dlsp}', settings = { deadlineMs = 60000, minConfidence = 0 } })
"""

_ESCAPE = re.compile(r"\x1b\[([\d;:]*)m")


def svg(screen: str) -> str:
    """A screen with its escape sequences for colours as an SVG of text on a grid."""
    parts = []
    # Colours go on from one line to the next.
    colour, ground = PLAIN, ""
    for row, line in enumerate(screen.split("\n")[:ROWS]):
        column = 0
        pieces = _ESCAPE.split(line)
        for i, piece in enumerate(pieces):
            if i % 2:
                colour, ground = _style(piece, colour, ground)
                continue
            x, y = PADDING + column * WIDTH, PADDING + row * HEIGHT
            if piece and ground:
                parts.append(f'<rect x="{x:.1f}" y="{y}" width="{len(piece) * WIDTH:.1f}" height="{HEIGHT}" fill="{ground}"/>')
            text = piece.strip()
            if text:
                x += (len(piece) - len(piece.lstrip())) * WIDTH
                span = f'x="{x:.1f}" y="{y + 13}" fill="{colour}" textLength="{len(text) * WIDTH:.1f}"'
                parts.append(f'<text {span} xml:space="preserve">{escape(text)}</text>')
            column += len(piece)
    width, height = COLUMNS * WIDTH + 2 * PADDING, ROWS * HEIGHT + 2 * PADDING
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}" '
        'font-family="ui-monospace, SFMono-Regular, Menlo, DejaVu Sans Mono, monospace" font-size="14">'
    )
    return "\n".join([head, f'<rect width="100%" height="100%" rx="8" fill="{GROUND}"/>', *parts, "</svg>", ""])


def _style(codes: str, colour: str, ground: str) -> tuple[str, str]:
    numbers = [int(code or 0) for code in codes.replace(":", ";").split(";")]
    while numbers:
        code = numbers.pop(0)
        if code == 0:
            colour, ground = PLAIN, ""
        elif code == 39:
            colour = PLAIN
        elif code == 49:
            ground = ""
        elif code == 7:
            colour, ground = ground or GROUND, colour
        elif code in (38, 48) and numbers[:1] == [2]:
            red, green, blue = numbers[1:4]
            del numbers[:4]
            if code == 38:
                colour = f"#{red:02x}{green:02x}{blue:02x}"
            else:
                ground = f"#{red:02x}{green:02x}{blue:02x}"
    return colour, ground


def main(nvim: str, out: Path) -> None:
    """Type into the editor until there is ghost text, and draw that."""
    with home() as env:
        folder = Path(env["HOME"]) / "project"
        folder.mkdir()
        (folder / ".git").mkdir()
        (folder / "readings.py").write_text(TEXT)
        init = folder.parent / "init.lua"
        init.write_text(INIT.replace("{plugin}", str(PLUGIN)).replace("{dlsp}", str(Path(sys.executable).with_name("dlsp"))))
        server = ["tmux", "-L", f"dlsp-{os.getpid()}", "-f", "/dev/null"]
        env |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}

        def tmux(*arguments: str) -> str:
            return subprocess.run([*server, *arguments], env=env, cwd=folder, check=True, capture_output=True, text=True, timeout=30).stdout

        def wait(sign: str) -> None:
            end = time.monotonic() + 180
            while sign not in (screen := tmux("capture-pane", "-p")):
                if time.monotonic() > end:
                    raise SystemExit(f"there is no {sign!r} on the screen:\n{screen}")
                time.sleep(0.2)

        size = ["-x", str(COLUMNS), "-y", str(ROWS)]
        command = f"{Path(nvim).absolute()} -n -i NONE --cmd 'let g:loaded_python3_provider = 0' -u {init} readings.py"
        tmux("new-session", "-d", *size, ";", "set", "-g", "status", "off", ";", "set", "-ga", "terminal-features", ",*:RGB")
        try:
            tmux("set", "-g", "default-terminal", "tmux-256color")
            tmux("respawn-pane", "-k", "-e", "COLORTERM=truecolor", command)
            wait(" dlsp\n")
            time.sleep(5)
            tmux("send-keys", "G", "o")
            for key in "self.unit":
                tmux("send-keys", "-l", key)
                time.sleep(0.1)
            wait("self.unit = unit")
            time.sleep(1)
            out.write_text(svg(tmux("capture-pane", "-ep")))
        finally:
            subprocess.run([*server, "kill-server"], env=env, check=False, capture_output=True, timeout=30)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
