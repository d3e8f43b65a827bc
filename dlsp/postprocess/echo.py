"""A line that only says the previous or the next line again is not shown. Knows lines, not languages."""

from __future__ import annotations

from dlsp.postprocess.draft import Draft


def echo(draft: Draft) -> Draft:
    """Drops with `duplicate` a line that would equal the nearest line above or below with anything in it.

    Lines without letters and digits, such as closing brackets, repeat for good reason.
    """
    first, _, more = draft.text.partition("\n")
    if more.strip():
        return draft
    line = (draft.head + first + draft.tail).strip()
    if not any(character.isalnum() for character in line):
        return draft
    neighbours = [next((row.strip() for row in rows if row.strip()), "") for rows in (draft.above, draft.below)]
    return draft.dropped("duplicate") if first.strip() and line in neighbours else draft
