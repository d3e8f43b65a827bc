"""Gets one file of a model repository: goes on where an earlier attempt stopped, checks what came, and says what went wrong.

Speaks to the hub through huggingface_hub's own client, which knows proxies, tokens and offline mode. What a model is, and which
of its files are wanted, is not known here.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from huggingface_hub import constants, get_session, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

from engine.errors import CheckpointError, DlspError, HostError
from engine.models.hub_errors import KEPT, disk_error, explain, is_transient, status_of
from engine.models.store import ModelName, size_text

PART = ".part"
"""Ending of a file that is not whole yet."""

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """The hub to ask. `endpoint` and `token` None are the library's own choice, from the user's environment.

    `timeout` is how many seconds to wait for an answer, `waits` are the seconds between attempts that bring nothing, and
    `cache` is the folder of files that other programs got through the library (None: where it keeps them).
    """

    endpoint: str | None = None
    token: str | None = None
    timeout: float = 30.0
    waits: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 15.0)
    cache: Path | None = None

    @property
    def url(self) -> str:
        """The address that is asked."""
        return self.endpoint or constants.ENDPOINT


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of one commit of a repository. The hub names its SHA-256 or else its git object id; `size` is in bytes."""

    model: str
    commit: str
    name: str
    size: int
    sha256: str = ""
    git_id: str = ""


class Meter:
    """Counts the bytes that are there, of all files together, and reports them. `total` 0 stands for files that nobody waits for."""

    def __init__(self, total: int, report: Callable[[int, int], None] | None) -> None:
        self.done = 0
        self.total = total
        self._report = report

    def add(self, count: int) -> None:
        """Some bytes more; fewer, where `count` is negative and bytes had to be thrown away."""
        self.done += count
        if self._report:
            self._report(self.done, self.total)


def verified(file: RemoteFile, path: Path, meter: Meter) -> str:
    """The SHA-256 of the file at `path` if it is what the hub promises, else "". Raises OSError where it cannot be read."""
    if path.stat().st_size != file.size:
        return ""
    digest = _Digest(file)
    with path.open("rb") as content:
        while chunk := content.read(_CHUNK):
            digest.add(chunk)
            meter.add(len(chunk))
    return "" if digest.problem() else digest.sha256()


def fetch(file: RemoteFile, folder: Path, source: Source, meter: Meter) -> str:
    """Make `folder` hold the whole, checked file, and return its SHA-256.

    What lies there of it already is used, and so is a copy in the library's cache. Raises HostError when the hub cannot be reached
    or the disk is full (then the part that came is kept), CheckpointError when the hub refuses it or sends something else.
    """
    target, part = folder / file.name, folder / (file.name + PART)
    if target.is_file():
        # Also a finished file is read again: this is how a damaged one is found.
        target.replace(part)
    try:
        with part.open("ab") as out:
            download = _Download(file, source, meter, out)
            download.read_again(part)
            if download.have < file.size:
                download.copy_from_cache()
            download.run()
            out.flush()
            os.fsync(out.fileno())
            digest, problem = download.digest(), download.problem()
        if problem:
            part.unlink()
            meter.add(-download.have)
            raise CheckpointError(f"{file.model}: {file.name} {problem}; it was thrown away.", "Pull the model again.")
        part.replace(target)
        return digest
    except OSError as error:
        raise disk_error(error, folder, keeps=meter.total > 0) from error


class _Digest:
    """What is known of a file's content so far, and whether that is what the hub promised."""

    def __init__(self, file: RemoteFile) -> None:
        self.size = 0
        self._file = file
        self._sha256 = hashlib.sha256()
        # A git object id is the SHA-1 of a header and the content: what a hub names for files that are not large.
        self._git = hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)

    def add(self, chunk: bytes) -> None:
        """Some bytes more."""
        self._sha256.update(chunk)
        if self._file.git_id:
            self._git.update(chunk)
        self.size += len(chunk)

    def sha256(self) -> str:
        """The SHA-256 of what is there."""
        return self._sha256.hexdigest()

    def problem(self) -> str:
        """What is wrong with the whole file, as the end of a sentence; empty when it is what the hub promised."""
        file = self._file
        if self.size != file.size:
            return f"has {self.size:,} bytes, and the hub promised {file.size:,}"
        if file.sha256 and file.sha256 != self.sha256():
            return f"has the SHA-256 {self.sha256()[:16]}…, and the hub promised {file.sha256[:16]}…"
        if file.git_id and file.git_id != self._git.hexdigest():
            return f"has the git id {self._git.hexdigest()[:16]}…, and the hub promised {file.git_id[:16]}…"
        return ""


class _Download:
    """One file on its way to `out`, which is open for appending."""

    def __init__(self, file: RemoteFile, source: Source, meter: Meter, out: BinaryIO) -> None:
        self._file = file
        self._source = source
        self._meter = meter
        self._out = out
        self._digest = _Digest(file)

    @property
    def have(self) -> int:
        """Bytes that are there."""
        return self._digest.size

    def read_again(self, part: Path) -> None:
        """Count and hash what an earlier attempt has left."""
        if part.stat().st_size > self._file.size:
            self._out.truncate(0)
        with part.open("rb") as left:
            while chunk := left.read(_CHUNK):
                self._take(chunk)
        if self.have == self._file.size and self.problem():
            # Whole but wrong, as a file is that a disk has damaged.
            self._restart()

    def copy_from_cache(self) -> None:
        """Take the file from the library's cache, if another program has brought it there."""
        cached = try_to_load_from_cache(self._file.model, self._file.name, cache_dir=self._source.cache, revision=self._file.commit)
        if not isinstance(cached, str) or Path(cached).stat().st_size != self._file.size:
            return
        self._restart()
        with open(cached, "rb") as copy:
            while chunk := copy.read(_CHUNK):
                self._write(chunk)
        if self.problem():
            self._restart()

    def run(self) -> None:
        """Ask for what is missing until it is there, again and again where the connection breaks."""
        waits = iter(self._source.waits)
        while self.have < self._file.size:
            before = self.have
            try:
                self._attempt()
                failure = None
            except HTTPError as error:
                if status_of(error) == 416 and self.have:
                    self._restart()
                    continue
                if not is_transient(error):
                    raise self._explained(error) from error
                failure = error
            except OfflineModeIsEnabled as error:
                raise self._explained(error) from error
            if self.have > before:
                waits = iter(self._source.waits)
                continue
            wait = next(waits, None)
            if wait is None:
                raise self._explained(failure) from failure
            time.sleep(wait)

    def digest(self) -> str:
        """The SHA-256 of what is there."""
        return self._digest.sha256()

    def problem(self) -> str:
        """What is wrong with the whole file, as the end of a sentence; empty when it is what the hub promised."""
        return self._digest.problem()

    def _attempt(self) -> None:
        with _stream(self._file, self._source, f"bytes={self.have}-" if self.have else "") as (status, chunks):
            if self.have and status == 200:
                # The server sends all of it again.
                self._restart()
            for chunk in chunks:
                self._write(chunk)
                if self.have > self._file.size:
                    return

    def _write(self, chunk: bytes) -> None:
        self._out.write(chunk)
        self._take(chunk)

    def _take(self, chunk: bytes) -> None:
        self._digest.add(chunk)
        self._meter.add(len(chunk))

    def _restart(self) -> None:
        self._out.truncate(0)
        self._meter.add(-self.have)
        self._digest = _Digest(self._file)

    def _explained(self, error: Exception | None) -> DlspError:
        file = self._file
        if error is None:
            return HostError(f"The hub ends its answer early: {file.name} has {size_text(self.have)} of {size_text(file.size)}.", KEPT)
        explained = explain(error, ModelName(id=file.model, revision=file.commit), self._source.url, file.name)
        if self._meter.total and isinstance(explained, HostError):
            explained.action = f"{explained.action} {KEPT}"
        return explained


@contextmanager
def _stream(file: RemoteFile, source: Source, span: str) -> Iterator[tuple[int, Iterator[bytes]]]:
    """The status and the content of an answer. The client takes the token off where it follows a redirection to another host."""
    headers = build_hf_headers(token=source.token, library_name="dlsp") | {"Accept-Encoding": "identity"}
    if span:
        headers["Range"] = span
    url = hf_hub_url(file.model, file.name, revision=file.commit, endpoint=source.endpoint)
    with get_session().stream("GET", url, headers=headers, timeout=source.timeout) as response:
        hf_raise_for_status(response)
        yield response.status_code, response.iter_bytes()
