"""`dlsp serve`: the language server as the editor starts it. Chooses the transport and the backend; knows nothing of the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from dlsp.backends.base import Backend
    from dlsp.settings import Settings
    from dlsp.transport import Serve


def serve(
    stdio: Annotated[bool, typer.Option("--stdio", help="Talk over standard input and output (the default).")] = False,
    tcp: Annotated[
        str, typer.Option("--tcp", metavar="HOST:PORT", help="Listen on a TCP port instead; without HOST on this machine only.")
    ] = "",
    client_process_id: Annotated[
        int | None, typer.Option("--clientProcessId", "--client-process-id", hidden=True, help="Accepted for clients that send it.")
    ] = None,
) -> None:
    """Run the language server (this is what your editor starts)."""
    # The address is checked before anything slow is imported.
    from dlsp.transport import parse_address, serve_stdio, serve_tcp, take_stdio

    if tcp:
        address = parse_address(tcp)
        _start_log()
        raise typer.Exit(_run(serve_tcp(_connection(), address)))
    source, sink = take_stdio()
    _start_log()
    raise typer.Exit(_run(serve_stdio(_connection(), source, sink)))


def create_backend(settings: Settings) -> Backend:
    """The backend the settings name. Raises ConfigError for an address that is missing or wrong."""
    from dlsp.backends import BackendOptions, make_backend

    return make_backend(settings.backend, BackendOptions(engine=settings.engine(), url=settings.remote_url, token=settings.remote_token))


def _connection() -> Serve:
    """Every connection has a session, and so a server, of its own."""
    import gc

    # Protocol types are thousands of objects that all stay: looking for garbage among them costs a tenth of the start-up.
    gc.disable()
    from dlsp.server import ByteSink, build_server, run_server
    from dlsp.session import Session
    from dlsp.settings import user_file

    async def serve_connection(reader: asyncio.StreamReader, writer: ByteSink) -> int:
        session = Session(create_backend, config_file=user_file())
        return await run_server(build_server(session), session, reader, writer)

    return serve_connection


def _start_log() -> None:
    from dlsp.log import log_file, start_log

    start_log(log_file())


def _run(main: Coroutine[Any, Any, int]) -> int:
    import gc

    gc.freeze()
    gc.enable()
    return asyncio.run(main)
