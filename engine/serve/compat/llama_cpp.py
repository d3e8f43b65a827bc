"""llama.cpp's protocol as llama.vim, llama.vscode and Continue speak it: `/infill`, `/completion`, `/health`.

It knows this protocol's fields and shapes. Samplers, slots and caches are another engine's business and are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from engine.api import Snippet
from engine.errors import RequestError
from engine.serve.compat.asking import MOST_TOKENS, Answer, Ask, Choice, Drawn
from engine.serve.compat.endings import Endings
from engine.serve.compat.openai import model_name, seed_of, stop_strings
from engine.serve.compat.sentinels import Parts, parts
from engine.serve.compat.serving import Call, decode, query_number, refuse
from engine.serve.service import EngineService
from engine.serve.wire import MOST_MILLISECONDS

_MOST_INDENT = 1000
_STOP_TYPES = {"end": "eos", "stop": "word", "length": "limit"}


class Extra(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of another file; what else a client tells of it is ignored."""

    text: str = ""
    filename: str = ""


class LlamaFields(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `/infill` and `/completion`. Other fields are ignored."""

    input_prefix: str = ""
    input_suffix: str = ""
    input_extra: tuple[Extra, ...] | None = None
    prompt: str | list[Any] | None = None
    n_predict: int | None = None
    max_tokens: int | None = None
    n_cmpl: int | None = None
    n_indent: int | None = None
    t_max_predict_ms: float | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    response_fields: list[str] | None = None
    n_probs: int | None = None
    grammar: str | None = None
    json_schema: Any = None
    diffusing: bool | None = None


class LlamaShape:
    """`content` with counts and times. Where several answers were asked for the whole answer is a list of them."""

    ending = b""

    def __init__(self, service: EngineService, fields: LlamaFields, several: bool) -> None:
        self._model = model_name(service)
        self._several = several
        self._diffusing = bool(fields.stream and fields.diffusing)
        self._wanted = fields.response_fields

    def whole(self, answer: Answer) -> object:
        bodies = [self._chosen(self._body(index, choice.text, choice, answer)) for index, choice in enumerate(answer.choices)]
        return bodies if self._several else bodies[0]

    def delta(self, text: str) -> object:
        return {"index": 0, "content": text, "tokens": [], "stop": False}

    def drawn(self, canvas: Drawn) -> object:
        return {"index": 0, "content": canvas.text, "tokens": [], "stop": False, "diffusing": True, "step": canvas.step}

    def last(self, answer: Answer) -> list[object]:
        events: list[object] = []
        for index, choice in enumerate(answer.choices):
            text = choice.text if index or self._diffusing else answer.rest
            body = self._body(index, text, choice, answer)
            events.append(self._chosen({**body, "diffusing": True} if self._diffusing else body))
        return events

    def _body(self, index: int, text: str, choice: Choice, answer: Answer) -> dict[str, Any]:
        result = answer.result
        fresh = max(0, result.prompt_tokens - result.reused_tokens)
        return {
            "index": index,
            "content": text,
            "tokens": [],
            "id_slot": 0,
            "stop": True,
            "model": self._model,
            "tokens_predicted": choice.tokens,
            "tokens_evaluated": result.prompt_tokens,
            "tokens_cached": result.reused_tokens,
            "truncated": False,
            "has_new_line": "\n" in choice.text,
            "stop_type": _STOP_TYPES[choice.ended],
            "stopping_word": choice.stop,
            "timings": {
                "cache_n": result.reused_tokens,
                **_speed("prompt", fresh, result.timings.prompt_ms),
                **_speed("predicted", choice.tokens, result.timings.denoise_ms),
            },
            "dlsp": {"finish": result.finish, "reason": result.reason, "steps": result.steps, "forwards": result.forwards},
        }

    def _chosen(self, body: dict[str, Any]) -> dict[str, Any]:
        """Only the fields that were asked for, those inside others by their path, as llama.cpp does it."""
        if not self._wanted:
            return body
        out = {}
        for path in self._wanted:
            value: Any = body
            for name in path.split("/"):
                value = value.get(name) if isinstance(value, dict) else None
            if value is not None:
                out[path] = value
        return out


def read_infill(service: EngineService, body: bytes, query: Mapping[str, str]) -> Call:
    """A call of `/infill`. `prompt` stands between `input_prefix` and the cursor. Raises RequestError."""
    fields = decode(body, LlamaFields)
    # The ring of llama.vim has its newest piece last, which is also the one that llama.cpp keeps when there are too many.
    snippets = tuple(Snippet(path=extra.filename, text=extra.text) for extra in reversed(fields.input_extra or ()) if extra.text.strip())
    return _call(service, fields, Parts(fields.input_prefix + _prompt(fields), fields.input_suffix, snippets), query)


def read_completion(service: EngineService, body: bytes, query: Mapping[str, str]) -> Call:
    """A call of `/completion`, whose prompt may hold a suffix between markers. Raises RequestError."""
    fields = decode(body, LlamaFields)
    return _call(service, fields, parts(_prompt(fields)), query)


def health(service: EngineService) -> tuple[object, int]:
    """The answer of `/health` and its status."""
    status = service.status
    if status.state in ("ready", "busy"):
        return {"status": "ok"}, 200
    kind = "server_error" if status.state == "error" else "unavailable_error"
    message = status.message or f"The model {model_name(service)} is loading."
    return {"error": {"code": 503, "message": message, "type": kind}}, 503


def _call(service: EngineService, fields: LlamaFields, said: Parts, query: Mapping[str, str]) -> Call:
    if fields.n_probs:
        raise refuse("n_probs", "tokens are not decided one after another")
    if fields.grammar or fields.json_schema is not None:
        raise refuse("grammar" if fields.grammar else "json_schema", "text is not written from left to right")
    tokens = fields.n_predict if fields.n_predict is not None else fields.max_tokens
    choices = 1 if fields.n_cmpl is None else fields.n_cmpl
    stream = bool(fields.stream)
    ask = Ask(
        prefix=said.prefix,
        suffix=said.suffix,
        snippets=said.snippets,
        # -1 means "as many as it takes" there, -2 "until the context is full".
        max_tokens=MOST_TOKENS if tokens is None or tokens < 0 else tokens,
        endings=Endings(
            stops=stop_strings(fields.stop),
            lines=query_number(query, "max_lines") or 0,
            indent=min(max(0, fields.n_indent or 0), _MOST_INDENT),
        ),
        n=choices,
        temperature=max(0.0, fields.temperature or 0.0),
        top_p=1.0 if fields.top_p is None else fields.top_p,
        seed=seed_of(fields.seed),
        patience_ms=int(min(max(0.0, fields.t_max_predict_ms or 0.0), MOST_MILLISECONDS)),
        stream=stream,
        diffusing=bool(stream and fields.diffusing),
    )
    return Call(ask, LlamaShape(service, fields, choices > 1))


def _prompt(fields: LlamaFields) -> str:
    if fields.prompt is None:
        return ""
    if not isinstance(fields.prompt, str):
        raise RequestError("The prompt must be one text, not several and not tokens.", "Send one request for each prompt.")
    return fields.prompt


def _speed(name: str, tokens: int, milliseconds: float) -> dict[str, float]:
    spent = max(milliseconds, 0.001)
    return {
        f"{name}_n": tokens,
        f"{name}_ms": round(spent, 3),
        f"{name}_per_token_ms": round(spent / max(1, tokens), 3),
        f"{name}_per_second": round(1000 * tokens / spent, 3),
    }
