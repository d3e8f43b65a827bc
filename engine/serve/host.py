"""The engine host: one process per user and configuration that serves the app on a private socket until nobody needs it.

Started as `python -P -m engine.serve.host --config JSON`; it prints its HostAddress (or a WireError) as one line of JSON and
detaches. It knows nothing of editors.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import faulthandler
import functools
import logging
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import msgspec

from engine.api import HostAddress, WireError
from engine.config import EngineConfig
from engine.errors import ConfigError, DlspError, HostError
from engine.runtime.scheduler import InfillEngine
from engine.serve import address as addresses
from engine.serve.door import DoorOptions
from engine.serve.service import EngineService, Loader

if TYPE_CHECKING:
    from engine.serve.listening import Listener

_log = logging.getLogger("engine.serve.host")  # by -m this module is called __main__

_PEER_PATIENCE_SECONDS = 12.0
"""How long to wait for the host that holds the lock to answer, or to end: it may be starting or on its way out."""

_GREETING_SECONDS = 0.1

_TICK_SECONDS = 5.0
"""How often a host asks itself whether it is still needed."""


class HostOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a host process is told. `detached` sends its output to the log file once it serves; with a `door` it serves other
    tools as well, and does not end for want of editors."""

    config: EngineConfig = EngineConfig()
    transport: addresses.Transport = "auto"
    detached: bool = True
    door: DoorOptions | None = None


Announce = Callable[[HostAddress, bool, str], None]
"""Hears the address of the host, whether it is this process, and the URL of its own door, empty without one."""


def load_engine(config: EngineConfig, on_progress: Callable[[float], None]) -> InfillEngine:
    """The real engine. Imports torch, which takes seconds: only ever called on the engine thread, after the socket answers."""
    from engine.models.notices import notice_once
    from engine.runtime.engine import Engine

    engine = Engine.load(config.model, device=config.device, dtype=config.dtype, threads=config.threads, on_progress=on_progress)
    engine.notice = notice_once(engine.family, engine.notice)
    return engine


def run_host(options: HostOptions, announce: Announce, loader: Loader = load_engine) -> None:
    """Serve until stopped or idle; or return at once when another process serves this configuration already.

    `announce` hears the address as soon as it answers. Raises HostError when the runtime folder cannot be trusted, another host
    holds the lock and does not answer, or the door cannot be opened.
    """
    place = addresses.find_place(options.config)
    lock = _lock_or_peer(place)
    if isinstance(lock, HostAddress):
        announce(lock, False, "")
        return
    try:
        listener, address = addresses.open_socket(place, options.transport)
        if options.detached:
            os.chdir(Path(sys.prefix).anchor)  # The starter's folder must not be kept from being removed; this one stays.
            address = msgspec.structs.replace(address, log=str(addresses.log_file(place)))
        record = _Record(place, lock, options.config, address)

        def started(door: str) -> None:
            record.write()
            announce(address, True, door)

        asyncio.run(_serve(options, loader, _Opening(listener, record, started)))
    finally:
        # The record and the socket go before the lock: whoever takes it next finds nothing of ours. Where somebody emptied the
        # folder, they may be those of the host that came after us.
        if addresses.is_lock_of(place, lock):
            place.record.unlink(missing_ok=True)
            place.socket.unlink(missing_ok=True)
        os.close(lock)


def main(arguments: list[str] | None = None, loader: Loader = load_engine) -> NoReturn:
    """The process: one line on stdout, then the service. Exit status 0, 2 for a DlspError (in that line), 1 for our mistakes."""
    code = 0
    try:
        options = _parse(arguments)
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")
        run_host(options, functools.partial(_announce, options), loader)
    except DlspError as error:
        code = 2
        _print(WireError(type=type(error).__name__, message=str(error.args[0]), action=error.action))
    except BaseException:  # noqa: BLE001 - reported here, because the exit below leaves no time for the interpreter to do it
        code = 1
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    # The engine thread may be inside an import or a denoise step that nobody waits for any more; a normal exit would join it.
    os._exit(code)


class _Record:
    """What others read of this process, once it serves; written anew as its doors change."""

    def __init__(self, place: addresses.Place, lock: int, config: EngineConfig, address: HostAddress) -> None:
        self._place, self._lock, self._config, self.address = place, lock, config, address
        self._doors: tuple[str, ...] = ()
        self._written = False

    def write(self) -> None:
        addresses.write_record(self._place, self._config, self.address, self._doors)
        self._written = True

    def doors_changed(self, urls: tuple[str, ...]) -> None:
        self._doors = urls
        if self._written and addresses.is_lock_of(self._place, self._lock):
            self.write()
            _log.info("open to other tools: %s", ", ".join(urls) or "nobody")

    def is_found(self) -> bool:
        """Whether who looks for this host finds it; no longer so once somebody has emptied the runtime folder, or once the name of
        its model means other weights."""
        there = not self.address.socket or os.path.lexists(self.address.socket)
        key = addresses.place_key(self._config)
        # While a damaged model is being mended its name means nothing; that is no reason to take it from those who have it.
        meant = key == self._config.key or self._place.name.startswith(f"{key}-")
        return there and meant and addresses.is_lock_of(self._place, self._lock)


class _Opening(NamedTuple):
    """Where a host serves, and what happens once it does."""

    listener: socket.socket
    record: _Record
    on_started: Callable[[str], None]


async def _serve(options: HostOptions, loader: Loader, opening: _Opening) -> None:
    # Not earlier: a process that only finds its peer does not need the web server.
    from engine.serve.http import build_app, build_public_app
    from engine.serve.listening import HostDoors, Listener

    service = EngineService(options.config, loader, addresses.version())
    doors = HostDoors(functools.partial(build_public_app, service), opening.record.doors_changed)
    async with contextlib.AsyncExitStack() as held:
        url = ""
        # Who knows its own door finds it there.
        is_found = opening.record.is_found if options.door is None else lambda: True
        if options.door is not None:
            url = (await held.enter_async_context(doors.open(options.door))).url
            held.enter_context(service.client())
        app = build_app(service, token=opening.record.address.token, doors=doors)
        await _run(service, Listener(app, functools.partial(opening.on_started, url)), opening.listener, is_found)


async def _run(service: EngineService, server: Listener, listener: socket.socket, is_found: Callable[[], bool]) -> None:
    """Serve until a signal, until nobody needs the engine, or until nobody finds it any more."""
    stopping: set[asyncio.Task[None]] = set()

    async def stop(reason: str) -> None:
        _log.info("stopping: %s", reason)
        await service.close(reason)
        server.stopped.set()

    def request_stop() -> None:
        if stopping:
            server.force_exit = True
        stopping.add(asyncio.ensure_future(stop("stopped")))

    with _on_signals(request_stop):
        # Loading torch's libraries keeps the interpreter lock for long stretches; the first client's greeting goes before.
        asyncio.get_running_loop().call_later(_GREETING_SECONDS, service.start)
        idle = asyncio.create_task(_when_idle(service, is_found, stop))
        try:
            await server.serve(sockets=[listener])
        finally:
            idle.cancel()
            await service.close("stopped")


async def _when_idle(service: EngineService, is_found: Callable[[], bool], stop: Callable[[str], Awaitable[None]]) -> None:
    """Stop once nobody has needed the engine for the configured time, or once a newcomer would start another host beside this one."""
    limit = service.config.idle_exit_seconds
    while True:
        remaining = limit - service.idle_seconds()
        if remaining <= 0:
            await stop("idle_exit")
            return
        if service.status.state != "busy" and not is_found():
            _log.warning("nobody finds this host any more: its model was replaced, or its lock or socket was removed")
            await stop("stopped")
            return
        await asyncio.sleep(min(max(remaining, 0.05), _TICK_SECONDS))


@contextlib.contextmanager
def _on_signals(callback: Callable[[], None]) -> Iterator[None]:
    """Call back on the event loop when somebody asks the process to end."""
    loop = asyncio.get_running_loop()
    before = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, lambda *_: loop.call_soon_threadsafe(callback))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _lock_or_peer(place: addresses.Place) -> int | HostAddress:
    """The lock, or the address of the host that has it and answers."""
    give_up = time.monotonic() + _PEER_PATIENCE_SECONDS
    while True:
        lock = addresses.take_lock(place.lock)
        if lock is not None:
            return lock
        record = addresses.read_record(place.record)
        if record is not None and addresses.accepts(record.address):
            return record.address
        if time.monotonic() > give_up:
            who = f"process {record.pid}" if record else "another process"
            raise HostError(f"The engine host does not answer, but {who} holds its lock {place.lock}.", "Run `dlsp engine --stop`.")
        time.sleep(0.03)


def _announce(options: HostOptions, address: HostAddress, own: bool, door: str) -> None:
    _print(address)
    if not (own and options.detached):
        return
    # Our starter has what it wanted; from here on it may go, and take its pipes along.
    try:
        log = addresses.open_log(address.log)
    except OSError:
        log = os.open(os.devnull, os.O_WRONLY)  # A full disk, say: better served without a log than not at all.
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.close(nothing)
    faulthandler.enable()
    _log.info("serving %s on %s as process %d", options.config.model, address.socket or address.url, address.pid)


def _print(message: HostAddress | WireError) -> None:
    """One line of JSON for whoever started us; not being heard is no reason to end, for others may come."""
    with contextlib.suppress(OSError):
        os.write(1, msgspec.json.encode(message) + b"\n")


def _parse(arguments: list[str] | None) -> HostOptions:
    parser = argparse.ArgumentParser(prog="engine.serve.host", description="Serve one engine to all editors of one user.")
    parser.add_argument("--config", default="{}", help="an EngineConfig as JSON")
    parser.add_argument("--transport", default="auto", choices=("auto", "unix", "tcp"))
    given = parser.parse_args(arguments)
    try:
        config = msgspec.json.decode(given.config, type=EngineConfig)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"--config is not an EngineConfig: {error}.", "See engine/config.py for its fields.") from error
    return HostOptions(config=config, transport=given.transport)


if __name__ == "__main__":
    main()
