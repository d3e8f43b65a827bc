"""A suggestion on its way to the editor, with the facts the filters need. Knows no filter and no protocol."""

from __future__ import annotations

import msgspec

from dlsp.documents import Point, Snapshot

SURROUNDING_LINES = 12
_SAMPLED_LINES = 200


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """Text for one hole and what stands around it, all with "\\n" line ends.

    `head` and `tail` are the parts of the cursor's line before and after it; `above` are the nearest lines before that line,
    nearest first, `below` the nearest after it. `tabs` and `width` say how the document is indented. `floor` is the lowest
    confidence that is shown. `reason` is set by the filter that takes the text away.
    """

    text: str
    confidence: float = 1.0
    floor: float = 0.0
    max_lines: int = 1
    head: str = ""
    tail: str = ""
    above: tuple[str, ...] = ()
    below: tuple[str, ...] = ()
    tabs: bool = False
    width: int = 4
    reason: str = ""

    def with_text(self, text: str) -> Draft:
        """The same with another text."""
        return self if text == self.text else msgspec.structs.replace(self, text=text)

    def dropped(self, reason: str) -> Draft:
        """The same without text, and why."""
        return msgspec.structs.replace(self, text="", reason=reason)


def draft_for(snapshot: Snapshot, at: Point, text: str, confidence: float) -> Draft:
    """A draft at a place of a document; the limits are left at their defaults."""
    tabs, width = _indentation(snapshot, at.line)
    return Draft(
        text=text,
        confidence=confidence,
        head=snapshot.head(at),
        tail=snapshot.tail(at),
        above=tuple(snapshot.line(number) for number in range(at.line - 1, max(at.line - 1 - SURROUNDING_LINES, -1), -1)),
        below=tuple(snapshot.line(number) for number in range(at.line + 1, min(at.line + 1 + SURROUNDING_LINES, len(snapshot.lines)))),
        tabs=tabs,
        width=width,
    )


def _indentation(snapshot: Snapshot, around: int) -> tuple[bool, int]:
    """Tabs or spaces, and how many, by the lines near a line; four spaces where nothing is indented."""
    first = max(0, around - _SAMPLED_LINES)
    lines = snapshot.lines[first : around + _SAMPLED_LINES]
    spaces = [len(line) - len(line.lstrip(" ")) for line in lines if line.startswith("  ") and line.strip()]
    if sum(line.startswith("\t") for line in lines) > len(spaces):
        return True, 4
    return False, min((count for count in spaces if count in (2, 3, 4, 8)), default=4)
