"""The source that offers the passages of other open documents that are most like what stands before the cursor.

Documents are taken as they are in the editor; the one used last counts most.
"""

from __future__ import annotations

from collections.abc import Iterator

from dlsp.context.candidates import MOST_PASSAGE_LINES, STEP_LINES, Candidate, ContextSpot, best_passage, passage_text, words_of
from dlsp.context.definition_scan import family_of

LEAST_LIKENESS = 0.08
_MOST_DOCUMENTS = 8
_DECAY = 0.92


def candidates(spot: ContextSpot) -> Iterator[Candidate]:
    """The best passage of each open document in the same language, the one used last first."""
    wanted = wanted_names(spot)
    family = family_of(spot.snapshot.language)
    documents = [document for document in spot.open if family_of(document.language) == family][:_MOST_DOCUMENTS]
    for rank, document in enumerate(documents):
        if spot.late:
            return
        if not spot.quotable(document.uri):
            continue
        lines = document.lines[:MOST_PASSAGE_LINES]
        passage = best_passage(lines, wanted)
        if passage is None or passage.likeness < LEAST_LIKENESS:
            continue
        text = passage_text(lines[passage.first : passage.last])
        yield spot.candidate("openFiles", document.uri, text, passage.likeness * _DECAY**rank)


def wanted_names(spot: ContextSpot) -> frozenset[str]:
    """The names in the lines before the cursor, and in the few after it."""
    lines = range(spot.at.line - 2 * STEP_LINES, spot.at.line + STEP_LINES // 2)
    return frozenset(word for number in lines for word in words_of(spot.snapshot.line(number)[:400]))
