"""Which files never enter a prompt: secrets, what the settings name, and what `.gitignore` and `.dlspignore` files name.

Knows paths, patterns and what a private key looks like; what happens to a file that is excluded is decided elsewhere.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

log = logging.getLogger(__name__)

IGNORE_FILES = (".gitignore", ".dlspignore")
"""Read in every folder from the workspace's root down to the document's; what stands later here, or deeper, has the last word."""
_MOST_IGNORE_BYTES = 100_000

SECRETS = (
    "*.env",
    ".env*",
    ".dev.vars*",
    "*.pem",
    "*.key",
    "*.ppk",
    "*.crt",
    "*.cert",
    "*.cer",
    "*.der",
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
    ".s3cfg",
    ".boto",
    ".vault*",
    ".vault*/",
    "kubeconfig",
    "kubeconfig.*",
    "*.tfvars",
    "*.tfstate",
    ".ssh/",
    ".gnupg/",
    ".aws/",
    ".kube/",
    ".docker/config.json",
    "*.db",
    "*.sqlite*",
    "*.bak",
)
"""Names of files that hold secrets, or data that may; .gitignore patterns, all in lower case."""

VERDICT_SECONDS = 2.0
"""How long a verdict is believed before the ignore files are looked at again: a network drive may take long to answer."""
_MOST_VERDICTS = 20_000
_MOST_LEVELS = 40
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY( BLOCK)?-----|^PuTTY-User-Key-File-\d", re.MULTILINE)


class Exclusions:
    """The patterns in force. Secrets cannot be let in again by a pattern that begins with `!`.

    A link is judged by its own name and by that of the file it leads to. May be asked from several threads.
    """

    def __init__(
        self, globs: Sequence[str] = (), roots: Sequence[Path] = (), *, secrets: bool = True, lasts: float = VERDICT_SECONDS
    ) -> None:
        self._globs = tuple(globs)
        self._roots = tuple(roots)
        self._secrets = SECRETS if secrets else ()
        self._lasts = lasts
        self._verdicts: dict[str, tuple[float, str]] = {}
        self._levels: dict[Path, tuple[float, tuple[_Level, ...]]] = {}

    def excludes(self, uri: str) -> bool:
        """Whether the document may not be read. Documents that are not files go by the last part of their name."""
        return bool(self._why(uri))

    def excludes_folder(self, folder: Path) -> bool:
        """Whether everything in a folder is excluded, so that nobody need look into it."""
        # What is asked is a file that nobody names one by one: it is excluded only if its folder is.
        return self.excludes((folder / "\u00b7").absolute().as_uri())

    def explain(self, uri: str) -> str:
        """One sentence about a document: whether it may be read, and what says so."""
        why = self._why(uri)
        return f"It is excluded by {why}." if why else "It is not excluded: no pattern for secrets, no setting and no ignore file names it."

    def ignore_files(self) -> tuple[Path, ...]:
        """The ignore files that hold for the workspace folders themselves; those in folders further down are found as they are needed."""
        found = (level.file for root in self._roots for level in self._levels_of(Path(root), PurePath("x")))
        return tuple(dict.fromkeys(found))

    def forget(self) -> None:
        """Look at the ignore files anew: one of them has changed."""
        self._verdicts.clear()
        self._levels.clear()

    def _why(self, uri: str) -> str:
        now = time.monotonic()
        known = self._verdicts.get(uri)
        if known is not None and now - known[0] < self._lasts:
            return known[1]
        if len(self._verdicts) >= _MOST_VERDICTS:
            self._verdicts.clear()
        verdict = self._judge(uri)
        self._verdicts[uri] = (now, verdict)
        return verdict

    def _judge(self, uri: str) -> str:
        path = path_of(uri)
        if path is None:
            name = PurePath(unquote(urlsplit(uri).path).lstrip("/") or uri.rpartition(":")[2])
            return self._by_name(name) or self._by_setting(name)
        real = PurePath(os.path.realpath(path))
        verdict = self._by_path(path)
        return verdict or (self._by_path(real) if real != path else "")

    def _by_path(self, path: PurePath) -> str:
        if verdict := self._by_name(path):
            return verdict
        root = self._root_of(path)
        if root is None:
            return self._by_setting(path)
        relative = PurePath(path).relative_to(root)
        return self._by_setting(relative) or self._by_ignore_files(root, relative)

    def _root_of(self, path: PurePath) -> Path | None:
        """The workspace folder that holds a file, also where one of the two is named through a link."""
        for root in self._roots:
            for name in (root, Path(os.path.realpath(root))):
                if path.is_relative_to(name):
                    return name
        return None

    def _by_name(self, path: PurePath) -> str:
        pattern = _matching(self._secrets, path.as_posix().lower())
        return f"the pattern {pattern} for secrets" if pattern else ""

    def _by_setting(self, path: PurePath) -> str:
        pattern = _matching(self._globs, path.as_posix())
        return f"the pattern {pattern} of the setting `exclude`" if pattern else ""

    def _by_ignore_files(self, root: Path, relative: PurePath) -> str:
        path, verdict = root / relative, ""
        for level in self._levels_of(root, relative):
            found = _compiled(level.patterns).check_file(path.relative_to(level.base).as_posix())
            if found.include is not None:
                verdict = f"{level.patterns[found.index or 0]!r} in {level.file}" if found.include else ""
        return verdict

    def _levels_of(self, root: Path, relative: PurePath) -> tuple[_Level, ...]:
        """The ignore files that count for a file, the ones with the last word last. Read anew when they have aged."""
        folder, now = root / relative.parent, time.monotonic()
        known = self._levels.get(folder)
        if known is not None and now - known[0] < self._lasts:
            return known[1]
        if len(self._levels) >= _MOST_VERDICTS:
            self._levels.clear()
        above = self._levels_of(root, relative.parent) if relative.parts[:-1] else _levels_above(root)
        levels = (*above, *_levels_in(folder))
        self._levels[folder] = (now, levels)
        return levels


class _Level(NamedTuple):
    """One ignore file: its patterns are relative to `base`."""

    base: Path
    file: Path
    patterns: tuple[str, ...]


def holds_private_key(texts: Iterable[str]) -> bool:
    """Whether one of the texts (lines will do) begins a private key. No piece of such a file belongs into anybody's prompt."""
    return any("-" in text and _PRIVATE_KEY.search(text) is not None for text in texts)


def is_ignore_file(uri: str) -> bool:
    """Whether a file says what is excluded, so that every verdict is in doubt once it changes."""
    path = path_of(uri)
    return path is not None and (path.name in IGNORE_FILES or path.as_posix().endswith("/.git/info/exclude"))


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


def _matching(patterns: tuple[str, ...], path: str) -> str:
    """The pattern that excludes a path, or ""."""
    if not patterns:
        return ""
    found = _compiled(patterns).check_file(path.lstrip("/"))
    return patterns[found.index or 0] if found.include else ""


@functools.lru_cache(maxsize=256)
def _compiled(patterns: tuple[str, ...]) -> GitIgnoreSpec:
    # Imported late: this is not needed before the first document is open.
    from pathspec import GitIgnoreSpec

    good: list[str] = []
    for pattern in patterns:
        try:
            GitIgnoreSpec.from_lines([pattern])
        except ValueError:
            log.warning("The exclude pattern %r is not valid and is ignored.", pattern)
            # A comment in its place keeps the numbers of the others.
            good.append("#")
        else:
            good.append(pattern)
    return GitIgnoreSpec.from_lines(good)


def _levels_above(root: Path) -> tuple[_Level, ...]:
    """`.git/info/exclude`, and the `.gitignore` files above a workspace folder up to the one that holds `.git`."""
    if not root.is_absolute():
        return ()
    above: list[Path] = []
    for folder in (root, *root.parents)[:_MOST_LEVELS]:
        if (folder / ".git").exists():
            own = _level(folder, folder / ".git" / "info" / "exclude")
            levels = [own] if own else []
            for each in reversed(above):
                levels += [level for level in _levels_in(each) if level.file.name == ".gitignore"]
            return tuple(levels)
        if folder.parent != folder:
            above.append(folder.parent)
    return ()


def _levels_in(folder: Path) -> list[_Level]:
    found = (_level(folder, folder / name) for name in IGNORE_FILES)
    return [level for level in found if level is not None]


def _level(base: Path, file: Path) -> _Level | None:
    patterns = _patterns(file)
    return _Level(base, file, patterns) if patterns else None


def _patterns(path: Path) -> tuple[str, ...]:
    """The lines of an ignore file, read anew whenever it changes; none where there is no such file."""
    try:
        facts = path.stat()
    except OSError:
        return ()
    return _read(path, facts.st_mtime_ns, facts.st_size)


@functools.lru_cache(maxsize=256)
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
