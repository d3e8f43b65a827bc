"""`/infill`, `/completion` and `/health` as llama.cpp has them."""

import asyncio

import pytest

from engine.api import Snippet
from engine.config import EngineConfig
from engine.errors import CheckpointError
from engine.serve.compat.asking import MOST_TOKENS
from engine.serve.http import build_app
from engine.serve.service import EngineService

ASK = {"input_prefix": "def add(a, b):\n", "prompt": "    ", "input_suffix": "\n\nprint(1)\n", "n_predict": 64}


async def infill(http, **fields):
    response = await http.post("/infill", json={**ASK, **fields})
    assert response.status_code == 200, response.text
    return response.json()


async def test_a_whole_answer(http, scripted):
    said = await infill(http)
    assert said["content"] == "return a + b\n"
    assert (said["stop"], said["stop_type"], said["stopping_word"], said["truncated"]) == (True, "eos", "", False)
    assert (said["tokens_predicted"], said["tokens_evaluated"], said["tokens_cached"]) == (6, 30, 10)
    assert said["has_new_line"] is True
    timings = said["timings"]
    assert (timings["cache_n"], timings["prompt_n"], timings["prompt_ms"]) == (10, 20, 2.0)
    assert timings["prompt_per_token_ms"] == 0.1
    assert timings["prompt_per_second"] == 10_000
    assert (timings["predicted_n"], timings["predicted_ms"], timings["predicted_per_second"]) == (6, 8.0, 750)
    request = scripted.requests[-1]
    assert (request.prefix, request.suffix) == ("def add(a, b):\n    ", "\n\nprint(1)\n")


async def test_only_the_fields_that_are_wanted_by_their_paths(http):
    said = await infill(http, response_fields=["content", "timings/predicted_n", "truncated", "nothing/there"])
    assert said == {"content": "return a + b\n", "timings/predicted_n": 6, "truncated": False}
    assert await infill(http, response_fields=[""]) == {}


async def test_nothing_to_predict_is_answered_without_the_engine(http, scripted):
    assert (await infill(http, n_predict=0, input_prefix="", input_suffix="", prompt=""))["content"] == ""
    assert scripted.requests == []


async def test_no_limit_is_ours(http, scripted):
    await infill(http, n_predict=-1)
    assert scripted.requests[-1].holes[0].max_tokens == MOST_TOKENS


async def test_the_newest_piece_of_the_ring_is_the_best_snippet(http, scripted):
    extra = [
        {"text": "old\n", "time": [1, 2], "filename": "a.py"},
        {"text": " \n", "filename": "b.py"},
        {"text": "new\n", "time": [3, 4], "filename": "c.py"},
    ]
    await infill(http, input_extra=extra)
    assert scripted.requests[-1].snippets == (Snippet(path="c.py", text="new\n"), Snippet(path="a.py", text="old\n"))
    assert 0 < scripted.requests[-1].limits.snippet_share < 1
    await infill(http)
    assert scripted.requests[-1].limits.snippet_share == 0


async def test_several_completions_are_a_list(http, scripted):
    scripted.others = ["other"]
    said = await infill(http, n_cmpl=2)
    assert [(each["index"], each["content"]) for each in said] == [(0, "return a + b\n"), (1, "other")]
    assert isinstance(await infill(http, n_cmpl=1), dict)


async def test_the_text_ends_with_its_block_and_at_a_stop_string(http, scripted):
    scripted.script = ["a", "\n", "    ", "b", "\n", "c", "d"]
    said = await infill(http, n_indent=4)
    assert said["content"] == "a\n    b"
    assert scripted.steps == 6
    said = await infill(http, stop=["b"])
    assert (said["content"], said["stop_type"], said["stopping_word"]) == ("a\n    ", "word", "b")


async def test_patience_ends_with_a_line(http, scripted):
    scripted.script = ["a"] * 30 + ["\n"] + ["b"] * 5000
    scripted.step_seconds = 0.002
    said = await infill(http, t_max_predict_ms=20, n_predict=512)
    assert "\n" in said["content"]
    assert said["content"].startswith("a" * 30 + "\n")
    assert len(said["content"]) < 500
    assert said["stop_type"] == "limit"


async def test_what_ends_by_itself_in_the_last_moment_is_whole(http, scripted):
    class Finishing(type(scripted)):
        def infill(self, request, *, cancelled=None, on_step=None):
            return super().infill(request, on_step=on_step)  # a finished canvas asks nobody whether to stop

    scripted.__class__ = Finishing
    scripted.step_seconds = 0.003
    said = await infill(http, t_max_predict_ms=1)
    assert (said["content"], said["stop_type"], said["dlsp"]["finish"]) == ("return a + b\n", "eos", "complete")


async def test_a_stream_has_no_mark_at_its_end(http, events):
    chunks = events((await http.post("/infill", json={**ASK, "stream": True, "response_fields": ["content", "stop"]})).text)
    assert "".join(c["content"] for c in chunks) == "return a + b\n"
    assert [c["stop"] for c in chunks] == [False] * (len(chunks) - 1) + [True]
    assert set(chunks[-1]) == {"content", "stop"}


async def test_whole_canvases(http, events):
    chunks = events((await http.post("/infill", json={**ASK, "stream": True, "diffusing": True})).text)
    assert chunks[0]["content"] == "re░░░"
    assert chunks[-1]["content"] == "return a + b\n"
    assert all(c["diffusing"] for c in chunks)


async def test_completion_reads_markers(http, scripted):
    response = await http.post("/completion", json={"prompt": "<fim_prefix>a<fim_suffix>b<fim_middle>", "n_predict": 5})
    assert response.status_code == 200
    assert (scripted.requests[-1].prefix, scripted.requests[-1].suffix) == ("a", "b")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"n_probs": 3}, "n_probs is not available"),
        ({"grammar": "root ::= x"}, "grammar is not available"),
        ({"json_schema": {}}, "json_schema is not available"),
        ({"prompt": [1]}, "one text"),
        ({"n_cmpl": 100}, "from 1 to 8"),
        ({"input_prefix": 1}, "$.input_prefix"),
    ],
)
async def test_refusals_in_its_envelope(http, fields, sentence):
    response = await http.post("/infill", json={**ASK, **fields})
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["type"]) == (400, "invalid_request_error")
    assert sentence in error["message"]


async def test_samplers_are_ignored(http, scripted):
    await infill(http, samplers=["top_k", "top_p", "infill"], top_k=40, top_p=0.9, cache_prompt=True, id_slot=0, t_max_prompt_ms=500)
    assert scripted.requests[-1].decoding.temperature == 0.0


async def test_health(http):
    assert (await http.get("/health")).json() == {"status": "ok"}


async def test_health_while_loading_and_after_a_failure():
    import httpx

    def load(config, progress):
        raise CheckpointError("The weights are corrupt.", "Get them again.")

    service = EngineService(EngineConfig(), load)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=build_app(service)), base_url="http://engine") as http:
        loading = await http.get("/health")
        service.start()
        while service.status.state != "error":
            await asyncio.sleep(0.001)
        failed = await http.get("/health")
    assert (loading.status_code, failed.status_code) == (503, 503)
    assert loading.json()["error"]["type"] == "unavailable_error"
    assert "corrupt" in failed.json()["error"]["message"]
    await service.close("stopped")


@pytest.mark.parametrize("body", [b'{"n_indent": 1' + b"0" * 40 + b"}", b'{"n_cmpl": 2, "t_max_predict_ms": 1e300}'])
async def test_no_number_is_too_large(http, body):
    response = await http.post("/infill", content=body)
    assert response.status_code == 200
