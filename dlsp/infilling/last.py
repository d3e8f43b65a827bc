"""Where the text went that was filled in last, as long as it stands there: what `another one` and `longer` are about.

Remembers one filling; knows neither the protocol nor who asks.
"""

from __future__ import annotations

from dlsp.documents import Snapshot, Span, follow
from dlsp.holes.openings import Filling, Opening, rendered, text_of


class LastFilling:
    """Nothing at first. A later filling replaces an earlier one."""

    def __init__(self) -> None:
        self._after: Snapshot | None = None
        self._spans: tuple[Span, ...] = ()

    def remember(self, filling: Filling) -> None:
        """A filling that was applied to its basis."""
        holes = sorted(filling.holes, key=lambda hole: hole.span)
        after, moved = rendered(filling.basis, [Opening(span=hole.span) for hole in holes], [hole.text for hole in holes])
        self._after, self._spans = after, tuple(opening.span for opening in moved)

    def spans(self, now: Snapshot) -> tuple[Span, ...]:
        """Where the texts stand in the document as it is now; without those that were edited since, or all of another document."""
        after = self._after
        if after is None or after.uri != now.uri:
            return ()
        found = []
        for span in self._spans:
            start, end = follow(after, span.start, now), follow(after, span.end, now)
            if start is not None and end is not None and start <= end and text_of(after, span) == text_of(now, Span(start, end)):
                found.append(Span(start, end))
        return tuple(found)
