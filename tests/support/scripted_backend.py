"""A backend that does what a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from engine.api import Fill, InfillRequest, InfillResult, Status, empty_result

READY = Status(state="ready", model="scripted", device="cpu")
Reply = str | Exception | InfillResult
Script = Callable[[InfillRequest], "Reply | Awaitable[Reply]"]


def fill(text: str, confidence: float = 0.9) -> InfillResult:
    if not text:
        return empty_result("complete", "empty_output")
    return InfillResult(fills=(Fill(text=text, confidence=confidence, tokens=len(text.split())),), finish="complete")


class ScriptedBackend:
    """`script` makes the reply to each request; what it raises or returns as an exception is raised."""

    name = "scripted"

    def __init__(self, script: Script | str = "", first: Status = READY) -> None:
        self.script: Script = script if callable(script) else lambda request: script
        self.requests: list[InfillRequest] = []
        self.cancelled: list[InfillRequest] = []
        self.running = 0
        self.closed = False
        self._states: asyncio.Queue[Status | None] = asyncio.Queue()
        self._states.put_nowait(first)

    def publish(self, status: Status) -> None:
        self._states.put_nowait(status)

    async def infill(self, request: InfillRequest) -> InfillResult:
        self.requests.append(request)
        self.running += 1
        try:
            reply = self.script(request)
            if isinstance(reply, Awaitable):
                reply = await reply
        except asyncio.CancelledError:
            self.cancelled.append(request)
            raise
        finally:
            self.running -= 1
        if isinstance(reply, Exception):
            raise reply
        return fill(reply) if isinstance(reply, str) else reply

    async def watch(self) -> AsyncIterator[Status]:
        while (status := await self._states.get()) is not None:
            yield status

    async def close(self) -> None:
        self.closed = True
        self._states.put_nowait(None)


class Gate:
    """A script that answers each request only when the test opens it."""

    def __init__(self) -> None:
        self.held: list[asyncio.Future[Reply]] = []

    def __call__(self, request: InfillRequest) -> Awaitable[Reply]:
        self.held.append(asyncio.get_running_loop().create_future())
        return self.held[-1]
