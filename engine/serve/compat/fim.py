"""`/v1/fim/completions`: Mistral's and Inception's requests are the same, their answers are not.

Mistral's clients read `choices[].message.content` (in a stream `delta.content`), Inception's `choices[].text`. Both are there
unless `?shape=mistral` or `?shape=inception` in the URL asks for one of them.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from engine.errors import RequestError
from engine.serve.compat.asking import Answer, Choice
from engine.serve.compat.openai import FINISH, SamplingFields, TextShape, call_of, usage
from engine.serve.compat.sentinels import Parts, parts
from engine.serve.compat.serving import Call, decode
from engine.serve.service import EngineService

_SHAPES = ("", "mistral", "inception")


class FimFields(SamplingFields, frozen=True, kw_only=True):
    """The body of `/v1/fim/completions`."""

    prompt: str
    random_seed: int | None = None
    max_completion_tokens: int | None = None


class FimShape(TextShape):
    """Mistral's answer with Inception's `text` beside it, or one of them."""

    prefix = "fim-"

    def __init__(self, service: EngineService, fields: FimFields, only: str) -> None:
        super().__init__(service, fields)
        self._only = only
        if only == "inception":
            return
        self.kind = "chat.completion.chunk" if fields.stream else "chat.completion"

    def last(self, answer: Answer) -> list[object]:
        events = super().last(answer)
        if self._only != "inception" and not self._usage:
            # Mistral tells the usage with the last chunk that has a choice.
            events[-1] = {**_as_dict(events[-1]), "usage": usage(answer)}
        return events

    def _choice(self, index: int, text: str, choice: Choice | None) -> dict[str, object]:
        return self._dressed("message", index, text, choice)

    def _part(self, index: int, text: str, choice: Choice | None = None) -> dict[str, object]:
        return self._dressed("delta", index, text, choice)

    def _dressed(self, name: str, index: int, text: str, choice: Choice | None) -> dict[str, object]:
        out: dict[str, object] = {"index": index, "finish_reason": FINISH[choice.ended] if choice else None}
        if self._only != "inception":
            out[name] = {"role": "assistant", "content": text}
        if self._only != "mistral":
            out["text"] = text
        return out


def read_fim(service: EngineService, body: bytes, query: Mapping[str, str]) -> Call:
    """A call of `/v1/fim/completions`. Raises RequestError for what is not valid or cannot be done."""
    fields = decode(body, FimFields)
    only = query.get("shape", "")
    if only not in _SHAPES:
        raise RequestError("There is no answer of that shape.", "Use ?shape=mistral or ?shape=inception, or leave it out for both.")
    if fields.seed is None and fields.random_seed is not None:
        fields = msgspec.structs.replace(fields, seed=fields.random_seed)
    said = parts(fields.prompt) if fields.suffix is None else Parts(fields.prompt, fields.suffix)
    tokens = fields.max_tokens if fields.max_tokens is not None else fields.max_completion_tokens
    return call_of(fields, said, query, FimShape(service, fields, only), tokens)


def _as_dict(event: object) -> dict[str, object]:
    assert isinstance(event, dict)
    return event
