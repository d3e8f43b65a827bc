"""Fetches the packages of `corpus.toml` through their own clients (pip, npm, apt-get) and lists the files inside.

What is fetched is pinned: a file whose sha256 is not the one in the list is refused, and a file that is already there is
not fetched again. It knows archives and clients, not what is worth learning.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec

from engine.errors import ConfigError, DlspError
from engine.train import corpus_licences
from engine.train.corpus_licences import DebianCopyright, Verdict
from engine.train.languages import Language, language_of, language_of_script, may_be_script

WHEEL_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux1_x86_64")
"""The same wheel on every machine: its Python files are what is wanted, and nothing in it is run."""


class Package(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of `corpus.toml`. `files` maps the names of what is fetched to their sha256.

    `only` and `skip` are beginnings of paths inside the package, `also` names of licences in its Debian copyright file
    that are permissive under a name of their own, `megabytes` replaces the general cap, and training draws from the package
    `weight` times as often as its size says.
    """

    name: str
    kind: str
    version: str
    licence: str
    files: dict[str, str]
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    megabytes: float | None = None
    weight: Annotated[float, msgspec.Meta(gt=0)] = 1.0

    @property
    def label(self) -> str:
        """The name, told apart from a package of another kind under the same name (`redis`, `debian:redis`)."""
        return self.name if self.kind == "wheel" else f"{self.kind}:{self.name}"

    @staticmethod
    def parse(name: str, kind: str, entry: dict[str, Any]) -> Package:
        """Raises ConfigError where the entry misses a field, or has one that nobody knows or of another type."""
        try:
            return msgspec.convert({**entry, "name": name, "kind": kind}, Package)
        except msgspec.ValidationError as error:
            raise ConfigError(f"The entry of {name} in corpus.toml is wrong: {error}.", "Compare it with its neighbours.") from error


@dataclass(slots=True)
class Archive:
    """A fetched package. `entries` lists its source files; their paths leave out the one folder that holds a whole source archive."""

    package: Package
    verdict: Verdict
    entries: Callable[[], Iterator[Entry]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in a package: `read` gives its bytes. `allowed` is what the package's own list says of this file's licence."""

    path: str
    size: int
    language: Language
    read: Callable[[], bytes]
    allowed: bool = True


def fetch(package: Package, downloads: Path, report: Callable[[str], None]) -> list[Path]:
    """The files of a package, fetched where they are not in `downloads` yet and checked against the pins.

    Raises DlspError where a client is missing or fails, or where what came is not what is pinned.
    """
    downloads = downloads.resolve()  # the clients run inside it, where a relative path leads elsewhere
    downloads.mkdir(parents=True, exist_ok=True)
    paths = [downloads / name for name in package.files]
    if any(not path.exists() for path in paths):
        report(f"fetching {package.name} {package.version}")
        CLIENTS[package.kind](package, downloads)
    for path in paths:
        if not path.exists():
            raise DlspError(f"{package.name} {package.version} came under another file name than {path.name}.", f"Look into {downloads}.")
        found = _sha256(path)
        if found != package.files[path.name]:
            raise DlspError(
                f"{path.name} is not the file that corpus.toml pins (sha256 {found[:12]}...).",
                "Delete it and run the command again; if it comes back so, change the pin.",
            )
    return paths


def open_package(package: Package, paths: list[Path]) -> Archive:
    """Reads the licence metadata of fetched files. The entries are read when they are asked for."""
    if package.kind == "wheel":
        return _open_wheel(package, paths[0])
    if package.kind == "npm":
        return _open_npm(package, paths[0])
    return _open_deb(package, paths[0]) if package.kind == "deb" else _open_debian(package, paths)


def _wheel_client(package: Package, downloads: Path) -> None:
    options = ["--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--implementation", "cp", "--python-version", "3.11"]
    options += [part for abi in ("cp311", "abi3", "none") for part in ("--abi", abi)]
    options += [part for platform in WHEEL_PLATFORMS for part in ("--platform", platform)]
    _run(
        [sys.executable, "-m", "pip", "download", "-q", *options, "-d", str(downloads), f"{package.name}=={package.version}"],
        package,
        downloads,
    )


def _npm_client(package: Package, downloads: Path) -> None:
    _run(["npm", "pack", "--silent", "--ignore-scripts", f"{package.name}@{package.version}"], package, downloads)


def _debian_client(package: Package, downloads: Path) -> None:
    """Source and packaging are fetched apart, since a mirror may have lost the packaging of an old revision."""
    with _own_apt(downloads, package) as apt:
        wanted = f"{package.name}={package.version}"
        _run([*apt, "source", "--download-only", "--tar-only", "--only-source", wanted], package, downloads)
        if len(package.files) > 1:
            _run([*apt, "source", "--download-only", "--diff-only", "--only-source", wanted], package, downloads)


def _deb_client(package: Package, downloads: Path) -> None:
    """Binary packages of scripts: what is in them is source all the same."""
    with _own_apt(downloads, package) as apt:
        _run([*apt, "download", f"{package.name}={package.version}"], package, downloads)


@contextmanager
def _own_apt(downloads: Path, package: Package) -> Iterator[list[str]]:
    """An apt-get with lists of its own, of the archives this machine already uses: nothing of its set-up is changed."""
    with tempfile.TemporaryDirectory() as sources:
        apt = _apt(downloads / "apt", Path(sources))
        if not any((downloads / "apt" / "lists").glob("*_Sources*")):
            _run([*apt, "update"], package, downloads)
        yield apt


def _apt(own: Path, sources: Path) -> list[str]:
    for folder in ("lists/partial", "cache"):
        (own / folder).mkdir(parents=True, exist_ok=True)
    system = Path("/etc/apt")
    for path in [system / "sources.list", *sorted((system / "sources.list.d").glob("*"))]:
        if path.suffix == ".sources" and path.is_file():
            (sources / path.name).write_text(path.read_text().replace("Types: deb\n", "Types: deb deb-src\n"))
        elif path.suffix == ".list" and path.is_file():
            lines = [line for line in path.read_text().splitlines() if line.startswith("deb ")]
            lines += [line.replace("deb ", "deb-src ", 1) for line in lines]
            (sources / path.name).write_text("\n".join(lines) + "\n")
    options = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": sources,
        "Dir::State::lists": own / "lists",
        "Dir::Cache": own / "cache",
        "APT::Architecture": "amd64",  # the same files on every machine
        "APT::Sandbox::User": "root",
    }
    return ["apt-get", "-qq", *(part for key, value in options.items() for part in ("-o", f"{key}={value}"))]


def _run(command: list[str], package: Package, downloads: Path) -> None:
    if shutil.which(command[0]) is None:
        raise DlspError(
            f"{package.name} is fetched with {command[0]}, which is not installed.", "Install it, or pass --allow-missing to build without."
        )
    done = subprocess.run(command, capture_output=True, text=True, cwd=downloads)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise DlspError(
            f"{Path(command[0]).name} could not fetch {package.name} {package.version}: {last}",
            "Check the network and run it again (what was fetched is kept), or pass --allow-missing to build without it.",
        )


CLIENTS: dict[str, Callable[[Package, Path], None]] = {
    "wheel": _wheel_client,
    "npm": _npm_client,
    "debian": _debian_client,
    "deb": _deb_client,
}


def _open_wheel(package: Package, path: Path) -> Archive:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        metadata = next((n for n in names if n.endswith(".dist-info/METADATA") and n.count("/") == 1), None)
        licences = [n for n in names if ".dist-info/" in n and "licen" in n.lower() and not n.endswith("/")]
        text = "\n".join(archive.read(n).decode("utf-8", "replace") for n in licences)
        verdict = corpus_licences.of_wheel(archive.read(metadata).decode("utf-8", "replace") if metadata else "", text)

    def entries() -> Iterator[Entry]:
        with zipfile.ZipFile(path) as archive:
            for info in sorted(archive.infolist(), key=lambda i: i.filename):
                top = info.filename.split("/", 1)[0]
                language = language_of(info.filename)
                if language is not None and not info.is_dir() and not top.endswith((".dist-info", ".data")):
                    yield Entry(info.filename, info.file_size, language, partial(archive.read, info.filename))

    return Archive(package, verdict, entries)


def _open_npm(package: Package, path: Path) -> Archive:
    with tarfile.open(path) as archive:
        member = next((m for m in archive if m.isfile() and m.name.count("/") == 1 and m.name.endswith("/package.json")), None)
        verdict = corpus_licences.of_npm(_bytes(archive, member).decode() if member else "{}")
    return Archive(package, verdict, lambda: _tar_entries(path, lambda _: True))


def _open_debian(package: Package, paths: list[Path]) -> Archive:
    source, packaging = paths[0], paths[1] if len(paths) > 1 else None
    if packaging is None:
        return Archive(
            package,
            Verdict(corpus_licences.permissive(package.licence), "as listed; notices in the files"),
            lambda: _tar_entries(source, lambda _: True),
        )
    with tarfile.open(packaging) as archive:
        copyright_file = DebianCopyright(_bytes(archive, archive.getmember("debian/copyright")).decode("utf-8", "replace"), package.also)
    if not copyright_file.readable:
        raise ConfigError(
            f"debian/copyright of {package.name} names no files.", "List its source alone in corpus.toml, without the packaging."
        )
    return Archive(package, Verdict(True, "debian/copyright, file by file"), lambda: _tar_entries(source, copyright_file.allows))


def _open_deb(package: Package, path: Path) -> Archive:
    with tarfile.open(fileobj=_deb_data(path)) as archive:
        member = next((m for m in archive if m.isfile() and m.name.startswith("./usr/share/doc/") and m.name.endswith("/copyright")), None)
        text = _bytes(archive, member).decode("utf-8", "replace") if member else ""
    copyright_file = DebianCopyright(text, package.also)
    licence = copyright_file.licence("*") or "nothing said file by file"
    verdict = Verdict(copyright_file.allows("*"), licence)
    return Archive(package, verdict, lambda: _tar_entries(_deb_data(path), copyright_file.allows_installed))


def _deb_data(path: Path) -> io.BytesIO:
    """The file tree of a .deb, which is an `ar` archive of three members: each has a header of 60 bytes and even length."""
    raw = path.read_bytes()
    position = len(b"!<arch>\n")
    while position < len(raw):
        name, size = raw[position : position + 16].strip(), int(raw[position + 48 : position + 58])
        if name.startswith(b"data.tar"):
            return io.BytesIO(raw[position + 60 : position + 60 + size])
        position += 60 + size + size % 2
    raise DlspError(f"{path.name} is not a Debian package.", "Delete it and run the command again.")


def _tar_entries(source: Path | io.BytesIO, allowed: Callable[[str], bool]) -> Iterator[Entry]:
    stream = {"fileobj": source} if isinstance(source, io.BytesIO) else {"name": source}
    with tarfile.open(**stream) as archive:
        # Read as it comes: a seek backwards in a compressed archive would unpack everything before it again.
        for member in archive:
            name = member.name.removeprefix("./")
            if not member.isfile() or "/" not in name:
                continue
            inner = name.split("/", 1)[1]
            language, read = language_of(inner), partial(_bytes, archive, member)
            if language is None and may_be_script(inner, member.size):
                raw = read()
                language, read = language_of_script(raw), partial(bytes, raw)
            if language is not None:
                yield Entry(inner, member.size, language, read, allowed(inner))


def _bytes(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    content = archive.extractfile(member)
    assert content is not None, "only regular files are asked for"
    return content.read()


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
