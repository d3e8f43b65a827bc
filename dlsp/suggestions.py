"""Suggestions that are still good: the one on screen while the user types along it, and earlier ones for places seen before.

Places are compared by the text around them, so a suggestion survives edits elsewhere. Pure: knows no clocks, tasks or protocol.
"""

from __future__ import annotations

from collections import OrderedDict, deque

import msgspec

from dlsp.documents import Point, Snapshot

BEFORE_CHARACTERS = 1500
AFTER_CHARACTERS = 300
KEPT = 256
KEPT_A_DOCUMENT = 32
REJECTED = 20
_CLOSERS = ")]}>\"'`"


class Site(msgspec.Struct, frozen=True):
    """A place, known by its surroundings: the last characters before it and the first after it, line ends as "\\n"."""

    document: str
    before: str
    after: str


class Suggestion(msgspec.Struct, frozen=True):
    """What the model had to say at a site when at most `max_lines` and `choices` different texts were asked for.

    `texts`, best first; none means it had nothing, for `reason`. Each takes the place of the `replaces` characters behind the
    site. `confidence` is that of the first.
    """

    site: Site
    texts: tuple[str, ...] = ()
    max_lines: int = 1
    reason: str = ""
    choices: int = 1
    confidence: float = 0.0
    replaces: int = 0


class Match(msgspec.Struct, frozen=True):
    """What is left of a suggestion at a place, and what it was asked for with. `live` says it is the one that is on screen."""

    texts: tuple[str, ...] = ()
    reason: str = ""
    live: bool = False
    max_lines: int = 1
    choices: int = 1
    confidence: float = 0.0
    replaces: int = 0


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


def rests_of(suggestion: Suggestion, site: Site) -> tuple[str, ...]:
    """What is still to come of each text of a suggestion at a site, in their order; a text that the user did not type along, and
    one that is typed to its end, is left out.

    An editor that closes brackets on its own has put the closers behind the cursor already: they are taken off the end.
    """
    old = suggestion.site
    if old.document != site.document:
        return ()
    closers = _closed_meanwhile(old, site)
    if closers is None or (closers and suggestion.replaces):
        return ()
    rests = (_rest(old, text, site, closers) for text in suggestion.texts)
    return tuple(dict.fromkeys(rest for rest in rests if rest))


class SuggestionStore:
    """The suggestion on screen, one a document, the latest suggestions of all documents, and what was rejected lately."""

    def __init__(self) -> None:
        self._live: dict[str, Suggestion] = {}
        self._kept: OrderedDict[tuple[Site, int], Suggestion] = OrderedDict()
        self._rejected: deque[Suggestion] = deque(maxlen=REJECTED)

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, site: Site, max_lines: int, choices: int = 1) -> Match | None:
        """The best answer already known: the suggestion on screen if it still fits, else a kept one, else nothing.

        A suggestion that was asked for with fewer lines or fewer choices than wanted now does not count, and neither does one
        that has been typed to its end. A match without text says that the model had nothing to say at this very site.
        """
        if live := self.live(site):
            shown = self._live[site.document]
            if shown.max_lines >= max_lines and shown.choices >= choices:
                return live
        for suggestion in reversed([kept for kept in self._kept.values() if kept.site.document == site.document]):
            if suggestion.max_lines < max_lines or suggestion.choices < choices:
                continue
            if not suggestion.texts:
                if suggestion.site == site:
                    return Match((), suggestion.reason)
            elif rests := rests_of(suggestion, site):
                self._kept.move_to_end((suggestion.site, suggestion.max_lines))
                return _match(suggestion, rests)
        return None

    def live(self, site: Site) -> Match | None:
        """What is left of the suggestion on screen, whatever was asked for then."""
        live = self._live.get(site.document)
        rests = rests_of(live, site) if live is not None else ()
        return msgspec.structs.replace(_match(live, rests), live=True) if live is not None and rests else None

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

    def show(self, shown: Suggestion) -> None:
        """What the user sees from now on. Showing the rest of what is on screen keeps the whole of it, so that deleting what was
        typed brings the same suggestion back."""
        live = self._live.get(shown.site.document)
        if live is not None and live.max_lines >= shown.max_lines and rests_of(live, shown.site) == shown.texts:
            return
        self._live[shown.site.document] = shown

    def reject(self, site: Site, text: str) -> None:
        """The user saw a text and wrote something else: it leaves the screen, and the model's next answers for the site go without
        it. Who deletes what they wrote gets it back, if it is among the kept ones."""
        self._rejected.append(Suggestion(site, (text,)))
        live = self._live.get(site.document)
        if live is not None and text in rests_of(live, site):
            del self._live[site.document]

    def rejected(self, site: Site) -> tuple[str, ...]:
        """The texts that were rejected at a site, or what is left of them there."""
        return tuple(dict.fromkeys(rest for suggestion in self._rejected for rest in rests_of(suggestion, site)))

    def forget(self, document: str) -> None:
        """A document was closed."""
        self._live.pop(document, None)
        for key in [key for key in self._kept if key[0].document == document]:
            del self._kept[key]
        kept = [suggestion for suggestion in self._rejected if suggestion.site.document != document]
        self._rejected = deque(kept, maxlen=REJECTED)

    def clear(self) -> None:
        """Forget everything, as when another model answers from now on."""
        self._live.clear()
        self._kept.clear()
        self._rejected.clear()


def _match(suggestion: Suggestion, rests: tuple[str, ...]) -> Match:
    return Match(
        rests,
        max_lines=suggestion.max_lines,
        choices=suggestion.choices,
        confidence=suggestion.confidence,
        replaces=suggestion.replaces,
    )


def _rest(old: Site, text: str, site: Site, closers: str) -> str | None:
    for count in range(min(len(text), len(site.before)) + 1):
        typed = site.before[len(site.before) - count :]
        if typed == text[:count] and _leads(old, site, count):
            rest = text[count:]
            if not closers:
                return rest
            return rest[: -len(closers)] if count and rest.endswith(closers) else None
    return None


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
