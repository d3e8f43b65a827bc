"""A block ends where its indentation does, where its bracket stands already, and, unasked, at its first blank line.

Lines behind that are cut off. Knows no language's grammar, only where the block around the cursor ends if a parse has told.
"""

from __future__ import annotations

import re

from dlsp.postprocess.brackets import CLOSERS, balance, brackets, unmatched
from dlsp.postprocess.draft import Draft, indent_of

_BEHIND_CLOSERS = CLOSERS + ";,"
_WORD_LANGUAGES = frozenset({"lua", "shellscript", "sh", "bash", "zsh", "ruby", "crystal", "elixir", "julia"})
_ENDS = re.compile(r"(?:end|fi|done|esac|until|\})\b|\}")
_GOES_ON = re.compile(r"(?:else|elseif|elsif|elif|when|rescue|ensure|catch|after)\b")


def block_end(draft: Draft) -> Draft:
    """Cuts a text of several lines before the first line that is indented less than the hole, and before one that closes what is
    closed already. Behind a line that opens a block with a bracket, the line that closes it still belongs to the text.

    What follows a blank line is the next suggestion.
    """
    rows = draft.text.split("\n")
    if len(rows) == 1:
        return draft
    kept = min(_by_indentation(draft, rows), _by_closer(draft, rows))
    if kept < len(rows):
        draft, rows = draft.with_text("\n".join(rows[:kept]).rstrip("\n")), rows[:kept]
    blank = None if draft.invoked else _first_blank(rows)
    return draft if blank is None else draft.cut(len("\n".join(rows[:blank])))


def _by_indentation(draft: Draft, rows: list[str]) -> int:
    """How many lines to keep: those deeper than the cursor's line, if that opens a block, and the line that closes the block."""
    head, base = draft.head.rstrip(), indent_of(draft.head, draft.width)
    bracket = head.endswith(("{", "(", "["))
    filled = [(number, row.strip(), indent_of(row, draft.width)) for number, row in enumerate(rows) if number and row.strip()]
    by_word = bool(head) and draft.language in _WORD_LANGUAGES and bool(filled) and filled[0][2] > base
    for number, row, indent in filled:
        if indent < base:
            return number
        if indent > base or not (bracket or by_word or head.endswith(":")):
            continue
        if bracket and row[0] in CLOSERS:
            # `}` ends it, and `}, [id]);` does; `} else {` goes on.
            if not row.strip(_BEHIND_CLOSERS) or not unmatched(brackets("\n".join([draft.head + rows[0], *rows[1 : number + 1]])))[1]:
                return number + 1
        elif by_word and _ENDS.match(row):
            return number + 1
        elif not (by_word and _GOES_ON.match(row)) and not (draft.language == "yaml" and row[0] == "-"):
            return number
    return len(rows)


def _by_closer(draft: Draft, rows: list[str]) -> int:
    """The first line that closes the block around the cursor, where the document's own line at `last_line` does so."""
    if draft.snapshot is None or draft.last_line <= draft.at.line:
        return len(rows)
    last = draft.snapshot.line(draft.last_line)
    if not last.strip() or last.strip()[0] not in CLOSERS:
        return len(rows)
    indent, base = indent_of(last, draft.width), indent_of(draft.head, draft.width)
    if indent != base if balance(draft.head) > 0 else indent >= base:
        # That line closes another block; ours is still open.
        return len(rows)
    text = "\n".join(rows)
    surplus, _ = unmatched(brackets(text))
    if not surplus:
        return len(rows)
    line = text.count("\n", 0, surplus[0])
    return line if line > 0 and rows[line].strip()[0] in CLOSERS else len(rows)


def _first_blank(rows: list[str]) -> int | None:
    """The first blank line behind one that is not."""
    first = next((number for number, row in enumerate(rows) if row.strip()), len(rows))
    return next((number for number in range(first, len(rows)) if not rows[number].strip()), None)
