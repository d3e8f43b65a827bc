"""One call of a foreign protocol from its body to its last byte: read, ask, answer whole or as events, errors in its envelope.

It knows the order of things; fields and shapes are the protocols' own.
"""

from __future__ import annotations

import asyncio
import logging
import re
import traceback
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from engine.errors import DlspError, HostError, RequestError
from engine.serve.compat.asking import Answer, Ask, Delta, Drawn, Event, answers
from engine.serve.envelopes import envelope, failure, refusal
from engine.serve.service import EngineService
from engine.serve.sse import EventStream
from engine.serve.wire import CLIENT_CLOSED_REQUEST, MALFORMED, json_response, read_body, unless_gone

_log = logging.getLogger(__name__)

_Fields = TypeVar("_Fields")

_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|(u[dD][89a-fA-F][\da-fA-F]{2})|\\)")
"""What may be said of surrogates in JSON: an escaped pair, a lone one (the group), or a backslash that is none of an escape."""

_REPLACEMENT = rb"\ufffd"


class Shape(Protocol):
    """How one call of a protocol wants its answer; made for that call."""

    ending: bytes
    """What closes the stream behind the last event."""

    def whole(self, answer: Answer) -> object:
        """The answer in one piece."""
        ...

    def delta(self, text: str) -> object:
        """An event with text that comes behind the text before."""
        ...

    def drawn(self, canvas: Drawn) -> object:
        """An event with a whole canvas in place of the one before."""
        ...

    def last(self, answer: Answer) -> list[object]:
        """The events that end the stream; `answer.rest` has not been sent yet."""
        ...


class Call(msgspec.Struct, frozen=True):
    """A question and the shape of its answer."""

    ask: Ask
    shape: Shape


Reader = Callable[[bytes, Mapping[str, str]], Call]
"""Understands the body and the query of a request. Raises RequestError."""


async def serve(request: Request, service: EngineService, read: Reader, turn: asyncio.Lock) -> Response:
    """The response to one call. The client's leaving ends the denoise loop at any point within a step. Calls with the same `turn`
    are denoised one after another."""
    path = request.url.path
    try:
        body = await read_body(request, service.config.max_request_bytes)
        if body is None:
            limit = f"{service.config.max_request_bytes:,}"
            return refusal(path, RequestError(f"The request is larger than {limit} bytes.", "Send less text around the cursor."), 413)
        call = read(body, request.query_params)
        events = answers(service, call.ask, turn)
        if call.ask.stream:
            # What cannot be answered at all gets a status of its own; so the first event is awaited before the stream begins.
            first = await unless_gone(request.receive, _first(events))
            return EventStream(_stream(path, call, first, events), call.shape.ending) if first is not None else _gone()
        answer = await unless_gone(request.receive, _only(events))
        return json_response(call.shape.whole(answer)) if answer is not None else _gone()
    except ClientDisconnect:
        return _gone()
    except DlspError as error:
        return failure(path, error)
    except Exception as error:  # noqa: BLE001 - the client gets an answer in its envelope; the message may quote the document
        return failure(path, _unforeseen(error))


def decode(body: bytes, fields: type[_Fields]) -> _Fields:
    """The body as `fields`. Half a character, as editors in JavaScript send one where they cut the text inside an emoji, becomes a
    replacement character. Raises RequestError, without any of its text."""
    try:
        try:
            return msgspec.json.decode(body, type=fields)
        except msgspec.DecodeError:
            return msgspec.json.decode(_ESCAPE.sub(lambda found: _REPLACEMENT if found[1] else found[0], body), type=fields)
    except MALFORMED as error:
        raise RequestError(f"The request is not valid: {error}.", "docs/http.md names the fields.") from error


def query_number(query: Mapping[str, str], name: str) -> int | None:
    """A number in the query of the URL, None where it is not there. Raises RequestError for what is none."""
    value = query.get(name)
    if value is None:
        return None
    if not value.isascii() or not value.isdigit() or len(value) > 9:
        raise RequestError(f"{name} in the URL is not a number of at most nine digits.", f"Use ?{name}=1, or leave it out.")
    return int(value)


def refuse(name: str, why: str) -> RequestError:
    """What to raise for a field whose neglect would make the answer a wrong one."""
    return RequestError(f"{name} is not available here: {why}.", f"Leave {name} out.")


async def _first(events: AsyncGenerator[Event, None]) -> Event:
    return await anext(events)


async def _only(events: AsyncGenerator[Event, None]) -> Answer:
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Answer):
                return event
    raise AssertionError("an answer comes last")


async def _stream(path: str, call: Call, first: Event, others: AsyncGenerator[Event, None]) -> AsyncGenerator[object, None]:
    async with aclosing(others):
        try:
            for shown in _shown(call.shape, first):
                yield shown
            async for event in others:
                for shown in _shown(call.shape, event):
                    yield shown
        except DlspError as error:
            yield envelope(path, error, 500)
        except Exception as error:  # noqa: BLE001 - as in `serve`
            yield envelope(path, _unforeseen(error), 500)


def _shown(shape: Shape, event: Event) -> list[Any]:
    if isinstance(event, Delta):
        return [shape.delta(event.text)]
    return [shape.drawn(event)] if isinstance(event, Drawn) else shape.last(event)


def _unforeseen(error: Exception) -> HostError:
    _log.error("a request failed: %s\n%s", type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))
    return HostError(f"The engine failed on this request ({type(error).__name__}).", "See its log file.")


def _gone() -> Response:
    return Response(status_code=CLIENT_CLOSED_REQUEST)
