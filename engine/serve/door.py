"""A door: the TCP address at which a host also answers tools that cannot use its private socket, and who may come in there.

It knows addresses and sockets; what is behind a door is the app's business.
"""

from __future__ import annotations

import errno
import ipaddress
import re
import socket

import msgspec

from engine.errors import ConfigError, HostError

_BACKLOG = 128
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s]+")
_LOOPBACK_NAMES = ("localhost", "ip6-localhost")


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a request. `token` empty: none. `hosts` are the names the server may be called by (without port), where
    none are given any will do. `origins` are the pages that may use it from a browser, such as `https://example.org`."""

    token: str = ""
    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()


class DoorOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where a door is and whom it lets in. Port 0 is any free one. Off loopback there must be a `token`.

    `origins` are the web pages that may use it from a browser, `*` any. Raises ConfigError on creation.
    """

    host: str = "127.0.0.1"
    port: int = 8012
    token: str = ""
    origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"There is no port {self.port}.", "Use a number from 1 to 65535, or 0 for any free port.")
        if self.token and not (self.token.isascii() and self.token.isprintable() and " " not in self.token):
            raise ConfigError("The token has characters that do not fit into a header.", "Use letters and digits.")
        for origin in self.origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ConfigError(f"{origin!r} is no origin of a page.", "Use SCHEME://HOST or SCHEME://HOST:PORT, or * for any page.")
        if not self.loopback and not self.token:
            raise ConfigError(
                f"On {self.host} everybody in the network could use the engine, so it needs a token.",
                "Set DLSP_HTTP_TOKEN (or --token), or use 127.0.0.1.",
            )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        if self.host.lower() in _LOOPBACK_NAMES:
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def admission(self) -> Admission:
        """What is asked of whoever comes in. With a token the name does not matter: a page of another site does not know it."""
        names = {"localhost", "127.0.0.1", "[::1]", self.host.lower(), f"[{self.host.lower()}]"}
        return Admission(token=self.token, hosts=frozenset() if self.token else frozenset(names), origins=frozenset(self.origins))


class OpenDoor(msgspec.Struct, frozen=True, kw_only=True):
    """A door that stands open."""

    url: str


def parse_door(address: str, token: str = "", origins: tuple[str, ...] = ()) -> DoorOptions:
    """The door at `HOST:PORT`, `[IPv6]:PORT`, `:PORT` or `PORT`; without a host on loopback. Raises ConfigError."""
    text = address.strip().removeprefix("http://").rstrip("/")
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon and not port.isdigit():
        host, port = text, str(DoorOptions().port)
    host = host.removeprefix("[").removesuffix("]")
    if not (port.isascii() and port.isdigit() and len(port) < 10) or any(sign in host for sign in "/@[] ") or host.endswith(":"):
        raise ConfigError(f"{address!r} is no address to serve at.", "Use HOST:PORT, such as 127.0.0.1:8012 or [::1]:8012.")
    # A browser says the origin in small letters and without a slash behind it.
    origins = tuple(origin.lower().rstrip("/") for origin in origins)
    return DoorOptions(host=host or "127.0.0.1", port=int(port), token=token, origins=origins)


def bind(options: DoorOptions) -> socket.socket:
    """A socket that listens at the door. Raises HostError where it cannot be had."""
    try:
        found = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        raise HostError(f"{options.host} is no address of this machine.", "Use 127.0.0.1, or 0.0.0.0 for all its networks.") from None
    # A name such as localhost may have addresses of both kinds, and more tools write 127.0.0.1 than [::1].
    family, kind, protocol, _, where = min(found, key=lambda each: each[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows, where the other option would let two programs share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise HostError(
                f"Another program uses port {options.port} on {options.host} already.",
                "Name another port, or end that program (`dlsp engine --status` lists the engines).",
            ) from None
        raise HostError(f"The engine cannot serve on {options.host}:{options.port}: {error.strerror}.", "Name another address.") from None
    return listener


def url_of(listener: socket.socket) -> str:
    """The URL of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
