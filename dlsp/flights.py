"""Requests on their way to the model, at most one a document, each shared by everybody who waits for the same answer.

A flight ends when its last waiter leaves: cancelling the task is what stops the model. Knows neither backends nor protocol.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

import msgspec

from dlsp.suggestions import Site

log = logging.getLogger(__name__)


class Outcome(msgspec.Struct, frozen=True):
    """How a flight ended: text, or the reason why there is none. `message` is a sentence for a person when something failed."""

    text: str = ""
    reason: str = ""
    message: str = ""


class Flight:
    """One request under way, for a site and a number of lines."""

    def __init__(self, site: Site, max_lines: int, work: Coroutine[Any, Any, Outcome]) -> None:
        self.site = site
        self.max_lines = max_lines
        self._waiters = 0
        self._task = asyncio.create_task(work)
        self._task.add_done_callback(_retrieve)

    async def join(self, seconds: float | None = None) -> Outcome | None:
        """Wait for the outcome, at most for `seconds`; None if that was not enough. A flight that was replaced meanwhile is
        `superseded`. Raises what the work raised."""
        self._waiters += 1
        try:
            await asyncio.wait({self._task}, timeout=seconds)
        finally:
            self._waiters -= 1
            if not self._waiters:
                self.cancel()
        if not self._task.done():
            return None
        return Outcome(reason="superseded") if self._task.cancelled() else self._task.result()

    def cancel(self) -> None:
        """Stop the work, if it is not done."""
        if not self._task.done():
            self._task.cancel()

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

    def launch(self, site: Site, max_lines: int, work: Coroutine[Any, Any, Outcome]) -> Flight:
        """Start work for a site; it replaces what is under way for the same document."""
        self.cancel(site.document)
        flight = self._flights[site.document] = Flight(site, max_lines, work)
        return flight

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
