"""Text must not say again what already stands behind the cursor: closers, the rest of the line, the next lines.

Brackets are counted, because `f(g(x` in front of `)` needs a bracket of its own; knows no language's grammar beyond that.
"""

from __future__ import annotations

from dlsp.postprocess.draft import Draft

_OPENERS = "([{"
_CLOSERS = ")]}"
_QUOTES = "\"'`"
_SEPARATORS = ",;:"
_SHORTEST_WORD_OVERLAP = 3


def suffix_overlap(draft: Draft) -> Draft:
    """Cuts what is there already; drops with `duplicate` when nothing else is left."""
    text = _without_next_lines(draft, draft.text)
    text = _without_rest_of_line(draft, text)
    text = _without_surplus_closers(draft, text)
    if not text.strip() and draft.text.strip():
        return draft.dropped("duplicate")
    return draft.with_text(text)


def _without_next_lines(draft: Draft, text: str) -> str:
    """The last lines of the text are the lines below the cursor."""
    rows = text.split("\n")
    below = [row.rstrip() for row in draft.below if row.strip()]
    if len(rows) == 1 or draft.tail.strip():
        return text
    for count in range(min(len(rows) - 1, len(below)), 0, -1):
        if [row.rstrip() for row in rows[-count:]] != below[:count]:
            continue
        kept = "\n".join(rows[:-count])
        if any(character.isalnum() for row in below[:count] for character in row) or _balance(draft.head + text) <= 0:
            return kept.rstrip()
    return text


def _without_rest_of_line(draft: Draft, text: str) -> str:
    """The text ends with the beginning of what follows on the line."""
    tail = draft.tail.rstrip()
    for count in range(min(len(text), len(tail)), 0, -1):
        overlap = tail[:count]
        if not text.endswith(overlap):
            continue
        kept = text[:-count]
        solid = overlap.strip()
        if not solid:
            return kept
        if all(character in _CLOSERS for character in solid):
            # Left to the count of brackets.
            continue
        line = (draft.head + text + draft.tail).rpartition("\n")[2]
        if all(character in _CLOSERS + _QUOTES + _SEPARATORS for character in solid):
            if not any(quote in solid for quote in _QUOTES) or any(line.count(quote) % 2 for quote in _QUOTES if quote in solid):
                return kept
        elif len(solid) >= _SHORTEST_WORD_OVERLAP:
            return kept
    return text


def _without_surplus_closers(draft: Draft, text: str) -> str:
    """The text closes what the rest of the line closes already."""
    kept = text
    while kept and kept[-1] in _CLOSERS and draft.tail.lstrip().startswith(kept[-1]) and _balance(draft.head + kept + draft.tail) < 0:
        kept = kept[:-1]
    return kept.rstrip(" ") if kept != text and draft.tail.startswith(" ") else kept


def _balance(text: str) -> int:
    """Brackets opened and not closed, negative when more are closed than opened; those inside one-line strings do not count."""
    depth, quote, escaped = 0, "", False
    for character in text:
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif quote:
            if character in (quote, "\n"):
                quote = ""
        elif character in "\"'`":
            quote = character
        elif character in _OPENERS:
            depth += 1
        elif character in _CLOSERS:
            depth -= 1
    return depth
