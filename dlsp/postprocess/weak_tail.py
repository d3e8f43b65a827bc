"""What follows the first doubtful token is cut off: a short suggestion that is right beats a long one that must be corrected.

Knows the probability of each token, and words and lines; nothing of what they say.
"""

from __future__ import annotations

from dlsp.postprocess.confidence import sure_of_a_line
from dlsp.postprocess.draft import Draft

TAIL_FLOOR = 0.35
"""A token the model gives less than this is more often wrong than a reader forgives; a lower `floor` of the draft counts instead."""
SHORTEST_KEPT = 4
"""Characters besides white space that are worth showing of a text that was cut."""


def weak_tail(draft: Draft) -> Draft:
    """Cuts before the first weak token, at a word's beginning in the first line, at a line's end behind it; drops with
    `low_confidence` when too little is left, when the rest of the line was to follow, or when that is not sure enough either."""
    if not draft.pieces or draft.floor <= 0:
        return draft
    position = _weak(draft)
    if position is not None:
        if any(character.isalnum() for character in draft.behind):
            # The text was made to lead up to what follows.
            return draft.dropped("low_confidence")
        kept = _at_boundary(draft.text, position)
        if len("".join(kept.split())) < max(SHORTEST_KEPT, draft.min_characters):
            return draft.dropped("low_confidence")
        draft = draft.with_text(kept)
    return draft.dropped("low_confidence") if sure_of_a_line(draft) < draft.floor else draft


def _weak(draft: Draft) -> int | None:
    """Where the first weak token begins."""
    limit, position = min(TAIL_FLOOR, draft.floor), 0
    for piece in draft.pieces:
        if piece.confidence < limit and piece.text.strip():
            return position + len(piece.text) - len(piece.text.lstrip())
        position += len(piece.text)
    return None


def _at_boundary(text: str, position: int) -> str:
    """The text before a place, without the part of a word, or of a line behind the first, that it would end with."""
    line = text.rfind("\n", 0, position)
    if line >= 0 and text[:line].strip():
        return text[:line].rstrip()
    while 0 < position < len(text) and _in_word(text[position]) and _in_word(text[position - 1]):
        position -= 1
    return text[:position].rstrip()


def _in_word(character: str) -> bool:
    return character.isalnum() or character == "_"
