"""A block ends where its indentation does: lines that belong to what surrounds the hole are cut off. Knows no language's grammar."""

from __future__ import annotations

from dlsp.postprocess.draft import Draft

_CLOSERS = ")]};,"


def block_end(draft: Draft) -> Draft:
    """Cuts a text of several lines before the first line that is indented less than the hole.

    Behind a line that opens a block with a bracket, the line that closes it still belongs to the text.
    """
    rows = draft.text.split("\n")
    if len(rows) == 1:
        return draft
    opener = draft.head.rstrip().endswith((":", "{", "(", "["))
    base = _indent(draft.head, draft.width)
    for number, row in enumerate(rows[1:], start=1):
        if not row.strip():
            continue
        indent = _indent(row, draft.width)
        if indent < base or (opener and indent == base):
            if indent == base and draft.head.rstrip()[-1:] in "{([" and not row.strip().strip(_CLOSERS):
                number += 1
            return draft.with_text("\n".join(rows[:number]).rstrip("\n"))
    return draft


def _indent(line: str, width: int) -> int:
    expanded = line.expandtabs(width)
    return len(expanded) - len(expanded.lstrip(" "))
