"""pygls' protocol made dependable: every request gets exactly one answer, however malformed, and no error box is ever shown.

Documents are the session's, so pygls keeps no copy of its own. Knows no feature.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Generator
from typing import Any, TypeGuard

import msgspec
from lsprotocol import types
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams, JsonRpcMethodNotFound
from pygls.lsp.server import LanguageServer
from pygls.protocol import JsonRPCNotification, JsonRPCRequestMessage, LanguageServerProtocol, lsp_method

from dlsp.features.client import ClientFacts, client_facts, essentials

log = logging.getLogger(__name__)

_REFUSALS = frozenset(
    {
        JsonRpcMethodNotFound.CODE,
        JsonRpcInvalidParams.CODE,
        types.LSPErrorCodes.RequestFailed.value,
        types.LSPErrorCodes.ContentModified.value,
    }
)
"""What a request is answered with that asks for something we do not have, cannot do, or that its document has outlived."""

_WIDEST_TAB = 32
_INVOKED, _AUTOMATIC = types.InlineCompletionTriggerKind.Invoked.value, types.InlineCompletionTriggerKind.Automatic.value


class Extras(msgspec.Struct, frozen=True, kw_only=True):
    """What a request says beyond what the protocol's types can hold, and its parameters as they came, as plain JSON.

    `tab_size` is 0 if the editor does not tell how it indents; `version` is that of the document the request is about.
    """

    tab_size: int = 0
    insert_spaces: bool = True
    version: int | None = None
    work_done_token: str | int | None = None
    params: Any = None


class Server(LanguageServer):
    """A language server whose failures go to the log. `exit_code` is set when the client says `exit`, by the rule of the protocol;
    `client` is what it can do, from its first message on."""

    protocol: Protocol
    exit_code: int | None = None
    client = ClientFacts()

    def extras(self) -> Extras:
        """Of the request that is being handled; empty elsewhere and once it is answered."""
        return self.protocol.extras()

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Instead of a box in the editor. The message might quote a document and is left out."""
        if isinstance(error, JsonRpcException) and error.code in _REFUSALS:
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
        self._extras: dict[str | int, Extras] = {}

    def extras(self) -> Extras:
        """See `Server.extras`. A slotted protocol type can hold nothing more, so they are kept beside it, by the request's id."""
        request_id = self.msg_id
        return self._extras.get(request_id, _NO_EXTRAS) if request_id is not None else _NO_EXTRAS

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
        if method == types.INITIALIZE:
            self._initialized = True
            self._server.client = client_facts(structured.params)
        if request and request_id is not None:
            self._extras[request_id] = _extras(message.get("params"))
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

    def _execute_handler(self, msg_id: Any, handler: Any, callback: Any, args: Any = None, kwargs: Any = None) -> None:
        """pygls keeps the future of every notification, and of every step of its own handlers, for as long as the connection lasts."""
        super()._execute_handler(msg_id, handler, callback, args, kwargs)
        future = self._request_futures.get(msg_id)
        if future is not None:
            future.add_done_callback(lambda done: self._request_futures.pop(msg_id) if self._request_futures.get(msg_id) is done else None)

    def _handle_response(self, msg_id: str | int, result: Any | None = None, error: types.ResponseError | None = None) -> None:
        """An answer that nobody waits for any more is no fault of anybody's; pygls would log one."""
        future = self._request_futures.get(msg_id)
        if future is not None and future.cancelled():
            del self._request_futures[msg_id]
            return
        super()._handle_response(msg_id, result, error)

    def _send_response(self, msg_id: str | int, result: Any | None = None, error: types.ResponseError | None = None) -> None:
        self._extras.pop(msg_id, None)
        super()._send_response(msg_id, result, error)

    def _structured(self, message: dict[str, Any]) -> Any:
        method = message.get("method")
        if method is not None and self.get_message_type(method) is None:
            # A method of our own: its handler gets plain JSON. pygls would make objects of it that lack what is left out.
            params = message.get("params")
            if not isinstance(params, dict | list | None):
                raise TypeError("parameters are an object or an array")
            if "id" in message:
                return JsonRPCRequestMessage(id=message["id"], method=method, jsonrpc=self.VERSION, params=params)
            return JsonRPCNotification(method=method, jsonrpc=self.VERSION, params=params)
        if method == types.TEXT_DOCUMENT_INLINE_COMPLETION:
            self._mend_trigger_kind(message)
        try:
            return super().structure_message(message)
        except JsonRpcException:
            if method != types.INITIALIZE:
                raise
            # A client newer than our protocol types may have capabilities that they cannot hold. Those we use are few.
            message["params"] = essentials(message["params"])
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

    @lsp_method(types.WORKSPACE_EXECUTE_COMMAND)
    async def lsp_workspace__execute_command(self, params: types.ExecuteCommandParams) -> Any:  # type: ignore[override]
        """Run a command with its first argument, a JSON object, {} if it is left out.

        pygls would run the command as a task of its own, which goes on when the request is cancelled, and fit the arguments to
        the handler's signature. Raises JsonRpcInvalidParams.
        """
        handler = self.fm.commands.get(params.command)
        if handler is None:
            raise JsonRpcInvalidParams(f"There is no command {params.command}.")
        raw = self.extras().params
        arguments = raw.get("arguments") if isinstance(raw, dict) else None
        argument = arguments[0] if arguments else None
        if not isinstance(argument, dict | None):
            raise JsonRpcInvalidParams(f"The argument of {params.command} must be an object.")
        return await handler(argument or {})

    # pygls would keep a second copy of every document and notebook, and one whose lines end elsewhere.

    @lsp_method(types.TEXT_DOCUMENT_DID_OPEN)
    def lsp_text_document__did_open(self, params: types.DidOpenTextDocumentParams) -> Generator[Any, Any, None]:
        yield from self._handed_on(types.TEXT_DOCUMENT_DID_OPEN, params)

    @lsp_method(types.TEXT_DOCUMENT_DID_CHANGE)
    def lsp_text_document__did_change(self, params: types.DidChangeTextDocumentParams) -> Generator[Any, Any, None]:
        yield from self._handed_on(types.TEXT_DOCUMENT_DID_CHANGE, params)

    @lsp_method(types.TEXT_DOCUMENT_DID_CLOSE)
    def lsp_text_document__did_close(self, params: types.DidCloseTextDocumentParams) -> Generator[Any, Any, None]:
        yield from self._handed_on(types.TEXT_DOCUMENT_DID_CLOSE, params)

    @lsp_method(types.NOTEBOOK_DOCUMENT_DID_OPEN)
    def lsp_notebook_document__did_open(self, params: types.DidOpenNotebookDocumentParams) -> Generator[Any, Any, None]:
        yield from self._handed_on(types.NOTEBOOK_DOCUMENT_DID_OPEN, params)

    @lsp_method(types.NOTEBOOK_DOCUMENT_DID_CHANGE)
    def lsp_notebook_document__did_change(self, params: types.DidChangeNotebookDocumentParams) -> Generator[Any, Any, None]:
        yield from self._handed_on(types.NOTEBOOK_DOCUMENT_DID_CHANGE, params)

    @lsp_method(types.NOTEBOOK_DOCUMENT_DID_CLOSE)
    def lsp_notebook_document__did_close(self, params: types.DidCloseNotebookDocumentParams) -> Generator[Any, Any, None]:
        yield from self._handed_on(types.NOTEBOOK_DOCUMENT_DID_CLOSE, params)

    def _handed_on(self, method: str, params: Any) -> Generator[Any, Any, None]:
        """To our own handler, if there is one."""
        if (handler := self.fm.features.get(method)) is not None:
            yield handler, (params,), None

    @lsp_method(types.EXIT)
    def lsp_exit(self, *args: Any) -> None:  # type: ignore[override]
        """Ends the loop that reads messages; the process ends when everything has been put away."""
        self._server.exit_code = 0 if self._shutdown else 1
        if self._server._stop_event is not None:
            self._server._stop_event.set()


_NO_EXTRAS = Extras()


def _extras(params: Any) -> Extras:
    """What of a request's parameters is worth keeping; a value of the wrong kind counts as not said."""
    if not isinstance(params, dict):
        return Extras(params=params)
    options, document = params.get("formattingOptions"), params.get("textDocument")
    options, document = options if isinstance(options, dict) else {}, document if isinstance(document, dict) else {}
    size, spaces, token = options.get("tabSize"), options.get("insertSpaces"), params.get("workDoneToken")
    version = document.get("version")
    return Extras(
        tab_size=size if _is_int(size) and 0 < size <= _WIDEST_TAB else 0,
        insert_spaces=spaces if isinstance(spaces, bool) else True,
        version=version if _is_int(version) else None,
        work_done_token=token if isinstance(token, str) or _is_int(token) else None,
        params=params,
    )


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _frames(error: Exception) -> str:
    """Where it happened, without what it said."""
    return "".join(traceback.format_tb(error.__traceback__))
