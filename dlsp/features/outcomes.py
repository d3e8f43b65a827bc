"""Three notifications that some editors send: a completion is on screen, a part of it was accepted, a document has the focus.

What they mean is the ledger's and the session's affair; what was accepted is known without them, too, from the edits.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from dlsp.features.control import show_state
from dlsp.features.protocol import Server
from dlsp.session import Session

log = logging.getLogger(__name__)

DID_SHOW = "textDocument/didShowCompletion"
DID_ACCEPT_PARTIALLY = "textDocument/didPartiallyAcceptCompletion"
DID_FOCUS = "textDocument/didFocus"


def register(server: Server, session: Session) -> None:
    """Listen. A notification that makes no sense is ignored."""

    @server.feature(DID_SHOW)
    async def did_show(params: Any) -> None:
        if item := _item(params):
            _of_every_document(session, lambda uri: session.ledger.displayed(uri, item, time.monotonic()), params)

    @server.feature(DID_ACCEPT_PARTIALLY)
    async def did_accept_partially(params: Any) -> None:
        item, units = _item(params), params.get("acceptedLength") if isinstance(params, Mapping) else None
        if item and isinstance(units, int) and not isinstance(units, bool) and units > 0:
            taken = item.encode("utf-16-le", "surrogatepass")[: 2 * units].decode("utf-16-le", "ignore")
            # Suggestions are kept with "\n" line ends, whatever the document has.
            accepted = len(taken.replace("\r\n", "\n"))
            _of_every_document(session, lambda uri: session.ledger.partially(uri, item, accepted, time.monotonic()), params)

    @server.feature(DID_FOCUS)
    async def did_focus(params: Any) -> None:
        uri = _uri(params)
        if uri in session.documents:
            session.focus(uri)
            show_state(session, uri)


def _of_every_document(session: Session, tell: Callable[[str], None], params: Any) -> None:
    """The item does not say where it is shown: the document on which a suggestion like it is on screen takes it for its own."""
    uri = _uri(params)
    for candidate in [uri] if uri else list(session.documents):
        tell(candidate)


def _item(params: Any) -> str:
    """The text of the inline item, "" if there is none."""
    item = params.get("item") if isinstance(params, Mapping) else None
    text = item.get("insertText") if isinstance(item, Mapping) else None
    if isinstance(text, Mapping):
        # A snippet: a `StringValue` of the protocol.
        text = text.get("value")
    return text if isinstance(text, str) else ""


def _uri(params: Any) -> str:
    document = params.get("textDocument") if isinstance(params, Mapping) else None
    uri = document.get("uri") if isinstance(document, Mapping) else None
    return uri if isinstance(uri, str) else ""
