"""The session: settings, documents, backend, suggestions and status of one editor; the one mutable thing of the server.

What is done with them per request is decided in `answer.py`; the protocol is not known here.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from dlsp.backends.base import Backend
from dlsp.context.exclude import Exclusions
from dlsp.context.gather import Origin
from dlsp.documents import Change, Encoding, Snapshot, changed, opened
from dlsp.flights import Flights
from dlsp.history import EditHistory
from dlsp.settings import Options, Settings, read_file, read_options, resolve
from dlsp.status import StatusBoard
from dlsp.suggestions import SuggestionStore
from engine.api import Status
from engine.errors import DlspError

log = logging.getLogger(__name__)

CreateBackend = Callable[[Settings], Backend]
"""Makes the backend that the settings name; raises DlspError if they make none."""


class Document(msgspec.Struct, frozen=True):
    """A document that is open in the editor, and what was done to it lately."""

    snapshot: Snapshot
    history: EditHistory = EditHistory()


class Session:
    """Everything that is remembered between two messages of one editor. All methods must be called on the event loop's thread."""

    def __init__(self, create_backend: CreateBackend, *, config_file: Path | None = None) -> None:
        self.documents: dict[str, Document] = {}
        self.suggestions = SuggestionStore()
        self.flights = Flights()
        self.turns: dict[tuple[str, str], Turn] = {}
        self.status = StatusBoard()
        self.encoding: Encoding = "utf-16"
        self.origin = Origin(client=uuid.uuid4().hex)
        self._create_backend = create_backend
        self._file = read_file(config_file) if config_file else Options()
        self._initial = Options()
        self._configured = Options()
        self.settings = resolve((self._file,))
        self.exclusions = Exclusions(self.settings.exclude)
        self.backend: Backend | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._settled = asyncio.Event()
        self._started = False

    # Documents

    def open(self, uri: str, version: int, language: str, text: str) -> None:
        """A document was opened; its text is now the editor's to change."""
        self.documents[uri] = Document(opened(uri, version, language, text))

    def change(self, uri: str, version: int, changes: Iterable[Change]) -> None:
        """A document was changed. Changes to a document that is not open are ignored."""
        document = self.documents.get(uri)
        if document is None:
            log.warning("A change came for a document that is not open.")
            return
        snapshot, edits = changed(document.snapshot, version, changes, self.encoding)
        self.documents[uri] = Document(snapshot, document.history.extended(edits))

    def close_document(self, uri: str) -> None:
        """A document was closed: nothing of it is kept."""
        self.documents.pop(uri, None)
        self.flights.cancel(uri)
        self.suggestions.forget(uri)

    # Settings

    def set_roots(self, roots: Iterable[Path]) -> None:
        """The workspace folders."""
        self.origin = msgspec.structs.replace(self.origin, roots=tuple(roots))
        self.exclusions = Exclusions(self.settings.exclude, self.origin.roots)

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
        self.exclusions = Exclusions(self.settings.exclude, self.origin.roots)
        self.suggestions.clear()
        if self._started and self.settings.backend_key() != before.backend_key():
            for uri in self.documents:
                # What the old model is about to say is not to be kept.
                self.flights.cancel(uri)
            self._drop_backend()
            self._take_backend()

    # Backend

    def start(self) -> None:
        """Begin to get the model ready, in the background."""
        if not self._started:
            self._started = True
            self._take_backend()

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
        async for status in backend.watch():
            self._engine_changed(status)
        if backend is self.backend:
            self._engine_changed(Status(state="error", reason="backend_error", message="The backend is gone. Restart the language server."))

    def _engine_changed(self, status: Status) -> None:
        self.status.engine_changed(status, self.settings.backend)
        log.info("Engine: %s %s", status.state, status.reason)
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


async def _let_go(backend: Backend, watcher: asyncio.Task[None] | None) -> None:
    if watcher is not None:
        watcher.cancel()
        await asyncio.wait({watcher})
    try:
        await backend.close()
    except (DlspError, OSError) as error:
        log.warning("The backend did not close cleanly: %s.", type(error).__name__)
