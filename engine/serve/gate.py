"""Who may come in: the bearer token, the Host header against rebound names, the Origin header against pages of other sites.

It knows headers only; whoever passes is the app's business.
"""

from __future__ import annotations

import hmac

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.errors import HostError
from engine.serve.door import Admission
from engine.serve.envelopes import refusal

ANY_ORIGIN = "*"

_FOREIGN_SITES = ("cross-site", "same-site")


class Gate:
    """Lets only requests that the admission allows through to the app."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self._app, self._admission = app, admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        origin = headers.get(b"origin", "")
        answer = self._answer(scope, headers, origin)
        if origin and self._welcome(origin):
            send = _sharing(send, origin, headers.get(b"access-control-request-headers", ""))
        await (answer or self._app)(scope, receive, send)

    def _answer(self, scope: Scope, headers: dict[bytes, str], origin: str) -> Response | None:
        """What a request gets that does not reach the app."""
        path = scope["path"]
        if self._admission.hosts and _name(headers.get(b"host", "")) not in self._admission.hosts:
            # A site whose name was made to point at this machine sends its own name here.
            return refusal(path, HostError("This server does not go by that name.", "Use 127.0.0.1, or start it with a token."), 403)
        foreign = bool(origin) or headers.get(b"sec-fetch-site", "") in _FOREIGN_SITES
        if foreign and not self._welcome(origin):
            return refusal(
                path, HostError("Web pages of other sites may not use this server.", "Start it with `--allow-origin` to let one."), 403
            )
        if scope["method"] == "OPTIONS" and origin and b"access-control-request-method" in headers:
            return Response(status_code=204)
        if self._admission.token and not self._knows(headers.get(b"authorization", "")):
            error = HostError("The engine refused the token.", "Check the configured token.")
            return refusal(path, error, 401, {"WWW-Authenticate": "Bearer"})
        return None

    def _welcome(self, origin: str) -> bool:
        return bool(origin) and (origin in self._admission.origins or ANY_ORIGIN in self._admission.origins)

    def _knows(self, authorization: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._admission.token.encode())


def _name(host: str) -> str:
    """A Host header without its port; brackets of an IPv6 address stay."""
    host = host.strip().lower()
    return host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]


def _sharing(send: Send, origin: str, wanted: str) -> Send:
    """`send` that tells the browser that this origin may read the answer and send the headers `wanted`: OpenAI's client has a dozen
    of its own."""
    extra = [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-allow-headers", (wanted or "authorization, content-type").encode("latin-1")),
        (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
        (b"vary", b"origin"),
    ]

    async def sharing(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *extra]}
        await send(message)

    return sharing
