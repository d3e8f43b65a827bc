"""Length rules: where a hole ends. Pure functions; knows no network.

The embedded model closes a hole itself with an end token (the end-of-hole rule, `END_TOKEN`); a hole that is longer than
the canvas is filled canvas by canvas. A request's own limits close it too.
"""

from __future__ import annotations

END_TOKEN = "end-token"
"""Name of the end-of-hole rule, as results report it."""


def cut_lines(text: str, max_lines: int) -> tuple[str, bool]:
    """`text` without what stands behind its first `max_lines` lines, and whether anything was cut. 0 means no limit."""
    if max_lines <= 0:
        return text, False
    position = -1
    for _ in range(max_lines):
        position = text.find("\n", position + 1)
        if position < 0:
            return text, False
    return text[:position], True
