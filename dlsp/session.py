"""The session: settings, documents, backend, suggestions and status of one editor; the one mutable thing of the server.

What is done with them per request is decided in `answer.py`; the protocol is not known here.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from dlsp.backends.base import Backend
from dlsp.context.candidates import ContextSpot, Kept, Origin
from dlsp.context.exclude import Exclusions, is_ignore_file
from dlsp.context.recent_edits import RecentEdits
from dlsp.context.workspace import Workspace
from dlsp.documents import Change, Edit, Encoding, Point, Snapshot, changed, opened
from dlsp.flights import Flights
from dlsp.history import EditHistory
from dlsp.holes.last import LastFilling
from dlsp.notebooks import Notebooks
from dlsp.outcomes import Ledger
from dlsp.pace import Pace, median
from dlsp.settings import Options, Settings, read_file, read_options, resolve
from dlsp.status import StatusBoard
from dlsp.suggestions import SuggestionStore, site_of
from dlsp.syntax import prepare, supports
from dlsp.trigger import Decision, Overrides
from engine.api import Status
from engine.errors import DlspError

log = logging.getLogger(__name__)

CreateBackend = Callable[[Settings], Backend]
"""Makes the backend that the settings name; raises DlspError if they make none."""


class Document(msgspec.Struct, frozen=True):
    """A document that is open in the editor, and what was done to it lately.

    `several_cursors`: the last message made the same change in several places. `just_accepted`: it was the acceptance of a
    suggestion as a whole. `focused` rises with every document that is used; the highest is the one in use. `kept` is what the last
    request about it was given from elsewhere.
    """

    snapshot: Snapshot
    history: EditHistory = EditHistory()
    several_cursors: bool = False
    just_accepted: bool = False
    focused: int = 0
    kept: Kept | None = None


class Session:
    """Everything that is remembered between two messages of one editor. All methods must be called on the event loop's thread."""

    def __init__(self, create_backend: CreateBackend, *, config_file: Path | None = None) -> None:
        self.documents: dict[str, Document] = {}
        self.suggestions = SuggestionStore()
        self.flights = Flights()
        self.turns: dict[tuple[str, str], Turn] = {}
        self.status = StatusBoard()
        self.encoding: Encoding = "utf-16"
        self.pace = Pace()
        self.last_filling = LastFilling()
        self.overrides = Overrides()
        self.ledger = Ledger()
        self.recent = RecentEdits()
        self.notebooks = Notebooks()
        self.origin = Origin(client=uuid.uuid4().hex)
        self._create_backend = create_backend
        self._file = read_file(config_file) if config_file else Options()
        self._initial = Options()
        self._configured = Options()
        self.settings = resolve((self._file,))
        self.exclusions = self._exclusions()
        self.workspace: Workspace | None = None
        self.backend: Backend | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._settled = asyncio.Event()
        self._started = False
        self._durations: deque[float] = deque(maxlen=8)
        self._focus = 0
        self._watched = False

    # Documents

    def open(self, uri: str, version: int, language: str, text: str) -> None:
        """A document was opened; its text is now the editor's to change."""
        self._focus += 1
        self.documents[uri] = Document(opened(uri, version, language, text), focused=self._focus)
        if supports(language):
            # The first parse of a language loads its grammar, which takes longer than a keystroke may.
            asyncio.get_running_loop().run_in_executor(None, prepare, language)
        if self.workspace is not None:
            self.workspace.document_changed(self.documents[uri].snapshot)

    def change(self, uri: str, version: int, changes: Iterable[Change]) -> None:
        """A document was changed. Changes to a document that is not open are ignored."""
        document = self.documents.get(uri)
        if document is None:
            log.warning("A change came for a document that is not open.")
            return
        before, now = document.snapshot, time.monotonic()
        snapshot, edits = changed(before, version, changes, self.encoding)
        self._focus += 1
        # The text first: whatever goes wrong below, it must stay equal to the editor's.
        document = self.documents[uri] = msgspec.structs.replace(
            document,
            snapshot=snapshot,
            history=document.history.extended(edits),
            several_cursors=_is_in_several_places(edits),
            just_accepted=False,
            focused=self._focus,
        )
        verdicts = self.ledger.changed(before, snapshot, edits, now)
        if any(verdict.outcome == "accepted" for verdict in verdicts):
            self.documents[uri] = msgspec.structs.replace(document, just_accepted=True)
        for verdict in verdicts:
            if verdict.outcome == "rejected":
                self.pace.rejected(now)
                self.suggestions.reject(site_of(before, verdict.at), verdict.site_text)
            elif verdict.outcome in ("accepted", "partial"):
                self.pace.accepted(now)
        self.pace.typed(now)
        self.recent.record(before, snapshot, edits, now)
        if self.workspace is not None:
            self.workspace.document_changed(snapshot)
        self.flights.reconcile(snapshot)

    def focus(self, uri: str) -> None:
        """A document came to the front."""
        if document := self.documents.get(uri):
            self._focus += 1
            self.documents[uri] = msgspec.structs.replace(document, focused=self._focus)

    def keep(self, kept: Kept | None) -> None:
        """What a request about a document was given from elsewhere, for the next one."""
        if kept is not None and (document := self.documents.get(kept.uri)):
            self.documents[kept.uri] = msgspec.structs.replace(document, kept=kept)

    def others(self, uri: str) -> tuple[Snapshot, ...]:
        """The other open documents, the one used last first."""
        documents = sorted((d for u, d in self.documents.items() if u != uri), key=lambda d: -d.focused)
        return tuple(document.snapshot for document in documents)

    def spot(self, snapshot: Snapshot, at: Point, decision: Decision, previous: Kept | None) -> ContextSpot:
        """A place that something is asked about, and where help for it may come from. The time for that begins now."""
        cells = (self.documents[cell].snapshot for cell in self.notebooks.before(snapshot.uri) if cell in self.documents)
        return ContextSpot(
            snapshot=snapshot,
            at=at,
            decision=decision,
            settings=self.settings,
            origin=self.origin,
            excluded=self.excluded,
            until=time.perf_counter() + self.settings.context_ms / 1000,
            open=self.others(snapshot.uri),
            recent=self.recent.list(time.monotonic()),
            workspace=self.workspace,
            cells=tuple(cell for cell in cells if not self.excluded(cell.uri)),
            previous=previous,
            prompt_tokens=self.status.prompt_tokens,
            reads_snippets=self.status.reads_snippets,
        )

    def worked(self, ms: float) -> None:
        """A request took so long, from its beginning to the backend's answer."""
        self._durations.append(ms)

    @property
    def usual_ms(self) -> float:
        """What a request takes lately, in milliseconds; 0 while nothing is known."""
        return median(self._durations) if self._durations else 0.0

    def close_document(self, uri: str) -> None:
        """A document was closed: nothing of it is kept."""
        self.ledger.closed(uri, time.monotonic())
        self.documents.pop(uri, None)
        self.flights.cancel(uri)
        self.suggestions.forget(uri)
        self.recent.forget(uri)
        if self.workspace is not None:
            self.workspace.document_closed(uri)

    def files_changed(self, uris: Sequence[str]) -> None:
        """Files were written, made or removed outside the editor's documents."""
        if any(map(is_ignore_file, uris)):
            self.exclusions.forget()
            self._forget_excluded()
        if self.workspace is not None:
            self.workspace.files_changed(uris)

    def files_are_watched(self) -> None:
        """The editor tells of changed files from now on."""
        self._watched = True
        if self.workspace is not None:
            self.workspace.watched = True

    def excluded(self, uri: str) -> bool:
        """Whether a file never enters a prompt. May be asked from several threads."""
        notebook = self.notebooks.of(uri)
        return self.exclusions.excludes(uri) or bool(notebook and self.exclusions.excludes(notebook))

    # Settings

    def set_roots(self, roots: Iterable[Path]) -> None:
        """The workspace folders."""
        self.origin = msgspec.structs.replace(self.origin, roots=tuple(roots))
        self.exclusions = self._exclusions()
        self._forget_excluded()
        if self.workspace is not None:
            self._index()

    def _exclusions(self) -> Exclusions:
        return Exclusions(self.settings.exclude, self.origin.roots, secrets=self.settings.exclude_secrets)

    def _index(self) -> None:
        """Read the workspace folders anew, in the background."""
        if self.workspace is not None:
            self.workspace.close()
        self.workspace = Workspace(self.origin.roots, self.excluded, excludes_folder=lambda folder: self.exclusions.excludes_folder(folder))
        self.workspace.watched = self._watched
        self.workspace.start()
        for document in self.documents.values():
            self.workspace.document_changed(document.snapshot)

    def initial_options(self, raw: object) -> tuple[str, ...]:
        """What the client sent along with `initialize`. Returns a sentence for each value that is ignored, the file's included."""
        self._initial = read_options(raw, "initializationOptions")
        self._apply()
        return self._file.problems + self._initial.problems

    def configure(self, raw: object) -> tuple[str, ...]:
        """What the client's configuration says now; it replaces what it said before. Returns a sentence for each value ignored."""
        self._configured = read_options(raw, "configuration")
        self._apply()
        return self._configured.problems

    def _apply(self) -> None:
        before, self.settings = self.settings, resolve((self._file, self._initial, self._configured))
        if self.settings == before:
            return
        if (self.settings.exclude, self.settings.exclude_secrets) != (before.exclude, before.exclude_secrets):
            self.exclusions = self._exclusions()
            self._forget_excluded()
        self.suggestions.clear()
        for uri in self.documents:
            # What was asked under the old settings, or of the old model, is neither shown nor kept.
            self.flights.cancel(uri)
        if self._started and self.settings.backend_key() != before.backend_key():
            self._drop_backend()
            self._take_backend()

    def _forget_excluded(self) -> None:
        """What is excluded from now on was not always: nothing of it is kept."""
        for uri in [uri for uri in self.documents if self.excluded(uri)]:
            self.recent.forget(uri)
            self.flights.cancel(uri)
            self.suggestions.forget(uri)
        for uri, document in self.documents.items():
            if document.kept is not None:
                self.documents[uri] = msgspec.structs.replace(document, kept=None)
        if self.workspace is not None:
            self.workspace.exclusions_changed()

    # Backend

    def start(self) -> None:
        """Begin to get the model ready, and to read the workspace, in the background."""
        if not self._started:
            self._started = True
            self._take_backend()
            self._index()

    async def wait_until_loaded(self, seconds: float) -> bool:
        """Whether the model is ready, or has failed to get ready, within a time."""
        try:
            async with asyncio.timeout(seconds):
                await self._settled.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Let go of the backend and of everything under way."""
        self._started = False
        self.ledger.close(time.monotonic())
        if self.workspace is not None:
            self.workspace.close()
        await self.flights.cancel_all()
        self._drop_backend()
        if self._closing:
            await asyncio.wait(self._closing)

    def _take_backend(self) -> None:
        self._engine_changed(Status(state="starting"))
        try:
            self.backend = self._create_backend(self.settings)
        except DlspError as error:
            log.error("There is no backend: %s", error)
            self._engine_changed(Status(state="error", reason="backend_error", message=str(error)))
            return
        self._watcher = asyncio.create_task(self._watch(self.backend))

    def _drop_backend(self) -> None:
        backend, watcher = self.backend, self._watcher
        self.backend = self._watcher = None
        if backend is None:
            return
        closing = asyncio.create_task(_let_go(backend, watcher))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        self._settled.clear()

    async def _watch(self, backend: Backend) -> None:
        try:
            async for status in backend.watch():
                if backend is self.backend:
                    self._engine_changed(status)
        except Exception as error:  # noqa: BLE001 - whatever it is, the user must not be told for ever that the model is being loaded.
            log.error("The backend's state cannot be watched: %s.", type(error).__name__)
        if backend is self.backend:
            self._engine_changed(Status(state="error", reason="backend_error", message="The backend is gone. Restart the language server."))

    def _engine_changed(self, status: Status) -> None:
        self.status.engine_changed(status, self.settings.backend)
        level = logging.WARNING if status.state == "error" else logging.INFO
        log.log(level, "Engine: %s", " ".join(part for part in (status.state, status.reason, status.message) if part))
        if self.status.loading:
            self._settled.clear()
        else:
            self._settled.set()


class Turn:
    """One question that is being answered. A newer one of the same kind about the same document takes its turn away."""

    def __init__(self) -> None:
        self.taken_away = False
        self._task = asyncio.current_task()

    def take_away(self) -> None:
        """Wake the question up, wherever it waits, so that it can be answered at once: there is nothing to show for it any more."""
        self.taken_away = True
        if self._task is not None:
            self._task.cancel()


def _is_in_several_places(edits: Sequence[Edit]) -> bool:
    """The same was typed, or deleted, in two places or more: an editor with several cursors sends that as one message."""
    return len(edits) > 1 and len({(edit.text, len(edit.removed)) for edit in edits}) == 1 and len({edit.start for edit in edits}) > 1


async def _let_go(backend: Backend, watcher: asyncio.Task[None] | None) -> None:
    if watcher is not None:
        watcher.cancel()
        await asyncio.wait({watcher})
    try:
        await backend.close()
    except (DlspError, OSError) as error:
        log.warning("The backend did not close cleanly: %s.", type(error).__name__)
