"""build_server(session): the language server of one editor, and its life from the first message to the last.

What each request does is in `features/`; how bytes come and go is in `transport.py`.
"""

from __future__ import annotations

import asyncio
import logging
from threading import Event
from typing import Protocol as Interface

from lsprotocol import types
from pygls.io_ import run_async
from pygls.protocol import default_converter

from dlsp import __version__
from dlsp.features import (
    code_action,
    completion,
    configuration,
    control,
    infill,
    inline_completion,
    notebook,
    outcomes,
    status,
    sync,
    watched_files,
)
from dlsp.features.protocol import Protocol, Server
from dlsp.processes import alive
from dlsp.session import Session

log = logging.getLogger(__name__)

_FEATURES = (
    configuration,
    status,
    sync,
    notebook,
    watched_files,
    inline_completion,
    completion,
    code_action,
    infill,
    control,
    outcomes,
)
_PARENT_SECONDS = 3.0
_CLOSE_SECONDS = 5.0


class ByteSink(Interface):
    """Where messages to the client go. Both methods return at once."""

    def write(self, data: bytes, /) -> object: ...

    def close(self) -> object: ...


def build_server(session: Session) -> Server:
    """A server for one connection. It can be run once."""
    server = Server(
        "dlsp",
        __version__,
        types.TextDocumentSyncKind.Incremental,
        protocol_cls=Protocol,
        converter_factory=default_converter,
        notebook_document_sync=notebook.NOTEBOOKS,
    )
    for feature in _FEATURES:
        feature.register(server, session)
    return server


async def run_server(server: Server, session: Session, reader: asyncio.StreamReader, writer: ByteSink) -> int:
    """Serve one client until it says `exit`, hangs up or dies. Returns the exit status the protocol asks for: 0 after
    `shutdown`, else 1. The backend is let go of in any case."""
    server._stop_event = Event()
    server.protocol.set_writer(writer)  # type: ignore[arg-type]
    reading = asyncio.create_task(
        run_async(server._stop_event, reader, server.protocol, logging.getLogger("pygls"), server.report_server_error)
    )
    watching = asyncio.create_task(_parent_gone(server))
    try:
        await asyncio.wait({reading, watching}, return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            log.warning("The editor is gone without saying so.")
        elif not reading.cancelled() and (error := reading.exception()) is not None:
            log.warning("The connection broke: %s.", type(error).__name__)
    finally:
        for task in (reading, watching):
            task.cancel()
        await asyncio.gather(reading, watching, return_exceptions=True)
        await _put_away(session)
        writer.close()
    return server.exit_code if server.exit_code is not None else 1


async def _put_away(session: Session) -> None:
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await session.close()
    except TimeoutError:
        log.warning("The backend took too long to close and is left behind.")


async def _parent_gone(server: Server) -> None:
    """Returns when the process that the client named as its own is no more.

    A number that means nothing here from the start (a client in another container) says nothing either.
    """
    parent: int | None = None
    while True:
        await asyncio.sleep(_PARENT_SECONDS)
        if parent is not None and not alive(parent):
            return
        if parent is None and server.process_id is not None and alive(server.process_id):
            parent = server.process_id
