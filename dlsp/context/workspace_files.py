"""Walks the workspace's folders and reads source files, for the index; meant to run in a thread.

Knows which folders are never looked into (other people's code) and the bounds; what a file defines is found elsewhere.
"""

from __future__ import annotations

import itertools
import logging
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from dlsp.context.definition_scan import is_generated, language_of
from dlsp.context.exclude import holds_private_key

log = logging.getLogger(__name__)

MOST_FILES = 5_000
MOST_FILE_BYTES = 200_000
MOST_BYTES = 20_000_000
_MOST_ENTRIES = 200_000
_MOST_DEPTH = 30
_FOREIGN = """
node_modules bower_components jspm_packages site-packages dist-packages __pycache__ __pypackages__ venv virtualenv vendor
third_party third-party external target dist wheels eggs CMakeFiles Pods DerivedData coverage htmlcov
"""
FOREIGN_FOLDERS = frozenset(_FOREIGN.split())
"""Folders of code that is not the user's, and of what programs wrote. Hidden folders are not looked into either."""


class Reading(NamedTuple):
    """A file as it was read: its time of change and size say whether it has changed since. `packed` is its text, compressed."""

    path: Path
    language: str
    facts: tuple[int, int]
    packed: bytes

    @property
    def text(self) -> str:
        """The text, line ends as they are in the file."""
        return unpack(self.packed)


def walk(roots: Sequence[Path], excludes_folder: Callable[[Path], bool], stopped: Callable[[], bool]) -> list[Path]:
    """Source files below the workspace folders, those near the top first, as many as `MOST_FILES`.

    A link is followed to a file and not to a folder. Never raises: what cannot be looked into is not there.
    """
    found: list[Path] = []
    entries = 0
    level = list(dict.fromkeys(roots))
    for _ in range(_MOST_DEPTH):
        deeper: list[Path] = []
        for folder in level:
            if stopped() or len(found) >= MOST_FILES or entries > _MOST_ENTRIES:
                return found[:MOST_FILES]
            listed = _listed(folder)
            if any(name == "pyvenv.cfg" for name, _ in listed):
                continue
            entries += len(listed)
            for name, is_folder in listed:
                path = folder / name
                if not is_folder:
                    if language_of(path):
                        found.append(path)
                elif not is_foreign(name) and not excludes_folder(path):
                    deeper.append(path)
        level = deeper
    return found[:MOST_FILES]


def is_foreign(name: str) -> bool:
    """Whether a folder is of those that are not looked into."""
    return name.startswith(".") or name in FOREIGN_FOLDERS or name.endswith((".egg-info", ".dist-info", ".framework"))


def read(path: Path) -> Reading | None:
    """A file's text; None for a file that is too large, no text, generated, or holds a private key, or is not there."""
    try:
        facts = path.stat()
        if facts.st_size > MOST_FILE_BYTES or not facts.st_size:
            return None
        with path.open("rb") as file:
            # A log that somebody writes may be larger by now.
            text = file.read(MOST_FILE_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None
    if "\0" in text or is_generated(path.name, text) or holds_private_key([text]):
        return None
    return Reading(path, language_of(path), (facts.st_mtime_ns, facts.st_size), pack(text))


def facts_of(path: Path) -> tuple[int, int] | None:
    """A file's time of change and size; None if it is not there."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size


def read_batches(paths: Sequence[Path], excluded: Callable[[str], bool], room: int) -> Iterator[list[Reading]]:
    """Readings in batches of some dozens, until `room` bytes are read. Each batch is one turn of a thread."""
    for start in range(0, len(paths), 32):
        batch = []
        for path in paths[start : start + 32]:
            if room <= 0:
                log.info("The workspace is larger than the index; the files nearest its top are in.")
                return
            if not excluded(path.as_uri()) and (reading := read(path)) is not None:
                room -= reading.facts[1]
                batch.append(reading)
        yield batch


def pack(text: str) -> bytes:
    """Text as it is kept: thousands of files are kept and few of them looked at."""
    return zlib.compress(text.encode("utf-8", "surrogatepass"), 1)


def unpack(packed: bytes) -> str:
    """The text of `pack`."""
    return zlib.decompress(packed).decode("utf-8", "surrogatepass")


def _listed(folder: Path) -> list[tuple[str, bool]]:
    try:
        with os.scandir(folder) as entries:
            some = itertools.islice(entries, _MOST_ENTRIES)
            return sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in some if _is_ours(entry))
    except OSError:
        return []


def _is_ours(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False) or entry.is_file()
    except OSError:
        return False
