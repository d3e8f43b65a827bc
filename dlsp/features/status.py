"""dlsp/status: every report as a notification, the present one on request, work-done progress while the model loads, and a message
where the engine fails for good.

Shows what the session's status board says; decides nothing about it.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import Any

import msgspec
from lsprotocol import types
from pygls.capabilities import get_capability
from pygls.exceptions import JsonRpcException

from dlsp.features.protocol import Server
from dlsp.session import Session
from dlsp.status import LOADING_STATES, Report

log = logging.getLogger(__name__)

STATUS = "dlsp/status"


def register(server: Server, session: Session) -> None:
    """Tell the client every report from now on."""
    progress = _LoadingProgress(server)
    said: set[str] = set()

    def publish(report: Report) -> None:
        server.protocol.notify(STATUS, msgspec.to_builtins(report))
        progress.follow(report)
        # Most editors know nothing of dlsp/status: there, silence would be all that is seen of a wrong path or token.
        if (failure := session.status.failure) and failure not in said:
            said.add(failure)
            message = f"dlsp: {failure}"
            server.window_log_message(types.LogMessageParams(types.MessageType.Error, message))
            server.window_show_message(types.ShowMessageParams(types.MessageType.Error, message))

    session.status.listen(publish)

    @server.feature(STATUS)
    async def status(params: Any) -> dict[str, Any]:
        report: dict[str, Any] = msgspec.to_builtins(session.status.report)
        return report


class _LoadingProgress:
    """One progress bar of the client's for each time the model loads, if the client can show one."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._latest = Report()
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    def follow(self, report: Report) -> None:
        """Begin, go on or end with what the report says."""
        self._latest = report
        self._changed.set()
        if self._task is None and self._loading and get_capability(self._server.client_capabilities, "window.work_done_progress"):
            self._task = asyncio.create_task(self._show())
            self._task.add_done_callback(self._ended)

    @property
    def _loading(self) -> bool:
        return self._latest.state in LOADING_STATES

    async def _show(self) -> None:
        token = str(uuid.uuid4())
        progress = self._server.work_done_progress
        try:
            await progress.create_async(token)
        except JsonRpcException:
            log.info("The client does not want to show progress.")
            progress.tokens.pop(token, None)
            return
        if not self._loading:
            progress.tokens.pop(token, None)
            return
        name = self._latest.model or "the model"
        progress.begin(token, types.WorkDoneProgressBegin(title=f"Loading {name}", message=self._latest.message, percentage=self._percent))
        while self._loading:
            self._changed.clear()
            await self._changed.wait()
            if self._loading:
                progress.report(token, types.WorkDoneProgressReport(message=self._latest.message, percentage=self._percent))
        progress.end(token, types.WorkDoneProgressEnd(message=self._latest.message or self._latest.state))
        progress.tokens.pop(token, None)

    @property
    def _percent(self) -> int:
        return min(max(round(self._latest.progress * 100), 0), 100)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("Progress could not be shown: %s.", type(error).__name__)
