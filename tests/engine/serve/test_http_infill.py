"""Everything a request can say, sent as JSON through the app to a real engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import msgspec
import pytest

from engine.api import InfillResult, WireError
from engine.config import EngineConfig
from engine.runtime.engine import Engine
from engine.serve.http import build_app
from engine.serve.service import EngineService

PREFIX, SUFFIX = "def add(first, second):\n    total = ", "\n    return total\n"


@pytest.fixture(scope="module", params=["nano", "dreamon", "dream", "stable-diffcoder"])
def engine(request: pytest.FixtureRequest, load: Callable[[str], Engine]) -> Engine:
    return load(request.param)


@pytest.fixture
async def http(engine: Engine) -> AsyncIterator[httpx.AsyncClient]:
    service = EngineService(EngineConfig(), lambda config, progress: engine)
    service.start()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=build_app(service)), base_url="http://engine") as client:
        while service.status.state != "ready":
            await asyncio.sleep(0.001)
        yield client
    await service.close("stopped")


async def ask(http: httpx.AsyncClient, **facts: Any) -> InfillResult:
    response = await http.post("/v1/infill", json={"prefix": PREFIX, "suffix": SUFFIX, **facts})
    assert response.status_code == 200, response.text
    return msgspec.json.decode(response.content, type=InfillResult)


async def test_holes_locks_and_drafts(http: httpx.AsyncClient) -> None:
    holes = [
        {"max_tokens": 9, "after": "\n    other = "},
        {"draft": "first + second", "noise": 0.0, "after": "\n    third = "},
        {"draft": "call(first)", "locked": [[4, 5], [10, 11]], "max_tokens": 9},
    ]
    result = await ask(http, holes=holes)
    first, second, third = (fill.text for fill in result.fills)
    assert "\n" not in first
    assert second == "first + second"
    assert "(" in third
    assert third.endswith(")")


async def test_decoding_options(http: httpx.AsyncClient, engine: Engine) -> None:
    decoding = {"length": "fixed", "slots": 5, "score": "entropy", "schedule": "entropy-bound", "level": 0.2, "remask": "confidence"}
    result = await ask(http, holes=[{"max_tokens": 9, "max_lines": 0}], decoding=decoding)
    assert result.length_policy == "fixed:5"
    assert result.fills[0].tokens == 5
    several = await ask(http, holes=[{"max_tokens": 6}], decoding={"alternatives": 3, "temperature": 0.7, "top_p": 0.9, "seed": 4})
    texts = [several.text, *(fills[0].text for fills in several.others)]
    assert len(set(texts)) == len(texts) <= 3
    assert several.length_policy == engine.defaults.length


@pytest.mark.parametrize(
    ("facts", "status", "sentence"),
    [
        ({"decoding": {"length": "magic"}}, 400, "length"),
        ({"decoding": {"score": "luck"}}, 400, "score"),
        ({"decoding": {"alternatives": 99}}, 400, "alternatives must be from 1 to 8; it is 99"),
        ({"holes": []}, 400, "no hole"),
        ({"holes": [{}, {}]}, 400, "Holes 1 and 2 touch"),
        ({"holes": [{"noise": 2}]}, 400, "noise level of hole 1 is 2"),
        ({"holes": [{"draft": "ab", "locked": [[1, 9]]}]}, 400, "lock (1, 9) of hole 1"),
    ],
)
async def test_what_makes_no_sense_is_refused_in_one_sentence(
    http: httpx.AsyncClient, facts: dict[str, Any], status: int, sentence: str
) -> None:
    response = await http.post("/v1/infill", json={"prefix": PREFIX, "suffix": SUFFIX, **facts})
    assert response.status_code == status
    error = msgspec.json.decode(response.content, type=WireError)
    assert sentence in error.message
    assert error.action


@pytest.mark.parametrize("fields", [{}, {"stop": ["\n"]}, {"stop": ["e", "("]}, {"max_lines": 2}, {"temperature": 0.9, "seed": 5}])
async def test_a_stream_of_a_real_engine_joins_to_its_whole_answer(http: httpx.AsyncClient, fields: dict[str, Any]) -> None:
    body = {"prompt": PREFIX, "suffix": SUFFIX, "max_tokens": 21, **fields}
    whole = (await http.post("/v1/completions", json=body)).json()
    lines = (await http.post("/v1/completions", json={**body, "stream": True})).text.split("\n\n")
    chunks = [msgspec.json.decode(line.removeprefix("data: ")) for line in lines if line and line != "data: [DONE]"]
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole["choices"][0]["text"]
    assert chunks[-1]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    canvases = (await http.post("/v1/completions", json={**body, "stream": True, "diffusing": True})).text.split("\n\n")
    assert msgspec.json.decode(canvases[-3].removeprefix("data: "))["choices"][0]["text"] == whole["choices"][0]["text"]
