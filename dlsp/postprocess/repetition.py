"""A model that has lost the thread says the same again and again: such text is cut or not shown. Knows nothing of the surroundings."""

from __future__ import annotations

from dlsp.postprocess.draft import Draft

_TIMES = 4
_LONGEST_UNIT = 80
_LINE_TIMES = 3


def repetition(draft: Draft) -> Draft:
    """Drops with `repetition` what ends in a loop of words; in a block, cuts where a line comes for the third time in a row."""
    rows = draft.text.split("\n")
    for number in range(_LINE_TIMES - 1, len(rows)):
        run = {row.strip() for row in rows[number - _LINE_TIMES + 1 : number + 1]}
        if len(run) == 1 and _is_words(run.pop()):
            return draft.with_text("\n".join(rows[: number - _LINE_TIMES + 2]))
    # The last repetition may be unfinished, and the text may go on with a space or a comma.
    text = draft.text.rstrip(" \t\n,;")
    for unit in range(2, min(_LONGEST_UNIT, len(text) // _TIMES) + 1):
        piece = text[-unit:]
        if _is_words(piece) and text.endswith(piece * _TIMES):
            return draft.dropped("repetition")
    return draft


def _is_words(text: str) -> bool:
    """Rulers and columns of figures repeat for good reason."""
    return any(character.isalpha() for character in text)
