"""What a request for holes is given from elsewhere: snippets of other documents, and the cells above one of a notebook.

Asks the same sources as ghost text does, within the same time. Knows nothing of what the holes are for.
"""

from __future__ import annotations

import msgspec

from dlsp.context.candidates import Kept
from dlsp.context.gather import gather
from dlsp.documents import Point, Snapshot
from dlsp.holes.openings import Wish
from dlsp.session import Session
from dlsp.trigger import Decision


class Surroundings:
    """Of the requests of one run, which are told the same again as long as that is true and helps as much."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._kept: Kept | None = None

    def added(self, wish: Wish, snapshot: Snapshot, at: Point) -> Wish:
        """The wish with what helps at a place of a document. Takes `contextMs` at most."""
        gathered = gather(self._session.spot(snapshot, at, Decision(), self._kept))
        self._kept, request = gathered.kept, gathered.request
        own = len(snapshot.before(at, len(request.prefix)))
        return msgspec.structs.replace(
            wish,
            path=request.path,
            before=request.prefix[: len(request.prefix) - own],
            snippets=request.snippets,
            snippet_share=request.limits.snippet_share,
        )
