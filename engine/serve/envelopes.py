"""Errors as each protocol spells them, chosen by the path: ours, OpenAI's, Mistral's and Inception's, llama.cpp's.

It knows exceptions and status codes, not who asks nor why it failed.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import Response

from engine.api import WireError
from engine.errors import DlspError, LoadingError, RequestError
from engine.serve.wire import json_response

_OWN = ("/healthz", "/v1/status", "/v1/infill", "/v1/door")
_LLAMA_CPP = ("/infill", "/completion", "/health")
_FIM = "/v1/fim/completions"
_OPENAI = ("/v1/completions", "/v1/models")

_OPENAI_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "invalid_request_error",
    503: "service_unavailable",
}
_LLAMA_TYPES = {**_OPENAI_TYPES, 503: "unavailable_error"}


def refusal(path: str, error: DlspError, status: int, headers: dict[str, str] | None = None) -> Response:
    """`error` in the envelope of the protocol that `path` belongs to; in OpenAI's and ours at once where it belongs to none."""
    return json_response(envelope(path, error, status), status, headers)


def failure(path: str, error: DlspError) -> Response:
    """The answer to a request that `error` ended, with the status that says whose fault it was and whether to try again."""
    if isinstance(error, LoadingError):
        return refusal(path, error, 503, {"Retry-After": "1"})
    return refusal(path, error, 400 if isinstance(error, RequestError) else 500)


def envelope(path: str, error: DlspError, status: int) -> object:
    """What the client of the protocol at `path` expects to read."""
    return _form(path)(error, status)


def _form(path: str) -> Callable[[DlspError, int], object]:
    if path in _OWN:
        return _own
    if path in _LLAMA_CPP:
        return _llama_cpp
    if path == _FIM:
        return _fim
    return _openai if path in _OPENAI else _unknown


def _own(error: DlspError, status: int) -> WireError:
    """Sentence and action go apart."""
    message = str(error.args[0]) if error.args else type(error).__name__
    return WireError(type=type(error).__name__, message=message, action=error.action)


def _openai(error: DlspError, status: int) -> object:
    return {"error": _facts(error, status)}


def _fim(error: DlspError, status: int) -> object:
    """Mistral's clients read the outer fields, Inception's the inner ones."""
    facts = _facts(error, status)
    return {"object": "error", **facts, "error": facts}


def _unknown(error: DlspError, status: int) -> object:
    own = _own(error, status)
    return {"error": _facts(error, status), "type": own.type, "message": own.message, "action": own.action}


def _llama_cpp(error: DlspError, status: int) -> object:
    return {"error": {"code": status, "message": str(error), "type": _LLAMA_TYPES.get(status, "server_error")}}


def _facts(error: DlspError, status: int) -> dict[str, object]:
    return {"message": str(error), "type": _OPENAI_TYPES.get(status, "server_error"), "param": None, "code": type(error).__name__}
