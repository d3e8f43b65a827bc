"""textDocument/completion: the suggestion as an item of the popup, for editors without ghost text. Knows nothing of how it is made."""

from __future__ import annotations

import asyncio
import logging

from lsprotocol import types

from dlsp.answer import answer
from dlsp.asking import Question
from dlsp.documents import Point, Snapshot
from dlsp.edits import Place, PopupStyle, popup_items
from dlsp.features.protocol import Server
from dlsp.session import Session

log = logging.getLogger(__name__)

_TRIGGERS = (".", "(", "[", "{", ",", "=")
_GRACE_SECONDS = 0.1
"""The engine gives the best it has at its deadline; that must still get here."""


def register(server: Server, session: Session) -> None:
    """Offer popup items."""
    told = False

    @server.feature(types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions(trigger_characters=_TRIGGERS, resolve_provider=False))
    async def completion(params: types.CompletionParams) -> types.CompletionList:
        nonlocal told
        if refused := _refused(server, session):
            log.debug("popup: %s", refused)
            if not told:
                # Once is enough: from then on the status is there for what becomes of the ghost text.
                told = True
                session.status.answered(refused, 0.0)
            return types.CompletionList(is_incomplete=False, items=[])
        # Incomplete: the popup's list must be asked for again as the user types on, or it would filter an outdated suggestion.
        return types.CompletionList(is_incomplete=True, items=await _items(server, session, params))


def _refused(server: Server, session: Session) -> str:
    """Why the popup gets nothing from us whatever the document: `disabled`, or `inline_client` where the same would be there twice."""
    if session.settings.popup == "never":
        return "disabled"
    return "inline_client" if session.settings.popup == "auto" and server.client.inline else ""


async def _items(server: Server, session: Session, params: types.CompletionParams) -> list[types.CompletionItem]:
    document = session.documents.get(params.text_document.uri)
    if document is None:
        session.status.answered("unknown_document", 0.0)
        return []
    snapshot = document.snapshot
    at = snapshot.point((params.position.line, params.position.character), session.encoding)
    # The editor holds back the items of all other servers until we answer, so nobody waits here for a model to be loaded.
    invoked = _invoked(params.context, snapshot, at) and not session.status.loading
    limit = _limit(session)
    try:
        async with asyncio.timeout(limit):
            found = await answer(session, Question(basis=snapshot, snapshot=snapshot, at=at, kind="popup", invoked=invoked))
    except TimeoutError:
        session.status.answered("deadline", 1000 * (limit or 0.0))
        return []
    if not found.text:
        return []
    place = Place(session.documents[params.text_document.uri].snapshot, found.at, session.encoding)
    client, model = server.client, session.status.report.model
    style = PopupStyle(markdown=client.markdown, snippets=client.snippets, as_is=client.as_is)
    items = popup_items(place, found.text, style, f"dlsp {model}".rstrip())
    if not found.replaces:
        return items
    # The text says again what stands behind the cursor, which must go; an item that is cut short does not say it.
    if "\n" in found.text and not (style.snippets or style.as_is):
        session.status.answered("duplicate", 0.0)
        return []
    rest = place.range(found.at, Point(found.at.line, found.at.column + found.replaces))
    items[0].additional_text_edits = [types.TextEdit(range=rest, new_text="")]
    return items[:1]


def _limit(session: Session) -> float | None:
    """How many seconds an answer may take: the longest pause while the user types, and the engine's time."""
    settings = session.settings
    return (settings.debounce_ms + settings.deadline_ms) / 1000 + _GRACE_SECONDS if settings.deadline_ms else None


def _invoked(context: types.CompletionContext | None, snapshot: Snapshot, at: Point) -> bool:
    """Whether the user asked. Editors say "invoked" for a typed letter too, so behind a word it counts as typing."""
    if context is None or context.trigger_kind != types.CompletionTriggerKind.Invoked:
        return False
    last = snapshot.head(at)[-1:]
    return not (last.isalnum() or last == "_")
