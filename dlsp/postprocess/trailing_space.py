"""No white space at the ends of lines. Knows nothing of what the lines say."""

from __future__ import annotations

from dlsp.postprocess.draft import Draft


def trailing_space(draft: Draft) -> Draft:
    """Strips the end of every line; of the last one only where nothing follows on the cursor's line."""
    *rows, last = draft.text.split("\n")
    if not draft.behind.strip():
        last = last.rstrip()
    return draft.with_text("\n".join([*(row.rstrip() for row in rows), last]))
