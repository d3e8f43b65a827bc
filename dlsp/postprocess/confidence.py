"""Text that the model itself is not sure of is not shown. Knows nothing of the text."""

from __future__ import annotations

from dlsp.postprocess.draft import Draft


def confidence(draft: Draft) -> Draft:
    """Drops with `low_confidence`."""
    return draft.dropped("low_confidence") if draft.confidence < draft.floor else draft
