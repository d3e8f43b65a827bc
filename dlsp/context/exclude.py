"""Which files never enter a prompt: secrets, what the settings name, and what `.gitignore` and `.dlspignore` files name.

Knows paths and patterns only; what asks for it and what happens to a file that is excluded is decided elsewhere.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

log = logging.getLogger(__name__)

IGNORE_FILES = (".gitignore", ".dlspignore")
"""Read in every folder from the workspace's root down to the document's; what stands later here, or deeper, has the last word."""
_MOST_IGNORE_BYTES = 100_000

SECRETS = (
    ".env",
    ".env.*",
    "*.env",
    ".envrc",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.jks",
    "*.keystore",
    "*.kdbx",
    "*.asc",
    "*.gpg",
    "id_rsa*",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
    "authorized_keys",
    "credentials",
    "credentials.*",
    "*.credentials",
    "secrets",
    "secrets.*",
    "*.secret",
    "*.secrets",
    "service-account*.json",
    ".netrc",
    "_netrc",
    ".npmrc",
    ".pypirc",
    ".pgpass",
    ".htpasswd",
    ".git-credentials",
    "*.tfvars",
    "*.tfstate",
    ".ssh/",
    ".gnupg/",
    ".aws/",
    ".kube/",
    ".docker/config.json",
)


class Exclusions:
    """The patterns in force. Secrets cannot be let in again by a pattern that begins with `!`."""

    def __init__(self, globs: Sequence[str] = (), roots: Sequence[Path] = ()) -> None:
        self._globs = tuple(globs)
        self._roots = tuple(roots)

    def excludes(self, uri: str) -> bool:
        """Whether the document may not be read. Documents that are not files go by the last part of their name."""
        path = path_of(uri)
        if path is None:
            path = PurePath(unquote(urlsplit(uri).path).lstrip("/") or uri.rpartition(":")[2])
        if _matches(SECRETS, path.as_posix().lower()):
            return True
        if not self._roots:
            return _matches(self._globs, path.as_posix())
        for root in self._roots:
            if path.is_relative_to(root):
                relative = path.relative_to(root).as_posix()
                return _matches(self._globs, relative) or _ignored(Path(root), PurePath(relative))
        return _matches(self._globs, path.as_posix())


def path_of(uri: str) -> PurePath | None:
    """The path of a `file:` URI (or of a notebook cell, which lives in a file); None for documents that are not files."""
    parts = urlsplit(uri)
    if parts.scheme not in ("file", "vscode-notebook-cell") or not parts.path:
        return None
    path = unquote(parts.path)
    if len(path) > 2 and path[0] == "/" and path[2] == ":":
        # /c:/folder/file: a drive, whatever system we run on.
        path = path[1:]
    return PurePath(f"//{parts.netloc}{path}" if parts.netloc and parts.netloc != "localhost" else path)


def _matches(patterns: tuple[str, ...], path: str) -> bool:
    return bool(patterns) and _compiled(patterns).match_file(path.lstrip("/"))


@functools.lru_cache(maxsize=64)
def _compiled(patterns: tuple[str, ...]) -> GitIgnoreSpec:
    # Imported late: this is not needed before the first document is open.
    from pathspec import GitIgnoreSpec

    good: list[str] = []
    for pattern in patterns:
        try:
            GitIgnoreSpec.from_lines([pattern])
        except ValueError:
            log.warning("The exclude pattern %r is not valid and is ignored.", pattern)
        else:
            good.append(pattern)
    return GitIgnoreSpec.from_lines(good)


def _ignored(root: Path, relative: PurePath) -> bool:
    """Whether the ignore files from `root` down to the file's folder exclude the file."""
    verdict = False
    for depth in range(len(relative.parts)):
        folder = root.joinpath(*relative.parts[:depth])
        below = PurePath(*relative.parts[depth:]).as_posix()
        for name in IGNORE_FILES:
            patterns = _patterns(folder / name)
            include = _compiled(patterns).check_file(below).include if patterns else None
            verdict = verdict if include is None else include
    return verdict


def _patterns(path: Path) -> tuple[str, ...]:
    """The lines of an ignore file, read anew whenever it changes; none where there is no such file."""
    try:
        facts = path.stat()
    except OSError:
        return ()
    return _read(path, facts.st_mtime_ns, facts.st_size)


@functools.lru_cache(maxsize=64)
def _read(path: Path, changed_ns: int, size: int) -> tuple[str, ...]:
    """`changed_ns` is part of the key only. A file that cannot be read excludes everything: it was put there to keep files out."""
    if size > _MOST_IGNORE_BYTES:
        log.warning("%s is larger than %d bytes; every file below it is excluded.", path, _MOST_IGNORE_BYTES)
        return ("*",)
    try:
        return tuple(path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        log.warning("%s cannot be read; every file below it is excluded.", path)
        return ("*",)
