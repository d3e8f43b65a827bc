"""Where the text went that was filled in last, as long as it stands there: what `another one` and `longer` are about.

Remembers one filling, and one that the client may have applied; knows neither the protocol nor who asks.
"""

from __future__ import annotations

from dlsp.documents import Snapshot, Span, follow
from dlsp.holes.openings import Filling, Opening, rendered, text_of


class LastFilling:
    """Nothing at first. A later filling replaces an earlier one."""

    def __init__(self) -> None:
        self._applied: _Filled | None = None
        self._offered: _Filled | None = None

    def remember(self, filling: Filling) -> None:
        """A filling that was applied to its basis."""
        self._applied, self._offered = _Filled(filling), None

    def offer(self, filling: Filling) -> None:
        """A filling whose edit the client was given. Whether it applies it, nobody says: that is seen in the document."""
        self._offered = _Filled(filling)

    def spans(self, now: Snapshot) -> tuple[Span, ...]:
        """Where the texts stand in the document as it is now; without those that were edited since, or all of another document."""
        if self._offered is not None and self._offered.spans(now):
            self._applied, self._offered = self._offered, None
        return self._applied.spans(now) if self._applied is not None else ()


class _Filled:
    """A document as it is with a filling, and where its texts are in it."""

    def __init__(self, filling: Filling) -> None:
        holes = sorted(filling.holes, key=lambda hole: hole.span)
        self._after, moved = rendered(filling.basis, [Opening(span=hole.span) for hole in holes], [hole.text for hole in holes])
        self._spans = tuple(opening.span for opening in moved)

    def spans(self, now: Snapshot) -> tuple[Span, ...]:
        after = self._after
        if after.uri != now.uri:
            return ()
        found = []
        for span in self._spans:
            start, end = follow(after, span.start, now), follow(after, span.end, now)
            if start is not None and end is not None and start <= end and text_of(after, span) == text_of(now, Span(start, end)):
                found.append(Span(start, end))
        return tuple(found)
