"""No more lines than were asked for; a hole in a line of code gets one line. Knows nothing of what the lines say."""

from __future__ import annotations

from dlsp.postprocess.draft import Draft


def lines(draft: Draft) -> Draft:
    """Cuts after `max_lines` lines. In a block, blank lines at the end go too, unless the rest of the cursor's line would follow them."""
    if draft.max_lines == 1:
        return draft.with_text(draft.text.partition("\n")[0])
    kept = draft.text.split("\n")[: draft.max_lines]
    while len(kept) > 1 and not kept[-1].strip() and not draft.tail.strip():
        kept.pop()
    return draft.with_text("\n".join(kept))
