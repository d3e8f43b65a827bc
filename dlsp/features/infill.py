"""Commands that fill a selection, many holes, a draft or a syntax error, and `dlsp/infill`, which only shows what would come of it.

Translates between the protocol and a task: progress, cancellation, one labelled edit. Knows nothing of how holes are filled.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from lsprotocol import types
from pygls.exceptions import JsonRpcException

from dlsp.documents import Point, opened
from dlsp.edits import EditStyle, Place, workspace_edit
from dlsp.features.protocol import Server
from dlsp.features.wishes import ABOUT_THE_LAST, COMMANDS, Argument, Wish, as_json, label_of, read_argument, task_of
from dlsp.features.work_progress import WorkProgress
from dlsp.holes.openings import Filling
from dlsp.infilling import Task, fill, sentence, settled
from dlsp.outcomes import Event
from dlsp.session import Session

log = logging.getLogger(__name__)

PREVIEW = "dlsp/infill"
APPLY_SECONDS = 10.0
"""How long a client may take to apply an edit."""
_QUIET = frozenset({"cancelled", "superseded"})
"""What the user did is not told to the user again."""
_TROUBLE = frozenset({"backend_error", "not_applied", "changed_meanwhile", "deadline", "loading"})


def register(server: Server, session: Session) -> None:
    """Offer the commands and the request."""
    runs = _Runs(server, session)

    def command_for(wish: Wish) -> Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]:
        async def command(argument: dict[str, Any]) -> dict[str, Any]:
            return await runs.command(read_argument(argument), wish)

        return command

    for name, wish in COMMANDS.items():
        server.command(name)(command_for(wish))

    @server.command("dlsp.cancel")
    async def cancel(argument: dict[str, Any]) -> dict[str, Any]:
        uri = argument.get("uri")
        return {"cancelled": runs.cancel(uri if isinstance(uri, str) else None)}

    @server.feature(PREVIEW)
    async def infill(params: Any) -> dict[str, Any]:
        return await runs.preview(read_argument(params))


def edit_style(server: Server, session: Session) -> EditStyle:
    """What an edit for this client may hold."""
    client = server.client
    return EditStyle(
        document_changes=client.document_changes,
        annotations=client.annotations,
        snippet_edits=client.snippet_edits,
        metadata=client.metadata,
        tab_stops=session.settings.tab_stops,
    )


def write_down(session: Session, wish: Wish, filling: Filling, latency_ms: float) -> None:
    """Tell the log and the ledger what came of a wish. It is no suggestion: of what succeeds only the time counts there."""
    log.info("%s: %s", wish, filling.reason or f"{len(filling.holes)} holes filled, {filling.skipped} left")
    happened = Event(event="latency" if filling.holes else "empty", kind="command", language=filling.basis.language)
    rounded = round(latency_ms, 1)
    stages = {f"command.{wish}": rounded} if filling.holes else {}
    session.ledger.sink(msgspec.structs.replace(happened, reason=filling.reason, latency_ms=rounded, stages=stages))


def tell(server: Server, filling: Filling) -> None:
    """One sentence, where there is nothing to see, or not all that was asked for."""
    if filling.reason in _QUIET or not (filling.message or filling.skipped):
        return
    if filling.holes:
        whole = len(filling.holes) + filling.skipped
        said = f"Filled {len(filling.holes)} of {whole} holes. {filling.message}" if whole > 1 else filling.message
    else:
        said = filling.message
    kind = types.MessageType.Warning if filling.reason in _TROUBLE else types.MessageType.Info
    server.window_show_message(types.ShowMessageParams(type=kind, message=f"dlsp: {said}"))


class _Run:
    """One command under way. Who ends it says why."""

    def __init__(self, work: asyncio.Task[Filling]) -> None:
        self.work = work
        self.ended_by = ""

    def end(self, reason: str) -> None:
        if not self.ended_by:
            self.ended_by = reason
            self.work.cancel()


class _Runs:
    """The commands of one session: at most one a document fills at a time, a newer one takes its place."""

    def __init__(self, server: Server, session: Session) -> None:
        self._server, self._session = server, session
        self._running: dict[tuple[str, str], _Run] = {}

    def cancel(self, uri: str | None) -> int:
        """End what is under way, for one document or for all; how many commands that were."""
        runs = [run for (each, _), run in self._running.items() if uri is None or each == uri]
        for run in runs:
            run.end("cancelled")
        return len(runs)

    async def command(self, argument: Argument, wish: Wish) -> dict[str, Any]:
        """Fill, apply, and say what came of it."""
        began = time.perf_counter()
        spans = self._last_spans(argument) if wish in ABOUT_THE_LAST and argument.ranges is None else None
        filling = await self._filled(task_of(self._session, argument, wish, spans), label_of(wish))
        if filling.holes:
            filling = await self._applied(filling, wish)
        applied = bool(filling.holes)
        latency_ms = (time.perf_counter() - began) * 1000
        self._session.status.answered(filling.reason, latency_ms, "" if applied else filling.message)
        write_down(self._session, wish, filling, latency_ms)
        tell(self._server, filling)
        return {
            "applied": applied,
            "reason": filling.reason,
            "message": filling.message,
            "holes": len(filling.holes),
            "skipped": filling.skipped,
        }

    async def preview(self, argument: Argument) -> dict[str, Any]:
        """What would come of it; nothing is applied."""
        began = time.perf_counter()
        if argument.alternatives is None:
            argument = msgspec.structs.replace(argument, alternatives=self._session.settings.alternatives)
        spans = self._last_spans(argument) if argument.kind in ABOUT_THE_LAST and argument.ranges is None else None
        task = msgspec.structs.replace(task_of(self._session, argument, argument.kind, spans), purpose="preview")
        filling = await self._filled(task, label_of(argument.kind))
        if filling.holes:
            now = settled(self._session, filling)
            filling = now or _without_holes(filling, "changed_meanwhile")
        latency_ms = (time.perf_counter() - began) * 1000
        write_down(self._session, argument.kind, filling, latency_ms)
        place = Place(filling.basis, Point(0, 0), self._session.encoding)
        style = edit_style(self._server, self._session)
        return {
            "edit": workspace_edit(place, filling, style, label_of(argument.kind, len(filling.holes))) if filling.holes else None,
            "reason": filling.reason,
            "message": filling.message,
            "holes": [
                {
                    "range": as_json(hole.span, place),
                    "newText": place.inserted(hole.text, hole.span.start.line),
                    "confidence": hole.confidence,
                    "pieces": [[piece.text, piece.confidence] for piece in hole.pieces],
                    "alternatives": [place.inserted(text, hole.span.start.line) for text in hole.others],
                }
                for hole in sorted(filling.holes, key=lambda hole: hole.span)
            ],
            "skipped": filling.skipped,
            "model": filling.model,
            "latencyMs": round(latency_ms, 1),
            "version": filling.basis.version,
        }

    def _last_spans(self, argument: Argument) -> tuple[Any, ...]:
        document = self._session.documents.get(argument.uri)
        return self._session.last_filling.spans(document.snapshot) if document else ()

    async def _filled(self, task: Task, title: str) -> Filling:
        """The filling of a task, with progress. Only the cancellation of the request itself is raised."""
        key = (task.uri, task.purpose)
        if earlier := self._running.get(key):
            earlier.end("superseded")
        shown: list[WorkProgress] = []

        def report(share: float, message: str) -> None:
            for progress in shown:
                progress.report(share, message)

        run = self._running[key] = _Run(asyncio.create_task(fill(self._session, task, report)))
        progress = WorkProgress(self._server, self._server.extras().work_done_token, title, lambda: run.end("cancelled"))
        shown.append(progress)
        said = "Cancelled"
        try:
            filling = await run.work
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if not run.ended_by or (current is not None and current.cancelling()):
                raise
            document = self._session.documents.get(task.uri)
            basis = document.snapshot if document else opened(task.uri, 0, "", "")
            filling = Filling(basis=basis, reason=run.ended_by, message=sentence(run.ended_by))
        else:
            said = filling.message or "Done"
        finally:
            progress.end(said)
            if self._running.get(key) is run:
                del self._running[key]
        return filling

    async def _applied(self, filling: Filling, wish: Wish) -> Filling:
        """The filling as it was applied, or without holes and why it was not."""
        now = settled(self._session, filling)
        if now is None:
            return _without_holes(filling, "changed_meanwhile")
        label, style = label_of(wish, len(now.holes)), edit_style(self._server, self._session)
        edit = workspace_edit(Place(now.basis, Point(0, 0), self._session.encoding), now, style, label)
        metadata = types.WorkspaceEditMetadata(is_refactoring=True) if style.metadata else None
        try:
            async with asyncio.timeout(APPLY_SECONDS):
                answer = await self._server.workspace_apply_edit_async(
                    types.ApplyWorkspaceEditParams(edit=edit, label=label, metadata=metadata)
                )
        except (TimeoutError, JsonRpcException) as error:
            log.warning("The client did not apply an edit: %s.", type(error).__name__)
            return _without_holes(filling, "not_applied")
        if answer is None or not answer.applied:
            why = answer.failure_reason if answer is not None else None
            said = f"The editor did not apply the edit ({why.rstrip('.')}). Run the command again." if why else ""
            return _without_holes(filling, "not_applied", said)
        self._session.last_filling.remember(now)
        return now


def _without_holes(filling: Filling, reason: str, message: str = "") -> Filling:
    skipped = len(filling.holes) + filling.skipped
    return Filling(basis=filling.basis, reason=reason, message=message or sentence(reason), skipped=skipped, model=filling.model)
