"""Server-sent events: a response that sends JSON objects one after another until there are no more or the client leaves.

It knows the format of the stream, not what the objects mean.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from engine.serve.wire import unless_gone

DONE = b"data: [DONE]\n\n"
"""How streams in OpenAI's manner end."""

_LINE_ENDS = tuple((sign.encode(), f"\\u{ord(sign):04x}".encode()) for sign in "\x85\u2028\u2029")
"""What JSON leaves as it is and many clients take for the end of a line: it can only stand inside a string, and is escaped there."""


class EventStream(Response):
    """`events` as `data:` lines, then `ending`. When the client leaves, `events` is closed at once."""

    def __init__(self, events: AsyncGenerator[object, None], ending: bytes = b"") -> None:
        # Without the last header a proxy in between may keep the events until there are many.
        super().__init__(media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events, self._ending = events, ending

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await unless_gone(receive, self._send_events(send))

    async def _send_events(self, send: Send) -> None:
        async with aclosing(self._events) as events:
            async for event in events:
                await send({"type": "http.response.body", "body": b"data: " + _one_line(event) + b"\n\n", "more_body": True})
        await send({"type": "http.response.body", "body": self._ending, "more_body": False})


def _one_line(event: object) -> bytes:
    body = msgspec.json.encode(event)
    for sign, escaped in _LINE_ENDS:
        body = body.replace(sign, escaped)
    return body
