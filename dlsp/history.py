"""The latest edits of one document, and whether the last of them took something back. Plain data: knows no documents and no clocks."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from dlsp.documents import Edit

KEPT_EDITS = 64
KEPT_CHARACTERS = 100_000


class EditHistory(msgspec.Struct, frozen=True):
    """Edits in the order they were made, bounded in number and in text."""

    edits: tuple[Edit, ...] = ()

    def extended(self, edits: Iterable[Edit]) -> EditHistory:
        """This history with later edits; the oldest are forgotten beyond the bounds."""
        kept = [*self.edits, *edits][-KEPT_EDITS:]
        weight = sum(len(edit.text) + len(edit.removed) for edit in kept)
        while kept and weight > KEPT_CHARACTERS:
            oldest = kept.pop(0)
            weight -= len(oldest.text) + len(oldest.removed)
        return EditHistory(tuple(kept))

    @property
    def took_back(self) -> bool:
        """The last edit undid, in one go, at least two characters of what was just inserted or deleted.

        That is an undo, or the deletion of a word just written; in neither case does the user want it offered again.
        A single character is an ordinary backspace.
        """
        standing: list[Edit] = []
        undone = False
        for edit in self.edits:
            rest = _undo(standing[-1], edit) if standing else None
            undone = rest is not None and max(len(edit.removed), len(edit.text)) > 1
            if rest is not None:
                standing[-1:] = rest
            elif standing and _continues(standing[-1], edit):
                standing[-1] = Edit(standing[-1].start, standing[-1].end, standing[-1].removed, standing[-1].text + edit.text)
            else:
                standing.append(edit)
        return undone


def _undo(earlier: Edit, later: Edit) -> list[Edit] | None:
    """What is left of `earlier` if `later` takes it back wholly or from its end; None if it does not."""
    if later.start == earlier.start and later.removed == earlier.text and later.text == earlier.removed:
        return []
    if not later.text and not earlier.removed and later.end == earlier.after and earlier.text.endswith(later.removed):
        return [Edit(earlier.start, earlier.end, "", earlier.text[: -len(later.removed)])]
    return None


def _continues(earlier: Edit, later: Edit) -> bool:
    """`later` goes on typing where `earlier` ended."""
    return not later.removed and not earlier.removed and later.start == earlier.after
