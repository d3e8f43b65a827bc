"""Recent edits: what the user changed lately, in any document, as passages of a few lines; and the source that offers them.

Edits that follow one another closely, in place, are one; what is being typed at this moment is none. Knows no clock of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from dlsp.context.exclude import holds_private_key
from dlsp.documents import Edit, Snapshot

if TYPE_CHECKING:
    from dlsp.context.candidates import Candidate, ContextSpot

SETTLE_SECONDS = 0.5
KEPT_EDITS = 8
AROUND_LINES = 3
_MOST_LINES = 40
_MOST_CHARACTERS = 4_000
_DECAY = 0.85


class RecentEdit(msgspec.Struct, frozen=True):
    """A passage before and after it was edited ("\\n" line ends), with up to three lines around; `at` is when, in seconds."""

    uri: str
    language: str
    before: str
    after: str
    at: float
    line: int = 0


class RecentEdits:
    """The latest edits of all documents. Times are handed in, in seconds of any one clock."""

    def __init__(self) -> None:
        self._settled: list[RecentEdit] = []
        self._present: _Passage | None = None

    def record(self, before: Snapshot, after: Snapshot, edits: Iterable[Edit], now: float) -> None:
        """A document was edited. A change of more than a few dozen lines (another version from the disk, a formatter) is no edit."""
        for edit in edits:
            touched = (edit.start.line, edit.end.line)
            grown = edit.after.line - edit.end.line
            if max(touched[1], edit.after.line) - touched[0] > _MOST_LINES or len(edit.text) + len(edit.removed) > _MOST_CHARACTERS:
                self._settle()
                continue
            present = self._present
            if present is None or present.uri != after.uri or not present.touches(*touched):
                self._settle()
                self._present = present = _Passage(before, *touched)
            present.extend(*touched, grown)
            present.newest, present.at = after, now

    def forget(self, uri: str) -> None:
        """Nothing of a document is kept."""
        self._settled = [edit for edit in self._settled if edit.uri != uri]
        if self._present is not None and self._present.uri == uri:
            self._present = None

    def list(self, now: float) -> tuple[RecentEdit, ...]:
        """The edits that have settled, the latest first."""
        if self._present is not None and now - self._present.at >= SETTLE_SECONDS:
            edit = self._present.edit()
            return tuple(([edit] if edit else []) + self._settled[:KEPT_EDITS])
        return tuple(self._settled)

    def _settle(self) -> None:
        edit = self._present.edit() if self._present is not None else None
        self._present = None
        if edit is not None:
            # A passage that is edited again is told once, as it is now.
            kept = [e for e in self._settled if e.uri != edit.uri or e.after != edit.before]
            self._settled = [edit, *kept][:KEPT_EDITS]


def candidates(spot: ContextSpot) -> Iterator[Candidate]:
    """The passages as they are after the edit, the latest first; those that stand near the cursor of this document anyway left out."""
    first, last = spot.visible
    for rank, edit in enumerate(spot.recent):
        if edit.uri != spot.snapshot.uri or not first <= edit.line <= last:
            yield spot.candidate("recentEdits", edit.uri, edit.after, 0.7 * _DECAY**rank)


class _Passage:
    """Lines that are being edited: as they were in `oldest` and as they are in `newest`, last line included."""

    def __init__(self, oldest: Snapshot, first: int, last: int) -> None:
        self.uri = oldest.uri
        self.oldest = self.newest = oldest
        self.at = 0.0
        self._was = [first, last]
        self._first, self._last = first, last
        self._told: Snapshot | None = None
        self._edit: RecentEdit | None = None

    def touches(self, first: int, last: int) -> bool:
        """Whether an edit of lines as they are now is one with this, or right beside it."""
        return first <= self._last + 1 and last >= self._first - 1

    def extend(self, first: int, last: int, grown: int) -> None:
        """Take in an edit of lines as they were right before it."""
        self._was[0] -= max(0, self._first - first)
        self._was[1] += max(0, last - self._last)
        self._first, self._last = min(self._first, first), max(self._last, last) + grown

    def edit(self) -> RecentEdit | None:
        """What was changed; None if all is as it was, and for a file with a private key in it."""
        if self._told is not self.newest:
            self._told = self.newest
            before, after = _text(self.oldest, *self._was), _text(self.newest, self._first, self._last)
            nothing = before == after or not after.strip() or holds_private_key(self.newest.lines)
            self._edit = None if nothing else RecentEdit(self.uri, self.newest.language, before, after, self.at, self._first)
        return self._edit


def _text(snapshot: Snapshot, first: int, last: int) -> str:
    lines = range(max(0, first - AROUND_LINES), min(len(snapshot.lines), min(last, first + _MOST_LINES) + AROUND_LINES + 1))
    return "\n".join(snapshot.line(number).rstrip() for number in lines).strip("\n")[:_MOST_CHARACTERS]
