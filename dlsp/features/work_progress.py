"""Work-done progress of one command: with the client's token or one of ours, and with a way to cancel.

A client that shows no progress, or does not answer, costs nothing. Knows nothing of the work.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException

from dlsp.features.protocol import Server

log = logging.getLogger(__name__)


class WorkProgress:
    """Begins at once where the client gave a token, else when it has agreed to show one. `end` must be called, once."""

    def __init__(self, server: Server, token: str | int | None, title: str, on_cancel: Callable[[], None]) -> None:
        self._server, self._title, self._on_cancel = server, title, on_cancel
        self._token: str | int = token if token is not None else f"dlsp-{uuid.uuid4()}"
        self._begun = self._ended = False
        self._share, self._message = 0.0, ""
        self._asking: asyncio.Task[None] | None = None
        if token is not None:
            self._begin()
        elif server.client.progress:
            self._asking = asyncio.create_task(self._ask())

    def report(self, share: float, message: str) -> None:
        """How much is done, 0 to 1, and what is being done."""
        self._share, self._message = share, message
        if self._begun and not self._ended:
            value = types.WorkDoneProgressReport(message=message, percentage=self._percent, cancellable=True)
            self._server.work_done_progress.report(self._token, value)

    def end(self, message: str) -> None:
        """Take the progress away."""
        self._ended = True
        if self._asking is not None:
            self._asking.cancel()
        if self._begun:
            self._server.work_done_progress.end(self._token, types.WorkDoneProgressEnd(message=message))
        # pygls would keep the token for ever.
        self._server.work_done_progress.tokens.pop(self._token, None)

    async def _ask(self) -> None:
        try:
            await self._server.work_done_progress.create_async(self._token)
        except JsonRpcException:
            log.info("The client does not want to show progress.")
            return
        if not self._ended:
            self._begin()

    def _begin(self) -> None:
        self._begun = True
        progress = self._server.work_done_progress
        value = types.WorkDoneProgressBegin(title=self._title, message=self._message or None, percentage=self._percent, cancellable=True)
        progress.begin(self._token, value)
        progress.tokens[self._token].add_done_callback(self._cancelled)

    def _cancelled(self, future: Future[Any]) -> None:
        if future.cancelled() and not self._ended:
            self._on_cancel()

    @property
    def _percent(self) -> int:
        return min(max(round(self._share * 100), 0), 100)
