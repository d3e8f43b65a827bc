"""The source that offers the document itself: imports at its head and the headers around the cursor, where the model cannot see them.

A model with a short prompt sees some dozens of lines; without this it would not know what class it is in.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

from dlsp.context.candidates import Candidate, ContextSpot, words_of
from dlsp.context.import_statements import HEAD_LINES, statements_in

_MOST_IMPORTS = 12
_LONGEST = 200


def candidates(spot: ContextSpot) -> Iterator[Candidate]:
    """One snippet: the imports that have to do with what stands near the cursor, then the headers it is nested in."""
    first, _ = spot.visible
    if first == 0:
        return
    document = spot.snapshot
    near = [text for text in _statements(document.lines[: min(first, HEAD_LINES)]) if any(word in spot.names for word in words_of(text))]
    around = [document.line(number)[:_LONGEST].rstrip() for number in spot.headers if number < first]
    if text := "\n".join([*near[:_MOST_IMPORTS], *around]):
        # It is the least surprising of all: it is true of this place and of no other.
        yield spot.candidate("outline", document.uri, text, 0.98)


@functools.lru_cache(maxsize=8)
def _statements(head: tuple[str, ...]) -> tuple[str, ...]:
    """The import statements among the first lines of a document; they seldom change from one keystroke to the next."""
    return tuple(statements_in([line.rstrip("\r\n")[:_LONGEST] for line in head]))
