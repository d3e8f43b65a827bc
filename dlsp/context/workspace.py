"""The workspace index: which names the user's own files define, and where modules and neighbours lie. Built in the background.

Files are read in a thread and scanned on the loop, a few milliseconds at a time and only while nobody types. Knows no prompts.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePath

import msgspec

from dlsp.context.definition_scan import Found, family_of, is_generated, language_of, scan
from dlsp.context.exclude import holds_private_key, path_of
from dlsp.context.import_statements import Imported, imports_in
from dlsp.context.workspace_files import MOST_BYTES, MOST_FILES, Reading, facts_of, is_foreign, read, read_batches, unpack, walk
from dlsp.documents import Snapshot

log = logging.getLogger(__name__)

QUIET_SECONDS = 0.3
"""Nothing is scanned until nobody has typed for so long."""
SLICE_SECONDS = 0.003
MOST_DOCUMENT_CHARACTERS = 1_000_000
MOST_DEFINITIONS = 2_000
STALE_SECONDS = 2.0
"""Where the client watches no files, a file that was used is looked at again after this time."""
WATCHED_SECONDS = 60.0
"""The same where it does: of a folder that was renamed with all that is in it, not every client tells."""
WALK_SECONDS = 300.0
_MOST_ANSWERS = 8
_MOST_ALIKE = 4
_MOST_SIBLINGS = 24
_MOST_MODULES = 4096
_BATCH = 32
_PY_FILES = (".py", "/__init__.py", ".pyi", "/__init__.pyi")
_JS_FILES = ("", ".ts", ".tsx", ".js", ".jsx", ".mjs", ".cjs", ".d.ts", "/index.ts", "/index.tsx", "/index.js")


class Definition(msgspec.Struct, frozen=True, gc=False):
    """A definition in one of the user's files; `text` is its signature, first line of description and members (600 characters).

    There are tens of thousands of them and they refer to nothing, so the garbage collector need not look at them.
    """

    name: str
    kind: str
    uri: str
    path: str
    line: int
    text: str


class Entry(msgspec.Struct, frozen=True):
    """What the index knows of a file. `packed` is empty for an open document, whose text is the editor's; `weight` is what the file and
    its definitions count of `MOST_BYTES`."""

    path: str
    language: str
    facts: tuple[int, int]
    packed: bytes
    stamp: int
    names: tuple[str, ...]
    reexports: tuple[Imported, ...]
    weight: int = 0


class Workspace:
    """The index of some folders. All methods but those of its own thread are for the event loop's thread; none of them reads a file.

    `excluded` is asked in a thread as well, both when a file is read and whenever something of it is given out.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        excluded: Callable[[str], bool],
        excludes_folder: Callable[[Path], bool] = lambda folder: False,
        *,
        quiet: float = QUIET_SECONDS,
    ) -> None:
        self.watched = False
        """Whether somebody tells of changed files; else used ones are looked at again soon."""
        self._roots = tuple(root for root in roots if root.is_absolute())
        self._excluded = excluded
        self._excludes_folder = excludes_folder
        self._quiet = quiet
        self._files: dict[str, Entry] = {}
        self._names: dict[str, dict[str, tuple[Definition, ...]]] = {}
        self._paths: dict[str, str] = {}
        self._folders: dict[str, dict[str, None]] = {}
        self._open: dict[str, Snapshot] = {}
        self._dirty: dict[str, None] = {}
        self._changed: dict[str, None] = {}
        self._used: dict[str, float] = {}
        self._bases: dict[PurePath, tuple[str, ...]] = {}
        self._modules: dict[tuple[str, int, str], str | None] = {}
        self._bytes = 0
        self._stamps = 0
        self._typed = 0.0
        self._walked = 0.0
        self._walk_due = True
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    # Life

    def start(self) -> None:
        """Begin to read the folders, in the background."""
        if self._task is None and not self._closed:
            self._task = asyncio.create_task(self._run())

    def close(self) -> None:
        """Stop, and forget everything."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
        for known in (self._files, self._names, self._paths, self._folders, self._open, self._dirty, self._changed, self._used):
            known.clear()

    async def settled(self) -> None:
        """Returns when all that is known to have changed is in the index."""
        self.start()
        await self._idle.wait()

    # What is told

    def document_changed(self, snapshot: Snapshot) -> None:
        """A document was opened or changed: its text counts from now on, not the file's."""
        self._typed = time.monotonic()
        self._open[snapshot.uri] = snapshot
        self._due(self._dirty, snapshot.uri)

    def document_closed(self, uri: str) -> None:
        """A document was closed: what is on the disk counts again, if anything is."""
        if self._open.pop(uri, None) is not None:
            self._dirty.pop(uri, None)
            self._drop(uri)
            self._due(self._changed, uri)

    def files_changed(self, uris: Iterable[str]) -> None:
        """Files were written, made or removed, as somebody else says."""
        for uri in uris:
            path = path_of(uri)
            # Clients do not all escape a path in the same way.
            known = self._paths.get(path.as_posix(), uri) if path is not None and language_of(path) else ""
            if known and known not in self._open:
                self._due(self._changed, known)

    def exclusions_changed(self) -> None:
        """What is excluded has changed: of files that are now nothing is given out any more, and those that are no more are looked for."""
        for uri in self._open:
            self._due(self._dirty, uri)
        self._walk_due = True
        self._rouse()

    # What is asked

    def definitions(self, name: str, near: str) -> tuple[Definition, ...]:
        """What is defined by a name, the nearest files first; nothing from excluded files. None for names that are everywhere."""
        by_file = self._names.get(name, {})
        files = by_file if len(by_file) <= 4 * _MOST_ANSWERS else by_file.keys() & {near}
        known = [definition for uri in files for definition in by_file[uri]]
        found = sorted(known, key=lambda d: (_distance(near, d.uri), d.uri, d.line))[:_MOST_ANSWERS]
        return tuple(definition for definition in found if self._use(definition.uri))

    def defined_in(self, uri: str, name: str) -> Definition | None:
        """What a module means by a name; where a package's `__init__` only passes it on, what the module it comes from means."""
        for _ in range(2):
            entry = self._files.get(uri)
            if entry is None:
                return None
            if found := self._names.get(name, {}).get(uri):
                return found[0] if self._use(uri) else None
            source = next((i for i in entry.reexports if i.alias == name and i.name), None)
            target = self.module(source.module, source.level, uri) if source else None
            if source is None or target is None:
                return None
            uri, name = target, source.name
        return None

    def module(self, name: str, level: int, uri: str) -> str | None:
        """The file that an import in `uri` means, if it is one of the workspace's. JavaScript's relative modules have level 0."""
        key = (name, level, uri)
        if key not in self._modules:
            if len(self._modules) >= _MOST_MODULES:
                self._modules.clear()
            self._modules[key] = self._found_module(name, level, uri)
        return self._modules[key]

    def siblings(self, uri: str) -> tuple[str, ...]:
        """Files like this one: what tests it or is tested by it, then those of its folder, the likest names first."""
        path = path_of(uri)
        if path is None:
            return ()
        family, stem = family_of(language_of(path)), _plain_stem(path.name)
        near = [other for other in self._folders.get(path.parent.as_posix(), ()) if other != uri]
        # Tests have their files' names, and lie in another folder.
        near += [other for other in self._folders.get(f"*{stem}", ()) if other != uri and other not in near]
        alike = [other for other in near if family_of(self._files[other].language) == family]
        alike.sort(key=lambda other: (-_shared(stem, _plain_stem(other)), other))
        return tuple(other for other in alike[:_MOST_SIBLINGS] if self._use(other))

    def text(self, uri: str) -> str:
        """A file's text as the editor has it, or as it was read; empty for files that are not in the index or excluded."""
        entry = self._files.get(uri)
        if entry is None or not self._use(uri):
            return ""
        snapshot = self._open.get(uri)
        return snapshot.text if snapshot is not None else unpack(entry.packed)

    def lines(self, uri: str) -> tuple[str, ...]:
        """The lines of `text`, without line ends where the file was read."""
        entry = self._files.get(uri)
        if entry is None or not self._use(uri):
            return ()
        snapshot = self._open.get(uri)
        return snapshot.lines if snapshot is not None else _lines(entry.packed)

    def language(self, uri: str) -> str:
        """The language of a file of the index."""
        entry = self._files.get(uri)
        return entry.language if entry else ""

    def stamp(self, uri: str) -> int:
        """A number that changes when the file is read anew; 0 for files that are not in the index."""
        entry = self._files.get(uri)
        return entry.stamp if entry else 0

    def __len__(self) -> int:
        return len(self._files)

    # Background

    async def _run(self) -> None:
        while True:
            try:
                await self._catch_up()
            except Exception as error:  # noqa: BLE001 - one file that nobody can make sense of must not cost all the others.
                log.error("A file could not be taken into the workspace index: %s.", type(error).__name__)
                continue
            if not self._wake.is_set():
                self._idle.set()
            await self._wake.wait()
            self._wake.clear()

    async def _catch_up(self) -> None:
        if self._walk_due:
            self._walk_due = False
            await self._walk()
        while self._dirty or self._changed or self._stale():
            await self._quietly()
            if self._dirty:
                uri = next(iter(self._dirty))
                del self._dirty[uri]
                await self._take_document(uri)
            elif self._changed:
                uris = list(itertools.islice(self._changed, _BATCH))
                for uri in uris:
                    del self._changed[uri]
                await self._take_files([uri for uri in uris if uri not in self._open])
            else:
                await self._look_again()

    async def _walk(self) -> None:
        self._walked = time.monotonic()
        paths = await asyncio.to_thread(walk, self._roots, self._excludes_folder, lambda: self._closed)
        known = list(self._files)
        excluded = await asyncio.to_thread(lambda: [uri for uri in known if self._excluded(uri)])
        for uri in excluded:
            self._drop(uri)
        there = {path.as_posix() for path in paths}
        for uri in [uri for uri, entry in self._files.items() if entry.path not in there and uri not in self._open]:
            self._drop(uri)
        fresh = [path for path in paths if path.as_posix() not in self._paths]
        batches = read_batches(fresh, self._excluded, MOST_BYTES - self._bytes)
        while (batch := await asyncio.to_thread(next, batches, None)) is not None:
            for reading in batch:
                if self._bytes < MOST_BYTES:
                    await self._take_reading(reading)
        log.info("The workspace index has %d files.", len(self._files))

    async def _take_files(self, uris: Sequence[str]) -> None:
        readings = await asyncio.to_thread(self._read, uris)
        for uri, reading in zip(uris, readings, strict=True):
            self._drop(uri)
            if reading is not None and self._bytes < MOST_BYTES and len(self._files) < MOST_FILES:
                await self._take_reading(reading)

    def _read(self, uris: Sequence[str]) -> list[Reading | None]:
        """In a thread."""
        found: list[Reading | None] = []
        for uri in uris:
            path = path_of(uri)
            ours = path is not None and self._is_inside(path) and not self._excluded(uri)
            found.append(read(Path(path)) if path is not None and ours else None)
        return found

    async def _take_reading(self, reading: Reading) -> None:
        uri = self._paths.get(reading.path.as_posix()) or reading.path.as_uri()
        await self._quietly()
        if uri not in self._open:
            entry = Entry(reading.path.as_posix(), reading.language, reading.facts, reading.packed, 0, (), ())
            await self._scan(uri, entry, reading.text.splitlines())

    async def _take_document(self, uri: str) -> None:
        snapshot = self._open.get(uri)
        if snapshot is None:
            return
        path = path_of(uri)
        private = snapshot.size > MOST_DOCUMENT_CHARACTERS or holds_private_key(snapshot.lines) or self._excluded(uri)
        if path is None or not language_of(path) or private or is_generated(path.name, "".join(snapshot.lines[:12])):
            for known in (uri, self._paths.get(path.as_posix(), "") if path is not None else ""):
                self._drop(known)
            return
        entry = Entry(path.as_posix(), language_of(path), (0, 0), b"", 0, (), ())
        await self._scan(uri, entry, [snapshot.line(number) for number in range(len(snapshot.lines))])

    async def _scan(self, uri: str, entry: Entry, lines: list[str]) -> None:
        """Take a file into the index. What was known of it holds until all of it is scanned."""
        snapshot, began = self._open.get(uri), time.perf_counter()
        found: dict[str, list[Found]] = {}
        number = 0
        for each in scan(entry.language, lines):
            if each is not None:
                found.setdefault(each.name, []).append(each)
                number += 1
            if number >= MOST_DEFINITIONS:
                break
            if time.perf_counter() - began > SLICE_SECONDS:
                await self._quietly()
                began = time.perf_counter()
        if self._closed or (self._open.get(uri) is not snapshot and uri in self._dirty):
            return
        passes_on = imports_in(entry.language, lines) if entry.path.endswith(("/__init__.py", "/__init__.pyi")) else ()
        known = self._paths.get(entry.path, "")
        for each_uri in {uri, known}:
            self._take_out(each_uri)
        self._stamps += 1
        weight = entry.facts[1] + sum(len(each.text) for all_found in found.values() for each in all_found[:_MOST_ALIKE])
        self._files[uri] = msgspec.structs.replace(entry, stamp=self._stamps, names=tuple(found), reexports=passes_on, weight=weight)
        self._bytes += weight
        self._paths[entry.path] = uri
        if known != uri:
            self._forget_imports()
        for folder in _shelves(entry.path):
            self._folders.setdefault(folder, {})[uri] = None
        name = PurePath(entry.path).name
        for word, all_found in found.items():
            self._names.setdefault(word, {})[uri] = tuple(
                Definition(word, f.kind, uri, name, f.line, f.text) for f in all_found[:_MOST_ALIKE]
            )
        await asyncio.sleep(0)

    async def _look_again(self) -> None:
        """Whether files that were used are still as they were read."""
        uris = [uri for uri in self._used if uri not in self._open]
        self._used.clear()
        known = [(uri, self._files[uri].facts, Path(self._files[uri].path)) for uri in uris if uri in self._files]
        now = await asyncio.to_thread(lambda: [facts_of(path) for _, _, path in known])
        for (uri, facts, _), fact in zip(known, now, strict=True):
            if fact != facts:
                self._changed[uri] = None
        if time.monotonic() - self._walked > WALK_SECONDS:
            await self._walk()

    def _stale(self) -> bool:
        oldest = next(iter(self._used.values()), None)
        return oldest is not None and time.monotonic() - oldest >= (WATCHED_SECONDS if self.watched else STALE_SECONDS)

    async def _quietly(self) -> None:
        """Let the loop turn; wait while somebody types."""
        await asyncio.sleep(0)
        while (left := self._typed + self._quiet - time.monotonic()) > 0:  # noqa: ASYNC110 - that time passes is signalled by nobody.
            await asyncio.sleep(left)

    def _due(self, what: dict[str, None], uri: str) -> None:
        what[uri] = None
        self._rouse()

    def _rouse(self) -> None:
        self._idle.clear()
        self._wake.set()

    # Tables

    def _use(self, uri: str) -> bool:
        """Whether something of a file may be given out; notes that it was."""
        if self._excluded(uri):
            return False
        if uri not in self._open:
            self._used.setdefault(uri, time.monotonic())
            if self._stale():
                self._wake.set()
        return True

    def _drop(self, uri: str) -> None:
        """Forget a file; the imports that meant it mean another one, or none."""
        if uri in self._files:
            self._take_out(uri)
            self._forget_imports()

    def _forget_imports(self) -> None:
        self._bases.clear()
        self._modules.clear()

    def _take_out(self, uri: str) -> None:
        entry = self._files.pop(uri, None)
        if entry is None:
            return
        self._bytes -= entry.weight
        self._paths.pop(entry.path, None)
        for folder in _shelves(entry.path):
            if (shelf := self._folders.get(folder)) is not None:
                shelf.pop(uri, None)
                if not shelf:
                    del self._folders[folder]
        for word in entry.names:
            if (files := self._names.get(word)) is not None:
                files.pop(uri, None)
                if not files:
                    del self._names[word]

    def _file(self, base: str, endings: Sequence[str]) -> str | None:
        return next((uri for ending in endings if (uri := self._paths.get(base + ending))), None)

    def _found_module(self, name: str, level: int, uri: str) -> str | None:
        path = path_of(uri)
        if path is None:
            return None
        if family_of(language_of(path)) == "javascript":
            return self._file(_joined(path.parent, name), _JS_FILES) if name.startswith(".") else None
        below = name.replace(".", "/")
        if level:
            base = path.parents[level - 1] if level <= len(path.parents) else None
            return self._file(_joined(base, below), _PY_FILES) if base is not None else None
        if path.parent not in self._bases:
            self._bases[path.parent] = self._import_folders(path.parent)
        return next((found for base in self._bases[path.parent] if (found := self._file(f"{base}/{below}", _PY_FILES))), None)

    def _import_folders(self, folder: PurePath) -> tuple[str, ...]:
        """Where absolute imports may begin: above a file's package, at the workspace's folders and their `src`, beside the file."""
        top = folder
        while self._file(top.as_posix(), ("/__init__.py", "/__init__.pyi")) and top.parent != top:
            top = top.parent
        roots = [folder for root in self._roots for folder in (PurePath(root), PurePath(root) / "src", PurePath(root) / "lib")]
        return tuple(dict.fromkeys(base.as_posix() for base in (top, *roots, folder)))

    def _is_inside(self, path: PurePath) -> bool:
        """Whether a file belongs to the workspace and not to what is only installed there."""
        for root in self._roots:
            if path.is_relative_to(root):
                return not any(is_foreign(part) for part in path.relative_to(root).parts[:-1])
        return False


@functools.lru_cache(maxsize=64)
def _lines(packed: bytes) -> tuple[str, ...]:
    return tuple(unpack(packed).splitlines())


def _joined(folder: PurePath, below: str) -> str:
    return os.path.normpath(f"{folder.as_posix()}/{below}").replace("\\", "/")


def _shelves(path: str) -> tuple[str, str]:
    """Where a file is found again: by its folder, and by its name without what marks tests."""
    pure = PurePath(path)
    return pure.parent.as_posix(), f"*{_plain_stem(pure.name)}"


def _plain_stem(path: str) -> str:
    stem = path.rpartition("/")[2].partition(".")[0]
    return stem.removeprefix("test_").removesuffix("_test").removesuffix("_spec").removesuffix("Test")


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """How many items both begin with."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


@functools.lru_cache(maxsize=4096)
def _distance(one: str, other: str) -> int:
    """How many folders apart two files lie; 0 for a file itself, 1 in the same folder."""
    if one == other:
        return 0
    a, b = one.split("/")[:-1], other.split("/")[:-1]
    return 1 + len(a) + len(b) - 2 * _shared(a, b)
