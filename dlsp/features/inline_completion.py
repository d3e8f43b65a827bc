"""textDocument/inlineCompletion: ghost text. Translates between the protocol and a question; knows nothing of how it is answered."""

from __future__ import annotations

from lsprotocol import types

from dlsp.answer import answer
from dlsp.asking import Question
from dlsp.edits import Place, inline_items, inline_items_after_selected
from dlsp.features.protocol import Server
from dlsp.postprocess.draft import Style
from dlsp.session import Session


def register(server: Server, session: Session) -> None:
    """Offer ghost text. Without options pygls would not tell clients that we do."""

    @server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, types.InlineCompletionOptions(work_done_progress=False))
    async def inline_completion(params: types.InlineCompletionParams) -> types.InlineCompletionList:
        extras = server.extras()
        return types.InlineCompletionList(items=await _items(session, params, Style(extras.tab_size, extras.insert_spaces)))


async def _items(session: Session, params: types.InlineCompletionParams, style: Style) -> list[types.InlineCompletionItem]:
    document = session.documents.get(params.text_document.uri)
    if document is None:
        session.status.answered("unknown_document", 0.0)
        return []
    invoked = params.context.trigger_kind == types.InlineCompletionTriggerKind.Invoked
    snapshot = basis = document.snapshot
    at = snapshot.point((params.position.line, params.position.character), session.encoding)
    selected = params.context.selected_completion_info
    if selected is not None:
        # The question is what follows once that item is accepted. One that calls a function or spans lines is an edit of its own.
        if ")" in selected.text or selected.range.start.line != selected.range.end.line:
            session.status.answered("popup_selected", 0.0)
            return []
        start = snapshot.point((selected.range.start.line, selected.range.start.character), session.encoding)
        end = snapshot.point((selected.range.end.line, selected.range.end.character), session.encoding)
        start, end = min(start, end), max(start, end)
        snapshot, at = snapshot.with_item(start, end, selected.text)
    found = await answer(session, Question(basis=basis, snapshot=snapshot, at=at, kind="ghost", invoked=invoked, style=style))
    if not found.texts:
        return []
    current = session.documents[params.text_document.uri].snapshot
    if selected is not None:
        if found.replaces:
            # Its range is the item's and must stay so: what the text says again behind the cursor would stand there twice.
            session.status.answered("popup_selected", 0.0)
            return []
        return inline_items_after_selected(selected, Place(snapshot, found.at, session.encoding), found.texts)
    return inline_items(Place(current, found.at, session.encoding), found.texts, found.replaces)
