"""FakeBackend: answers from a script, remembers what it was asked and what was cancelled. For tests of everything above a backend."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

import msgspec

from dlsp.backends.feed import StatusFeed
from engine.api import Fill, InfillRequest, InfillResult, Status, empty_result
from engine.errors import DlspError

Reply = str | InfillResult | DlspError | Callable[[InfillRequest], str]
"""A text for the first hole, a whole result, an exception to raise, or a function of the request."""

_READY = Status(state="ready", model="fake", device="cpu")


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One scripted answer: wait `delay` seconds, then for `gate` where there is one, then reply."""

    reply: Reply = ""
    delay: float = 0.0
    gate: asyncio.Event | None = None


class FakeBackend:
    """Gives the scripted answers in order; once they are used up, the last one again (without any: no text).

    `requests`, `answered` and `cancelled` list the requests as they came, were answered (or refused) and were cancelled.
    """

    name = "fake"

    def __init__(self, *script: Answer | Reply, first_status: Status = _READY) -> None:
        self._script: deque[Answer] = deque()
        self._last = Answer()
        self._feed = StatusFeed(first_status)
        self.requests: list[InfillRequest] = []
        self.answered: list[InfillRequest] = []
        self.cancelled: list[InfillRequest] = []
        self.closed = False
        self.then(*script)

    def then(self, *script: Answer | Reply) -> None:
        """Add answers to the script."""
        self._script.extend(item if isinstance(item, Answer) else Answer(reply=item) for item in script)

    def publish(self, status: Status) -> None:
        """Let watchers see `status`."""
        self._feed.publish(status)

    async def infill(self, request: InfillRequest) -> InfillResult:
        self.requests.append(request)
        if self._script:
            self._last = self._script.popleft()
        answer = self._last
        try:
            await asyncio.sleep(answer.delay)
            if answer.gate is not None:
                await answer.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.append(request)
            raise
        self.answered.append(request)
        reply = answer.reply
        if isinstance(reply, DlspError):
            raise reply
        if isinstance(reply, InfillResult):
            return reply
        return _result(reply if isinstance(reply, str) else reply(request))

    def watch(self) -> AsyncIterator[Status]:
        return self._feed.watch()

    async def close(self) -> None:
        self.closed = True
        self._feed.close()


def _result(text: str) -> InfillResult:
    if not text:
        return empty_result("complete", "empty_output", "fake", "cpu")
    fill = Fill(text=text, confidence=0.9, tokens=max(1, len(text) // 4))
    return InfillResult(fills=(fill,), finish="complete", steps=1, forwards=2, model="fake", device="cpu")
