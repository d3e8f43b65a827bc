"""How long to pause before the model is asked: by how fast the user types, how the model keeps up and what they made of its offers.

Has no clock (every time is handed in, in seconds) and knows neither documents nor backends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from dlsp.settings import Settings

_KEPT_INTERVALS = 8
_LONGEST_INTERVAL = 1.0
"""A longer gap is thinking, not typing."""
_SHORTEST_INTERVAL = 0.005
"""A shorter one is an editor that sends one deed in two messages."""
_PER_INTERVAL = 1.2
"""Who has not struck a key for this many of their usual intervals has stopped."""
_USUAL_MS = 120.0
"""The pause while nothing is known of the user's typing."""
_BURST_MS = 150.0
"""In faster typing than this, time that the model takes is not taken off the pause: each key would start a request for nothing."""
_BRIEF_MS = 50.0
"""The pause where the model answers before the next key: to wait longer would save no work, and this only keeps text from flickering."""
_INSTANT = frozenset(".([{:=")
_ACCEPTED, _REJECTED = 0.7, 1.15
"""Who takes two offers in seven, which is usual, waits neither more nor less with time."""
_SHARPEST, _MILDEST = 4.0, 0.5
_PATIENCE = 2.0
"""Above this back-off nothing is asked without a pause any more."""
_HALF_LIFE = 600.0
_EAGER_MS, _RELUCTANT_MS = 40.0, 700.0
_FLOOR_SHIFT = {"low": 0.15, "medium": 0.0, "high": -0.1}


class Pace:
    """What is known of one user's typing and of their answers to what was offered."""

    def __init__(self) -> None:
        self._intervals: deque[float] = deque(maxlen=_KEPT_INTERVALS)
        self._typed_at: float | None = None
        self._back_off = 1.0
        self._back_off_at = 0.0

    def typed(self, now: float) -> None:
        """A document was changed by hand."""
        if self._typed_at is not None and _SHORTEST_INTERVAL <= now - self._typed_at < _LONGEST_INTERVAL:
            self._intervals.append(now - self._typed_at)
        self._typed_at = now

    def accepted(self, now: float) -> None:
        """The user took a suggestion: the next ones may come a little sooner."""
        self._weigh(_ACCEPTED, now)

    def rejected(self, now: float) -> None:
        """The user saw a suggestion and wrote something else: the next ones come later."""
        self._weigh(_REJECTED, now)

    def pause_ms(self, settings: Settings, head: str, expected_ms: float, now: float) -> float:
        """How many milliseconds to wait from now on before the model is asked; 0 to `debounce_ms` (twice that if eagerness is low).

        `head` is the line before the cursor, `expected_ms` what the model will probably take, 0 if nobody knows. Time that has
        passed since the last change counts as waited: some editors pause by themselves before they ask.
        """
        longest = float(settings.debounce_ms)
        if not longest:
            return 0.0
        back_off = self._weight(now)
        base = 1000.0 * _PER_INTERVAL * median(self._intervals) if self._intervals else _USUAL_MS
        if _begins_something(head) and back_off < _PATIENCE:
            pause = 0.0
        else:
            in_time = expected_ms and _PER_INTERVAL * (_BRIEF_MS + expected_ms) < base
            pause = _BRIEF_MS if in_time else max(base - expected_ms, min(base, _BURST_MS))
            pause = min(pause * back_off, longest)
        if settings.eagerness == "low":
            pause = max(pause, min(_RELUCTANT_MS, 2 * longest))
        elif settings.eagerness == "high":
            pause = min(pause, _EAGER_MS)
        waited = 1000.0 * (now - self._typed_at) if self._typed_at is not None else 0.0
        return max(pause - max(waited, 0.0), 0.0)

    def _weigh(self, factor: float, now: float) -> None:
        self._back_off = min(max(self._weight(now) * factor, _MILDEST), _SHARPEST)
        self._back_off_at = now

    def _weight(self, now: float) -> float:
        """The back-off as it is by now: what it is away from 1 halves every ten minutes."""
        since = max(now - self._back_off_at, 0.0)
        return 1.0 + (self._back_off - 1.0) * 0.5 ** (since / _HALF_LIFE)


def median(values: Collection[float]) -> float:
    """The middle one of some numbers. (`statistics` brings fractions and decimals along, which costs the start 30 ms.)"""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def floor(settings: Settings) -> float:
    """The confidence, 0 to 1, that an automatic suggestion needs under the eagerness set. A `min_confidence` of 0 still shows all."""
    if not settings.min_confidence:
        return 0.0
    return min(max(settings.min_confidence + _FLOOR_SHIFT[settings.eagerness], 0.0), 1.0)


def _begins_something(head: str) -> bool:
    """Behind these the user looks for what follows: a member, an argument, a value, a new line."""
    written = head.rstrip(" \t")
    return not written or written[-1] in _INSTANT
