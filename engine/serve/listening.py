"""The web servers of a host: one on its private socket, and one for each door that stands open.

It knows the web server and how it ends; the apps and the addresses come from elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

from engine.errors import HostError
from engine.serve.door import Admission, DoorOptions, OpenDoor, bind, url_of

_SHUTDOWN_SECONDS = 2

_KEEP_ALIVE_SECONDS = 75
"""Longer than clients keep an idle connection, so that none is closed at the moment at which it is used again."""


class Listener(uvicorn.Server):
    """A web server that sleeps until it is told to stop: a host in the background must let the processor rest."""

    def __init__(self, app: ASGIApp, on_started: Callable[[], None] | None = None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            )
        )
        self.stopped = asyncio.Event()
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._on_started is not None:
            self._on_started()

    async def main_loop(self) -> None:
        # Instead of looking ten times a second whether to stop.
        await self.on_tick(0)
        await self.stopped.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # Signals are the host's: streams must end before the server waits for its connections.


class HostDoors:
    """The open doors of one process. `app` makes what is behind a door, `on_change` hears the URLs of all that are open."""

    def __init__(self, app: Callable[[Admission], ASGIApp], on_change: Callable[[tuple[str, ...]], None]) -> None:
        self._app, self._on_change = app, on_change
        self._urls: list[str] = []

    @contextlib.asynccontextmanager
    async def open(self, options: DoorOptions) -> AsyncIterator[OpenDoor]:
        """A door that stands open for as long as the block runs. Raises HostError where the address cannot be had."""
        for open_already in self._urls:
            if options.port and open_already.endswith(f":{options.port}"):
                raise HostError(f"This engine answers at {open_already} already.", "End the command that opened it, or name another port.")
        listener = bind(options)
        url = url_of(listener)
        server = Listener(self._app(options.admission))
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="door")
        self._tell([*self._urls, url])
        try:
            yield OpenDoor(url=url)
        finally:
            self._tell([each for each in self._urls if each != url])
            server.stopped.set()
            await asyncio.gather(serving, return_exceptions=True)
            listener.close()

    def _tell(self, urls: list[str]) -> None:
        self._urls = urls
        self._on_change(tuple(urls))
