"""A model that has lost the thread says the same again and again: such text is cut or not shown. Knows nothing of the surroundings."""

from __future__ import annotations

from dlsp.postprocess.brackets import CLOSERS, balance
from dlsp.postprocess.draft import Draft

_TIMES = 4
_LONGEST_UNIT = 80
_LINE_TIMES = 3
_LONGEST_CYCLE = 3
_MARK_TIMES = 5
_LONGEST_MARKS = 4
_RULERS = frozenset("=-_*#~+/\\.|<>! \t")
"""What lines are drawn with, in comments and in tables."""


def repetition(draft: Draft) -> Draft:
    """Drops with `repetition` what ends in a loop of words or of marks; in a block, cuts where the same lines, up to three, come
    for the third time in a row."""
    rows = draft.text.split("\n")
    if (kept := _before_cycle([row.strip() for row in rows])) < len(rows):
        return draft.with_text("\n".join(rows[:kept]))
    # The last repetition may be unfinished, and the text may go on with a space or a comma.
    text = draft.text.rstrip(" \t\n,;")
    for unit in range(2, min(_LONGEST_UNIT, len(text) // _TIMES) + 1):
        piece = text[-unit:]
        if _is_words(piece) and text.endswith(piece * _TIMES):
            return draft.dropped("repetition")
    return draft.dropped("repetition") if _loops_in_marks(draft) else draft


def _before_cycle(rows: list[str]) -> int:
    """How many lines to keep: up to the end of the first round of what comes three times."""
    for end in range(_LINE_TIMES, len(rows) + 1):
        for cycle in range(1, min(_LONGEST_CYCLE, end // _LINE_TIMES) + 1):
            start = end - _LINE_TIMES * cycle
            unit = rows[start : start + cycle]
            if unit * _LINE_TIMES == rows[start:end] and any(map(_is_words, unit)):
                return start + cycle
    return len(rows)


def _loops_in_marks(draft: Draft) -> bool:
    """Whether the text ends with the same few marks again and again, and neither draws a line nor closes what is open."""
    text = draft.text.rstrip()
    for unit in range(1, min(_LONGEST_MARKS, len(text) // _MARK_TIMES) + 1):
        piece = text[-unit:]
        if not text.endswith(piece * _MARK_TIMES) or any(map(str.isalnum, piece)) or _RULERS.issuperset(piece):
            continue
        if not (all(mark in CLOSERS for mark in piece) and balance(draft.head + text) >= 0):
            return True
    return False


def _is_words(text: str) -> bool:
    """Rulers and columns of figures repeat for good reason."""
    return any(character.isalpha() for character in text)
