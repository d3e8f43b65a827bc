"""Where a caller wants a text to end: at a stop string, after so many lines, or where the code leaves its block. Pure text.

It knows neither engines nor protocols.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cut:
    """A text as far as it is wanted. `by` says what ended it: a stop string, `lines`, `indent`, or nothing."""

    text: str
    by: str = ""
    stop: str = ""


@dataclass(frozen=True, slots=True)
class Endings:
    """`stops` end a text and are no part of it; `lines` 0 means no limit. Behind a line that `indent` > 0 says is in a block, a
    line with less white space in front (and something behind it) is out of it."""

    stops: tuple[str, ...] = ()
    lines: int = 0
    indent: int = 0

    def cut(self, text: str) -> Cut:
        """`text` up to the ending that was whole first as the text grew: one that stops the model stops others behind it too."""
        found: list[tuple[tuple[int, int], Cut]] = []
        for stop in self.stops:
            if (at := text.find(stop)) >= 0:
                found.append(((at + len(stop), at), Cut(text[:at], "stop", stop)))
        if self.lines:
            at = -1
            for _ in range(self.lines):
                at = text.find("\n", at + 1)
                if at < 0:
                    break
            else:
                found.append(((at + 1, at), Cut(text[:at], "lines")))
        if self.indent and (match := self._out.search(text)):
            found.append(((match.end(), match.start()), Cut(text[: match.start()], "indent")))
        return min(found, key=lambda pair: pair[0])[1] if found else Cut(text)

    def settled(self, text: str) -> str:
        """As much of `text`, which has no ending in it, as stays whatever comes behind it."""
        keep = len(text)
        for stop in self.stops:
            for size in range(min(len(stop) - 1, len(text)), 0, -1):
                if text.endswith(stop[:size]):
                    keep = min(keep, len(text) - size)
                    break
        if self.indent and (match := re.search(r"\n\s*\Z", text)):
            keep = min(keep, match.start())
        return text[:keep]

    @property
    def _out(self) -> re.Pattern[str]:
        return re.compile(rf"\n+[ \t]{{0,{self.indent - 1}}}[^\s]")
