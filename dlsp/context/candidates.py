"""What context sources share: the spot a prompt is made for, the candidates they offer, and how alike texts are.

Knows documents and the index only by what it is handed. Nothing here reads a file or waits.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import msgspec

from dlsp.context.exclude import holds_private_key, path_of
from dlsp.context.import_statements import HEAD_LINES, Imported, imports_in
from dlsp.context.recent_edits import RecentEdit
from dlsp.context.workspace import Workspace
from dlsp.documents import Point, Snapshot
from dlsp.settings import Settings
from dlsp.trigger import Decision

DEFAULT_TOKENS = 4096
"""What a model is taken to read where nobody knows."""
READ_CHARACTERS = 4
"""Characters a token has in source, on average: what is visible to the model is reckoned with it."""
PREFIX_SHARE = 0.5
"""The part of what a model reads that stands before the cursor."""
NEAR_LINES = 12
STEP_LINES = 6
"""Passages are compared in runs of two such steps."""
MOST_PASSAGE_LINES = 900
"""Only so much of a document is compared."""
_SURE = 0.8
_HEADER_LINES = 2_000
_LONGEST_LINE = 400
_MOST_IMPORTS = 60
_ATTRIBUTE = re.compile(r"(?:\.|->|::)([^\W\d]\w{2,})")
_WORD = re.compile(r"[^\W\d]\w{2,}")
_LANGUAGE_WORDS = """
and any args async await bool break case catch class const continue def default del dict elif else elseif end enum except export
extends false final finally float for from func function global impl import include int interface kwargs lambda let list local
match mod mut new nil none not null object pass print private protected pub public raise require return self set static str
string struct super switch then this throw true try tuple type typeof undefined until use using var void while with yield
None True False
"""
_COMMON = frozenset(_LANGUAGE_WORDS.split())


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of text that may help. `score` is 0 to 1; as long as `stamp` is what it was, the text stands where it was taken from.

    `path`, relative to the workspace folder, is filled in when a candidate is chosen.
    """

    source: str
    uri: str
    text: str
    score: float
    stamp: int = 0
    path: str = ""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What was chosen for an earlier request of a document, and the line it was chosen at."""

    uri: str
    line: int
    candidates: tuple[Candidate, ...]


class Origin(msgspec.Struct, frozen=True):
    """Who asks: a name for this process, and the workspace folders that paths are given relative to."""

    client: str = ""
    roots: tuple[Path, ...] = ()


class ContextSpot(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A place in a document, and all that a prompt for it may be made of.

    `open` are the other open documents, the one used last first; `cells` the earlier code cells of a notebook, the nearest
    last; `previous` is what the document's last request was given. `prompt_tokens` is how much the model reads, 0 if that is
    not known, `reads_snippets` whether text from elsewhere is of use to it. Sources are asked until `until`, a moment of
    `time.perf_counter`.
    """

    snapshot: Snapshot
    at: Point
    decision: Decision
    settings: Settings
    origin: Origin
    excluded: Callable[[str], bool]
    until: float
    open: tuple[Snapshot, ...] = ()
    recent: tuple[RecentEdit, ...] = ()
    workspace: Workspace | None = None
    cells: tuple[Snapshot, ...] = ()
    previous: Kept | None = None
    prompt_tokens: int = 0
    reads_snippets: bool = True

    @property
    def late(self) -> bool:
        """Whether the time for gathering is over."""
        return perf_counter() >= self.until

    @cached_property
    def read_characters(self) -> int:
        """About how many characters before the cursor the model reads, snippets included."""
        known = [n for n in (self.prompt_tokens, self.settings.prompt_tokens) if n]
        return int(min(known, default=DEFAULT_TOKENS) * PREFIX_SHARE * READ_CHARACTERS)

    @cached_property
    def room(self) -> int:
        """About how many characters of snippets the model will read."""
        share = int(self.read_characters * self.settings.context_share)
        return max(share, self.read_characters - len(self.snapshot.before(self.at, self.read_characters)))

    @cached_property
    def visible(self) -> tuple[int, int]:
        """The first line and the last one that the model surely sees."""
        limit = int(self.read_characters * (1 - self.settings.context_share))
        after = self.snapshot.following(self.at, int(self.read_characters * _SURE))
        last = self.at.line + after.count("\n")
        before = self.snapshot.before(self.at, limit)
        if len(before) <= limit * _SURE:
            return 0, last
        # What is cut is cut at a line, and the first quarter of it may go as well.
        return self.at.line - before[int(len(before) * (1 - _SURE)) :].count("\n") + 1, last

    @cached_property
    def own(self) -> frozenset[str]:
        """The visible lines of the document itself, without blanks at both ends."""
        first, last = self.visible
        return frozenset(line for raw in self.snapshot.lines[first : last + 1] if (line := raw[:_LONGEST_LINE].strip()))

    @cached_property
    def headers(self) -> tuple[int, ...]:
        """Numbers of the lines that the cursor's line is nested in by indentation, the outermost first."""
        lines, found = self.snapshot, []
        depth = _indent(lines.head(self.at)) if lines.line(self.at.line).strip() else self.at.column
        for number in range(self.at.line - 1, max(-1, self.at.line - _HEADER_LINES), -1):
            line = lines.lines[number][:_LONGEST_LINE]
            if depth == 0 or self.late:
                break
            if line.strip() and _indent(line) < depth and line.lstrip()[0] not in "#/*)]}":
                depth = _indent(line)
                found.append(number)
        return tuple(reversed(found))

    @cached_property
    def names(self) -> dict[str, float]:
        """Names near the cursor, with how much each one counts (up to 1): on its line, in its statement, in its headers, nearby."""
        weights: dict[str, float] = {}
        line = self.at.line

        def add(text: str, weight: float) -> None:
            for word in reversed(words_of(text[-_LONGEST_LINE:])):
                weights.setdefault(word, weight)

        add(self.snapshot.head(self.at), 1.0)
        add(self.snapshot.tail(self.at)[:_LONGEST_LINE], 0.97)
        for number in _statement(self.snapshot, self.at):
            add(self.snapshot.line(number), 0.95)
        for number in reversed(self.headers):
            add(self.snapshot.line(number), 0.9)
        for distance in range(1, NEAR_LINES + 1):
            for number in (line - distance, line + distance):
                add(self.snapshot.line(number), 0.88 - 0.02 * distance)
        return weights

    @cached_property
    def attributes(self) -> frozenset[str]:
        """Names near the cursor that something is asked for: what follows a dot."""
        first, last = max(0, self.at.line - NEAR_LINES), self.at.line + NEAR_LINES // 2
        near = (self.snapshot.line(number)[:_LONGEST_LINE] for number in range(first, last))
        return frozenset(name for line in near for name in _ATTRIBUTE.findall(line))

    @cached_property
    def imported(self) -> dict[str, Target]:
        """The names of this document that come from files of the workspace."""
        found: dict[str, Target] = {}
        if self.workspace is None:
            return found
        for each in _imports_of(self.snapshot.language, self.snapshot.lines[:HEAD_LINES])[:_MOST_IMPORTS]:
            if self.late:
                break
            uri = self.workspace.module(each.module, each.level, self.snapshot.uri) if each.name != "*" else None
            name = each.name
            if (name and uri is not None and self.workspace.defined_in(uri, name) is None) or uri is None:
                # `from package import module`: what is imported may be a file of its own.
                inner = f"{each.module}.{name}" if each.module else name
                within = self.workspace.module(inner, each.level, self.snapshot.uri) if name and name != "*" else None
                uri, name = (within, "") if within else (uri, name)
            if uri is not None:
                found[each.alias.rpartition(".")[2]] = Target(uri, name)
        return found

    def candidate(self, source: str, uri: str, text: str, score: float) -> Candidate:
        """A candidate from a document as it is now."""
        return Candidate(source=source, uri=uri, text=text, score=score, stamp=self.stamp(uri))

    def quotable(self, uri: str) -> bool:
        """Whether something of another document may be in the prompt: it is not excluded and holds no private key."""
        if self.excluded(uri):
            return False
        document = next((document for document in self.open if document.uri == uri), None)
        return document is None or not _is_private(document.lines)

    def stamp(self, uri: str) -> int:
        """A number that changes with a document; 0 for one that is not known."""
        if uri in self._versions:
            return self._versions[uri]
        return self.workspace.stamp(uri) if self.workspace is not None else 0

    @cached_property
    def _versions(self) -> dict[str, int]:
        return {document.uri: document.version for document in (*self.open, *self.cells, self.snapshot)}


Source = Callable[[ContextSpot], Iterable[Candidate]]
"""Offers candidates, the best first; a generator, so that it can be left when the time is over."""


class Target(NamedTuple):
    """Where an imported name comes from: a file of the workspace, and what it is called there ("" for the module itself)."""

    uri: str
    name: str


class Passage(NamedTuple):
    """Lines of a document [first, last), and how alike they are to what was looked for, 0 to 1."""

    first: int
    last: int
    likeness: float


def words_of(text: str) -> tuple[str, ...]:
    """The names in a text, without the words of languages, in order."""
    return tuple(word for word in _WORD.findall(text) if word not in _COMMON)


def likeness(one: frozenset[str], other: frozenset[str]) -> float:
    """Jaccard's index of two sets."""
    both = len(one & other)
    return both / (len(one) + len(other) - both) if both else 0.0


def best_passage(lines: tuple[str, ...], wanted: frozenset[str]) -> Passage | None:
    """The passage that shares most names with `wanted`, and what follows it as far as it belongs to it. None if none does.

    The measure is that of Copilot's neighbouring tabs: Jaccard's index of the names in windows of lines.
    """
    best, alike = -1, 0.0
    for number, names in enumerate(_windows(lines)):
        value = likeness(names, wanted)
        if value > alike:
            best, alike = number, value
    if best < 0:
        return None
    first, last = best * STEP_LINES, min(len(lines), (best + 2) * STEP_LINES)
    # What comes after lines like these is what one wants to know.
    most = min(len(lines), last + STEP_LINES)
    while last < most and (_indent(lines[last]) > 0 or not lines[last].strip()):
        last += 1
    while first < last and not lines[first].strip():
        first += 1
    return Passage(first, last, alike)


def passage_text(lines: Sequence[str]) -> str:
    """Lines as a snippet: "\\n" line ends, the common indentation and blank lines at both ends taken off."""
    plain = [line.rstrip() for line in lines]
    margin = min((_indent(line) for line in plain if line), default=0)
    return "\n".join(line[margin:] if _indent(line) >= margin else line.lstrip() for line in plain).strip("\n")


def relative_path(uri: str, roots: Sequence[Path]) -> str:
    """The path below the workspace folder, or the bare name: the folders above it are nobody's business."""
    path = path_of(uri)
    if path is None:
        return ""
    for root in roots:
        if path.is_relative_to(root):
            return path.relative_to(root).as_posix()
    return path.name


@functools.lru_cache(maxsize=64)
def _windows(lines: tuple[str, ...]) -> tuple[frozenset[str], ...]:
    """The names in each two neighbouring steps. A document that nobody changes is looked at once; strings keep their hashes."""
    starts = range(0, len(lines), STEP_LINES)
    steps = [frozenset(words_of("\n".join(line[:_LONGEST_LINE] for line in lines[n : n + STEP_LINES]))) for n in starts]
    return tuple(step.union(*steps[number + 1 : number + 2]) for number, step in enumerate(steps[: max(1, len(steps) - 1)]))


@functools.lru_cache(maxsize=64)
def _is_private(lines: tuple[str, ...]) -> bool:
    return holds_private_key(lines)


@functools.lru_cache(maxsize=32)
def _imports_of(language: str, lines: tuple[str, ...]) -> tuple[Imported, ...]:
    """Typing below its head leaves a document's imports as they were."""
    return imports_in(language, [line.rstrip("\r\n") for line in lines])


def _statement(snapshot: Snapshot, at: Point) -> list[int]:
    """Numbers of the lines above from which brackets are still open, so that the cursor's line goes on with them."""
    depth, seen, found = 0, [], []
    for number in range(at.line - 1, max(-1, at.line - NEAR_LINES), -1):
        line = snapshot.line(number)[:_LONGEST_LINE]
        if not line.strip():
            break
        depth += sum(map(line.count, ")]")) - sum(map(line.count, "(["))
        seen.append(number)
        if depth < 0:
            found += seen
            depth, seen = 0, []
    return found


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))
