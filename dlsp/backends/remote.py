"""The HTTP side of talking to an engine, and RemoteBackend, which talks to a team server. Knows no processes and no editors.

The local backend uses the same client over its host's socket. httpx is imported on first use, off the event loop.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import socket
import ssl
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar
from urllib.parse import urlsplit

import msgspec

from dlsp.backends.feed import StatusFeed
from dlsp.backends.wire import as_error
from engine.api import HostAddress, InfillRequest, InfillResult, Status, WireError
from engine.errors import ConfigError, DlspError, HostError, RequestError

if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 45.0
"""A status stream that is silent for this long has lost its engine: three missed heartbeats."""

ANSWER_SECONDS = 300.0
"""How long an answer may take without a deadline: a large hole on a slow CPU."""

GRACE_SECONDS = 15.0
"""How much longer than its deadline an answer may take; the prompt is encoded before the deadline is looked at."""

_LONGEST_BACKOFF_SECONDS = 30.0

_LOOK_THERE = "Check remoteUrl and that the engine runs there."

_T = TypeVar("_T")


class Unreached(HostError):
    """Nobody answers at the address; the request cannot have been seen, so it may be sent again elsewhere."""


class Broken(HostError):
    """The connection broke while a request was under way."""


class Health(TypedDict):
    """What /healthz says: the process, the version of dlsp, and the key of the engine's configuration."""

    pid: int
    version: str
    key: str


class HttpEngineClient:
    """One engine at one address. Its methods raise HostError when the engine cannot be reached, and what the engine says."""

    def __init__(self, address: HostAddress) -> None:
        self.address = address
        self._http: httpx.AsyncClient | None = None
        self._opening = asyncio.Lock()
        self.closed = asyncio.Event()

    async def health(self) -> Health:
        """What /healthz says."""
        http = await self._client()
        response = await self._guarded(http.get("/healthz", timeout=CONNECT_SECONDS))
        return self._decoded(response.content, Health)

    async def infill(self, request: InfillRequest) -> InfillResult:
        """One answer; cancelling the task closes the connection, which cancels the request at the other end."""
        deadline = request.limits.deadline_ms
        seconds = deadline / 1000 + GRACE_SECONDS if deadline else ANSWER_SECONDS
        http = await self._client()
        headers = {"Content-Type": "application/json"}
        try:
            body = msgspec.json.encode(request)
        except UnicodeEncodeError as error:
            raise RequestError("The document is not valid Unicode: it has half of a surrogate pair.", "Remove that character.") from error
        response = await self._guarded(http.post("/v1/infill", content=body, headers=headers, timeout=self._timeout(seconds)))
        return self._decoded(response.content, InfillResult)

    async def statuses(self) -> AsyncGenerator[Status, None]:
        """The engine's states until it closes the stream in good order. Raises HostError when the stream breaks."""
        import httpx

        http = await self._client()
        try:
            async with http.stream("GET", "/v1/status", timeout=self._timeout(SILENCE_SECONDS)) as response:
                if response.status_code != 200:
                    await response.aread()
                    raise self._error_of(response)
                async for line in response.aiter_lines():
                    if line:
                        yield self._decoded(line, Status)
        except httpx.HTTPError as error:
            raise self._lost(error) from error

    async def close(self) -> None:
        """Close all connections; `closed` tells those who wait for that."""
        self.closed.set()
        if self._http is not None:
            await self._http.aclose()

    @property
    def _where(self) -> str:
        return self.address.url or "the engine host"

    @property
    def _far(self) -> bool:
        """Whether this is a team server, whose address and token are the user's settings."""
        return not self.address.pid

    async def _client(self) -> httpx.AsyncClient:
        async with self._opening:
            if self._http is None:
                self._http = await asyncio.to_thread(_open, self.address)
        if self.closed.is_set():
            raise Unreached(f"The connection to {self._where} was closed.", "Try again.")
        return self._http

    async def _guarded(self, call: Any) -> httpx.Response:
        import httpx

        try:
            response: httpx.Response = await call
        except httpx.HTTPError as error:
            raise self._lost(error) from error
        if response.status_code != 200:
            raise self._error_of(response)
        return response

    def _decoded(self, content: bytes | str, kind: type[_T]) -> _T:
        try:
            return msgspec.json.decode(content, type=kind)
        except (msgspec.MsgspecError, UnicodeError) as error:
            action = f"Check {'remoteUrl, and ' if self._far else ''}that it runs the same version of dlsp."
            raise HostError(f"The answer of {self._where} is not a valid {kind.__name__}.", action) from error

    def _timeout(self, read: float) -> httpx.Timeout:
        import httpx

        return httpx.Timeout(CONNECT_SECONDS, read=read)

    def _lost(self, error: Exception) -> HostError:
        import httpx

        where = self._where
        action = _LOOK_THERE if self._far else "Run `dlsp doctor`."
        if isinstance(error, httpx.ConnectTimeout):
            return Unreached(f"The connection to {where} could not be made (no answer in {CONNECT_SECONDS:g} s).", action)
        if isinstance(error, (httpx.ConnectError, httpx.ProxyError)):
            return Unreached(f"The connection to {where} could not be made ({_cause(error)}).", action)
        if isinstance(error, httpx.TimeoutException):
            return HostError(f"No answer came from {where} in time.", action)
        return Broken(f"The connection to {where} was lost ({type(error).__name__}).", "Try again; `dlsp doctor` checks the engine.")

    def _error_of(self, response: httpx.Response) -> DlspError:
        """What the engine says in a WireError, as the exception it names; what the settings of a team server cause, in their words."""
        status = response.status_code
        if self._far and status == 401:
            if not self.address.token:
                return HostError("The server asks for a token.", "Set `remoteToken` to the one it was started with.")
            return HostError("The server does not accept the token.", "Set `remoteToken` to the one it was started with.")
        if self._far and status == 404:
            said = f"There is no engine of dlsp at {self._where} (HTTP status 404)."
            return HostError(said, "Set `remoteUrl` to the server's address, without a path.")
        try:
            return as_error(msgspec.json.decode(response.content, type=WireError))
        except (msgspec.MsgspecError, UnicodeError):
            return HostError(f"{self._where} answered with HTTP status {status}.", _LOOK_THERE if self._far else "Run `dlsp doctor`.")


def team_server(url: str, token: str = "") -> HttpEngineClient:
    """The client of the server that the settings name. Raises ConfigError for an address or a token that cannot be one."""
    if not url:
        raise ConfigError(
            "`backend` is remote, but there is no `remoteUrl`.", "Set it to the server's address, such as https://dlsp.example.org."
        )
    try:
        parts = urlsplit(url)
        right = bool(re.fullmatch(r"https?://\S+", url) and parts.hostname and parts.port != 0)
    except ValueError:  # brackets that do not close, a port that is none
        right = False
    if not right:
        raise ConfigError(f"{url!r} is not the URL of an engine.", "Set `remoteUrl` to one such as https://dlsp.example.org.")
    if parts.query or parts.fragment or "v1" in parts.path.split("/"):
        # Only a prefix that a proxy takes off may stand there.
        said = f"`remoteUrl` is {url!r}, but dlsp adds the paths itself."
        raise ConfigError(said, f"Set it without a path: {parts.scheme}://{parts.netloc}.")
    if not (token.isascii() and token.isprintable()):
        raise ConfigError("`remoteToken` has characters that no token has.", "Set it to the one the server was started with.")
    return HttpEngineClient(HostAddress(url=url.rstrip("/"), token=token))


class RemoteBackend:
    """A team server. Its states come from a stream that is opened by the first use and opened again when it breaks."""

    name = "remote"

    def __init__(self, url: str, token: str = "") -> None:
        self._client = team_server(url, token)
        self._feed = StatusFeed(Status(state="starting", reason="connecting", message=f"Connecting to {url}."))
        self._following: asyncio.Task[None] | None = None

    async def infill(self, request: InfillRequest) -> InfillResult:
        self._follow()
        return await self._client.infill(request)

    def watch(self) -> AsyncIterator[Status]:
        self._follow()
        return self._feed.watch()

    async def close(self) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        self._feed.close()
        await self._client.close()

    def _follow(self) -> None:
        if self._following is None:
            self._following = asyncio.create_task(self._pass_states_on(), name="remote-status")

    async def _pass_states_on(self) -> None:
        pause = 0.5
        while True:
            try:
                async for status in self._client.statuses():
                    self._feed.publish(status)
                    pause = 0.5
                # A server that is taken down in good order comes back, or not; either way its last word was not "ready".
                lost = HostError(f"{self._client.address.url} has closed the connection.", "It is tried again from time to time.")
            except DlspError as error:
                lost = error if isinstance(error, HostError) else HostError(str(error))
            self._feed.publish(Status(state="error", reason="unreachable", message=str(lost)))
            # Jitter keeps a whole team's editors from coming back in the same instant.
            await asyncio.sleep(pause * random.uniform(0.75, 1.25))
            pause = min(pause * 2, _LONGEST_BACKOFF_SECONDS)


def _open(address: HostAddress) -> httpx.AsyncClient:
    """Imports httpx and makes a client. Runs in a thread: both take long enough to be felt by somebody who types."""
    # httpx has a command line of its own, which costs 5 MB of syntax highlighting where it can be imported.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    import httpx

    headers = {"Authorization": f"Bearer {address.token}"} if address.token else {}
    if not address.pid:
        return httpx.AsyncClient(base_url=address.url, headers=headers)
    # On our own machine a proxy from the environment is wrong, certificates are not loaded for nothing, and a connection costs
    # microseconds: a fresh one each time tells a host that is gone from one that died over our request.
    limits = httpx.Limits(max_keepalive_connections=0)
    transport = httpx.AsyncHTTPTransport(uds=address.socket or None, limits=limits, verify=False, trust_env=False)
    return httpx.AsyncClient(transport=transport, base_url=address.url or "http://engine", headers=headers, trust_env=False)


def _cause(error: Exception) -> str:
    """Why a connection could not be made, in the words of the system rather than of the library."""
    root: BaseException | None = error
    while root is not None and not (isinstance(root, OSError) and root.errno):
        # httpcore drops the cause, but not the context.
        root = root.exceptions[0] if isinstance(root, BaseExceptionGroup) else root.__cause__ or root.__context__
    if isinstance(root, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {root.verify_message}"
    if isinstance(root, ssl.SSLError):
        return "it answers without TLS: http instead of https?" if root.reason == "WRONG_VERSION_NUMBER" else f"TLS failed: {root.reason}"
    if isinstance(root, OSError) and root.errno:
        # asyncio puts words of its own in place of the system's, but for names that are not known.
        said = (isinstance(root, socket.gaierror) and root.strerror) or os.strerror(root.errno)
        return said[:1].lower() + said[1:]
    return str(error) or type(error).__name__
