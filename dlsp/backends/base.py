"""The backend contract: who answers infill requests. Knows neither editors nor how an answer is made."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from engine.api import InfillRequest, InfillResult, Status


class Backend(Protocol):
    """Something that fills holes, near or far.

    `infill` answers one request; cancelling the task that awaits it cancels the request at the other end within one
    denoise step. It raises `engine.errors.LoadingError` while the model is not ready and `HostError` when the engine
    cannot be reached; it never hangs on a dead engine.
    """

    name: str

    async def infill(self, request: InfillRequest) -> InfillResult:
        """Fill the holes of one request."""
        ...

    def watch(self) -> AsyncIterator[Status]:
        """The engine's states, starting with the present one, until the backend is closed. Never raises for a lost engine:
        that is a Status with state `error`."""
        ...

    async def close(self) -> None:
        """Let go of the engine. A shared host goes on for its other clients."""
        ...
