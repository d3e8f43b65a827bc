"""`dlsp serve`: the language server as the editor starts it. Chooses transport and backend, and where counts and recordings go.

Knows nothing of the protocol.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.errors import ConfigError

if TYPE_CHECKING:
    from dlsp.backends.base import Backend
    from dlsp.recording import Tap
    from dlsp.session import Session
    from dlsp.settings import Settings
    from dlsp.stats import Writer
    from dlsp.transport import Serve


def serve(
    stdio: Annotated[bool, typer.Option("--stdio", help="Talk over standard input and output (the default).")] = False,
    tcp: Annotated[
        str, typer.Option("--tcp", metavar="HOST:PORT", help="Listen on a TCP port instead; without HOST on this machine only.")
    ] = "",
    record: Annotated[
        Path | None,
        typer.Option("--record", metavar="FILE", help="Write everything that is said, the text of your documents included, to a new file."),
    ] = None,
    client_process_id: Annotated[
        int | None, typer.Option("--clientProcessId", "--client-process-id", hidden=True, help="Accepted for clients that send it.")
    ] = None,
) -> None:
    """Run the language server (this is what your editor starts)."""
    # The address is checked before anything slow is imported.
    from dlsp.transport import parse_address, serve_stdio, serve_tcp, take_stdio

    if record and record.exists():
        raise ConfigError(f"{record} exists already.", "Name another file for the recording.")
    if tcp:
        address = parse_address(tcp)
        # Nobody but a person at a terminal starts this, and wants to see who comes.
        _start_log(logging.INFO)
        raise typer.Exit(_run(serve_tcp(_connection(record), address)))
    source, sink = take_stdio()
    _start_log(logging.WARNING)
    raise typer.Exit(_run(serve_stdio(_connection(record), source, sink)))


def create_backend(settings: Settings) -> Backend:
    """The backend the settings name. Raises ConfigError for an address that is missing or wrong."""
    from dlsp.backends import BackendOptions, make_backend

    return make_backend(settings.backend, BackendOptions(engine=settings.engine(), url=settings.remote_url, token=settings.remote_token))


def _connection(record: Path | None = None) -> Serve:
    """Every connection has a session, and so a server and a recording, of its own."""
    import gc

    # Protocol types are thousands of objects that all stay: looking for garbage among them costs a tenth of the start-up.
    gc.disable()
    from dlsp.log import counts_file
    from dlsp.server import ByteSink, build_server, run_server
    from dlsp.session import Session
    from dlsp.settings import user_file
    from dlsp.stats import Writer

    numbers = itertools.count(1)

    async def serve_connection(reader: asyncio.StreamReader, writer: ByteSink) -> int:
        tap = _tap(record, next(numbers)) if record else None
        session = Session(_recorded(tap) if tap else create_backend, config_file=user_file())
        counts = Writer(counts_file(), lambda: session.settings.stats)
        session.ledger.sink = counts
        keeping = asyncio.create_task(_keep(session, counts))
        listening = None
        if tap:
            from dlsp.recording import TappedSink, tapped

            spoken, reader = reader, asyncio.StreamReader()
            listening = asyncio.create_task(tapped(spoken, tap, reader))
            writer = TappedSink(writer, tap)
        try:
            return await run_server(build_server(session), session, reader, writer)
        finally:
            for task in filter(None, (keeping, listening)):
                task.cancel()
            counts.flush()
            if tap:
                tap.close()

    return serve_connection


async def _keep(session: Session, counts: Writer) -> None:
    """Write the counts down now and then, and look in time at what became of accepted text."""
    from dlsp.stats import FLUSH_SECONDS

    while True:
        await asyncio.sleep(FLUSH_SECONDS)
        session.ledger.due(time.monotonic())
        counts.flush()


def _tap(record: Path, number: int) -> Tap:
    """The recording of one connection; the second one goes to `FILE.2`. Raises ConfigError if the file cannot be made."""
    from dlsp import __version__
    from dlsp.recording import Tap
    from dlsp.settings import read_file, user_file

    path = record if number == 1 else record.with_name(f"{record.name}.{number}")
    tap = Tap(path, {"dlsp": __version__, "settings": read_file(user_file()).sent()})
    print(f"dlsp: everything that is said is written to {path}, the text of your documents included.", file=sys.stderr, flush=True)
    return tap


def _recorded(tap: Tap) -> Any:
    from dlsp.recording import RecordedBackend

    return lambda settings: RecordedBackend(create_backend(settings), tap)


def _start_log(stderr_level: int) -> None:
    from dlsp.log import log_file, start_log

    start_log(log_file(), stderr_level)


def _run(main: Coroutine[Any, Any, int]) -> int:
    import gc

    gc.freeze()
    gc.enable()
    return asyncio.run(main)
