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
                # JSON has no bare line ends, so an event is one line.
                body = b"data: " + msgspec.json.encode(event) + b"\n\n"
                await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": self._ending, "more_body": False})
