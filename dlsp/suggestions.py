"""Suggestions that are still good: the one on screen while the user types along it, and earlier ones for places seen before.

Places are compared by the text around them, so a suggestion survives edits elsewhere. Pure: knows no clocks, tasks or protocol.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from dlsp.documents import Point, Snapshot

BEFORE_CHARACTERS = 1500
AFTER_CHARACTERS = 300
KEPT = 256
KEPT_A_DOCUMENT = 32
_CLOSERS = ")]}>\"'`"


class Site(msgspec.Struct, frozen=True):
    """A place, known by its surroundings: the last characters before it and the first after it, line ends as "\\n"."""

    document: str
    before: str
    after: str


class Suggestion(msgspec.Struct, frozen=True):
    """What the model had to say at a site when at most `max_lines` were asked for. No text means it had nothing, for `reason`."""

    site: Site
    text: str
    max_lines: int = 1
    reason: str = ""


class Match(msgspec.Struct, frozen=True):
    """What is left of a suggestion at a place. `live` says it is the one that is on screen."""

    text: str
    reason: str = ""
    live: bool = False


def site_of(snapshot: Snapshot, at: Point) -> Site:
    """The site of a place in a document."""
    return Site(snapshot.uri, snapshot.before(at, BEFORE_CHARACTERS), snapshot.following(at, AFTER_CHARACTERS))


def typed_between(old: Site, new: Site, longest: int) -> str | None:
    """The text, of at most `longest` characters, whose typing leads from one site to the other; None if there is none."""
    if old.document != new.document or old.after != new.after:
        return None
    for count in range(min(longest, len(new.before)) + 1):
        if _leads(old, new, count):
            return new.before[len(new.before) - count :]
    return None


def rest_of(suggestion: Suggestion, site: Site) -> str | None:
    """What is still to come of a suggestion at a site; None if the user did not type along it.

    An editor that closes brackets on its own has put the closers behind the cursor already: they are taken off the end.
    """
    old = suggestion.site
    if old.document != site.document:
        return None
    closers = _closed_meanwhile(old, site)
    if closers is None:
        return None
    for count in range(min(len(suggestion.text), len(site.before)) + 1):
        typed = site.before[len(site.before) - count :]
        if typed == suggestion.text[:count] and _leads(old, site, count):
            rest = suggestion.text[count:]
            if not closers:
                return rest
            return rest[: -len(closers)] if count and rest.endswith(closers) else None
    return None


class SuggestionStore:
    """The suggestion on screen, one a document, and the latest suggestions of all documents."""

    def __init__(self) -> None:
        self._live: dict[str, Suggestion] = {}
        self._kept: OrderedDict[tuple[Site, int], Suggestion] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, site: Site, max_lines: int) -> Match | None:
        """The best answer already known: the suggestion on screen if it still fits, else a kept one, else nothing.

        A suggestion that was asked for with fewer lines than wanted now does not count, and neither does one that has been
        typed to its end. A match without text says that the model had nothing to say at this very site.
        """
        live = self._live.get(site.document)
        if live is not None and live.max_lines >= max_lines and (rest := rest_of(live, site)):
            return Match(rest, live=True)
        for suggestion in reversed([kept for kept in self._kept.values() if kept.site.document == site.document]):
            if suggestion.max_lines < max_lines:
                continue
            if not suggestion.text:
                if suggestion.site == site:
                    return Match("", suggestion.reason)
            elif rest := rest_of(suggestion, site):
                self._kept.move_to_end((suggestion.site, suggestion.max_lines))
                return Match(rest)
        return None

    def keep(self, suggestion: Suggestion) -> None:
        """Remember what the model said; the least recently used go first."""
        key = (suggestion.site, suggestion.max_lines)
        self._kept[key] = suggestion
        self._kept.move_to_end(key)
        siblings = [kept for kept in self._kept if kept[0].document == suggestion.site.document]
        for outdated in siblings[:-KEPT_A_DOCUMENT]:
            del self._kept[outdated]
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def show(self, site: Site, text: str, max_lines: int) -> None:
        """`text` is what the user sees at a site from now on. Showing the rest of what is on screen keeps the whole of it,
        so that deleting what was typed brings the same suggestion back."""
        live = self._live.get(site.document)
        if live is not None and live.max_lines >= max_lines and rest_of(live, site) == text:
            return
        self._live[site.document] = Suggestion(site, text, max_lines)

    def forget(self, document: str) -> None:
        """A document was closed."""
        self._live.pop(document, None)
        for key in [key for key in self._kept if key[0].document == document]:
            del self._kept[key]

    def clear(self) -> None:
        """Forget everything, as when another model answers from now on."""
        self._live.clear()
        self._kept.clear()


def _leads(old: Site, new: Site, count: int) -> bool:
    """Without its last `count` characters, the text before `new` is the text before `old`, as far as both can be seen."""
    base = new.before[: len(new.before) - count]
    if len(new.before) < BEFORE_CHARACTERS:
        return base == old.before
    return old.before.endswith(base)


def _closed_meanwhile(old: Site, new: Site) -> str | None:
    """The closers that were put in front of the old text after the place: mostly none. None if that text is another one now."""
    if new.after == old.after:
        return ""
    for count in range(1, 4):
        closers = new.after[:count]
        if len(closers) == count and all(c in _CLOSERS for c in closers) and (closers + old.after)[:AFTER_CHARACTERS] == new.after:
            return closers
    return None
