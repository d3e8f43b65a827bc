"""Where the log goes: stderr, which editors show, and a file of bounded size. Decides nothing about what is logged, except:

the protocol library logs whole messages, which hold the user's text, so below DEBUG it is silent and we report its failures ourselves.
"""

from __future__ import annotations

import logging
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_MOST_BYTES = 1_000_000
_TALKATIVE = ("pygls", "lsprotocol", "asyncio")
_CHATTY = ("httpx", "httpcore")


def log_file() -> Path:
    """Where the server's log file is."""
    from platformdirs import user_log_path

    return user_log_path("dlsp", appauthor=False) / "server.log"


def start_log(path: Path | None) -> None:
    """Log to stderr and to a file from now on, at level INFO. A file that cannot be written is done without."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    problem: OSError | None = None
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handlers.append(RotatingFileHandler(path, maxBytes=_MOST_BYTES, backupCount=1, encoding="utf-8", errors="replace"))
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
