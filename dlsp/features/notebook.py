"""notebookDocument/didOpen, didChange, didClose: cells become documents of the session, and their order is kept.

Handlers run in the order of their messages and wait for nothing. Knows nothing of what earlier cells are used for.
"""

from __future__ import annotations

from collections.abc import Iterable

from lsprotocol import types

from dlsp.features.protocol import Server
from dlsp.features.sync import change_of
from dlsp.notebooks import Cell
from dlsp.session import Session

NOTEBOOKS = types.NotebookDocumentSyncOptions(notebook_selector=[types.NotebookDocumentFilterWithNotebook(notebook="*")], save=False)
"""What the server wants to be told: everything of every notebook. The protocol has this in the server's own options."""


def register(server: Server, session: Session) -> None:
    """Take part in the synchronization of notebooks."""

    @server.feature(types.NOTEBOOK_DOCUMENT_DID_OPEN)
    async def did_open(params: types.DidOpenNotebookDocumentParams) -> None:
        session.notebooks.opened(params.notebook_document.uri, _cells(params.notebook_document.cells))
        _open(session, params.cell_text_documents)

    @server.feature(types.NOTEBOOK_DOCUMENT_DID_CHANGE)
    async def did_change(params: types.DidChangeNotebookDocumentParams) -> None:
        uri, cells = params.notebook_document.uri, params.change.cells
        if cells is None:
            return
        if cells.structure is not None:
            # The order first: what is opened below must already have its place.
            array = cells.structure.array
            session.notebooks.changed(uri, array.start, array.delete_count, _cells(array.cells or ()))
            # Closed before opened: a cell whose language was changed is both.
            for closed in cells.structure.did_close or ():
                session.close_document(closed.uri)
            _open(session, cells.structure.did_open or ())
        if cells.data:
            session.notebooks.updated(uri, _cells(cells.data))
        for content in cells.text_content or ():
            session.change(content.document.uri, content.document.version, [change_of(change) for change in content.changes])

    @server.feature(types.NOTEBOOK_DOCUMENT_DID_CLOSE)
    async def did_close(params: types.DidCloseNotebookDocumentParams) -> None:
        # The client names the cells too; those it forgets must not stay open for ever.
        known = session.notebooks.closed(params.notebook_document.uri)
        for cell in dict.fromkeys((*known, *(document.uri for document in params.cell_text_documents))):
            if cell in session.documents:
                session.close_document(cell)


def _open(session: Session, documents: Iterable[types.TextDocumentItem]) -> None:
    for document in documents:
        session.open(document.uri, document.version, str(document.language_id), document.text)


def _cells(cells: Iterable[types.NotebookCell]) -> list[Cell]:
    return [Cell(cell.document, cell.kind == types.NotebookCellKind.Code) for cell in cells]
