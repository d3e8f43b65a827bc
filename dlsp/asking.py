"""One request to the model: what is wanted, what is gathered around it, the backend asked, its texts filtered and remembered.

Whether to ask at all, and what becomes of the outcome, is decided in `answer`. Knows no protocol types.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Literal

import msgspec

from dlsp.backends.base import Backend
from dlsp.context.gather import gather
from dlsp.documents import Point, Snapshot
from dlsp.flights import Outcome, Plan
from dlsp.pace import floor
from dlsp.postprocess.chain import polish
from dlsp.postprocess.draft import Style, Wanted, draft_for
from dlsp.session import Session
from dlsp.suggestions import Suggestion, site_of
from dlsp.trigger import Decision
from engine.api import Decoding, InfillRequest, InfillResult
from engine.errors import DlspError, LoadingError

log = logging.getLogger(__name__)

LINGER_SECONDS = 0.25
"""How long the model goes on for a question that was cancelled: editors cancel one before they ask the next, a keystroke later."""
LOADING_SECONDS = 5.0
"""How long somebody who asked explicitly waits for the model to be loaded."""
GRACE_SECONDS = 2.0
"""How long after its deadline an engine may still answer before it is given up."""
# The same question would get the same answer again. What has to do with time, the engine's state or the user is not kept.
_LASTING = frozenset({"low_confidence", "invalid_characters", "repetition", "duplicate", "empty_output", "syntax", "junk", "too_short"})


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What the editor asks: a place in a document, how it will be shown, whether the user asked for it, and how the editor indents.

    `basis` is the document at that moment. `snapshot` is what the question is about: the same, or, when the editor asks what
    would follow a popup item that is selected but not yet accepted, the document with that item in it.
    """

    basis: Snapshot
    snapshot: Snapshot
    at: Point
    kind: Literal["ghost", "popup"]
    invoked: bool
    style: Style = Style()


def plan_for(session: Session, question: Question, decision: Decision) -> Plan:
    """What is wanted. Who asks explicitly gets a choice, and stops the model the moment the question is cancelled."""
    choices = session.settings.alternatives if question.invoked and question.kind == "ghost" else 1
    linger = 0.0 if question.invoked else LINGER_SECONDS
    return Plan(snapshot=question.snapshot, at=question.at, decision=decision, choices=choices, linger=linger)


async def ask(session: Session, backend: Backend, question: Question, plan: Plan) -> Outcome:
    """Ask the model what is planned and filter what it says. Whatever a backend does is an outcome, not an exception."""
    began = time.perf_counter()
    settings, snapshot, at = session.settings, question.snapshot, question.at
    document = session.documents.get(snapshot.uri)
    gathered = gather(session.spot(snapshot, at, plan.decision, document.kept if document is not None else None))
    session.keep(gathered.kept)
    request = gathered.request
    if plan.choices > 1:
        request = msgspec.structs.replace(request, decoding=Decoding(alternatives=plan.choices))
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
    stages = {"queue": result.timings.queue_ms, "prompt": result.timings.prompt_ms, "denoise": result.timings.denoise_ms}
    stages |= {f"context.{name}": ms for name, ms, _ in gathered.took}
    took_ms = 1000 * (time.perf_counter() - began)
    session.worked(took_ms)
    session.ledger.worked(question.kind, snapshot.language, took_ms, stages)
    outcome = _polished(session, question, plan.decision, result)
    if outcome.texts or (outcome.reason in _LASTING and not outcome.weak):
        session.suggestions.keep(
            Suggestion(
                site_of(snapshot, at),
                outcome.texts,
                plan.max_lines,
                outcome.reason,
                plan.choices,
                outcome.confidence,
                outcome.replaces,
            )
        )
    return outcome


def _polished(session: Session, question: Question, decision: Decision, result: InfillResult) -> Outcome:
    """What the filters leave of the model's texts: different ones, best first, or the reason why the best of them is gone."""
    weak = result.finish == "deadline"
    if not result.text:
        return Outcome(reason=result.reason or "empty_output", weak=weak)
    snapshot, at = question.snapshot, question.at
    wanted = Wanted(
        max_lines=decision.max_lines,
        last_line=decision.last_line,
        floor=0.0 if question.invoked else floor(session.settings),
        invoked=question.invoked,
        min_characters=session.settings.min_characters,
        rejected=() if question.invoked else session.suggestions.rejected(site_of(snapshot, at)),
        style=question.style,
    )
    drafts = [polish(draft_for(snapshot, at, fills[0], wanted)) for fills in (result.fills, *result.others) if fills]
    best = next((draft for draft in drafts if draft.text), drafts[0])
    texts: dict[str, str] = {}
    for draft in drafts:
        if draft.text and draft.replaces == best.replaces:
            texts.setdefault(draft.text.strip(), draft.text)
    if best.rest:
        # What was cut off is what follows once the first part is accepted.
        following = snapshot.with_item(at, Point(at.line, at.column + best.replaces), best.text)
        session.suggestions.keep(Suggestion(site_of(*following), (best.rest,), decision.max_lines, confidence=best.confidence))
    return Outcome(
        tuple(texts.values()),
        best.reason,
        replaces=best.replaces,
        confidence=best.confidence,
        weak=weak,
        tokens=sum(fill.tokens for fill in result.fills),
        steps=result.steps,
    )


async def _asked(session: Session, backend: Backend, request: InfillRequest, *, patient: bool) -> InfillResult:
    """The backend's answer. The first request after an idle time finds the model unloaded; who is patient waits for it."""
    try:
        return await backend.infill(request)
    except LoadingError:
        if not patient or not await session.wait_until_loaded(LOADING_SECONDS):
            raise
    return await backend.infill(request)
