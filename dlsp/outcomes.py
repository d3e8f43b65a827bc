"""What became of each suggestion: accepted, taken in part, typed out, turned down or passed over, read off the edits that follow it.

Plain data with the time handed in, in seconds of any clock that only rises. What leaves by `sink` has no text and no path.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec

from dlsp.documents import Edit, Point, Snapshot, advance, typed_since

SEEN_SECONDS = 0.5
"""A suggestion that was on screen for less cannot have been read."""
RETENTION_SECONDS = (30.0, 120.0, 300.0)
"""When it is looked whether what was accepted still stands there."""
MOST_CHANGED = 0.5
"""Text of which more than this share was changed is not kept any more."""
_MOST_WATCHED = 100
_MOST_TOKENS = 80
_CLOSERS = frozenset(")]}>\"'`")
_TOKEN = re.compile(r"\w+|[^\w\s]")

Kind = Literal["ghost", "popup"]
Source = Literal["model", "live", "kept", "flight", "prefetch"]
Outcome = Literal["accepted", "partial", "typed", "rejected", "ignored"]
Happening = Literal["shown", "accepted", "partial", "typed", "rejected", "ignored", "retained", "empty", "latency"]


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A suggestion that went to the editor: `text` at `at`, line ends as "\\n". `document_lines` is the size of the document."""

    uri: str
    at: Point
    text: str
    kind: Kind = "ghost"
    language: str = ""
    confidence: float = 0.0
    source: Source = "model"
    latency_ms: float = 0.0
    tokens: int = 0
    steps: int = 0
    document_lines: int = 0


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happened; nothing in it tells what was written, or where.

    `at` is seconds since 1970, filled in by whoever writes it down. `characters` counts those shown, taken, or, for `retained`,
    still there `after_s` seconds after acceptance; `of` is how many were accepted then. `stages` are milliseconds by the name
    of a part of the work. `count` equal events are one.
    """

    event: Happening
    at: float = 0.0
    kind: str = ""
    language: str = ""
    size_bucket: str = ""
    lines: int = 0
    characters: int = 0
    of: int = 0
    latency_ms: float = 0.0
    stages: dict[str, float] = {}
    source: str = ""
    reason: str = ""
    confidence: float = 0.0
    tokens: int = 0
    steps: int = 0
    after_s: float = 0.0
    count: int = 1


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What an edit says about the suggestion on screen: `site_text` is what was on screen of it, at `at` of the document before
    the edit; `characters` is how many of it went into the document."""

    outcome: Outcome
    uri: str
    at: Point
    site_text: str
    characters: int = 0


class _Live(msgspec.Struct, kw_only=True):
    """The suggestion on screen. `rest` is still to come at `at`; of `done`, which is in the document, `taken` characters came
    several at once and `typed` one by one. `claimed` of all of it were accepted, says the client. `told`: the event `shown` has
    been sent; without it nothing else of this suggestion is."""

    shown: Shown
    since: float
    at: Point
    rest: str
    done: str = ""
    taken: int = 0
    typed: int = 0
    claimed: int = 0
    told: bool = True

    @property
    def accepted(self) -> int:
        """Characters that were accepted, as far as edits or the client tell: both may say the same of the same characters."""
        return max(self.taken, min(self.claimed, len(self.shown.text)) - self.typed)


class _Accepted(msgspec.Struct, kw_only=True):
    """Text that went into a document, watched until the last of `RETENTION_SECONDS`."""

    shown: Shown
    text: str
    at: Point
    since: float
    looked: int = 0


class Ledger:
    """The suggestions on screen, one a document, and what was accepted lately. `sink` gets every event."""

    def __init__(self) -> None:
        self.sink: Callable[[Event], None] = _nobody
        self._live: dict[str, _Live] = {}
        self._accepted: list[_Accepted] = []
        self._latest: dict[str, Snapshot] = {}
        self._client_tells = False

    def shown(self, shown: Shown, now: float) -> None:
        """An answer with text went out. The rest of what is on screen already is the same suggestion still."""
        live = self._live.get(shown.uri)
        if live is not None and (live.at, live.rest, live.shown.kind) == (shown.at, shown.text, shown.kind):
            return
        if live is not None and live.shown.kind != shown.kind and live.rest == shown.text:
            # The popup and the ghost text have the same to say, and the user sees one suggestion.
            return
        self._end(shown.uri, "ignored")
        told = not (self._client_tells and shown.kind == "ghost")
        self._live[shown.uri] = _Live(shown=shown, since=now, at=shown.at, rest=shown.text, told=told)
        if told:
            self._say_shown(shown)

    def displayed(self, uri: str, text: str, now: float) -> None:
        """The client says that it has put a suggestion on screen. From then on only those count that it says so of."""
        self._client_tells = True
        live = self._live.get(uri)
        if live is None or not _same(text, live):
            return
        if not live.told:
            live.told, live.since = True, now
            self._say_shown(live.shown)

    def partially(self, uri: str, text: str, characters: int, now: float) -> None:
        """The client says that `characters` code points of a suggestion, counted from its start, have been accepted."""
        live = self._live.get(uri)
        if live is not None and _same(text, live):
            live.claimed = max(live.claimed, characters)

    def changed(self, before: Snapshot, after: Snapshot, edits: Sequence[Edit], now: float) -> tuple[Verdict, ...]:
        """A document was changed. What that says about the suggestion on screen: at most one verdict."""
        if before.uri in self._latest:
            self._latest[after.uri] = after
        verdict = self._judge(before, after, edits, now)
        for accepted in self._accepted:
            if accepted.shown.uri == before.uri and accepted.since < now:
                for edit in edits:
                    # Of text that is replaced wholly, what is there instead is looked at.
                    accepted.at = _moved(accepted.at, (edit,)) or edit.start
        self.due(now)
        return (verdict,) if verdict else ()

    def empty(self, reason: str, kind: Kind, language: str, latency_ms: float) -> None:
        """An answer without text went out, for a reason."""
        self.sink(Event(event="empty", reason=reason, kind=kind, language=language, latency_ms=round(latency_ms, 1)))

    def worked(self, kind: Kind, language: str, latency_ms: float, stages: dict[str, float]) -> None:
        """The model was asked and answered; `stages` are the milliseconds of the parts of that."""
        parts = {name: round(ms, 1) for name, ms in stages.items()}
        self.sink(Event(event="latency", kind=kind, language=language, latency_ms=round(latency_ms, 1), stages=parts))

    def closed(self, uri: str, now: float) -> None:
        """A document was closed: nothing of its text is kept."""
        self.due(now)
        self._end(uri, "ignored")
        self._accepted = [accepted for accepted in self._accepted if accepted.shown.uri != uri]
        self._latest.pop(uri, None)

    def close(self, now: float) -> None:
        """The session ends: every suggestion gets its last event."""
        for uri in {*self._live, *self._latest}:
            self.closed(uri, now)

    def due(self, now: float) -> None:
        """Look at what was accepted 30 seconds, 2 and 5 minutes ago. Costs nothing while none of it is due."""
        for accepted in self._accepted:
            while accepted.looked < len(RETENTION_SECONDS) and accepted.since + RETENTION_SECONDS[accepted.looked] <= now:
                self._look(accepted, RETENTION_SECONDS[accepted.looked])
                accepted.looked += 1
        if any(accepted.looked == len(RETENTION_SECONDS) for accepted in self._accepted):
            self._accepted = [accepted for accepted in self._accepted if accepted.looked < len(RETENTION_SECONDS)]
            watched = {accepted.shown.uri for accepted in self._accepted}
            self._latest = {uri: snapshot for uri, snapshot in self._latest.items() if uri in watched}

    def _judge(self, before: Snapshot, after: Snapshot, edits: Sequence[Edit], now: float) -> Verdict | None:
        live = self._live.get(before.uri)
        if live is None or not edits:
            return None
        at, rest = live.at, live.rest
        typed = _plain(typed_since(before, at, after) or "") if any(edit.start.line <= at.line <= edit.end.line for edit in edits) else ""
        if not typed:
            final = self._follow(live, edits)
            if not final:
                return None
            return self._verdict(live, _turned_down(live, now) if final == "rejected" else final, at, rest)
        closed = _closes(typed, rest)
        at_once = not closed and max(len(edit.text.strip()) for edit in edits) >= 2
        if closed:
            self._go_on(live, rest[:1], rest[1:].removesuffix(typed[1:]), at_once=False)
        elif typed.strip() and after.following(at, len(rest)) == rest:
            # That may take less than all of it: some editors leave out what stands behind the cursor already.
            self._go_on(live, rest, "", at_once=at_once)
        elif rest.startswith(typed):
            self._go_on(live, typed, rest[len(typed) :], at_once=at_once)
        else:
            return self._verdict(live, _turned_down(live, now), at, rest)
        if live.rest:
            return Verdict(outcome="partial" if at_once else "typed", uri=before.uri, at=at, site_text=rest, characters=len(typed))
        whole = at_once or live.accepted >= live.typed
        return self._finish(live, after, now, Verdict(outcome="accepted" if whole else "typed", uri=before.uri, at=at, site_text=rest))

    def _go_on(self, live: _Live, came: str, rest: str, *, at_once: bool) -> None:
        live.done += came
        live.rest = rest
        live.at = advance(live.at, came)
        if at_once or (not rest and not live.typed):
            live.taken += len(came)
        else:
            live.typed += len(came)

    def _finish(self, live: _Live, after: Snapshot, now: float, verdict: Verdict) -> Verdict:
        """All of the suggestion stands in the document."""
        shown = live.shown
        self._live.pop(shown.uri, None)
        self._say(live, verdict.outcome)
        if verdict.outcome == "accepted":
            self._accepted = [*self._accepted[1 - _MOST_WATCHED :], _Accepted(shown=shown, text=live.done, at=shown.at, since=now)]
            self._latest[shown.uri] = after
        return msgspec.structs.replace(verdict, characters=len(verdict.site_text))

    def _follow(self, live: _Live, edits: Iterable[Edit]) -> Outcome | None:
        """Take edits elsewhere into account; what they make of the suggestion if they end it."""
        for edit in edits:
            if not edit.text and edit.end == live.at and live.done.endswith(removed := _plain(edit.removed)) and removed:
                # Deleting what was typed of it brings the suggestion back.
                live.done, live.rest = live.done[: -len(removed)], removed + live.rest
                live.typed = max(0, live.typed - len(removed))
                live.taken = min(live.taken, len(live.done))
                live.at = edit.start
            elif moved := _moved(live.at, (edit,)):
                live.at = moved
            else:
                return "rejected" if edit.text.strip() else "ignored"
        return None

    def _verdict(self, live: _Live, outcome: Outcome, at: Point, rest: str) -> Verdict:
        self._end(live.shown.uri, outcome)
        return Verdict(outcome=outcome, uri=live.shown.uri, at=at, site_text=rest)

    def _end(self, uri: str, outcome: Outcome) -> None:
        """The suggestion is gone from the screen. Of which a part was taken, that is what became of it."""
        if (live := self._live.pop(uri, None)) is not None:
            self._say(live, "partial" if live.accepted else outcome)

    def _say(self, live: _Live, outcome: Outcome) -> None:
        if not live.told:
            return
        taken = live.accepted if outcome in ("accepted", "partial") else live.typed
        self.sink(msgspec.structs.replace(_event(live.shown, outcome), characters=taken, lines=live.done.count("\n") + 1))

    def _say_shown(self, shown: Shown) -> None:
        event = _event(shown, "shown")
        self.sink(msgspec.structs.replace(event, latency_ms=round(shown.latency_ms, 1), tokens=shown.tokens, steps=shown.steps))

    def _look(self, accepted: _Accepted, after_s: float) -> None:
        snapshot = self._latest.get(accepted.shown.uri)
        if snapshot is None:
            return
        share = kept_share(snapshot, accepted.at, accepted.text)
        event = _event(accepted.shown, "retained")
        characters = round(len(accepted.text) * share) if share >= 1 - MOST_CHANGED else 0
        self.sink(msgspec.structs.replace(event, characters=characters, of=len(accepted.text), after_s=after_s))


def kept_share(snapshot: Snapshot, at: Point, text: str) -> float:
    """How much of a text that was written near a place still stands there, 0 to 1: one less the edit distance of its tokens to
    the nearest run of tokens, over their number. Only the first tokens of a long text are looked at."""
    start = Point(max(snapshot.clamp(at).line - 1, 0), 0)
    lines = at.line - start.line + text.count("\n") + 4
    near = snapshot.following(start, min(sum(len(snapshot.line(start.line + n)) + 1 for n in range(lines)), 8 * len(text) + 2000))
    if text in near:
        return 1.0
    wanted, there = _TOKEN.findall(text)[:_MOST_TOKENS], _TOKEN.findall(near)[: 5 * _MOST_TOKENS]
    if not wanted:
        return 1.0
    # Sellers' algorithm: the text may begin anywhere in what stands there, so the first row is all zeros.
    row = [0] * (len(there) + 1)
    for number, token in enumerate(wanted, 1):
        previous, row = row, [number]
        for column, other in enumerate(there):
            row.append(min(previous[column] + (token != other), previous[column + 1] + 1, row[column] + 1))
    return max(0.0, 1.0 - min(row) / len(wanted))


def size_bucket(lines: int) -> str:
    """The size of a document as coarse as it may be known: `small`, `medium`, `large`, `huge`, or "" where it is not known."""
    if lines <= 0:
        return ""
    return next((name for most, name in ((200, "small"), (1000, "medium"), (5000, "large")) if lines <= most), "huge")


def _event(shown: Shown, happening: Happening) -> Event:
    return Event(
        event=happening,
        kind=shown.kind,
        language=shown.language,
        size_bucket=size_bucket(shown.document_lines),
        lines=shown.text.count("\n") + 1,
        characters=len(shown.text),
        source=shown.source,
        confidence=round(shown.confidence, 3),
    )


def _turned_down(live: _Live, now: float) -> Outcome:
    """What it says that something else was written: nothing about an item of a popup, where everybody goes on typing."""
    return "rejected" if now - live.since >= SEEN_SECONDS and live.shown.kind == "ghost" else "ignored"


def _moved(at: Point, edits: Iterable[Edit]) -> Point | None:
    """Where a place is after edits that do not touch it; None if one does."""
    for edit in edits:
        if edit.start > at:
            continue
        if edit.end >= at:
            return None
        after = edit.after
        column = at.column - edit.end.column + after.column if edit.end.line == at.line else at.column
        at = Point(at.line + after.line - edit.end.line, column)
    return at


def _closes(typed: str, rest: str) -> bool:
    """One character of the rest was typed, and the editor closed the bracket or quote it opens."""
    return len(typed) == 2 and typed[0] == rest[:1] and typed != rest[:2] and typed[0] in "([{<\"'`" and typed[1] in _CLOSERS


def _same(text: str, live: _Live) -> bool:
    """Whether a client's item is the suggestion on screen; its text may begin with what it replaces."""
    plain = _plain(text)
    return bool(plain) and (plain.endswith(live.shown.text) or (plain.endswith(live.rest) and bool(live.rest)))


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _nobody(event: Event) -> None:
    """Where events go while nobody wants them."""
