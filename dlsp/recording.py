"""A trace of one session, as JSON lines in a file that only its owner can read: what the editor, the server and the engine said.

It holds the text of documents and is therefore written only where a person names a file for it. Knows no message by its meaning,
except that the token of a team server is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from engine.api import InfillRequest, InfillResult, Status
from engine.errors import ConfigError, DlspError

log = logging.getLogger(__name__)

VERSION = 1
Speaker = Literal["trace", "client", "server", "backend", "status"]
_SECRETS = frozenset({"remoteToken"})
_CHUNK = 65_536
_MOST_HEADER = 10_000


class Line(msgspec.Struct, frozen=True):
    """One line: seconds since the trace began, who said it, and what.

    `client` and `server` messages are those of the protocol. A `backend` message is {"request", "result"}, with {"error"} in the
    place of the result where there is none ("cancelled", or the name of an exception). The first line is a `trace` message
    {"version", "dlsp", "settings"}, the last of which are those of the user's file.
    """

    t: float
    speaker: Speaker = msgspec.field(name="from")
    message: Any


class Tap:
    """Writes a trace. Raises ConfigError on creation if the file exists or cannot be made; trouble later ends the trace only."""

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
        try:
            self._stream = os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8", buffering=1)
        except FileExistsError as error:
            raise ConfigError(f"{path} exists already.", "Name another file for the recording.") from error
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror or error}.", "Name another file for the recording.") from error
        self._began = time.monotonic()
        self._say("trace", {"version": VERSION, **facts})

    def client(self, raw: Any) -> None:
        """A message from the editor."""
        self._say("client", raw)

    def server(self, raw: Any) -> None:
        """A message to the editor."""
        self._say("server", raw)

    def backend(self, request: InfillRequest, result: InfillResult | str) -> None:
        """A request to the engine and its result, or why there is none."""
        ended = {"error": result} if isinstance(result, str) else {"result": msgspec.to_builtins(result)}
        self._say("backend", {"request": msgspec.to_builtins(request), **ended})

    def status(self, status: Status) -> None:
        """A state of the engine."""
        self._say("status", msgspec.to_builtins(status))

    def close(self) -> None:
        """The trace ends."""
        self._stream.close()

    def _say(self, speaker: Speaker, message: Any) -> None:
        if self._stream.closed:
            return
        try:
            line = {"t": round(time.monotonic() - self._began, 4), "from": speaker, "message": _without_secrets(message)}
            # Not msgspec: what an editor sends may hold lone surrogates, which only JSON's escapes can express.
            self._stream.write(json.dumps(line, separators=(",", ":")) + "\n")
        except RecursionError:
            log.warning("A message is nested too deeply and not recorded.")
        except OSError as error:
            log.warning("The recording ends: it cannot be written (%s).", error.strerror)
            with contextlib.suppress(OSError):
                self._stream.close()


class Backend(Protocol):
    """What is listened to: an engine, as `dlsp.backends.base` describes it."""

    name: str

    async def infill(self, request: InfillRequest) -> InfillResult: ...

    def watch(self) -> AsyncIterator[Status]: ...

    async def close(self) -> None: ...


class RecordedBackend:
    """A backend that does what another one does, and lets a tap know."""

    def __init__(self, backend: Backend, tap: Tap) -> None:
        self.name = backend.name
        self._backend = backend
        self._tap = tap

    async def infill(self, request: InfillRequest) -> InfillResult:
        """As the other backend does."""
        try:
            result = await self._backend.infill(request)
        except asyncio.CancelledError:
            self._tap.backend(request, "cancelled")
            raise
        except DlspError as error:
            self._tap.backend(request, type(error).__name__)
            raise
        self._tap.backend(request, result)
        return result

    async def watch(self) -> AsyncIterator[Status]:
        """As the other backend does."""
        async for status in self._backend.watch():
            self._tap.status(status)
            yield status

    async def close(self) -> None:
        """As the other backend does."""
        await self._backend.close()


class Frames:
    """Takes the messages out of a stream of bytes with `Content-Length` headers. A stream that is none yields nothing more."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._lost = False

    def feed(self, data: bytes) -> list[Any]:
        """The messages that are complete now."""
        if self._lost:
            return []
        self._buffer += data
        messages = []
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = _content_length(bytes(self._buffer[:end]))
            if length is None:
                self._lose()
                break
            if len(self._buffer) < end + 4 + length:
                break
            body = bytes(self._buffer[end + 4 : end + 4 + length])
            del self._buffer[: end + 4 + length]
            # What cannot be read here, the server will refuse; the bytes go on to it all the same.
            with contextlib.suppress(ValueError, RecursionError):
                messages.append(json.loads(body))
        else:
            if len(self._buffer) > _MOST_HEADER:
                self._lose()
        return messages

    def _lose(self) -> None:
        log.warning("One side does not speak the protocol; the rest of it is not recorded.")
        self._lost = True
        self._buffer.clear()


class TappedSink:
    """Where bytes to the editor go: to the real one, and as messages to a tap."""

    def __init__(self, sink: Any, tap: Tap) -> None:
        self._sink = sink
        self._tap = tap
        self._frames = Frames()

    def write(self, data: bytes, /) -> object:
        """Pass bytes on."""
        for message in self._frames.feed(data):
            self._tap.server(message)
        return self._sink.write(data)

    def close(self) -> object:
        """Close the real one."""
        return self._sink.close()


async def tapped(reader: asyncio.StreamReader, tap: Tap, onward: asyncio.StreamReader) -> None:
    """Pass everything that comes from the editor on to another reader, and its messages to a tap, until the editor hangs up."""
    frames = Frames()
    try:
        while chunk := await reader.read(_CHUNK):
            for message in frames.feed(chunk):
                tap.client(message)
            onward.feed_data(chunk)
    except (ConnectionError, OSError) as error:
        onward.set_exception(error)
        return
    onward.feed_eof()


def _content_length(header: bytes) -> int | None:
    for line in header.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return int(value)
    return None


def _without_secrets(message: Any) -> Any:
    if isinstance(message, Mapping):
        # Some editors send settings flat, as "dlsp.remoteToken".
        return {
            key: "…" if str(key).rpartition(".")[2] in _SECRETS and value else _without_secrets(value) for key, value in message.items()
        }
    if isinstance(message, list | tuple):
        return [_without_secrets(part) for part in message]
    return message
