"""The ASGI app: our own routes, those of other protocols, and the gate in front. The same app on a socket, on TCP, in a team server.

It knows how requests come in and errors go out, not how a request is run nor which process it is in.
"""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from typing import Protocol

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from engine.api import InfillRequest
from engine.errors import ConfigError, DlspError, HostError, RequestError
from engine.serve.compat.routes import compat_routes
from engine.serve.door import Admission, DoorOptions, OpenDoor
from engine.serve.envelopes import failure, refusal
from engine.serve.gate import Gate
from engine.serve.service import EngineService
from engine.serve.wire import CLIENT_CLOSED_REQUEST, MALFORMED, MOST_MILLISECONDS, json_response, read_body, unless_gone

_log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 15.0
"""How often a status stream repeats the present state, so that a vanished peer is noticed on both sides."""


class Doors(Protocol):
    """Opens the process to TCP, for as long as the block runs."""

    def open(self, options: DoorOptions) -> AbstractAsyncContextManager[OpenDoor]: ...


def build_app(service: EngineService, *, token: str = "", heartbeat: float = HEARTBEAT_SECONDS, doors: Doors | None = None) -> ASGIApp:
    """The app of one service as the user's own processes see it. With a `token` every request must carry it as
    `Authorization: Bearer TOKEN`; with `doors` a request may open the process to others."""
    app = _app(service, heartbeat, doors)
    return Gate(app, Admission(token=token)) if token else app


def build_public_app(service: EngineService, admission: Admission, heartbeat: float = HEARTBEAT_SECONDS) -> ASGIApp:
    """The app as the tools of the machine or the network see it: all but what rules the process."""
    return Gate(_app(service, heartbeat, None), admission)


def _app(service: EngineService, heartbeat: float, doors: Doors | None) -> Starlette:
    async def healthz(request: Request) -> Response:
        return json_response({"ok": True, "pid": os.getpid(), "version": service.status.version, "key": service.config.key})

    async def status(request: Request) -> Response:
        return _StatusStream(service, heartbeat)

    async def infill(request: Request) -> Response:
        return await _infill(request, service)

    async def door(request: Request) -> Response:
        assert doors is not None, "there is no such route without doors"
        return await _door(request, service, doors, heartbeat)

    routes = [
        Route("/healthz", healthz, methods=["GET"]),
        Route("/v1/status", status, methods=["GET"]),
        Route("/v1/infill", infill, methods=["POST"]),
        *compat_routes(service),
    ]
    if doors is not None:
        routes.append(Route("/v1/door", door, methods=["POST"]))
    return Starlette(routes=routes, exception_handlers={HTTPException: _no_such_route})


class _StatusStream(Response):
    """Newline-delimited JSON, one Status a line, until the client leaves or the service closes. A `door` is the first line, and
    what `held` holds is let go at the end."""

    def __init__(self, service: EngineService, heartbeat: float, door: OpenDoor | None = None, held: AsyncExitStack | None = None) -> None:
        super().__init__(media_type="application/x-ndjson", headers={"Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._service, self._heartbeat = service, heartbeat
        self._door, self._held = door, held or AsyncExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._held:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            # A state may not change for hours: only watching for the disconnect notices at once that a client is gone.
            await unless_gone(receive, self._send_lines(send))

    async def _send_lines(self, send: Send) -> None:
        async with aclosing(self._lines()) as lines:
            async for line in lines:
                await send({"type": "http.response.body", "body": msgspec.json.encode(line) + b"\n", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _lines(self) -> AsyncGenerator[object, None]:
        if self._door is not None:
            yield self._door
        async with aclosing(self._service.watch(self._heartbeat)) as states:
            async for state in states:
                yield state


async def _door(request: Request, service: EngineService, doors: Doors, heartbeat: float) -> Response:
    """Open a door, and keep it open for as long as the client listens to the states that follow."""
    path = request.url.path
    try:
        body = await read_body(request, service.config.max_request_bytes)
        if body is None:
            return _too_large(path, service)
        options = msgspec.json.decode(body or b"{}", type=DoorOptions)
        held = AsyncExitStack()
        door = await held.enter_async_context(doors.open(options))
    except ClientDisconnect:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    except MALFORMED as error:
        return refusal(path, RequestError(f"The request is no DoorOptions: {error}.", "See engine/serve/door.py for its fields."), 400)
    except (ConfigError, HostError) as error:
        return refusal(path, error, 409)
    return _StatusStream(service, heartbeat, door, held)


async def _infill(request: Request, service: EngineService) -> Response:
    """Read, run and answer one infill request; the client's leaving cancels it at any point."""
    path = request.url.path
    try:
        body = await read_body(request, service.config.max_request_bytes)
        if body is None:
            return _too_large(path, service)
        wanted = _parse(body)
        answer = await unless_gone(request.receive, service.infill(wanted))
    except ClientDisconnect:
        answer = None
    except DlspError as error:
        return failure(path, error)
    except Exception as error:  # noqa: BLE001 - the scheduler has logged it; its message may quote the document
        _log.error("a request failed: %s\n%s", type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))
        return failure(path, HostError(f"The engine failed on this request ({type(error).__name__}).", "See its log file."))
    if answer is None:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    return json_response(answer)


def _parse(body: bytes) -> InfillRequest:
    try:
        wanted = msgspec.json.decode(body, type=InfillRequest)
    except MALFORMED as error:
        raise RequestError(f"The request is not a valid InfillRequest: {error}.", "See engine/api.py for its fields.") from error
    if wanted.limits.deadline_ms > MOST_MILLISECONDS:
        raise RequestError("The deadline is more than a day away.", "Use 0 for no deadline.")
    return wanted


def _too_large(path: str, service: EngineService) -> Response:
    limit = f"{service.config.max_request_bytes:,}"
    return refusal(path, RequestError(f"The request is larger than {limit} bytes.", "Send less text around the hole."), 413)


def _no_such_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    said = RequestError(f"{request.method} {path}: {error.detail}.", "docs/http.md names what there is.")
    if "chat" in path:
        said = RequestError("There is no chat: the model fills holes in code.", "Use /v1/completions with a suffix.")
    return refusal(path, said, error.status_code, dict(error.headers or {}))
