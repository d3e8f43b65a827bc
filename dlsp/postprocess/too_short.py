"""Automatic suggestions that save less typing than reading them costs are not shown. Knows nothing but their length."""

from __future__ import annotations

from dlsp.postprocess.draft import Draft


def too_short(draft: Draft) -> Draft:
    """Drops with `too_short` what has fewer than `min_characters` characters besides white space."""
    if draft.invoked or len("".join(draft.text.split())) >= draft.min_characters:
        return draft
    return draft.dropped("too_short")
