"""textDocument/didOpen, didChange, didClose: keeps the session's documents equal to the editor's. Knows nothing of suggestions.

Handlers run in the order of their messages and do not wait for anything, so a request always sees the document it was asked about.
"""

from __future__ import annotations

from lsprotocol import types

from dlsp.documents import Change
from dlsp.features.protocol import Server
from dlsp.session import Session


def register(server: Server, session: Session) -> None:
    """Take part in document synchronization."""

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    async def did_open(params: types.DidOpenTextDocumentParams) -> None:
        document = params.text_document
        session.open(document.uri, document.version, str(document.language_id), document.text)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    async def did_change(params: types.DidChangeTextDocumentParams) -> None:
        document = params.text_document
        session.change(document.uri, document.version, [change_of(change) for change in params.content_changes])

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    async def did_close(params: types.DidCloseTextDocumentParams) -> None:
        session.close_document(params.text_document.uri)


def change_of(change: types.TextDocumentContentChangeEvent) -> Change:
    """A change in the client's units, without the protocol's types."""
    if isinstance(change, types.TextDocumentContentChangeWholeDocument):
        return Change(change.text)
    start, end = change.range.start, change.range.end
    return Change(change.text, (start.line, start.character), (end.line, end.character))
