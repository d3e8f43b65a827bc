"""The source that offers what names near the cursor mean, as the workspace index knows it.

A name that the file imports means what that module defines; another one what the file itself defines, or, where the language
allows it, a file nearby. Names that many files define mean nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from dlsp.context.candidates import Candidate, ContextSpot
from dlsp.context.definition_scan import family_of
from dlsp.context.workspace import Definition

_MOST_NAMES = 60
_AMBIGUOUS = 3
_TESTS = re.compile(r"/(tests?|spec|__tests__)/|/test_|_test\.|\.(test|spec)\.")
"""What tests define is of use to tests."""
_IMPORTING = frozenset({"python", "javascript"})
"""Languages in which a name from another file is imported by name, so that any other bare name means something else."""


def candidates(spot: ContextSpot) -> Iterator[Candidate]:
    """Definitions of names on the cursor's line first, then of those in its statement, in its headers, and nearby."""
    workspace = spot.workspace
    if workspace is None:
        return
    document, (first, last) = spot.snapshot, spot.visible
    for name, weight in sorted(spot.names.items(), key=lambda item: -item[1])[:_MOST_NAMES]:
        target = spot.imported.get(name)
        if target is not None:
            found = workspace.defined_in(target.uri, target.name) if target.name else None
            chosen = [found] if found else []
        else:
            chosen = _plausible(spot, name)
        for definition in chosen:
            if definition.uri != document.uri or not first <= definition.line <= last:
                yield spot.candidate("definitions", definition.uri, definition.text, weight / len(chosen) ** 0.5)


def _plausible(spot: ContextSpot, name: str) -> list[Definition]:
    """What a name that is not imported may mean: what the document defines, else what few enough files of its language define."""
    assert spot.workspace is not None, "there is an index to ask"
    found = spot.workspace.definitions(name, spot.snapshot.uri)
    own = [definition for definition in found if definition.uri == spot.snapshot.uri]
    if own:
        return own[:1]
    family = family_of(spot.snapshot.language)
    tested = _TESTS.search(spot.snapshot.uri) is not None
    others = [d for d in found if family_of(spot.workspace.language(d.uri)) == family and (tested or not _TESTS.search(d.uri))]
    if family in _IMPORTING:
        others = [definition for definition in others if definition.kind == "method"] if name in spot.attributes else []
    return others[:2] if len(others) <= _AMBIGUOUS else []
