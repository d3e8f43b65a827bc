"""Where the log goes: stderr, which editors show, and a file of bounded size that several servers share.

Decides nothing about what is logged, except: the protocol library logs whole messages, which hold the user's text, so below DEBUG
it is silent and we report its failures ourselves.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from io import TextIOWrapper
from pathlib import Path

_FORMAT = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"
_MOST_BYTES = 1_000_000
_TALKATIVE = ("pygls", "lsprotocol", "asyncio")
_CHATTY = ("httpx", "httpcore")
_STALE_LOCK_SECONDS = 10.0


def log_file() -> Path:
    """Where the server's log file is."""
    from platformdirs import user_log_path

    return user_log_path("dlsp", appauthor=False) / "server.log"


def counts_file() -> Path:
    """Where the counts for `dlsp stats` are; beside the log's, because the doctor names both."""
    from platformdirs import user_state_path

    return user_state_path("dlsp", appauthor=False) / "stats.jsonl"


def older(path: Path) -> Path:
    """Where the older half of a file that is kept at a bounded size lies."""
    return path.with_name(path.name + ".1")


def start_log(path: Path | None, stderr_level: int = logging.WARNING) -> None:
    """Log to a file from now on, at level INFO, and to stderr from `stderr_level` on: some editors take every line there for an
    error. Without a file, or if it cannot be written, everything goes to stderr."""
    stderr = logging.StreamHandler(sys.stderr)
    handlers: list[logging.Handler] = [stderr]
    problem: OSError | None = None
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handlers.append(SharedFileHandler(path, _MOST_BYTES))
            stderr.setLevel(stderr_level)
        except OSError as error:
            problem = error
    logging.basicConfig(level=logging.INFO, format=_FORMAT, handlers=handlers, force=True)
    set_level("info")
    if problem is not None:
        logging.getLogger(__name__).warning("The log file cannot be written (%s); the log goes to stderr only.", problem.strerror)


def set_level(name: str) -> None:
    """Log from level `name` (`debug`, `info`, `warning`, `error`) on."""
    level = logging.getLevelNamesMapping()[name.upper()]
    logging.getLogger().setLevel(level)
    for talkative in _TALKATIVE:
        logging.getLogger(talkative).setLevel(logging.DEBUG if level <= logging.DEBUG else logging.CRITICAL)
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))


class SharedFileHandler(logging.FileHandler):
    """Appends to a file that other processes append to as well: each editor window has a server of its own.

    Whoever finds the file full puts it aside; the others notice by its identity that theirs is no longer the one of that
    name and open the new one. The file and the older half are readable by their owner only. Raises OSError on creation if
    the file cannot be opened; later on a line that cannot be written is lost, as with every handler.
    """

    def __init__(self, path: Path, most_bytes: int) -> None:
        self._path = path
        self._most_bytes = most_bytes
        super().__init__(path, encoding="utf-8", errors="replace")

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record to the file that has the name now."""
        try:
            self._follow()
        except OSError:
            self.handleError(record)
            return
        super().emit(record)

    def _open(self) -> TextIOWrapper:
        return open_private(self._path)

    def _follow(self) -> None:
        if self.stream is None:
            return
        ours, there = os.fstat(self.stream.fileno()), _identity(self._path)
        if there == (ours.st_dev, ours.st_ino):
            if ours.st_size < self._most_bytes:
                return
            put_aside(self._path, self._most_bytes)
            if _identity(self._path) == there:
                # Somebody else is at it, or the system does not let an open file be renamed: the line still goes somewhere.
                return
        self.stream.close()
        self.stream = self._open()


def open_private(path: Path) -> TextIOWrapper:
    """A text file to append to, one line a write, that only its owner can read. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    return open(descriptor, "a", encoding="utf-8", errors="replace")


def put_aside(path: Path, most_bytes: int) -> bool:
    """Rename a file that has grown to `most_bytes` to `older(path)`, unless another process is just doing so. Whether it was
    done; raises nothing. A lock that a process left behind when it died counts for ten seconds."""
    lock = path.with_name(path.name + ".lock")
    with contextlib.suppress(OSError):
        if time.time() - lock.stat().st_mtime > _STALE_LOCK_SECONDS:
            lock.unlink()
    try:
        os.close(os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError:
        return False
    try:
        # Another process may have done it between our look and our lock.
        if path.stat().st_size < most_bytes:
            return False
        os.replace(path, older(path))
        return True
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            lock.unlink()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino
