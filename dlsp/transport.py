"""How an editor is connected: standard input and output, or a TCP port. Moves bytes; knows nothing of what they say."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import BinaryIO, NamedTuple, Protocol

from engine.errors import ConfigError, HostError

log = logging.getLogger(__name__)

_CHUNK = 65_536
_LOOPBACK = "127.0.0.1"


class Sink(Protocol):
    """Takes bytes for the editor."""

    def write(self, data: bytes, /) -> object: ...

    def close(self) -> object: ...


Serve = Callable[[asyncio.StreamReader, Sink], Awaitable[int]]
"""Serves one connection until it ends; returns an exit status."""


class Address(NamedTuple):
    """Where to listen; port 0 takes any free one."""

    host: str
    port: int


def parse_address(text: str) -> Address:
    """`HOST:PORT`, `:PORT` or `PORT`; without a host it is this machine only. Raises ConfigError."""
    host, colon, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65_535 or (colon and host.count(":") and not host.startswith("[")):
        raise ConfigError(f"{text!r} is not an address.", "Use HOST:PORT, such as 127.0.0.1:2087.")
    return Address(host.strip("[]") or _LOOPBACK, int(port))


def take_stdio() -> tuple[BinaryIO, BinaryIO]:
    """The real standard input and output. From now on everything else that is printed goes to stderr, whatever prints it: the
    editor would take it for a message."""
    sys.stdout.flush()
    source = os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)
    sink = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.stdout = sys.stderr
    return source, sink


async def serve_stdio(serve: Serve, source: BinaryIO, sink: BinaryIO) -> int:
    """Serve the editor that started us."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    # A daemon, because nothing can wake a thread that waits for input, and it must not keep the process from ending.
    threading.Thread(target=_pump, args=(source, reader, loop), name="stdin", daemon=True).start()
    return await serve(reader, _BlockingSink(sink))


async def serve_tcp(serve: Serve, address: Address) -> int:
    """Serve every editor that connects, each on its own, until interrupted. Raises HostError if the port cannot be had."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        log.info("An editor has connected.")
        await serve(reader, writer)
        log.info("An editor has disconnected.")

    try:
        listener = await asyncio.start_server(connected, address.host, address.port)
    except OSError as error:
        raise HostError(
            f"Cannot listen on {address.host}:{address.port}: {error.strerror or error}.", "Choose another port with --tcp."
        ) from error
    host, port = listener.sockets[0].getsockname()[:2]
    print(f"dlsp listens on {host}:{port}", file=sys.stderr, flush=True)
    async with listener:
        await listener.serve_forever()
    return 0


class _BlockingSink:
    """Standard output. An editor that has gone is noticed by its silence on standard input, not here."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink

    def write(self, data: bytes, /) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[self._sink.write(view) or 0 :]
        except (BrokenPipeError, ValueError):
            log.debug("Nobody reads our output any more.")

    def close(self) -> None:
        self._sink.close()


def _pump(source: BinaryIO, reader: asyncio.StreamReader, loop: asyncio.AbstractEventLoop) -> None:
    try:
        while chunk := source.read(_CHUNK):
            loop.call_soon_threadsafe(reader.feed_data, chunk)
        loop.call_soon_threadsafe(reader.feed_eof)
    except (OSError, ValueError, RuntimeError):
        # The pipe broke, or the loop has ended; either way nobody is left to read for.
        return
