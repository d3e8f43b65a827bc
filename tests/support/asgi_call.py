"""A call of an ASGI app by a client that can leave."""

from __future__ import annotations

import asyncio

import msgspec

from engine.api import Status


class RawCall:
    """One ASGI call whose client can leave, which httpx's in-process transport cannot show."""

    def __init__(self, app, method, path, body=b""):
        self.sent: list[dict] = []
        self.leave = asyncio.Event()
        self._body = [{"type": "http.request", "body": body, "more_body": False}]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [],
            "scheme": "http",
            "server": ("engine", 80),
            "client": None,
            "root_path": "",
        }
        self.task = asyncio.create_task(app(scope, self._receive, self._send))

    async def _receive(self):
        if self._body:
            return self._body.pop()
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message):
        self.sent.append(message)

    def states(self):
        lines = b"".join(m.get("body", b"") for m in self.sent).splitlines()
        return [msgspec.json.decode(line, type=Status) for line in lines]
