"""`dlsp bench context`: held-out packages as workspaces on the disk, and requests as the language server would make them there.

Makes requests only; who answers and scores them is in `engine.bench.context`. Knows no model.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import msgspec

from dlsp.context.candidates import ContextSpot, Origin
from dlsp.context.definition_scan import definitions_in, language_of
from dlsp.context.exclude import Exclusions
from dlsp.context.gather import SOURCES, gather
from dlsp.context.recent_edits import RecentEdit
from dlsp.context.workspace import Workspace
from dlsp.documents import Point, Snapshot, opened
from dlsp.settings import Settings
from dlsp.trigger import Decision
from engine.api import InfillRequest
from engine.errors import RequestError

OPEN_FILES = 3
RECENT_EDITS = 3
_EDIT_LINES = 8
_NO_LIMIT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Place:
    """A cursor in a file of a package; `before` and `after` are the file's text without what stands in the hole."""

    package: str
    path: str
    language: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What requests are made with. `prompt_tokens` is what the model is to read; `budget_ms` 0 asks every source to its end."""

    share: float
    prompt_tokens: int
    deadline_ms: int = 0
    budget_ms: int = 0
    seed: int = 0


@dataclass(slots=True)
class Made:
    """A request and what gathering it took: milliseconds, and snippets by source."""

    request: InfillRequest
    gather_ms: float
    snippets: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Package:
    root: Path
    files: Mapping[str, Snapshot]
    exclusions: Exclusions
    workspace: Workspace
    loop: asyncio.AbstractEventLoop


def source_sets(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The sets of sources to compare: none, each alone, all, and all without each. Raises RequestError for an unknown source."""
    known = [name for name, _ in SOURCES]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise RequestError(f"There is no context source {unknown[0]!r}.", f"Use {', '.join(known)}.")
    chosen = tuple(name for name in known if not names or name in names)
    sets: dict[str, tuple[str, ...]] = {"none": ()}
    sets |= {name: (name,) for name in chosen}
    if len(chosen) > 1:
        sets["all"] = chosen
    if len(chosen) > 2:
        sets |= {f"all but {name}": tuple(other for other in chosen if other != name) for name in chosen}
    return sets


@contextmanager
def workspaces(files: Mapping[str, Mapping[str, str]], plan: Plan) -> Iterator[Callable[[Place, tuple[str, ...]], Made]]:
    """Something that makes the request of a place with a set of sources. `files` are texts by package and path.

    Each package is written to a temporary folder and indexed as the server would do it. The place's own document is open,
    without what stands in the hole, and so are three other files of the package, drawn by lot; as recent edits stand passages
    of those files, drawn by lot as well, because nobody recorded how they were written.
    """
    loop = asyncio.new_event_loop()
    known: dict[str, _Package] = {}
    with TemporaryDirectory(prefix="dlsp-bench-context-") as folder:
        try:
            yield lambda place, sources: _made(_package(known, files, Path(folder), place.package, loop), place, sources, plan)
        finally:
            for package in known.values():
                package.workspace.close()
            loop.run_until_complete(asyncio.sleep(0))
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()


def _package(
    known: dict[str, _Package], files: Mapping[str, Mapping[str, str]], folder: Path, name: str, loop: asyncio.AbstractEventLoop
) -> _Package:
    if name not in known:
        root = folder / f"package-{len(known)}"
        snapshots = {}
        for path, text in files[name].items():
            place = root / PurePosixPath(path)
            if not place.resolve().is_relative_to(root.resolve()):
                raise RequestError(f"The package {name} has a file outside of itself ({path}).", "Build the corpus anew.")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="utf-8", newline="")
            snapshots[path] = opened(place.as_uri(), 1, language_of(PurePosixPath(path)), text)
        # Secrets have their names here as everywhere, and nothing else is excluded: ignore files above a repository do not count.
        (root / ".git").mkdir()
        exclusions = Exclusions((), (root,), lasts=3600.0)
        workspace = Workspace((root,), exclusions.excludes, exclusions.excludes_folder, quiet=0.0)
        loop.run_until_complete(workspace.settled())
        known[name] = _Package(root, snapshots, exclusions, workspace, loop)
    return known[name]


def _made(package: _Package, place: Place, sources: tuple[str, ...], plan: Plan) -> Made:
    whole = package.files[place.path]
    document = opened(whole.uri, 2, place.language, place.before + place.after)
    lines = place.before.split("\n")
    others = _drawn(package, place, plan.seed)
    package.workspace.document_changed(document)
    package.loop.run_until_complete(package.workspace.settled())
    try:
        began = time.perf_counter()
        spot = ContextSpot(
            snapshot=document,
            at=Point(len(lines) - 1, len(lines[-1])),
            decision=Decision(),
            settings=_settings(sources, plan),
            origin=Origin(client="bench", roots=(package.root,)),
            excluded=package.exclusions.excludes,
            until=began + (plan.budget_ms / 1000 or _NO_LIMIT_SECONDS),
            open=others,
            recent=_edits(others, f"{place.path}:{plan.seed}"),
            workspace=package.workspace,
            prompt_tokens=plan.prompt_tokens,
        )
        gathered = gather(spot)
        elapsed = 1000 * (time.perf_counter() - began)
    finally:
        package.workspace.document_closed(document.uri)
        package.loop.run_until_complete(package.workspace.settled())
    # The model reads no more than the sources were told, whatever it could read.
    limits = msgspec.structs.replace(gathered.request.limits, prompt_tokens=plan.prompt_tokens)
    request = msgspec.structs.replace(gathered.request, limits=limits)
    return Made(request, elapsed, {name: count for name, _, count in gathered.took if count})


def _settings(sources: tuple[str, ...], plan: Plan) -> Settings:
    return msgspec.convert({"context": sources, "contextShare": plan.share, "deadlineMs": plan.deadline_ms}, Settings)


def _drawn(package: _Package, place: Place, seed: int) -> tuple[Snapshot, ...]:
    """Other files of the package, as somebody who works on it might have them open: half of them from the same folder."""
    rng = random.Random(f"{place.path}:{seed}")
    own = PurePosixPath(place.path)
    names = [path for path, file in sorted(package.files.items()) if path != place.path and file.language == place.language and file.size]
    beside = [path for path in names if PurePosixPath(path).parent == own.parent]
    rng.shuffle(names)
    rng.shuffle(beside)
    chosen = list(dict.fromkeys([*beside[: OPEN_FILES // 2 + 1], *names]))[:OPEN_FILES]
    return tuple(package.files[path] for path in chosen)


def _edits(documents: Sequence[Snapshot], seed: str) -> tuple[RecentEdit, ...]:
    rng = random.Random(seed)
    found = []
    for number, document in enumerate(documents[:RECENT_EDITS]):
        lines = [document.line(n) for n in range(len(document.lines))]
        starts = [each.line for each in definitions_in(document.language, lines) if each.kind != "constant"] or [0]
        first = rng.choice(starts)
        text = "\n".join(lines[first : first + _EDIT_LINES]).strip("\n")
        found.append(RecentEdit(document.uri, document.language, "", text, -float(number), first))
    return tuple(found)
