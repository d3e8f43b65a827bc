"""Where the hosts of one user answer: the private runtime folder with each host's socket, lock and record, and who may use it.

It knows neither HTTP nor the engine; a record is what one process needs to find another.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import stat
import sys
import tempfile
import time
import warnings
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Literal

import msgspec
import platformdirs

from engine.api import HostAddress
from engine.config import EngineConfig
from engine.errors import HostError, PlaceError
from engine.models import store

Transport = Literal["auto", "unix", "tcp"]
"""`auto` is a Unix socket, and loopback TCP with a token on Windows."""

_LONGEST_SOCKET_PATH = 103
"""Bytes; macOS has 104 with the final zero, Linux 108."""

_LONGEST_LOG = 1_000_000


class ServedConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a host says of its EngineConfig. Nothing here is checked: the host may be of another version, with other devices."""

    model: str = "?"
    device: str = "?"
    dtype: str = "?"
    threads: int = 0
    key: str = ""


class HostRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a serving host leaves in its private folder: who it is and how to reach it (the token included). `doors` are the URLs
    at which it answers other tools."""

    pid: int
    config: ServedConfig
    address: HostAddress
    started: float
    doors: tuple[str, ...] = ()


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """The files of the one host that serves a configuration."""

    folder: Path
    name: str

    @property
    def socket(self) -> Path:
        return self.folder / f"{self.name}.sock"

    @property
    def lock(self) -> Path:
        return self.folder / f"{self.name}.lock"

    @property
    def record(self) -> Path:
        return self.folder / f"{self.name}.json"


def version() -> str:
    """The installed version of dlsp."""
    try:
        return metadata.version("dlsp")
    except metadata.PackageNotFoundError:
        return "unknown"


def find_place(config: EngineConfig) -> Place:
    """The files for `config`, in a folder that is private to the user. Raises PlaceError where it cannot be made or trusted.

    The version is part of the name: after an upgrade a new host starts beside the old one, which leaves with its last client.
    """
    return Place(folder=runtime_folder(), name=f"{place_key(config)}-{version()}")


def place_key(config: EngineConfig) -> str:
    """`config.key`, or for the name of a pulled model one that also says which of its revisions is meant now: after it was adapted
    or pulled anew, the host that still has the old weights is not taken for the right one."""
    pulled = store.locate(config.model)
    return config.key if pulled is None else hashlib.blake2b(f"{config.key}\0{pulled}".encode(), digest_size=6).hexdigest()


def runtime_folder() -> Path:
    """The user's folder for sockets, made with mode 0700 when missing.

    Raises PlaceError when it belongs to somebody else, when others may enter it, or when a socket would have too long a path
    in every possible folder.
    """
    candidates = _candidates()
    for folder in candidates:
        socket_path = Place(folder=folder, name=f"{EngineConfig().key}-{version()}").socket
        if len(os.fsencode(socket_path)) > _LONGEST_SOCKET_PATH:
            continue
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError:
            raise PlaceError(
                f"{folder} is in the way: it is not a folder.", "Remove it, or set XDG_RUNTIME_DIR to a folder of yours."
            ) from None
        except OSError:
            continue  # Not writable, as /run/user without a login session is; the next candidate is the answer to that.
        check_private(folder)
        return folder
    raise PlaceError(
        f"There is no usable folder for the engine's socket (tried {', '.join(map(str, candidates))}).",
        "Set XDG_RUNTIME_DIR to a short, writable folder with mode 0700.",
    )


def check_private(path: Path) -> None:
    """Raise PlaceError unless `path` (a folder or a socket; a link is neither) is the user's own and closed to everybody else."""
    if sys.platform == "win32":
        return  # The folder lies in the user's profile, whose access list keeps others out; mode bits say nothing there.
    facts = os.lstat(path)
    if not (stat.S_ISDIR(facts.st_mode) or stat.S_ISSOCK(facts.st_mode)):
        raise PlaceError(f"{path} is neither a folder nor a socket.", "Remove it.")
    if facts.st_uid != os.geteuid():
        raise PlaceError(f"{path} belongs to another user (id {facts.st_uid}).", "Remove it, or set XDG_RUNTIME_DIR to a folder of yours.")
    if facts.st_mode & 0o077:
        raise PlaceError(f"Other users have access to {path} (mode {facts.st_mode & 0o777:o}).", f"Run `chmod go-rwx {path}`.")


def take_lock(path: Path) -> int | None:
    """The descriptor of the lock, held until it is closed or the process ends, or None while another process holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def is_lock_of(place: Place, lock: int) -> bool:
    """Whether the lock that is held as `lock` is the file that others find at its path: somebody may have emptied the folder."""
    try:
        return os.path.samestat(os.fstat(lock), os.stat(place.lock, follow_symlinks=False))
    except OSError:
        return False


def open_socket(place: Place, transport: Transport = "auto") -> tuple[socket.socket, HostAddress]:
    """A bound socket and the address to tell others. Only for the holder of the lock: what lies at the path is removed.

    Raises HostError when that is not a socket of the user's, or cannot be bound.
    """
    if transport == "auto":
        transport = "tcp" if sys.platform == "win32" or not hasattr(socket, "AF_UNIX") else "unix"
    place.record.unlink(missing_ok=True)
    if transport == "tcp":
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        return listener, HostAddress(url=url, token=secrets.token_urlsafe(32), pid=os.getpid())
    if os.path.lexists(place.socket):
        check_private(place.socket)
        place.socket.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(place.socket))
    except OSError as error:
        listener.close()
        raise HostError(f"The socket {place.socket} cannot be made: {error.strerror}.", "Run `dlsp doctor`.") from error
    finally:
        os.umask(before)
    return listener, HostAddress(socket=str(place.socket), pid=os.getpid())


def write_record(place: Place, config: EngineConfig, address: HostAddress, doors: tuple[str, ...] = ()) -> None:
    """Leave word for others, readable by the user only, at once or not at all. Written again, it keeps when the host started."""
    before = read_record(place.record)
    started = before.started if before is not None and before.pid == os.getpid() else time.time()
    served = ServedConfig(model=config.model, device=config.device, dtype=config.dtype, threads=config.threads, key=config.key)
    record = HostRecord(pid=os.getpid(), config=served, address=address, started=started, doors=doors)
    draft = place.record.with_suffix(f".{os.getpid()}.tmp")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(record))
    draft.replace(place.record)


def read_record(path: Path) -> HostRecord | None:
    """The record at `path`, or None when there is none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=HostRecord)
    except (OSError, msgspec.MsgspecError):
        return None


def running_hosts() -> list[HostRecord]:
    """The user's hosts, oldest first. What a host that was killed left behind does not count."""
    folder = runtime_folder()
    found = []
    for path in folder.glob("*.json"):
        record = read_record(path)
        if record is not None and lock_is_held(path.with_suffix(".lock")):
            found.append(record)
    return sorted(found, key=lambda record: record.started)


def lock_is_held(path: Path) -> bool:
    """Whether some process holds the lock at `path`."""
    if not path.exists():
        return False
    descriptor = take_lock(path)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is None


def accepts(address: HostAddress) -> bool:
    """Whether somebody listens at the address. Raises PlaceError for a socket that cannot be trusted."""
    if address.socket:
        if not os.path.lexists(address.socket):
            return False
        check_private(Path(address.socket))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            return probe.connect_ex(address.socket) == 0
    host, _, port = address.url.removeprefix("http://").partition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, int(port))) == 0


def log_file(place: Place) -> Path:
    """The file a host writes to, in the user's log folder, or beside the socket where that cannot be written (after one `sudo dlsp`
    it may be root's); started anew when it has grown too long."""
    name = f"engine-{place.name}.log"
    folder = platformdirs.user_log_path("dlsp")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(open_log(folder / name))
    except OSError:
        folder = place.folder
    path = folder / name
    with suppress(OSError):
        if path.stat().st_size > _LONGEST_LOG:
            path.unlink()
    return path


def open_log(path: str | Path) -> int:
    """A descriptor that appends to the log at `path`, which is made where it is missing."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _candidates() -> list[Path]:
    """Folders to try, best first; the last is short on every system."""
    user = f"dlsp-{os.geteuid()}" if hasattr(os, "geteuid") else "dlsp"
    found = []
    with warnings.catch_warnings(), suppress(PermissionError):
        # Without a login session platformdirs warns of its fallback, or refuses it; ours is checked all the same.
        warnings.simplefilter("ignore")
        found.append(platformdirs.user_runtime_path("dlsp"))
    found.append(Path(tempfile.gettempdir()) / user)
    if os.name == "posix":
        found.append(Path("/tmp") / user)
    return list(dict.fromkeys(found))
