"""From one question of the editor to its one answer: known suggestion, request under way, or a new request, filtered and re-based.

Knows no protocol types; everything remembered is the session's.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from typing import Literal

import msgspec

from dlsp.asking import LOADING_SECONDS, Question, ask, plan_for
from dlsp.documents import Point, Snapshot, advance, follow, typed_since
from dlsp.flights import Outcome, Plan
from dlsp.outcomes import Shown
from dlsp.session import Document, Session, Turn
from dlsp.suggestions import Suggestion, site_of, typed_between
from dlsp.trigger import Circumstances, decide, gate

log = logging.getLogger(__name__)

JOIN_SECONDS = 0.2
"""How long a question waits for a request that was made a few keystrokes ago and may still turn out to fit."""
_LONGEST_TYPED = 64
# Nothing from memory either: it would be the very text that was taken back, or what nobody wants to see now.
_NOT_EVEN_KNOWN = frozenset({"undo", "snoozed", "several_cursors"})


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Texts to insert at `at` of the document as it is now ("\\n" line ends), best first, or none and the reason.

    Each takes the place of `replaces` code points behind `at`, on its line.
    """

    texts: tuple[str, ...] = ()
    reason: str = ""
    at: Point = Point(0, 0)
    replaces: int = 0

    @property
    def text(self) -> str:
        """The best of the texts."""
        return self.texts[0] if self.texts else ""


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    """Texts for a place of a snapshot, or the reason why there are none; before it is known whether the document moved on.

    `wanted` is what was asked for, `source` where the texts come from.
    """

    snapshot: Snapshot
    at: Point
    texts: tuple[str, ...] = ()
    reason: str = ""
    message: str = ""
    replaces: int = 0
    confidence: float = 0.0
    source: Literal["model", "live", "kept", "flight"] = "model"
    tokens: int = 0
    steps: int = 0
    max_lines: int = 1
    choices: int = 1


async def answer(session: Session, question: Question) -> Answer:
    """Answer a question. The answer is empty, with a reason, whenever something is in the way, be it a fault of ours: some editors
    show a box for every request that fails, and this one comes with every key.

    A newer question of the same kind about the same document ends this one with `superseded`. Cancelling the task that awaits
    this lets go of the request to the model, which stops unless somebody else waits for it or comes for it soon.
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
        found = _Found(snapshot=question.snapshot, at=question.at, reason="superseded")
    except Exception as error:  # noqa: BLE001 - see above. What it says might quote the document and stays out of the log.
        log.error("A question failed: %s.\n%s", type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))
        message = f"The language server failed ({type(error).__name__}); the log says where."
        found = _Found(snapshot=question.snapshot, at=question.at, reason="backend_error", message=message)
    finally:
        if session.turns.get(key) is turn:
            del session.turns[key]
    result = _settle(session, question, found)
    assert bool(result.texts) != bool(result.reason), "an answer has text or a reason"
    latency_ms = (time.perf_counter() - began) * 1000
    log.info("%s: %s in %.0f ms", question.kind, result.reason or f"{len(result.text)} characters", latency_ms)
    session.status.answered(result.reason, latency_ms, found.message, question.snapshot.language)
    _write_down(session, question, found, result, latency_ms)
    if result.texts and question.kind == "ghost" and not question.invoked:
        _look_ahead(session, question, result)
    return result


async def _find(session: Session, question: Question) -> _Found:
    snapshot, at, invoked = question.snapshot, question.at, question.invoked
    nothing = _Found(snapshot=snapshot, at=at)
    if refused := _refused(session, snapshot):
        return msgspec.structs.replace(nothing, reason=refused)

    decision = decide(snapshot, at, session.settings, _circumstances(session, question, session.documents[snapshot.uri]))
    if decision.reason in _NOT_EVEN_KNOWN:
        return msgspec.structs.replace(nothing, reason=decision.reason)
    plan = plan_for(session, question, decision)
    known = _known(session, question, plan)
    # Who asks by hand sees the text go on while typing along it, and nothing that was not asked for.
    if known and (known.source == "live" or decision.reason != "manual"):
        return known
    if found := await _from_flight(session, question, plan, wait=JOIN_SECONDS):
        return found
    if decision.reason:
        return msgspec.structs.replace(nothing, reason=decision.reason)
    if session.status.loading and not (invoked and await session.wait_until_loaded(LOADING_SECONDS)):
        return msgspec.structs.replace(nothing, reason="loading")
    if pause_ms := _pause_ms(session, question):
        await asyncio.sleep(pause_ms / 1000)
        if _typed_meanwhile(session, question, at) != "":
            return msgspec.structs.replace(nothing, reason="debounced")
        # Meanwhile the popup and the ghost text may have asked the same; the second one joins the first.
        if found := await _from_flight(session, question, plan, wait=0):
            return found
    # By now the document may be closed, or one that nothing is asked about any more.
    if refused := _refused(session, snapshot):
        return msgspec.structs.replace(nothing, reason=refused)
    if session.backend is None:
        return msgspec.structs.replace(nothing, reason="backend_error", message=session.status.report.message)

    outcome = await session.flights.launch(plan, ask(session, session.backend, question, plan)).join()
    assert outcome is not None, "a wait without limit ends with an outcome"
    return _found(question, plan, outcome)


def _refused(session: Session, snapshot: Snapshot) -> str:
    """Why nothing is asked about a document, wherever in it."""
    if snapshot.uri not in session.documents:
        return "unknown_document"
    return gate(session.settings, snapshot.uri, snapshot.language, session.excluded(snapshot.uri), session.overrides)


def _pause_ms(session: Session, question: Question) -> float:
    """How long to wait before the model is asked."""
    if question.invoked:
        return 0.0
    pause = session.pace.pause_ms(session.settings, question.snapshot.head(question.at), session.usual_ms, time.monotonic())
    # The popup of all servers may wait for this one: low eagerness is no reason to hold it back longer.
    return min(pause, session.settings.debounce_ms) if question.kind == "popup" else pause


def _circumstances(session: Session, question: Question, document: Document) -> Circumstances:
    return Circumstances(
        invoked=question.invoked,
        took_back=document.history.took_back,
        several_cursors=document.several_cursors,
        just_accepted=document.just_accepted,
        snoozed=session.overrides.snoozed(time.monotonic()),
        text_elsewhere=bool(session.notebooks.before(question.snapshot.uri)),
    )


def _found(question: Question, plan: Plan, outcome: Outcome) -> _Found:
    return _Found(
        snapshot=question.snapshot,
        at=question.at,
        texts=outcome.texts,
        reason=outcome.reason,
        message=outcome.message,
        replaces=outcome.replaces,
        confidence=outcome.confidence,
        tokens=outcome.tokens,
        steps=outcome.steps,
        max_lines=plan.max_lines,
        choices=plan.choices,
    )


def _known(session: Session, question: Question, plan: Plan) -> _Found | None:
    """What is remembered for a place. What is on screen stays there while the user types along it, even where more lines would be
    asked for by now. Somebody who asks explicitly gets those, and is not put off with a refusal from memory."""
    site = site_of(plan.snapshot, plan.at)
    match = None if question.invoked else session.suggestions.live(site)
    match = match or session.suggestions.find(site, plan.max_lines, plan.choices)
    if match is None or (question.invoked and not match.texts):
        return None
    return _Found(
        snapshot=plan.snapshot,
        at=plan.at,
        texts=match.texts,
        reason=match.reason,
        replaces=match.replaces,
        confidence=match.confidence,
        source="live" if match.live else "kept",
        max_lines=match.max_lines,
        choices=match.choices,
    )


async def _from_flight(session: Session, question: Question, plan: Plan, wait: float) -> _Found | None:
    """The answer of a request that is under way: for the same place, or for an earlier one from which the user may have typed
    along what it will say. For the latter it waits `wait` seconds at most."""
    flight = session.flights.of(plan.snapshot.uri)
    if flight is None or flight.plan.max_lines < plan.max_lines or flight.plan.choices < plan.choices:
        return None
    typed = typed_between(flight.site, site_of(plan.snapshot, plan.at), _LONGEST_TYPED)
    if typed is None or (typed and not wait):
        return None
    outcome = await flight.join(wait if typed else None)
    if outcome is None or outcome.reason == "superseded":
        return None
    if not typed and not outcome.texts and question.invoked:
        # That request may have been made with a higher bar than somebody gets who asks explicitly.
        return None
    found = msgspec.structs.replace(_found(question, flight.plan, outcome), source="flight")
    if not typed:
        return found
    rests = tuple(text[len(typed) :] for text in outcome.texts if text.startswith(typed) and len(text) > len(typed))
    return msgspec.structs.replace(found, texts=rests, reason="") if rests else None


def _write_down(session: Session, question: Question, found: _Found, result: Answer, latency_ms: float) -> None:
    """Tell the ledger what the editor was given."""
    language = question.snapshot.language
    if not result.texts:
        session.ledger.empty(result.reason, question.kind, language, latency_ms)
        return
    if question.snapshot is not question.basis:
        # It goes on from an item that is not in the document, where no edit could be compared with it.
        return
    shown = Shown(
        uri=question.snapshot.uri,
        at=result.at,
        text=result.text,
        kind=question.kind,
        language=language,
        confidence=found.confidence,
        source=found.source,
        latency_ms=latency_ms,
        tokens=found.tokens,
        steps=found.steps,
        document_lines=len(question.snapshot.lines),
    )
    session.ledger.shown(shown, time.monotonic())


def _settle(session: Session, question: Question, found: _Found) -> Answer:
    """The answer for the document as it is now: where the user typed along meanwhile, the rest at the place they are at now;
    where only other lines changed, the same at the place where its line is now."""
    if not found.texts:
        return Answer(reason=found.reason, at=found.at)
    moved = Answer(reason="moved", at=found.at)
    typed = _typed_meanwhile(session, question, found.at)
    if typed is None:
        at = _followed(session, question, found.at)
        if at is None:
            return moved
        texts = found.texts
    else:
        plain = typed.replace("\r\n", "\n").replace("\r", "\n")
        at = advance(found.at, typed)
        texts = tuple(text[len(plain) :] for text in found.texts if text.startswith(plain) and len(text) > len(plain))
    if not texts:
        return moved
    shown_in = session.documents[question.snapshot.uri].snapshot if typed != "" else question.snapshot
    site = site_of(shown_in, at)
    live = session.suggestions.live(site) if question.invoked and found.source == "model" else None
    if live and live.replaces == found.replaces:
        # What is on screen stays where it is; what was asked for besides comes behind it.
        texts = tuple(dict.fromkeys((*live.texts[:1], *texts)))
    shown = Suggestion(site, texts, found.max_lines, choices=found.choices, confidence=found.confidence, replaces=found.replaces)
    session.suggestions.show(shown)
    return Answer(texts=texts, at=at, replaces=found.replaces)


def _typed_meanwhile(session: Session, question: Question, at: Point) -> str | None:
    """What the user typed at the place since the question; None if the document changed in another way, or was closed."""
    document = session.documents.get(question.snapshot.uri)
    if document is None:
        return None
    if document.snapshot is question.basis:
        return ""
    # Whether an item that was merely selected has been accepted meanwhile is anybody's guess.
    return typed_since(question.basis, at, document.snapshot) if question.snapshot is question.basis else None


def _followed(session: Session, question: Question, at: Point) -> Point | None:
    document = session.documents.get(question.snapshot.uri)
    if document is None or question.snapshot is not question.basis:
        return None
    return follow(question.basis, at, document.snapshot)


def _look_ahead(session: Session, question: Question, shown: Answer) -> None:
    """While the user reads a suggestion, ask what would follow it; the first question about the document comes before that."""
    settings, backend, document = session.settings, session.backend, session.documents.get(question.snapshot.uri)
    if backend is None or document is None or settings.prefetch == "never" or shown.replaces:
        return
    if settings.prefetch == "auto" and session.status.report.device in ("", "cpu"):
        return
    if session.flights.of(question.snapshot.uri) is not None or question.snapshot is not question.basis:
        return
    snapshot, at = document.snapshot.with_item(shown.at, shown.at, shown.text.replace("\n", document.snapshot.eol))
    accepted = msgspec.structs.replace(question, basis=snapshot, snapshot=snapshot, at=at)
    decision = decide(snapshot, at, settings, Circumstances(just_accepted=True))
    if decision.reason or session.suggestions.find(site_of(snapshot, at), decision.max_lines):
        return
    plan = msgspec.structs.replace(plan_for(session, accepted, decision), ahead=True)
    session.flights.launch(plan, ask(session, backend, accepted, plan))
