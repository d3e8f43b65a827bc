"""OpenAI's protocol: `/v1/completions` with `suffix`, and `/v1/models`.

It knows this protocol's fields and shapes, and which of them mean something to a model that infills.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec

from engine.errors import RequestError
from engine.serve.compat.asking import USUAL_TOKENS, Answer, Ask, Choice, Drawn
from engine.serve.compat.endings import Endings
from engine.serve.compat.sentinels import END_OF_TEXT, Parts, parts
from engine.serve.compat.serving import Call, decode, query_number, refuse
from engine.serve.service import EngineService
from engine.serve.sse import DONE
from engine.serve.wire import MOST_MILLISECONDS

FINISH = {"end": "stop", "stop": "stop", "length": "length"}

_MOST_SEED = 2**62 - 1
_MOST_STOPS = 64


class SamplingFields(msgspec.Struct, frozen=True, kw_only=True):
    """What OpenAI's, Mistral's and Inception's requests have in common, and our own extensions. Other fields are ignored."""

    suffix: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    seed: int | None = None
    logit_bias: dict[str, float] | None = None
    diffusing: bool | None = None
    max_lines: int | None = None
    deadline_ms: int | None = None


class CompletionFields(SamplingFields, frozen=True, kw_only=True):
    """The body of `/v1/completions`."""

    prompt: str | list[Any] | None = None
    echo: bool | None = None
    best_of: int | None = None
    logprobs: int | bool | None = None


class TextShape:
    """`choices[].text`, whole or in chunks of the same shape."""

    ending = DONE
    kind, prefix = "text_completion", "cmpl-"

    def __init__(self, service: EngineService, fields: SamplingFields) -> None:
        self._id = f"{self.prefix}{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._model = model_name(service)
        self._fingerprint = f"dlsp-{service.status.version or 'unknown'}"
        self._usage = bool((fields.stream_options or {}).get("include_usage"))
        self._diffusing = bool(fields.stream and fields.diffusing)

    def whole(self, answer: Answer) -> object:
        choices = [self._choice(index, choice.text, choice) for index, choice in enumerate(answer.choices)]
        return {**self._body(choices), "usage": usage(answer), "dlsp": facts(answer)}

    def delta(self, text: str) -> object:
        return self._body([self._part(0, text)])

    def drawn(self, canvas: Drawn) -> object:
        return {**self._body([self._part(0, canvas.text)]), "diffusing": True, "step": canvas.step}

    def last(self, answer: Answer) -> list[object]:
        events: list[object] = []
        for index, choice in enumerate(answer.choices):
            text = choice.text if index or self._diffusing else answer.rest
            body = self._body([self._part(index, text, choice)])
            events.append({**body, "diffusing": True, "step": answer.result.steps} if self._diffusing else body)
        if self._usage:
            events.append({**self._body([]), "usage": usage(answer)})
        return events

    def _body(self, choices: list[dict[str, object]]) -> dict[str, object]:
        return {
            "id": self._id,
            "object": self.kind,
            "created": self._created,
            "model": self._model,
            "system_fingerprint": self._fingerprint,
            "choices": choices,
        }

    def _choice(self, index: int, text: str, choice: Choice | None) -> dict[str, object]:
        return {"index": index, "text": text, "logprobs": None, "finish_reason": FINISH[choice.ended] if choice else None}

    def _part(self, index: int, text: str, choice: Choice | None = None) -> dict[str, object]:
        """A choice of a chunk; without a `choice` it goes on."""
        return self._choice(index, text, choice)


def read_completion(service: EngineService, body: bytes, query: Mapping[str, str]) -> Call:
    """A call of `/v1/completions`. Raises RequestError for what is not valid or cannot be done."""
    fields = decode(body, CompletionFields)
    prompt = fields.prompt
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if prompt is None:
        prompt = ""
    if not isinstance(prompt, str):
        raise RequestError("The prompt must be one text, not several and not tokens.", "Send one request for each prompt.")
    if fields.echo:
        raise refuse("echo", "an infill has text on both sides")
    if fields.logprobs is not None and fields.logprobs is not False:
        raise refuse("logprobs", "tokens are not decided one after another")
    if (fields.best_of or 1) > (fields.n or 1):
        raise refuse("best_of", "the best of all choices come first anyway, ask for n of them")
    return call_of(fields, parts(prompt) if fields.suffix is None else Parts(prompt, fields.suffix), query, TextShape(service, fields))


def call_of(fields: SamplingFields, said: Parts, query: Mapping[str, str], shape: TextShape, tokens: int | None = None) -> Call:
    """The call that the common fields describe; `tokens` where the number of tokens has another name. Raises RequestError."""
    if fields.logit_bias:
        raise refuse("logit_bias", "its tokens are those of another model")
    if tokens is None:
        tokens = fields.max_tokens
    lines = fields.max_lines if fields.max_lines is not None else query_number(query, "max_lines") or 0
    deadline = fields.deadline_ms if fields.deadline_ms is not None else query_number(query, "deadline_ms") or 0
    if lines < 0 or deadline < 0:
        raise RequestError("max_lines and deadline_ms cannot be negative.", "Use 0 for no limit.")
    ask = Ask(
        prefix=said.prefix,
        suffix="" if said.suffix == END_OF_TEXT else said.suffix,
        snippets=said.snippets,
        max_tokens=USUAL_TOKENS if tokens is None else tokens,
        endings=Endings(stops=stop_strings(fields.stop), lines=lines),
        n=1 if fields.n is None else fields.n,
        temperature=fields.temperature or 0.0,
        top_p=1.0 if fields.top_p is None else fields.top_p,
        seed=seed_of(fields.seed),
        deadline_ms=min(deadline, MOST_MILLISECONDS),
        stream=bool(fields.stream),
        diffusing=bool(fields.stream and fields.diffusing),
    )
    return Call(ask, shape)


def models(service: EngineService) -> object:
    """The answer of `/v1/models`: the one model that is served, under the name it was started with."""
    name = model_name(service)
    length = service.status.prompt_tokens
    meta = {"n_ctx": length, "n_ctx_train": length} if length else None
    return {"object": "list", "data": [{"id": name, "object": "model", "created": 0, "owned_by": "dlsp", "meta": meta}]}


def model_name(service: EngineService) -> str:
    """What the served model is called; clients may ask for it by any name."""
    return service.status.model or service.config.model


def stop_strings(stop: str | list[str] | None) -> tuple[str, ...]:
    """The stop strings, which the text has with plain line ends. Raises RequestError: each is looked for at every step."""
    given = [stop] if isinstance(stop, str) else stop or []
    if len(given) > _MOST_STOPS:
        raise RequestError(f"There may be {_MOST_STOPS} stop strings; there are {len(given)}.", "Send fewer.")
    return tuple(dict.fromkeys(each.replace("\r\n", "\n") for each in given if each))


def seed_of(seed: int | None) -> int:
    """A seed that the engine takes; -1, which asks for chance elsewhere, is one like any other."""
    return (seed or 0) & _MOST_SEED


def usage(answer: Answer) -> dict[str, int]:
    """Tokens of our own tokenizer."""
    prompt, completion = answer.result.prompt_tokens, answer.tokens
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def facts(answer: Answer) -> dict[str, object]:
    """What a diffusion model has to say beyond the protocol; `reason` is why there is no text where there is none."""
    result = answer.result
    confidence = result.fills[0].confidence if result.fills else 0.0
    return {
        "finish": result.finish,
        "reason": result.reason,
        "confidence": round(confidence, 4),
        "steps": result.steps,
        "forwards": result.forwards,
        "reused_tokens": result.reused_tokens,
    }
