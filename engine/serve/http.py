"""The ASGI app: /healthz, /v1/status as a stream of states, /v1/infill. The same app behind a socket and behind a team server.

It knows how requests come in and errors go out, not how a request is run nor which process it is in.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import traceback
from collections.abc import Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from engine.api import InfillRequest, WireError
from engine.errors import DlspError, LoadingError, RequestError
from engine.serve.service import EngineService

_log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 15.0
"""How often a status stream repeats the present state, so that a vanished peer is noticed on both sides."""

_CLIENT_CLOSED_REQUEST = 499

_T = TypeVar("_T")


def build_app(service: EngineService, *, token: str = "", heartbeat: float = HEARTBEAT_SECONDS) -> ASGIApp:
    """The app of one service. With a `token` every request must carry it as `Authorization: Bearer TOKEN`."""

    async def healthz(request: Request) -> Response:
        return _json({"ok": True, "pid": os.getpid(), "version": service.status.version, "key": service.config.key})

    async def status(request: Request) -> Response:
        return _StatusStream(service, heartbeat)

    async def infill(request: Request) -> Response:
        return await _infill(request, service)

    app = Starlette(
        routes=[
            Route("/healthz", healthz, methods=["GET"]),
            Route("/v1/status", status, methods=["GET"]),
            Route("/v1/infill", infill, methods=["POST"]),
        ],
        exception_handlers={HTTPException: _no_such_route},
    )
    return _TokenGate(app, token) if token else app


class _StatusStream(Response):
    """Newline-delimited JSON, one Status a line, until the client leaves or the service closes."""

    def __init__(self, service: EngineService, heartbeat: float) -> None:
        super().__init__(media_type="application/x-ndjson", headers={"Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._service, self._heartbeat = service, heartbeat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        # A state may not change for hours: only watching for the disconnect notices at once that a client is gone.
        await _unless_gone(receive, self._send_states(send))

    async def _send_states(self, send: Send) -> None:
        async with aclosing(self._service.watch(self._heartbeat)) as states:
            async for state in states:
                await send({"type": "http.response.body", "body": msgspec.json.encode(state) + b"\n", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _TokenGate:
    """Lets only requests with the right bearer token through to the app."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
            if not hmac.compare_digest(given, self._expected):
                refusal = WireError(type="HostError", message="The engine refused the token.", action="Check the configured token.")
                await _json(refusal, 401, {"WWW-Authenticate": "Bearer"})(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _infill(request: Request, service: EngineService) -> Response:
    """Read, run and answer one infill request; the client's leaving cancels it at any point."""
    try:
        body = await _body(request, service.config.max_request_bytes)
        if body is None:
            limit = f"{service.config.max_request_bytes:,}"
            return _error(RequestError(f"The request is larger than {limit} bytes.", "Send less text around the hole."), 413)
        wanted = _parse(body)
        answer = await _unless_gone(request.receive, service.infill(wanted))
    except ClientDisconnect:
        answer = None
    except RequestError as error:
        return _error(error, 400)
    except LoadingError as error:
        return _error(error, 503, {"Retry-After": "1"})
    except DlspError as error:
        return _error(error, 500)
    except Exception as error:  # noqa: BLE001 - the scheduler has logged it; its message may quote the document
        _log.error("a request failed: %s\n%s", type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))
        failure = WireError(
            type="HostError", message=f"The engine failed on this request ({type(error).__name__}).", action="See its log file."
        )
        return _json(failure, 500)
    if answer is None:
        return Response(status_code=_CLIENT_CLOSED_REQUEST)
    return _json(answer)


def _parse(body: bytes) -> InfillRequest:
    try:
        return msgspec.json.decode(body, type=InfillRequest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        # These name a place and a type or a byte, never a stretch of the document.
        raise RequestError(f"The request is not a valid InfillRequest: {error}.", "See engine/api.py for its fields.") from error


async def _body(request: Request, limit: int) -> bytes | None:
    """The whole body, or None as soon as it is known to be longer than `limit` bytes."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        return None
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


async def _unless_gone(receive: Receive, work: Coroutine[Any, Any, _T]) -> _T | None:
    """The result of `work`, or None when the client left first; then `work` was cancelled and has ended."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _no_such_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(
        RequestError(f"{request.method} {request.url.path}: {error.detail}.", "See the routes of this version."), error.status_code
    )


def _error(error: DlspError, status: int, headers: dict[str, str] | None = None) -> Response:
    """`error` as WireError; sentence and action go apart."""
    message = str(error.args[0]) if error.args else type(error).__name__
    return _json(WireError(type=type(error).__name__, message=message, action=error.action), status, headers)


def _json(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(content), status, headers, media_type="application/json")
