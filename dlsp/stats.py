"""Counts of what was shown and what became of it: written to one local file, read back and added up.

Nothing is ever sent anywhere, and no event has text or a path in it. How a summary is shown is not known here.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from dlsp.log import older, open_private, put_aside
from dlsp.outcomes import Event, Happening
from dlsp.pace import median

log = logging.getLogger(__name__)

MOST_BYTES = 5_000_000
FLUSH_SECONDS = 10.0
DAY_SECONDS = 86_400.0
_MOST_BUFFERED = 1000
_DECIDED: tuple[Happening, ...] = ("accepted", "partial", "typed", "rejected", "ignored")


class Writer:
    """Takes events and appends them to a file, which it keeps at twice `MOST_BYTES` at most; several processes may share it.

    `wanted` is asked at each event. A file that cannot be written is given up after one line in the log.
    """

    def __init__(self, file: Path, wanted: Callable[[], bool]) -> None:
        self._file = file
        self._wanted = wanted
        self._buffer: list[Event] = []
        self._empty: dict[tuple[str, str, str], Event] = {}
        self._broken = False

    def __call__(self, event: Event) -> None:
        """Note one event, with the time of day it has now."""
        if self._broken or not self._wanted():
            return
        if event.event == "empty":
            # There is one for almost every keystroke: they are counted, not listed.
            key = (event.reason, event.kind, event.language)
            count = self._empty[key].count + event.count if key in self._empty else event.count
            self._empty[key] = Event(event="empty", at=_now(), reason=key[0], kind=key[1], language=key[2], count=count)
        else:
            self._buffer.append(msgspec.structs.replace(event, at=_now()))
        if len(self._buffer) >= _MOST_BUFFERED:
            self.flush()

    def flush(self) -> None:
        """Write what was noted. Raises nothing."""
        events = [*self._buffer, *self._empty.values()]
        self._buffer.clear()
        self._empty.clear()
        if not events or self._broken:
            return
        lines = b"".join(msgspec.json.encode(event) + b"\n" for event in events).decode()
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            put_aside(self._file, MOST_BYTES)
            with open_private(self._file) as stream:
                stream.write(lines)
        except OSError as error:
            self._broken = True
            log.warning("The counts for `dlsp stats` cannot be written (%s).", error.strerror)


def read(file: Path) -> Iterator[Event]:
    """The events of a file and of its older half, oldest first. Lines that are not events are skipped; raises OSError for a file
    that is there and cannot be read."""
    decoder = msgspec.json.Decoder(Event)
    for part in (older(file), file):
        try:
            stream = part.open("rb")
        except FileNotFoundError:
            continue
        with stream:
            for line in stream:
                try:
                    yield decoder.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue


def clear(file: Path) -> int:
    """Delete the counts. Returns how many files there were; raises OSError if one stays."""
    found = [part for part in (file, older(file)) if part.exists()]
    for part in found:
        part.unlink(missing_ok=True)
    return len(found)


class Latency(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Milliseconds: the median, and what 95 % stay below; `answers` is what they are of."""

    answers: int = 0
    p50: float = 0.0
    p95: float = 0.0


class Retention(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Of the characters accepted, how many were still there after a time; `suggestions` is how many were looked at."""

    suggestions: int = 0
    accepted: int = 0
    retained: int = 0


class Tally(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How many suggestions were shown and accepted, and the characters of the latter."""

    shown: int = 0
    accepted: int = 0
    characters: int = 0


class Summary(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What happened in the last `days` days. Each suggestion shown has one outcome: accepted (in one go or word by word), taken in
    `partial`, typed out by hand, rejected (seen, and something else was written) or ignored; those on screen now have none yet.

    `characters` are those accepted, partly accepted suggestions included. `retained` is by seconds after acceptance, `latency`
    is of what was shown (`new`: the model was asked for it; `known`: it was there already), `stages` are medians, `reasons` are
    those of the empty answers. Shares are 0 to 1 of the suggestions that have an outcome.
    """

    days: float = 0.0
    shown: int = 0
    accepted: int = 0
    partial: int = 0
    typed: int = 0
    rejected: int = 0
    ignored: int = 0
    acceptance: float = 0.0
    characters: int = 0
    retained: dict[str, Retention] = {}
    latency: dict[str, Latency] = {}
    stages: dict[str, float] = {}
    languages: dict[str, Tally] = {}
    reasons: dict[str, int] = {}


def summarize(events: Iterable[Event], days: float, now: float) -> Summary:
    """Add up the events of the `days` before `now` (seconds since 1970)."""
    recent = [event for event in events if now - days * DAY_SECONDS <= event.at]
    counts = Counter(event.event for event in recent)
    decided = sum(counts[outcome] for outcome in _DECIDED)
    taken = [event for event in recent if event.event in ("accepted", "partial")]
    shown = [event for event in recent if event.event == "shown"]
    reasons: Counter[str] = Counter()
    for event in recent:
        if event.event == "empty":
            reasons[event.reason] += event.count
    return Summary(
        days=days,
        shown=counts["shown"],
        accepted=counts["accepted"],
        partial=counts["partial"],
        typed=counts["typed"],
        rejected=counts["rejected"],
        ignored=counts["ignored"],
        acceptance=round(len(taken) / decided, 4) if decided else 0.0,
        characters=sum(event.characters for event in taken),
        retained=_retained([event for event in recent if event.event == "retained"]),
        latency={
            name: latency
            for name, sources in (("new", ("model", "flight")), ("known", ("live", "kept", "prefetch")))
            if (latency := _latency([event.latency_ms for event in shown if event.source in sources])).answers
        },
        stages=_stages([event for event in recent if event.event == "latency"]),
        languages=_languages(shown, taken),
        reasons=dict(reasons.most_common()),
    )


def _retained(events: list[Event]) -> dict[str, Retention]:
    return {
        f"{after:g}": Retention(
            suggestions=len(looked), accepted=sum(event.of for event in looked), retained=sum(event.characters for event in looked)
        )
        for after in sorted({event.after_s for event in events})
        if (looked := [event for event in events if event.after_s == after])
    }


def _latency(values: list[float]) -> Latency:
    if not values:
        return Latency()
    ordered = sorted(values)
    return Latency(
        answers=len(ordered),
        p50=round(median(ordered), 1),
        p95=round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], 1),
    )


def _stages(events: list[Event]) -> dict[str, float]:
    names = dict.fromkeys(name for event in events for name in event.stages)
    return {name: round(median([event.stages[name] for event in events if name in event.stages]), 1) for name in names}


def _languages(shown: list[Event], taken: list[Event]) -> dict[str, Tally]:
    by_use = Counter(event.language for event in shown)
    return {
        language: Tally(
            shown=count,
            accepted=sum(event.language == language for event in taken),
            characters=sum(event.characters for event in taken if event.language == language),
        )
        for language, count in by_use.most_common()
    }


def _now() -> float:
    return round(time.time(), 1)
