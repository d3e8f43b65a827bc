"""Which files never enter a prompt: secrets, what the settings name, and what `.gitignore` and `.dlspignore` files name.

Knows paths, secrets' names and what a private key looks like; what happens to a file that is excluded is decided elsewhere.
"""

from __future__ import annotations

import functools
import logging
import os
import posixpath
import re
import stat
import time
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from dlsp.context.ignore_patterns import is_pattern
from dlsp.context.ignore_patterns import rules as rules_of

log = logging.getLogger(__name__)

IGNORE_FILES = (".gitignore", ".dlspignore")
"""Read in every folder from the repository's (or, outside of one, the workspace's) down to the document's; what stands later here, or
deeper, has the last word. `.git/info/exclude` comes before both."""
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
    "*.p8",
    "*.p12",
    "*.keytab",
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
    "*_credentials.json",
    "client_secret*.json",
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
    "*.tfvars*",
    "*.tfstate*",
    ".ssh/",
    ".gnupg/",
    ".aws/",
    ".kube/",
    "**/.docker/config.json",
    ".dockercfg",
    ".dockerconfigjson",
    "*.db",
    "*.sqlite*",
    "*.bak",
)
"""Names of files that hold secrets, or data that may; .gitignore patterns, all in lower case."""

VERDICT_SECONDS = 2.0
"""How long a verdict is believed before the ignore files are looked at again: a network drive may take long to answer."""
LINK_SECONDS = 30.0
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
        self._roots = tuple(map(PurePath, roots))
        self._names = tuple(name for root in self._roots for name in (root, PurePath(os.path.realpath(root))))
        self._secrets = SECRETS if secrets else ()
        self._lasts = lasts
        for glob in self._globs:
            if not is_pattern(glob):
                log.warning("The exclude pattern %r is not valid and is ignored.", glob)
        self._verdicts: dict[str, tuple[float, str]] = {}
        self._folders: dict[tuple[PurePath, PurePath], tuple[float, _Folder]] = {}
        self._tops: dict[PurePath, tuple[float, PurePath]] = {}
        self._reals: dict[PurePath, tuple[float, PurePath]] = {}

    def excludes(self, uri: str) -> bool:
        """Whether the document may not be read. Documents that are not files go by their name, and by their path if they have one."""
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
        found = (level.file for root in self._roots for level in self._folder(root, self._top_of(root)).levels)
        return tuple(dict.fromkeys(found))

    def forget(self) -> None:
        """Look at the ignore files anew: one of them has changed."""
        self._verdicts, self._folders, self._tops, self._reals = {}, {}, {}, {}

    def _why(self, uri: str) -> str:
        now, verdicts = time.monotonic(), self._verdicts
        known = verdicts.get(uri)
        if known is not None and now - known[0] < self._lasts:
            return known[1]
        if len(verdicts) >= _MOST_VERDICTS:
            verdicts.clear()
        verdict = self._judge(uri)
        # Not into a table that somebody has meanwhile emptied because an ignore file changed.
        verdicts[uri] = (now, verdict)
        return verdict

    def _judge(self, uri: str) -> str:
        path = path_of(uri)
        if path is None:
            said = _plain_path(uri)
            # A buffer that was never saved may have the path it will be saved to, and an older version the file's.
            path = PurePath(said) if said.startswith("/") else PurePath(said or uri.rpartition(":")[2])
            if self._root_of(path) is None:
                return self._by_name(path) or self._by_setting(path)
        try:
            real = self._real(path)
        except ValueError:
            return "its name, which no file can have"
        return self._by_path(path) or (self._by_path(real) if real != path else "")

    def _real(self, path: PurePath) -> PurePath:
        """The file that a path leads to. Links change less often than ignore files, and there is one look for each part of the path."""
        now, reals = time.monotonic(), self._reals
        known = reals.get(path)
        if known is None or now - known[0] >= LINK_SECONDS * bool(self._lasts):
            if len(reals) >= _MOST_VERDICTS:
                reals.clear()
            reals[path] = known = (now, PurePath(os.path.realpath(path)))
        return known[1]

    def _by_path(self, path: PurePath) -> str:
        root = self._root_of(path)
        why = self._by_name(path, len(root.as_posix().strip("/").split("/")) if root is not None else 0)
        why = why or self._by_setting(path.relative_to(root) if root is not None else path)
        if why or not path.is_absolute():
            return why
        folder = self._folder(path.parent, self._top_of(root or path.parent))
        return folder.why or _named(folder.levels, path, folder=False)

    def _root_of(self, path: PurePath) -> PurePath | None:
        """The workspace folder that holds a file, the outermost of several; also where one of the two is named through a link."""
        return min((name for name in self._names if path.is_relative_to(name)), key=lambda name: len(name.parts), default=None)

    def _by_name(self, path: PurePath, above: int = 0) -> str:
        """Whether a file or a folder it is in has the name of a secret. Of the `above` folders that lead to the workspace only those
        count that are known to hold nothing else: who works in a folder called `secrets` is not to be left without completions."""
        parts, rules = path.as_posix().lower().strip("/").split("/"), rules_of(self._secrets)
        for number in range(len(parts)):
            rule = rules.named("/".join(parts[max(0, number - 1) : number + 1]), folder=number < len(parts) - 1)
            if rule is not None and (number >= above or rule.folders):
                return f"the pattern {rule.pattern} for secrets"
        return ""

    def _by_setting(self, path: PurePath) -> str:
        rule = rules_of(self._globs).excluding(path.as_posix().lstrip("/")) if self._globs else None
        return f"the pattern {rule.pattern} of the setting `exclude`" if rule else ""

    def _top_of(self, root: PurePath) -> PurePath:
        """The folder from which ignore files count: that of the repository which holds a workspace folder, or the folder itself."""
        now, tops = time.monotonic(), self._tops
        known = tops.get(root)
        if known is None or now - known[0] >= self._lasts:
            above = (root, *root.parents)[:_MOST_LEVELS]
            known = (now, next((folder for folder in above if os.path.lexists(folder / ".git")), root))
            tops[root] = known
        return known[1]

    def _folder(self, path: PurePath, top: PurePath) -> _Folder:
        """What is known of a folder. Read anew when it has aged."""
        now, folders = time.monotonic(), self._folders
        known = folders.get((path, top))
        if known is not None and now - known[0] < self._lasts:
            return known[1]
        if len(folders) >= _MOST_VERDICTS:
            folders.clear()
        if path == top or not path.is_relative_to(top):
            folder = _Folder("", _levels_in(path))
        else:
            above = self._folder(path.parent, top)
            # Below an excluded folder nothing is let in again, whatever stands there; git does the same.
            why = above.why or _named(above.levels, path, folder=True)
            folder = _Folder(why, above.levels if why else (*above.levels, *_levels_in(path)))
        folders[path, top] = (now, folder)
        return folder


class _Folder(NamedTuple):
    """What excludes a folder with all that is in it ("" for nothing), and the ignore files for what is in it, the last word last."""

    why: str
    levels: tuple[_Level, ...]


class _Level(NamedTuple):
    """One ignore file: its patterns are relative to `base`."""

    base: PurePath
    file: Path
    patterns: tuple[str, ...]


def holds_private_key(texts: Iterable[str]) -> bool:
    """Whether one of the texts (lines will do) begins a private key. No piece of such a file belongs into anybody's prompt."""
    return any("-" in text and _PRIVATE_KEY.search(text) is not None for text in texts)


def is_ignore_file(uri: str) -> bool:
    """Whether a file says what is excluded, so that every verdict is in doubt once it changes."""
    path = path_of(uri)
    return path is not None and (path.name in IGNORE_FILES or path.as_posix().endswith("/.git/info/exclude"))


@functools.lru_cache(maxsize=4096)
def path_of(uri: str) -> PurePath | None:
    """The path of a `file:` URI (or of a notebook cell, which lives in a file); None for documents that are not files."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return None
    if parts.scheme not in ("file", "vscode-notebook-cell") or not parts.path:
        return None
    path = _plain_path(uri)
    if "/." in path or "//" in path:
        path = posixpath.normpath(path)
    if len(path) > 2 and path[0] == "/" and path[2] == ":":
        # /c:/folder/file: a drive, whatever system we run on.
        path = path[1:]
    return PurePath(f"//{parts.netloc}{path}" if parts.netloc and parts.netloc != "localhost" else path)


def _plain_path(uri: str) -> str:
    try:
        # A name need not be valid UTF-8.
        return unquote(urlsplit(uri).path, errors="surrogateescape")
    except ValueError:
        return ""


def _named(levels: Sequence[_Level], path: PurePath, *, folder: bool) -> str:
    """What excludes a path; "" if nothing does, or if the last pattern that names it lets it in."""
    for level in reversed(levels):
        if (rule := rules_of(level.patterns).named(path.relative_to(level.base).as_posix(), folder=folder)) is not None:
            return f"{rule.pattern!r} in {level.file}" if rule.excludes else ""
    return ""


def _levels_in(folder: PurePath) -> tuple[_Level, ...]:
    found = [_level(folder, file) for file in (_git_exclude(folder), *(folder / name for name in IGNORE_FILES)) if file]
    return tuple(level for level in found if level is not None)


def _git_exclude(folder: PurePath) -> PurePath | None:
    """`.git/info/exclude`; in a further work tree `.git` is a file that says where that is."""
    git = Path(folder) / ".git"
    try:
        if stat.S_ISDIR(git.stat().st_mode):
            return git / "info" / "exclude"
        own = folder / git.read_text(encoding="utf-8", errors="surrogateescape").removeprefix("gitdir:").strip()
        common = Path(own) / "commondir"
        return (own / common.read_text(encoding="utf-8").strip() if common.is_file() else own) / "info" / "exclude"
    except (OSError, ValueError):
        return None


def _level(base: PurePath, file: PurePath) -> _Level | None:
    patterns = _patterns(Path(file))
    return _Level(base, Path(file), patterns) if patterns else None


def _patterns(path: Path) -> tuple[str, ...]:
    """The lines of an ignore file, read anew whenever it changes; none where there is no such file."""
    try:
        facts = path.stat()
    except (OSError, ValueError):
        return ()
    return _read(path, facts.st_mtime_ns, facts.st_size) if stat.S_ISREG(facts.st_mode) else ()


@functools.lru_cache(maxsize=256)
def _read(path: Path, changed_ns: int, size: int) -> tuple[str, ...]:
    """`changed_ns` is part of the key only. A file that cannot be read excludes everything: it was put there to keep files out."""
    if size > _MOST_IGNORE_BYTES:
        log.warning("%s is larger than %d bytes; every file below it is excluded.", path, _MOST_IGNORE_BYTES)
        return ("*",)
    try:
        # As git does: what is no UTF-8 is bytes like others, and a mark of UTF-8 is none of the first pattern.
        text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
    except OSError:
        text = "\0"
    if "\0" in text:
        log.warning("%s cannot be read; every file below it is excluded.", path)
        return ("*",)
    return tuple(text.split("\n"))
