"""From one question of the editor to its one answer: known suggestion, request under way, or a new request, filtered and re-based.

Knows no protocol types; everything remembered is the session's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Literal

import msgspec

from dlsp.backends.base import Backend
from dlsp.context.gather import gather
from dlsp.documents import Point, Snapshot, advance, typed_since
from dlsp.flights import Outcome
from dlsp.postprocess.chain import polish
from dlsp.postprocess.draft import draft_for
from dlsp.session import Session, Turn
from dlsp.suggestions import Match, Suggestion, site_of, typed_between
from dlsp.trigger import Decision, decide, gate
from engine.api import InfillRequest, InfillResult
from engine.errors import DlspError, LoadingError

log = logging.getLogger(__name__)

JOIN_SECONDS = 0.2
"""How long a question waits for a request that was made a few keystrokes ago and may still turn out to fit."""
LOADING_SECONDS = 5.0
"""How long somebody who asked explicitly waits for the model to be loaded."""
GRACE_SECONDS = 2.0
"""How long after its deadline an engine may still answer before it is given up."""
_LONGEST_TYPED = 64
# The same question would get the same answer again. What has to do with time, the engine's state or the user is not kept.
_LASTING = frozenset({"low_confidence", "invalid_characters", "repetition", "duplicate", "empty_output"})


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What the editor asks: a place in a document, how it will be shown, and whether the user asked for it.

    `basis` is the document at that moment. `snapshot` is what the question is about: the same, or, when the editor asks what
    would follow a popup item that is selected but not yet accepted, the document with that item in it.
    """

    basis: Snapshot
    snapshot: Snapshot
    at: Point
    kind: Literal["ghost", "popup"]
    invoked: bool


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Text to insert at `at` of the document as it is now ("\\n" line ends), or no text and the reason."""

    text: str = ""
    reason: str = ""
    at: Point = Point(0, 0)


class _Found(msgspec.Struct, frozen=True):
    """Text for a place of a snapshot, or the reason why there is none; before it is known whether the document moved on."""

    snapshot: Snapshot
    at: Point
    text: str = ""
    reason: str = ""
    message: str = ""


async def answer(session: Session, question: Question) -> Answer:
    """Answer a question. The answer is empty, with a reason, whenever something is in the way; backends' failures never raise.

    A newer question of the same kind about the same document ends this one with `superseded`. Cancelling the task that awaits
    this cancels the request to the model, unless another question waits for the same.
    """
    began = time.perf_counter()
    key = (question.snapshot.uri, question.kind)
    if earlier := session.turns.get(key):
        earlier.take_away()
    turn = session.turns[key] = Turn()
    try:
        found = await _find(session, question)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if not turn.taken_away or task is None or task.uncancel() > 0:
            raise
        found = _Found(question.snapshot, question.at, reason="superseded")
    finally:
        if session.turns.get(key) is turn:
            del session.turns[key]
    result = _settle(session, question, found)
    assert bool(result.text) != bool(result.reason), "an answer has text or a reason"
    latency_ms = (time.perf_counter() - began) * 1000
    log.info("%s: %s in %.0f ms", question.kind, result.reason or f"{len(result.text)} characters", latency_ms)
    session.status.answered(result.reason, latency_ms, found.message)
    return result


async def _find(session: Session, question: Question) -> _Found:
    snapshot, at, invoked = question.snapshot, question.at, question.invoked
    document = session.documents.get(snapshot.uri)
    if document is None:
        return _Found(snapshot, at, reason="unknown_document")
    if refused := gate(session.settings, snapshot.language, session.exclusions.excludes(snapshot.uri)):
        return _Found(snapshot, at, reason=refused)

    took_back = document.history.took_back
    decision = decide(snapshot, at, session.settings, invoked=invoked, took_back=took_back)
    if took_back and not invoked:
        # Not even from memory: that would be the very text the user has just taken back.
        return _Found(snapshot, at, reason=decision.reason)
    if known := _known(session, question, at, decision.max_lines):
        return _Found(snapshot, at, known.text, known.reason)
    if found := await _from_flight(session, question, decision, wait=JOIN_SECONDS):
        return found
    if decision.reason:
        return _Found(snapshot, at, reason=decision.reason)
    if session.status.loading and not (invoked and await session.wait_until_loaded(LOADING_SECONDS)):
        return _Found(snapshot, at, reason="loading")
    if not invoked and session.settings.debounce_ms:
        await asyncio.sleep(session.settings.debounce_ms / 1000)
        if _typed_meanwhile(session, question, at) is None:
            return _Found(snapshot, at, reason="moved")
        # Meanwhile the popup and the ghost text may have asked the same; the second one joins the first.
        if found := await _from_flight(session, question, decision, wait=0):
            return found
    if session.backend is None:
        return _Found(snapshot, at, reason="backend_error", message=session.status.report.message)

    site = site_of(snapshot, at)
    work = _fill(session, session.backend, question, decision)
    outcome = await session.flights.launch(site, decision.max_lines, work).join()
    assert outcome is not None, "a wait without limit ends with an outcome"
    return _Found(snapshot, at, outcome.text, outcome.reason, outcome.message)


def _known(session: Session, question: Question, at: Point, max_lines: int) -> Match | None:
    """What is remembered for a place. Somebody who asks explicitly is not put off with a refusal from memory."""
    match = session.suggestions.find(site_of(question.snapshot, at), max_lines)
    return match if match and (match.text or not question.invoked) else None


async def _from_flight(session: Session, question: Question, decision: Decision, wait: float) -> _Found | None:
    """The answer of a request that is under way: for the same place, or for an earlier one from which the user may have typed
    along what it will say. For the latter it waits `wait` seconds at most."""
    snapshot, at = question.snapshot, question.at
    flight = session.flights.of(snapshot.uri)
    if flight is None or flight.max_lines < decision.max_lines:
        return None
    typed = typed_between(flight.site, site_of(snapshot, at), _LONGEST_TYPED)
    if typed is None or (typed and not wait):
        return None
    outcome = await flight.join(wait if typed else None)
    if outcome is None or outcome.reason == "superseded":
        return None
    if not typed and not outcome.text and question.invoked:
        # That request may have been made with a higher bar than somebody gets who asks explicitly.
        return None
    if not typed:
        return _Found(snapshot, at, outcome.text, outcome.reason, outcome.message)
    if outcome.text.startswith(typed) and len(outcome.text) > len(typed):
        return _Found(snapshot, at, outcome.text[len(typed) :])
    return None


async def _fill(session: Session, backend: Backend, question: Question, decision: Decision) -> Outcome:
    """Ask the model and filter what it says. Raises nothing but CancelledError."""
    settings, snapshot, at = session.settings, question.snapshot, question.at
    request = gather(snapshot, at, decision, settings, session.origin)
    grace = LOADING_SECONDS if question.invoked else GRACE_SECONDS
    patience = settings.deadline_ms / 1000 + grace if settings.deadline_ms else None
    try:
        async with asyncio.timeout(patience):
            result = await _asked(session, backend, request, patient=question.invoked)
    except LoadingError as error:
        return Outcome(reason="loading", message=str(error))
    except TimeoutError:
        log.warning("The backend did not answer within %.1f s.", patience or 0)
        return Outcome(reason="deadline", message="The engine did not answer in time.")
    except DlspError as error:
        log.warning("The backend failed: %s", error)
        return Outcome(reason="backend_error", message=str(error))
    except Exception as error:  # noqa: BLE001 - whatever a backend does, the editor must not see an error box while typing.
        log.error("The backend failed in a way it should not: %s.", type(error).__name__)
        return Outcome(reason="backend_error", message=f"The backend failed ({type(error).__name__}).")
    if not result.text:
        outcome = Outcome(reason=result.reason or "empty_output")
    else:
        raw = draft_for(snapshot, at, result.text, result.fills[0].confidence)
        floor = 0.0 if question.invoked else settings.min_confidence
        draft = polish(msgspec.structs.replace(raw, floor=floor, max_lines=decision.max_lines))
        outcome = Outcome(draft.text, draft.reason)
    if outcome.text or (outcome.reason in _LASTING and result.finish != "deadline"):
        session.suggestions.keep(Suggestion(site_of(snapshot, at), outcome.text, decision.max_lines, outcome.reason))
    return outcome


async def _asked(session: Session, backend: Backend, request: InfillRequest, *, patient: bool) -> InfillResult:
    """The backend's answer. The first request after an idle time finds the model unloaded; who is patient waits for it."""
    try:
        return await backend.infill(request)
    except LoadingError:
        if not patient or not await session.wait_until_loaded(LOADING_SECONDS):
            raise
    return await backend.infill(request)


def _settle(session: Session, question: Question, found: _Found) -> Answer:
    """The answer for the document as it is now: where the user typed along meanwhile, the rest at the place they are at now."""
    if not found.text:
        return Answer(reason=found.reason, at=found.at)
    typed, text = _typed_meanwhile(session, question, found.at), found.text
    plain = None if typed is None else typed.replace("\r\n", "\n").replace("\r", "\n")
    if typed is None or plain is None or not text.startswith(plain) or len(text) == len(plain):
        return Answer(reason="moved", at=found.at)
    at, text = advance(found.at, typed), text[len(plain) :]
    shown_in = session.documents[question.snapshot.uri].snapshot if typed else question.snapshot
    session.suggestions.show(site_of(shown_in, at), text, text.count("\n") + 1)
    return Answer(text=text, at=at)


def _typed_meanwhile(session: Session, question: Question, at: Point) -> str | None:
    """What the user typed at the place since the question; None if the document changed in another way, or was closed."""
    document = session.documents.get(question.snapshot.uri)
    if document is None:
        return None
    if document.snapshot is question.basis:
        return ""
    # Whether an item that was merely selected has been accepted meanwhile is anybody's guess.
    return typed_since(question.basis, at, document.snapshot) if question.snapshot is question.basis else None
