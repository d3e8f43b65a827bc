"""No more lines than were asked for; a hole in a line of code gets one line. Knows nothing of what the lines say."""

from __future__ import annotations

from dlsp.postprocess.draft import Draft


def lines(draft: Draft) -> Draft:
    """Cuts after `max_lines` lines; what follows is the next suggestion. In a block, blank lines at the end go too, unless the
    rest of the cursor's line would follow them."""
    rows = draft.text.split("\n")
    if len(rows) > draft.max_lines:
        first = "\n".join(rows[: draft.max_lines])
        return draft.cut(len(first)) if first.strip() and not draft.behind.strip() else draft.with_text(first)
    while len(rows) > 1 and not rows[-1].strip() and not draft.behind.strip():
        rows.pop()
    return draft.with_text("\n".join(rows))
