"""textDocument/completion: the suggestion as an item of the popup, for editors without ghost text. Knows nothing of how it is made."""

from __future__ import annotations

from lsprotocol import types

from dlsp.answer import Question, answer
from dlsp.documents import Point, Snapshot
from dlsp.edits import Place, popup_items
from dlsp.features.protocol import Server
from dlsp.session import Session

_TRIGGERS = (".", "(", "[", "{", ",", "=")


def register(server: Server, session: Session) -> None:
    """Offer popup items."""

    @server.feature(types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions(trigger_characters=_TRIGGERS, resolve_provider=False))
    async def completion(params: types.CompletionParams) -> types.CompletionList:
        # Incomplete: the popup's list must be asked for again as the user types on, or it would filter an outdated suggestion.
        return types.CompletionList(is_incomplete=True, items=await _items(server, session, params))


async def _items(server: Server, session: Session, params: types.CompletionParams) -> list[types.CompletionItem]:
    document = session.documents.get(params.text_document.uri)
    if document is None:
        session.status.answered("unknown_document", 0.0)
        return []
    snapshot = document.snapshot
    at = snapshot.point((params.position.line, params.position.character), session.encoding)
    invoked = _invoked(params.context, snapshot, at)
    found = await answer(session, Question(basis=snapshot, snapshot=snapshot, at=at, kind="popup", invoked=invoked))
    if not found.text:
        return []
    current = session.documents[params.text_document.uri].snapshot
    return popup_items(Place(current, found.at, session.encoding), found.text, markdown=_reads_markdown(server))


def _invoked(context: types.CompletionContext | None, snapshot: Snapshot, at: Point) -> bool:
    """Whether the user asked. Editors say "invoked" for a typed letter too, so behind a word it counts as typing."""
    if context is None or context.trigger_kind != types.CompletionTriggerKind.Invoked:
        return False
    last = snapshot.head(at)[-1:]
    return not (last.isalnum() or last == "_")


def _reads_markdown(server: Server) -> bool:
    text_document = server.client_capabilities.text_document
    completion = text_document.completion if text_document else None
    item = completion.completion_item if completion else None
    return types.MarkupKind.Markdown in ((item.documentation_format if item else None) or ())
