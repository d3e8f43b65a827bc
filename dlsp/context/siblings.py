"""The source that offers passages of files beside the document, and of what tests it or is tested by it, as the index knows them.

Files that are open are left to the source of open documents, where that one is asked.
"""

from __future__ import annotations

from collections.abc import Iterator

from dlsp.context.candidates import MOST_PASSAGE_LINES, Candidate, ContextSpot, best_passage, passage_text
from dlsp.context.open_files import LEAST_LIKENESS, wanted_names

_MOST_FILES = 6
_WEIGHT = 0.8


def candidates(spot: ContextSpot) -> Iterator[Candidate]:
    """The best passage of each file nearby."""
    workspace = spot.workspace
    if workspace is None:
        return
    open_ones = {document.uri for document in spot.open} if "openFiles" in spot.settings.context else set()
    wanted = wanted_names(spot)
    files = [uri for uri in workspace.siblings(spot.snapshot.uri) if uri not in open_ones][:_MOST_FILES]
    for uri in files:
        if spot.late:
            return
        lines = workspace.lines(uri)[:MOST_PASSAGE_LINES]
        passage = best_passage(lines, wanted)
        if passage is not None and passage.likeness >= LEAST_LIKENESS:
            yield spot.candidate("siblings", uri, passage_text(lines[passage.first : passage.last]), _WEIGHT * passage.likeness)
