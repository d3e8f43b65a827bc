"""pygls' protocol made dependable: every request gets exactly one answer, however malformed, and no error box is ever shown.

Documents are the session's, so pygls keeps no copy of its own. Knows no feature.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Generator
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException, JsonRpcMethodNotFound
from pygls.lsp.server import LanguageServer
from pygls.protocol import LanguageServerProtocol, lsp_method

log = logging.getLogger(__name__)

_INVOKED, _AUTOMATIC = types.InlineCompletionTriggerKind.Invoked.value, types.InlineCompletionTriggerKind.Automatic.value


class Server(LanguageServer):
    """A language server whose failures go to the log. `exit_code` is set when the client says `exit`, by the rule of the protocol."""

    exit_code: int | None = None

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Instead of a box in the editor. The message might quote a document and is left out."""
        if isinstance(error, JsonRpcMethodNotFound):
            # Answered, and no fault of ours.
            return
        log.error("%s in the server: %s.\n%s", getattr(source, "__name__", "Error"), type(error).__name__, _frames(error))


class Protocol(LanguageServerProtocol):
    """Messages come in as plain JSON and are made into protocol types one by one, where a failure can still be answered."""

    _server: Server

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._initialized = False
        self._old_trigger_kinds = False

    # pygls calls this for every JSON object within a message; only the whole message is of interest, in `handle_message`.
    def structure_message(self, data: dict[str, Any]) -> Any:
        return data

    def handle_message(self, message: Any) -> None:
        """Take one JSON message. Raises nothing for a message that makes no sense: it is answered, if it asked for an answer."""
        if isinstance(message, list):
            # Batches are JSON-RPC, though not LSP.
            for part in message:
                self.handle_message(part)
            return
        if not isinstance(message, dict) or message.get("jsonrpc") != self.VERSION:
            log.warning("A message that is not JSON-RPC 2.0 is ignored.")
            return
        method, request_id = message.get("method"), message.get("id")
        request = method is not None and request_id is not None
        if request and (refusal := self._refusal(method, request_id)):
            self._refuse(request_id, *refusal)
            return
        if method is not None and not request and not self._takes(method):
            log.warning("A notification that came before `initialize`, or has no proper name, is ignored.")
            return
        try:
            structured = self._structured(message)
        except (JsonRpcException, TypeError, ValueError, KeyError, AttributeError) as error:
            log.warning("The parameters of %s are not valid (%s).", method or "a response", type(error).__name__)
            if request:
                self._refuse(request_id, types.ErrorCodes.InvalidParams, f"The parameters of {method} are not valid.")
            elif method is None:
                # One of our own requests must not wait for ever.
                self._handle_response(
                    request_id or "", None, types.ResponseError(types.ErrorCodes.InvalidRequest.value, "invalid response")
                )
            return
        self._initialized = self._initialized or method == types.INITIALIZE
        super().handle_message(structured)

    def _takes(self, method: Any) -> bool:
        """Whether a notification means something now."""
        return isinstance(method, str) and (self._initialized or method == types.EXIT)

    def _refusal(self, method: Any, request_id: Any) -> tuple[types.ErrorCodes, str] | None:
        """Why a request cannot be taken in the present state of the connection."""
        if not isinstance(method, str) or not isinstance(request_id, str | int):
            return types.ErrorCodes.InvalidRequest, "A request needs a method and an id."
        if request_id in self._request_futures:
            return types.ErrorCodes.InvalidRequest, "A request with this id is still being answered."
        if self._shutdown:
            return types.ErrorCodes.InvalidRequest, "The server is shutting down."
        if method == types.INITIALIZE and self._initialized:
            return types.ErrorCodes.InvalidRequest, "The server is initialized already."
        if method != types.INITIALIZE and not self._initialized:
            return types.ErrorCodes.ServerNotInitialized, "The first request must be initialize."
        return None

    def _refuse(self, request_id: Any, code: types.ErrorCodes, sentence: str) -> None:
        answerable = request_id if isinstance(request_id, str | int) else str(request_id)
        self._send_response(answerable, error=types.ResponseError(code.value, sentence))

    def _structured(self, message: dict[str, Any]) -> Any:
        method = message.get("method")
        if method is not None and self.get_message_type(method) is None:
            # pygls' own fallback types have no default for parameters, which a message may leave out.
            message.setdefault("params", None)
        if method == types.TEXT_DOCUMENT_INLINE_COMPLETION:
            self._mend_trigger_kind(message)
        try:
            return super().structure_message(message)
        except JsonRpcException:
            if method != types.INITIALIZE:
                raise
            # A client newer than our protocol types may have capabilities that they cannot hold. Those we use are few.
            message["params"] = _essentials(message["params"])
            return super().structure_message(message)

    def _mend_trigger_kind(self, message: dict[str, Any]) -> None:
        """LSP says 1 (invoked) and 2 (automatic); clients older than 3.18, VS Code's among them, say 0 and 1.

        0 gives such a client away, from then on its 1 is read as theirs. Anything else counts as automatic.
        """
        params = message.get("params")
        if not isinstance(params, dict):
            return
        context = params.get("context")
        context = params["context"] = dict(context) if isinstance(context, dict) else {}
        kind = context.get("triggerKind")
        if kind == 0 and kind is not False:
            self._old_trigger_kinds = True
            context["triggerKind"] = _INVOKED
        elif kind != _INVOKED or self._old_trigger_kinds:
            context["triggerKind"] = _AUTOMATIC

    # pygls would keep a second copy of every document, and one whose lines end elsewhere.

    @lsp_method(types.TEXT_DOCUMENT_DID_OPEN)
    def lsp_text_document__did_open(self, params: types.DidOpenTextDocumentParams) -> Generator[Any, Any, None]:
        yield self.fm.features[types.TEXT_DOCUMENT_DID_OPEN], (params,), None

    @lsp_method(types.TEXT_DOCUMENT_DID_CHANGE)
    def lsp_text_document__did_change(self, params: types.DidChangeTextDocumentParams) -> Generator[Any, Any, None]:
        yield self.fm.features[types.TEXT_DOCUMENT_DID_CHANGE], (params,), None

    @lsp_method(types.TEXT_DOCUMENT_DID_CLOSE)
    def lsp_text_document__did_close(self, params: types.DidCloseTextDocumentParams) -> Generator[Any, Any, None]:
        yield self.fm.features[types.TEXT_DOCUMENT_DID_CLOSE], (params,), None

    @lsp_method(types.EXIT)
    def lsp_exit(self, *args: Any) -> None:  # type: ignore[override]
        """Ends the loop that reads messages; the process ends when everything has been put away."""
        self._server.exit_code = 0 if self._shutdown else 1
        if self._server._stop_event is not None:
            self._server._stop_event.set()


def _essentials(params: Any) -> dict[str, Any]:
    """Of what a client says about itself, only what we use; a value of the wrong kind is left out."""
    params = params if isinstance(params, dict) else {}

    def part(*path: str, kind: type | tuple[type, ...] = dict) -> Any:
        value: Any = params
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return value if isinstance(value, kind) and not (kind is int and isinstance(value, bool)) else None

    formats = part("capabilities", "textDocument", "completion", "completionItem", "documentationFormat", kind=list) or []
    registration = {"dynamicRegistration": part("capabilities", "workspace", "didChangeConfiguration", "dynamicRegistration", kind=bool)}
    encodings = part("capabilities", "general", "positionEncodings", kind=list) or []
    folders = part("workspaceFolders", kind=list) or []
    return {
        "processId": part("processId", kind=int),
        "rootUri": part("rootUri", kind=str),
        "initializationOptions": part("initializationOptions"),
        "workspaceFolders": [
            folder for folder in folders if isinstance(folder, dict) and all(isinstance(folder.get(key), str) for key in ("uri", "name"))
        ],
        "capabilities": {
            "general": {"positionEncodings": [encoding for encoding in encodings if isinstance(encoding, str)] or ["utf-16"]},
            "window": {"workDoneProgress": part("capabilities", "window", "workDoneProgress", kind=bool)},
            "workspace": {
                "configuration": part("capabilities", "workspace", "configuration", kind=bool),
                "didChangeConfiguration": registration,
            },
            "textDocument": {
                "completion": {"completionItem": {"documentationFormat": [name for name in formats if name in ("markdown", "plaintext")]}}
            },
        },
    }


def _frames(error: Exception) -> str:
    """Where it happened, without what it said."""
    return "".join(traceback.format_tb(error.__traceback__))
