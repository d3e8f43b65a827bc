"""From a task to what goes into its holes, or the reason why nothing does; and whether it still fits when it has come.

Refusals and failures end here: nothing but a cancellation is raised. Knows no protocol.
"""

from __future__ import annotations

import logging

import msgspec

from dlsp.documents import Snapshot, Span, follow, opened
from dlsp.holes.openings import Filled, Filling, text_of
from dlsp.infilling.task import Task, openings_of, reason_of, sentence
from dlsp.infilling.work import OnProgress, Plan, Work
from dlsp.session import Session
from dlsp.trigger import gate
from engine.errors import DlspError, LoadingError

log = logging.getLogger(__name__)

LOADING_SECONDS = 60.0
"""How long somebody who runs a command waits for the model to be loaded."""


def _silent(share: float, message: str) -> None:
    pass


async def fill(session: Session, task: Task, on_progress: OnProgress = _silent) -> Filling:
    """What goes into the holes of a task.

    `on_progress` hears the share that is done, 0 to 1, and what is being done. Cancelling the task that awaits this cancels
    the request to the model. A newer one for the same document and purpose ends this one with `superseded`.
    """
    document = session.documents.get(task.uri)
    if document is None:
        return _refused(opened(task.uri, 0, "", ""), "unknown_document")
    basis = document.snapshot
    excluded = session.excluded(task.uri)
    if refused := gate(session.settings, task.uri, basis.language, excluded, session.overrides):
        return _refused(basis, refused)
    if task.version is not None and task.version != basis.version:
        return _refused(basis, "changed_meanwhile")
    openings, why = openings_of(basis, task, session.settings)
    if not openings:
        return _refused(basis, why)
    if session.status.loading:
        on_progress(0.0, "The model is loading.")
        if not await session.wait_until_loaded(LOADING_SECONDS):
            return _refused(basis, "loading")
    backend = session.backend
    if backend is None:
        return _refused(basis, "backend_error", session.status.report.message)
    work = Work(session, backend, Plan(task, basis, openings), on_progress)
    try:
        return await work.run()
    except LoadingError as error:
        return _refused(basis, "loading", str(error))
    except DlspError as error:
        log.warning("The backend failed: %s", error)
        return _refused(basis, "backend_error", str(error))
    except Exception as error:  # noqa: BLE001 - whatever a backend does, a command ends with a sentence.
        log.error("The backend failed in a way it should not: %s.", type(error).__name__)
        return _refused(basis, "backend_error", f"The backend failed ({type(error).__name__}). See the log.")


def settled(session: Session, filling: Filling) -> Filling | None:
    """A filling for the document as it is now: the same, moved along if only other places changed, None if a hole did."""
    document = session.documents.get(filling.basis.uri)
    if document is None:
        return None
    now = document.snapshot
    if now.lines == filling.basis.lines:
        return msgspec.structs.replace(filling, basis=now)
    moved: list[Filled] = []
    for hole in filling.holes:
        span = _followed(filling.basis, hole.span, now)
        if span is None:
            return None
        moved.append(msgspec.structs.replace(hole, span=span))
    return msgspec.structs.replace(filling, basis=now, holes=tuple(moved))


def still_true(session: Session, filling: Filling) -> bool:
    """Whether the holes stand in the document as they did when they were filled."""
    return settled(session, filling) is not None


def _followed(old: Snapshot, span: Span, new: Snapshot) -> Span | None:
    start, end = follow(old, span.start, new), follow(old, span.end, new)
    if start is None or end is None or start > end:
        return None
    return Span(start, end) if text_of(old, span) == text_of(new, Span(start, end)) else None


def _refused(basis: Snapshot, sentence_id: str, message: str = "") -> Filling:
    return Filling(basis=basis, reason=reason_of(sentence_id), message=message or sentence(sentence_id))
