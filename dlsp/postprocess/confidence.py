"""Text that the model itself is not sure of is not shown. Knows nothing of the text but how many lines it has.

Confidence is the chance that all of the text is right, so it falls with length: what counts is how sure a line is on average.
"""

from __future__ import annotations

from dlsp.postprocess.draft import Draft


def confidence(draft: Draft) -> Draft:
    """Drops with `low_confidence`. Where pieces tell which part is weak, `weak_tail` decides."""
    return draft.dropped("low_confidence") if not draft.pieces and sure_of_a_line(draft) < draft.floor else draft


def sure_of_a_line(draft: Draft) -> float:
    """The confidence of a line of the text: the geometric mean over its lines that are not blank."""
    lines = sum(bool(row.strip()) for row in draft.text.split("\n"))
    return draft.confidence ** (1 / max(1, lines))
