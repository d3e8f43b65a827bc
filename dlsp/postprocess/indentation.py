"""Indentation in the document's own manner, tabs or spaces, and from where the cursor is. Knows nothing of what the lines say.

Models forget how deep they are: a text that is written as if its line began at column 0 is moved to where it belongs.
"""

from __future__ import annotations

import re

from dlsp.postprocess.brackets import brackets, unmatched
from dlsp.postprocess.draft import Draft, indent_of

_COLON_LANGUAGES = frozenset({"python", "nim", "gdscript", "starlark"})
_CONTINUES = tuple("([{,\\+-*/=|&:<>.?")
_CONTINUED = tuple(".|&?+-*/)]}")
# Behind these a line may be deeper although no mark says so: words that open a block, and an item of a list of YAML.
_OPENS = re.compile(
    r"\s*(?:-\s|(?:local\s+)?function\b|(?:def|class|module|if|unless|while|until|for|case|when|begin|sub|else|elsif|elseif|elif|rescue|ensure)\b)"
    r"|.*\b(?:then|do|repeat|of|where)\s*(?:\|[^|]*\|)?$"
)
_ONLY_CLOSERS = re.compile(r"[)\]};,]+")
_UNITS = (2, 3, 4, 8)


def indentation(draft: Draft) -> Draft:
    """Moves lines that begin too far left, and rewrites the white space that begins each line of the text, the first one only
    where the cursor's line is still blank."""
    rows = _not_indented_twice(draft, draft.text.split("\n"))
    rows = _moved(draft, rows)
    unit = _unit(rows) if draft.tabs else draft.width
    out: list[str] = []
    for number, row in enumerate(rows):
        if number == 0 and draft.head.strip():
            out.append(row)
        elif number == 0 and draft.head:
            # The cursor is indented already, in whatever manner: what the first line adds must match that.
            out.append(_in_tabs(row, draft.width, unit) if "\t" in draft.head else _in_spaces(row, draft.width))
        elif not draft.tabs:
            out.append(_in_spaces(row, draft.width))
        elif _is_aligned(draft, rows[:number], row):
            out.append(row)
        else:
            out.append(_in_tabs(row, draft.width, unit))
    return draft.with_text("\n".join(out))


def _not_indented_twice(draft: Draft, rows: list[str]) -> list[str]:
    """The first line without its own indentation, where the cursor is as deep as a line may be here."""
    row, above = rows[0], next((line.rstrip() for line in draft.above if line.strip()), "")
    if not draft.head or draft.head.strip() or not row.strip() or not row[0].isspace() or not above or above.endswith(_CONTINUES):
        return rows
    if (
        _OPENS.match(above)
        or row.strip().startswith(_CONTINUED)
        or indent_of(draft.head + row, draft.width) <= indent_of(above, draft.width)
    ):
        return rows
    return [row.lstrip(" \t"), *rows[1:]]


def _moved(draft: Draft, rows: list[str]) -> list[str]:
    """The lines behind the first moved to the right, where the first of them must be deeper than the cursor's line but is not."""
    base, width = indent_of(draft.head, draft.width), draft.width
    if len(rows) == 1 or not rows[1].strip():
        return rows
    line, body = (draft.head + rows[0]).rstrip(), indent_of(rows[1], width)
    colon = line.endswith(":") and draft.language in _COLON_LANGUAGES and not line.lstrip().startswith("#")
    if not (colon or line.endswith("{") or (line.endswith(("(", "[")) and body < base)) or body > base:
        return rows
    if _closes_from_above(line):
        # How deep the statement is that goes on here, its last line does not say.
        return rows
    if _ONLY_CLOSERS.fullmatch(rows[1].strip()):
        return [rows[0], _shifted(rows[1], base - body, draft), *rows[2:]] if body != base else rows
    if not draft.head.strip() and body == 0:
        # Written without any indentation: where this block ends, nobody can tell.
        return rows
    # On a blank line the text may be written from column 0 or from where the cursor is.
    move = base if not draft.head.strip() and body < base else base + width - body
    flat = any(_ONLY_CLOSERS.fullmatch(row.strip()) and indent_of(row, width) == body for row in rows[2:])
    out = [rows[0]]
    for row in rows[1:]:
        closer = flat and _ONLY_CLOSERS.fullmatch(row.strip()) and indent_of(row, width) == body
        out.append(_shifted(row, base - body if closer else move, draft))
    return out


def _closes_from_above(line: str) -> bool:
    """Whether a line ends what a bracket in the lines above has opened, and does not begin with that."""
    closers, _ = unmatched((place, mark) for place, mark in brackets(line) if mark in "()[]")
    return bool(closers) and bool(line[: closers[0]].strip())


def _shifted(row: str, columns: int, draft: Draft) -> str:
    """A line moved by columns; those of the document's own manner, so that what follows in this filter agrees."""
    if not row.strip() or columns == 0:
        return row
    indent = max(0, indent_of(row, draft.width) + columns)
    lead = "\t" * (indent // draft.width) + " " * (indent % draft.width) if draft.tabs else " " * indent
    return lead + row.lstrip(" \t")


def _unit(rows: list[str]) -> int:
    """How many spaces are one level in the text: its shallowest line says so."""
    leads = [len(row) - len(row.lstrip(" ")) for row in rows if row.startswith(" ") and row.strip()]
    shallowest = min(leads, default=4)
    return shallowest if shallowest in _UNITS else 4


def _is_aligned(draft: Draft, before: list[str], row: str) -> bool:
    """Whether a line goes on with what a bracket has opened, aligned with spaces behind the tabs of its statement."""
    lead = row[: len(row) - len(row.lstrip(" \t"))]
    if " \t" in lead or not lead.endswith(" "):
        return False
    marks = [mark for _, mark in brackets(draft.head + "\n".join(before))]
    return sum(marks.count(mark) for mark in "([") > sum(marks.count(mark) for mark in ")]")


def _in_tabs(line: str, width: int, unit: int) -> str:
    body = line.lstrip(" \t")
    lead = line[: len(line) - len(body)]
    if " " not in lead:
        return line
    tabs, spaces = lead.count("\t"), lead.count(" ")
    if " \t" in lead:
        tabs, spaces = divmod(len(lead.expandtabs(width)), width)
        return "\t" * tabs + " " * spaces + body
    return "\t" * (tabs + spaces // unit) + " " * (spaces % unit) + body


def _in_spaces(line: str, width: int) -> str:
    body = line.lstrip(" \t")
    lead = line[: len(line) - len(body)]
    return lead.expandtabs(width) + body if "\t" in lead else line
