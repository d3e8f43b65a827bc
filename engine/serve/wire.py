"""What all routes need of HTTP: a body of bounded size, an answer in JSON, and word of a client that has left.

It knows no protocol and no engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive

CLIENT_CLOSED_REQUEST = 499

MALFORMED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding a body raises that is no JSON, none of the right type, or nested without end. They name a place and a type or a
byte, never a stretch of the text."""

MOST_MILLISECONDS = 24 * 60 * 60 * 1000
"""The longest time anybody may ask for. The scheduler's clock counts in floating point, which a whole number can overflow."""

_T = TypeVar("_T")


def json_response(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`content` as JSON."""
    return Response(msgspec.json.encode(content), status, headers, media_type="application/json")


async def read_body(request: Request, limit: int) -> bytes | None:
    """The whole body, or None as soon as it is known to be longer than `limit` bytes. Raises ClientDisconnect."""
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


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, _T]) -> _T | None:
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
