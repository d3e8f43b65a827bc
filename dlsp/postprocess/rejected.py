"""What the user has just turned down is not offered again on our own account. Knows texts, not why they were turned down."""

from __future__ import annotations

from dlsp.postprocess.draft import Draft

_LEAST_COMMON = 8
"""Characters that a text and the beginning of a longer one must share to count as the same suggestion."""


def rejected(draft: Draft) -> Draft:
    """Drops with `rejected` one of the draft's `rejected` texts, a beginning of one, and one that goes on; white space does not count."""
    if draft.invoked or not draft.rejected:
        return draft
    text = " ".join(draft.text.split())
    return draft.dropped("rejected") if any(_same(text, " ".join(other.split())) for other in draft.rejected) else draft


def _same(text: str, other: str) -> bool:
    shorter, longer = sorted((text, other), key=len)
    return text == other or (len(shorter) >= _LEAST_COMMON and longer.startswith(shorter))
