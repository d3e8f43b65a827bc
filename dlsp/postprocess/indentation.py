"""Indentation in the document's own manner, tabs or spaces. Knows nothing of what the lines say."""

from __future__ import annotations

from dlsp.postprocess.draft import Draft


def indentation(draft: Draft) -> Draft:
    """Rewrites the white space that begins each line of the text, the first one only where the cursor's line is still blank."""
    rows = draft.text.split("\n")
    first = 0 if not draft.head.strip() else 1
    if draft.head and not draft.head.strip():
        # The cursor is indented already, in whatever manner: what the first line adds must match that.
        rows[0] = _rewritten(rows[0], "\t" in draft.head, draft.width)
        first = 1
    return draft.with_text("\n".join([*rows[:first], *(_rewritten(row, draft.tabs, draft.width) for row in rows[first:])]))


def _rewritten(line: str, tabs: bool, width: int) -> str:
    body = line.lstrip(" \t")
    lead = line[: len(line) - len(body)]
    if tabs:
        # Fewer spaces than a tab are alignment and stay.
        columns = len(lead.expandtabs(width))
        return "\t" * (columns // width) + " " * (columns % width) + body if " " * width in lead else line
    return lead.expandtabs(width) + body if "\t" in lead else line
