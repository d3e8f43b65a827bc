"""An editor's own idea of its text, written without a look at the server: positions in any encoding, items and edits applied."""

from __future__ import annotations

import itertools
from typing import Any

WIDTHS = {
    "utf-8": lambda letter: len(letter.encode("utf-8", "surrogatepass")),
    "utf-16": lambda letter: 2 if ord(letter) > 0xFFFF else 1,
    "utf-32": lambda letter: 1,
}


class EditorModel:
    """A text and how its columns are counted."""

    def __init__(self, text: str, encoding: str = "utf-16") -> None:
        self.text = text
        self.width = WIDTHS[encoding]

    def places(self) -> list[tuple[int, dict[str, int]]]:
        """Every place a cursor can be: (offset, position)."""
        found, line, units = [], 0, 0
        for offset, letter in enumerate(self.text):
            inside = letter == "\n" and self.text[offset - 1 : offset] == "\r"
            if not inside:
                found.append((offset, {"line": line, "character": units}))
            units += self.width(letter)
            if letter == "\n" or (letter == "\r" and self.text[offset + 1 : offset + 2] != "\n"):
                line, units = line + 1, 0
        return [*found, (len(self.text), {"line": line, "character": units})]

    def offset(self, position: Any) -> int:
        """The offset of a position that must exist exactly: an editor does not guess what a server meant."""
        line, character = (position["line"], position["character"]) if isinstance(position, dict) else (position.line, position.character)
        for offset, each in self.places():
            if (each["line"], each["character"]) == (line, character):
                return offset
        raise AssertionError(f"there is no place {line}:{character}")

    def offsets(self, area: Any) -> tuple[int, int]:
        start, end = (area["start"], area["end"]) if isinstance(area, dict) else (area.start, area.end)
        return self.offset(start), self.offset(end)

    def apply(self, *edits: tuple[Any, str]) -> None:
        """Replace ranges by texts; all ranges are those of the text as it is now, and must not overlap."""
        spans = sorted((*self.offsets(area), text) for area, text in edits)
        for (_, end, _), (start, _, _) in itertools.pairwise(spans):
            assert end <= start, "edits overlap"
        for start, end, text in reversed(spans):
            self.text = self.text[:start] + text + self.text[end:]
