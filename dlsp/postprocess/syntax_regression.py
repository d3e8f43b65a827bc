"""Text must not break what parses: it is cut back to where it does not, or not shown. Knows no grammar, only who to ask.

Languages without a grammar go through.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

from dlsp import syntax
from dlsp.documents import Point, Span
from dlsp.postprocess.brackets import brackets, unmatched
from dlsp.postprocess.draft import Draft

_MOST_TRIES = 4
"""Shorter texts that are tried; each costs a few parses of the lines around the cursor."""
_MOST_SECONDS = 0.008
"""Time of the processor after which no shorter text is tried: lines that are badly broken take long to parse."""
_WHOLE_WORD = re.compile(r"""[\w)\]}"'`;]""")
_HEADER_ENDINGS = ("{}", ";")
"""What follows `class A` or `if (a)` where blocks stand in braces."""
_WITHOUT_BRACES = frozenset({"lua", "shellscript"})


def syntax_regression(draft: Draft) -> Draft:
    """Cuts a text that brings an error with it back to what does not, whole lines first; a last line that is merely unfinished is
    no error. Drops with `syntax` what nothing is left of, unless the user asked for it: then it stays as it was."""
    began = time.thread_time()
    if draft.snapshot is None or not _introduces_error(draft, draft.text) or _is_header(draft):
        return draft
    for text in _shorter(draft):
        if time.thread_time() - began > _MOST_SECONDS:
            break
        if not _introduces_error(draft, text):
            return draft.with_text(text)
    return draft if draft.invoked else draft.dropped("syntax")


def _introduces_error(draft: Draft, text: str) -> bool:
    assert draft.snapshot is not None, "syntax_regression() asks only with a document"
    span = Span(draft.at, Point(draft.at.line, draft.at.column + draft.replaces))
    return bool(syntax.introduces_error(draft.snapshot, span, text))


def _is_header(draft: Draft) -> bool:
    """Whether the text ends with the header of what the user would write next."""
    if draft.behind.strip():
        return False
    line = (draft.head + draft.text).rpartition("\n")[2]
    if draft.language == "python":
        indent = line[: len(line) - len(line.lstrip())]
        return line.strip().startswith("@") and not _introduces_error(draft, f"{draft.text}\n{indent}def _(): pass")
    return draft.language not in _WITHOUT_BRACES and not all(_introduces_error(draft, draft.text + end) for end in _HEADER_ENDINGS)


def _shorter(draft: Draft) -> Iterator[str]:
    """Beginnings of the text that could stand, the longest first: whole lines, then words of the first line."""
    rows = draft.text.split("\n")
    least = max(1, draft.min_characters)
    for count in range(len(rows) - 1, max(0, len(rows) - 1 - _MOST_TRIES // 2), -1):
        text = "\n".join(rows[:count]).rstrip()
        if _size(text) >= least:
            yield text
    line, tries = rows[0].rstrip(), 0
    for end in range(len(line) - 1, 0, -1):
        text = line[:end].rstrip()
        inside_word = _in_word(line[end - 1]) and _in_word(line[end])
        if inside_word or line[end - 1].isspace() or not _WHOLE_WORD.match(text[-1:]) or _size(text) < least:
            continue
        if unmatched(brackets(text))[1]:
            continue
        yield text
        tries += 1
        if tries == _MOST_TRIES:
            return


def _size(text: str) -> int:
    return len("".join(text.split()))


def _in_word(character: str) -> bool:
    return character.isalnum() or character == "_"
