"""Starts the engine host as a process of its own and waits for its first line, which says where it answers.

The host itself finds out whether another one serves already. Knows nothing of HTTP, models or the host's files.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import site
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import msgspec

from dlsp.backends.wire import as_error
from engine import errors
from engine.api import HostAddress, WireError
from engine.config import EngineConfig
from engine.errors import DlspError, HostError

_HOME = Path(errors.__file__).resolve().parent.parent
"""The folder that holds our `engine` package."""

_DOCTOR = "Run `dlsp doctor`."


def host_command(config: EngineConfig) -> list[str]:
    """The command line of a host. -P: the working directory must not provide modules, least of all one called `engine`."""
    return [sys.executable, "-P", "-m", "engine.serve.host", "--config", msgspec.json.encode(config).decode()]


async def launch(command: Sequence[str], seconds: float) -> HostAddress:
    """Start a host, or find the one that serves already, and return its address.

    Raises HostError when the process ends or says nothing within `seconds`, or what it reports. Cancelling stops the
    wait only: a host that has been started goes on to serve others.
    """
    loop = asyncio.get_running_loop()
    first_line: asyncio.Future[HostAddress] = loop.create_future()
    process = _Process(command)

    def settle(outcome: HostAddress | DlspError) -> None:
        if first_line.done():
            return
        if isinstance(outcome, DlspError):
            first_line.set_exception(outcome)
        else:
            first_line.set_result(outcome)

    def follow() -> None:
        outcome = process.first_line()
        # The loop may be gone when the editor closes while the host starts.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, outcome)
        process.reap()

    # A thread and not asyncio's subprocess: that one kills the child with its event loop, and the host must outlive us. A daemon,
    # for it stays until the host ends.
    threading.Thread(target=follow, name="engine-host", daemon=True).start()
    try:
        async with asyncio.timeout(seconds):
            return await first_line
    except TimeoutError:
        process.kill()
        raise HostError(f"The engine host did not answer within {seconds:g} seconds.", _DOCTOR) from None


def hygienic_environment() -> dict[str, str]:
    """The environment for a host, in which `engine` can only be ours.

    PYTHONPATH loses entries that are relative or hold an `engine` of somebody else, and gains our own folder first when that is
    a source checkout: an editable install comes last in the search order.
    """
    environment = dict(os.environ)
    entries = [
        entry for entry in environment.pop("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(entry) and not _foreign_engine(entry)
    ]
    if _HOME not in _site_folders():
        entries = [str(_HOME), *(entry for entry in entries if entry != str(_HOME))]
    if entries:
        environment["PYTHONPATH"] = os.pathsep.join(entries)
    return environment


def _foreign_engine(entry: str) -> bool:
    folder = Path(entry).resolve()
    return folder != _HOME and ((folder / "engine").exists() or (folder / "engine.py").exists())


def _site_folders() -> set[Path]:
    found = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), site.getusersitepackages()]
    return {Path(folder).resolve() for folder in found}


class _Process:
    """One started process; the thread that reads its line also reaps it, so that no zombie is left."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._popen: subprocess.Popen[bytes] | None = None
        self._killed = False

    def first_line(self) -> HostAddress | DlspError:
        """Start and read; blocks until the line comes or the process ends."""
        with contextlib.ExitStack() as stack:
            try:
                complaints = stack.enter_context(tempfile.TemporaryFile())
                self._popen = self._start(complaints)
            except OSError as error:
                return HostError(f"The engine host cannot be started ({error.strerror}: {self._command[0]}).", _DOCTOR)
            if self._killed:
                self._popen.kill()
            assert self._popen.stdout is not None
            with self._popen.stdout as stdout:
                line = stdout.readline()
            if line:
                return _understand(line)
            code = self._popen.wait()
            complaints.seek(0)
            said = complaints.read()[-4000:].decode(errors="replace").strip().splitlines()
            return HostError(f"The engine host ended at once with status {code}{': ' + said[-1] if said else ''}.", _DOCTOR)

    def kill(self) -> None:
        self._killed = True
        if self._popen is not None:
            self._popen.kill()

    def reap(self) -> None:
        if self._popen is not None:
            self._popen.wait()

    def _start(self, complaints: IO[bytes]) -> subprocess.Popen[bytes]:
        # Its own session: closing the editor or its terminal must not take the host from the other editors.
        flags = 0
        if sys.platform == "win32":
            flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        return subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            cwd=sys.prefix,
            env=hygienic_environment(),
            start_new_session=True,
            creationflags=flags,
        )


def _understand(line: bytes) -> HostAddress | DlspError:
    with contextlib.suppress(msgspec.MsgspecError):
        address = msgspec.json.decode(line, type=HostAddress)
        if address.socket or address.url:
            return address
    with contextlib.suppress(msgspec.MsgspecError):
        return as_error(msgspec.json.decode(line, type=WireError))
    return HostError("The engine host said something that makes no sense.", _DOCTOR)
