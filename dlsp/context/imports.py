"""The source that offers what the document imports from the workspace: the definitions of imported names, those used nearby first.

Imports of Python are resolved, and the relative ones of JavaScript and TypeScript; where modules lie is the index's business.
"""

from __future__ import annotations

from collections.abc import Iterator

from dlsp.context.candidates import Candidate, ContextSpot

_WEIGHT = 0.8
_LEAST = 0.3


def candidates(spot: ContextSpot) -> Iterator[Candidate]:
    """Definitions of the names that are imported; a module that is imported as a whole is offered by what is asked of it nearby."""
    workspace = spot.workspace
    if workspace is None:
        return
    for alias, target in sorted(spot.imported.items(), key=lambda item: -spot.names.get(item[0], 0.0)):
        if target.name:
            definition = workspace.defined_in(target.uri, target.name)
            if definition is not None:
                weight = max(_LEAST, _WEIGHT * spot.names.get(alias, 0.0))
                yield spot.candidate("imports", definition.uri, definition.text, weight)
        elif alias in spot.names:
            for name in spot.attributes & spot.names.keys():
                if (definition := workspace.defined_in(target.uri, name)) is not None:
                    yield spot.candidate("imports", definition.uri, definition.text, _WEIGHT * spot.names[name])
