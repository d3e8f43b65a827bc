"""Requests on their way to the model, at most one a document, each shared by everybody who waits for the same answer.

A flight ends when its last waiter has left and nobody came for `linger` seconds: an editor that cancels a question before it
asks the next one, a keystroke later, would else never profit from it (docs/decisions/0005-linger.md). Cancelling the task is
what stops the model. Knows neither backends nor protocol.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

import msgspec

from dlsp.documents import Point, Snapshot, follow, typed_since
from dlsp.suggestions import site_of
from dlsp.trigger import Decision

log = logging.getLogger(__name__)


class Outcome(msgspec.Struct, frozen=True):
    """How a flight ended: texts, best first, or the reason why there are none.

    `message` is a sentence for a person when something failed. `replaces` and `confidence` as in a `Suggestion`; `weak` says
    that the deadline cut the answer short; `tokens` and `steps` are what the model spent.
    """

    texts: tuple[str, ...] = ()
    reason: str = ""
    message: str = ""
    replaces: int = 0
    confidence: float = 0.0
    weak: bool = False
    tokens: int = 0
    steps: int = 0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a flight is for: a place in a document as it was, and what is wanted there, in how many different texts.

    `linger` is how long it goes on, in seconds, when nobody waits for it any more. One made `ahead` of any question is for a
    document that does not exist yet: nothing but a question or its end stops it.
    """

    snapshot: Snapshot
    at: Point
    decision: Decision = Decision()
    choices: int = 1
    linger: float = 0.0
    ahead: bool = False

    @property
    def max_lines(self) -> int:
        """At most so many lines are wanted."""
        return self.decision.max_lines


class Flight:
    """One request under way."""

    def __init__(self, plan: Plan, work: Coroutine[Any, Any, Outcome]) -> None:
        self.plan = plan
        self.site = site_of(plan.snapshot, plan.at)
        self._waiters = 0
        self._lingering: asyncio.TimerHandle | None = None
        self._task = asyncio.create_task(work)
        self._task.add_done_callback(_retrieve)

    async def join(self, seconds: float | None = None) -> Outcome | None:
        """Wait for the outcome, at most for `seconds`; None if that was not enough. A flight that was replaced meanwhile is
        `superseded`. Raises what the work raised."""
        self._waiters += 1
        self._stay()
        try:
            await asyncio.wait({self._task}, timeout=seconds)
        finally:
            self._waiters -= 1
            if not self._waiters and not self._task.done():
                self._lingering = asyncio.get_running_loop().call_later(self.plan.linger, self.cancel)
        if not self._task.done():
            return None
        return Outcome(reason="superseded") if self._task.cancelled() else self._task.result()

    def cancel(self) -> None:
        """Stop the work, if it is not done."""
        self._stay()
        if not self._task.done():
            self._task.cancel()

    @property
    def awaited(self) -> bool:
        """Somebody waits for the outcome."""
        return self._waiters > 0

    def _stay(self) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None

    async def landed(self) -> None:
        """Wait until the work has stopped, however it did."""
        await asyncio.wait({self._task})

    @property
    def open(self) -> bool:
        """The outcome is still to come."""
        return not self._task.done() and not self._task.cancelling()


class Flights:
    """The flights of all documents."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight] = {}

    def of(self, document: str) -> Flight | None:
        """The flight of a document, if its outcome is still to come."""
        flight = self._flights.get(document)
        return flight if flight is not None and flight.open else None

    def launch(self, plan: Plan, work: Coroutine[Any, Any, Outcome]) -> Flight:
        """Start work; it replaces what is under way for the same document."""
        self.cancel(plan.snapshot.uri)
        flight = self._flights[plan.snapshot.uri] = Flight(plan, work)
        return flight

    def reconcile(self, snapshot: Snapshot) -> None:
        """A document is another one now: work that nobody waits for, at a place that the new text does not lead to, stops at once."""
        flight = self.of(snapshot.uri)
        if flight is None or flight.awaited or flight.plan.ahead:
            return
        plan = flight.plan
        if typed_since(plan.snapshot, plan.at, snapshot) is None and follow(plan.snapshot, plan.at, snapshot) is None:
            self.cancel(snapshot.uri)

    def cancel(self, document: str) -> None:
        """Stop what is under way for a document."""
        if flight := self._flights.pop(document, None):
            flight.cancel()

    async def cancel_all(self) -> None:
        """Stop everything, and wait until it has stopped."""
        flights = list(self._flights.values())
        self._flights.clear()
        for flight in flights:
            flight.cancel()
        for flight in flights:
            await flight.landed()


def _retrieve(task: asyncio.Task[Outcome]) -> None:
    """Somebody must look at an exception when nobody waits any more; its message might quote the document and stays out of the log."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("A request failed for a reason nobody expected: %s.", type(error).__name__)
