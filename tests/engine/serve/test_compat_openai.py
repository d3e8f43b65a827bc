"""`/v1/completions` and `/v1/models` in process, against an engine that says what it is told."""

import asyncio
import json
import logging
import time

import httpx
import pytest

from engine.api import empty_result
from engine.config import EngineConfig
from engine.errors import CheckpointError, RequestError
from engine.serve.compat.asking import MOST_TOKENS, USUAL_TOKENS
from engine.serve.http import build_app
from engine.serve.service import EngineService

PATH = "/v1/completions"
SECRET = "correct horse battery staple"
ASK = {"model": "any", "prompt": "def add(a, b):\n    ", "suffix": "\n\nprint(add(1, 2))\n", "max_tokens": 64}


async def ask(http, **fields):
    response = await http.post(PATH, json={**ASK, **fields})
    assert response.status_code == 200, response.text
    return response.json()


async def stream(http, events, **fields):
    response = await http.post(PATH, json={**ASK, "stream": True, **fields})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    return events(response.text)


async def refused(http, status=400, **fields):
    response = await http.post(PATH, json={**ASK, **fields})
    assert response.status_code == status
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


async def test_a_whole_answer(http, scripted):
    said = await ask(http)
    assert said["object"] == "text_completion"
    assert said["id"].startswith("cmpl-")
    assert said["model"] == "scripted"
    assert abs(said["created"] - time.time()) < 60
    assert said["choices"] == [{"index": 0, "text": "return a + b\n", "logprobs": None, "finish_reason": "stop"}]
    assert said["usage"] == {"prompt_tokens": 30, "completion_tokens": 6, "total_tokens": 36}
    request = scripted.requests[-1]
    assert (request.prefix, request.suffix) == (ASK["prompt"], ASK["suffix"])
    assert (request.holes[0].max_tokens, request.holes[0].max_lines) == (64, 0)
    assert (request.decoding.temperature, request.decoding.alternatives) == (0.0, 1)


async def test_the_options_reach_the_engine(http, scripted):
    scripted.others = ["one", "two"]
    said = await ask(http, n=3, temperature=0.7, top_p=0.9, seed=-1, max_lines=3, deadline_ms=700)
    assert [c["text"] for c in said["choices"]] == ["return a + b\n", "one", "two"]
    assert [c["index"] for c in said["choices"]] == [0, 1, 2]
    assert said["usage"]["completion_tokens"] == 6 + 2 + 2
    request = scripted.requests[-1]
    decoding = request.decoding
    assert (decoding.temperature, decoding.top_p, decoding.alternatives) == (0.7, 0.9, 3)
    assert decoding.seed >= 0
    assert request.holes[0].max_lines == 3
    assert 500 < request.limits.deadline_ms <= 700


async def test_what_is_not_said_has_a_default(http, scripted):
    response = await http.post(PATH, json={"prompt": ["x = "], "temperature": None, "stop": None, "user": "me", "frequency_penalty": 1})
    assert response.status_code == 200
    request = scripted.requests[-1]
    assert (request.prefix, request.suffix, request.holes[0].max_tokens) == ("x = ", "", USUAL_TOKENS)
    await ask(http, max_tokens=100_000)
    assert scripted.requests[-1].holes[0].max_tokens == MOST_TOKENS


async def test_the_url_may_limit_the_lines(http, scripted):
    assert (await http.post(f"{PATH}?max_lines=2&deadline_ms=9000", json=ASK)).status_code == 200
    assert scripted.requests[-1].holes[0].max_lines == 2
    assert 0 < scripted.requests[-1].limits.deadline_ms <= 9000
    response = await http.post(f"{PATH}?max_lines=many", json=ASK)
    assert response.status_code == 400
    assert "max_lines in the URL is not a number" in response.json()["error"]["message"]


async def test_a_stop_string_ends_the_text_and_the_engine(http, scripted):
    said = await ask(http, stop=[" +"])
    assert said["choices"][0]["text"] == "return a"
    assert said["choices"][0]["finish_reason"] == "stop"
    assert scripted.steps == 4
    assert said["usage"]["prompt_tokens"] == 30
    assert said["dlsp"]["finish"] == "complete"
    assert (await ask(http, stop=" +"))["choices"][0]["text"] == "return a"
    await ask(http, stop="\n")
    assert scripted.requests[-1].holes[0].max_lines == 1


async def test_a_limit_is_a_reason_to_finish(http, scripted):
    said = await ask(http, max_tokens=3)
    assert said["choices"][0] == {"index": 0, "text": "return a", "logprobs": None, "finish_reason": "length"}
    nothing = await ask(http, max_tokens=0)
    assert nothing["choices"][0] == {"index": 0, "text": "", "logprobs": None, "finish_reason": "length"}


async def test_an_empty_answer_has_a_reason(http, scripted):
    scripted.script = []
    said = await ask(http)
    assert said["choices"][0]["text"] == ""
    assert said["dlsp"]["reason"] == "empty_output"
    scripted.result = empty_result("deadline", "deadline")
    said = await ask(http)
    assert (said["choices"][0]["text"], said["choices"][0]["finish_reason"]) == ("", "length")
    assert said["dlsp"]["reason"] == "deadline"


async def test_markers_in_the_prompt_without_a_suffix(http, scripted):
    await ask(http, prompt="<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>", suffix=None)
    assert (scripted.requests[-1].prefix, scripted.requests[-1].suffix) == ("a", "b")
    await ask(http, prompt="<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>", suffix="")
    assert scripted.requests[-1].prefix.startswith("<|fim_prefix|>")
    await ask(http, suffix="<|endoftext|>")
    assert scripted.requests[-1].suffix == ""


async def test_the_line_ends_of_windows_come_back(http, scripted, events):
    scripted.script = ["a", "\n", "b", "\n", "\n", "c"]
    fields = {"prompt": "x\r\n", "suffix": "\r\ny", "stop": ["\r\n\r\n"]}
    assert (await ask(http, **fields))["choices"][0]["text"] == "a\r\nb"
    assert (scripted.requests[-1].prefix, scripted.requests[-1].suffix) == ("x\n", "\ny")
    chunks = await stream(http, events, **fields)
    assert "".join(c["choices"][0]["text"] for c in chunks[:-1]) == "a\r\nb"


async def test_a_stream_says_the_same_from_the_left(http, scripted, events):
    chunks = await stream(http, events)
    assert chunks[-1] == "[DONE]"
    texts = [c["choices"][0]["text"] for c in chunks[:-1]]
    assert "".join(texts) == "return a + b\n"
    assert len(texts) > 3
    assert [c["choices"][0]["finish_reason"] for c in chunks[:-1]] == [None] * (len(texts) - 1) + ["stop"]
    assert len({c["id"] for c in chunks[:-1]}) == 1
    assert {c["object"] for c in chunks[:-1]} == {"text_completion"}
    assert "usage" not in chunks[0]


async def test_a_stream_counts_its_tokens_when_asked(http, events):
    chunks = await stream(http, events, stream_options={"include_usage": True})
    assert chunks[-2]["choices"] == []
    assert chunks[-2]["usage"] == {"prompt_tokens": 30, "completion_tokens": 6, "total_tokens": 36}


async def test_what_is_committed_further_right_waits(http, scripted, events):
    scripted.order = [3, 1, 0, 2]
    chunks = await stream(http, events)
    assert [c["choices"][0]["text"] for c in chunks[:-1]][:2] == ["return", " a +"]


async def test_half_a_character_waits(http, scripted, events):
    # Bytes of a character that several tokens share cannot be shown one by one.
    scripted.script = ["a", "\ufffd", "b"]
    texts = [c["choices"][0]["text"] for c in (await stream(http, events))[:-1]]
    assert texts == ["a", "\ufffdb"]


async def test_a_stream_holds_back_what_a_stop_string_may_take(http, scripted, events):
    scripted.script = ["a", "\n", "\n", "b"]
    texts = [c["choices"][0]["text"] for c in (await stream(http, events, stop=["\n\n"]))[:-1]]
    assert "".join(texts) == "a"
    assert scripted.steps == 3
    scripted.script = ["a", "\n", "b"]
    assert "".join(c["choices"][0]["text"] for c in (await stream(http, events, stop=["\n\n"]))[:-1]) == "a\nb"


@pytest.mark.parametrize("most", range(1, 7))
@pytest.mark.parametrize("canvas", [1, 2, 4, 8])
async def test_a_stream_never_passes_the_token_limit(http, scripted, events, most, canvas):
    scripted.canvas = canvas
    whole = (await ask(http, max_tokens=most))["choices"][0]["text"]
    texts = [c["choices"][0]["text"] for c in (await stream(http, events, max_tokens=most))[:-1]]
    assert "".join(texts) == whole == "".join(scripted.script[:most])


async def test_a_model_that_may_change_its_mind_is_heard_at_the_end(scripted, events):
    class Defaults:
        length = "hypotheses"

    scripted.defaults = Defaults()
    service = EngineService(EngineConfig(), lambda config, progress: scripted)
    service.start()
    while service.status.state != "ready":
        await asyncio.sleep(0.001)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=build_app(service)), base_url="http://engine") as http:
        chunks = await stream(http, events)
    assert [c["choices"][0]["text"] for c in chunks[:-1]] == ["return a + b\n"]
    await service.close("stopped")


async def test_several_choices_come_whole(http, scripted, events):
    scripted.others = ["other"]
    chunks = await stream(http, events, n=2)
    assert [(c["choices"][0]["index"], c["choices"][0]["text"]) for c in chunks[:-1]] == [(0, "return a + b\n"), (1, "other")]


async def test_whole_canvases(http, scripted, events):
    scripted.order = [3, 1, 0, 2]
    scripted.script = ["re", "turn", " a", " +"]
    chunks = (await stream(http, events, diffusing=True))[:-1]
    assert [c["choices"][0]["text"] for c in chunks] == ["░░░ +", "░turn░ +", "return░ +", "return a +", "return a +"]
    assert all(c["diffusing"] is True for c in chunks)
    assert [c["step"] for c in chunks] == [1, 2, 3, 4, 4]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    cut = (await stream(http, events, diffusing=True, max_tokens=2))[:-1]
    assert [c["choices"][0]["text"] for c in cut] == ["░░", "░turn", "return", "return", "return"]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"echo": True}, "echo is not available"),
        ({"logprobs": 0}, "logprobs is not available"),
        ({"logprobs": 5}, "logprobs is not available"),
        ({"best_of": 4}, "best_of is not available"),
        ({"logit_bias": {"50256": -100}}, "logit_bias is not available"),
        ({"prompt": ["a", "b"]}, "one text, not several"),
        ({"prompt": [1, 2]}, "one text, not several"),
        ({"n": 9}, "from 1 to 8; it is 9"),
        ({"n": 0}, "from 1 to 8; it is 0"),
        ({"max_tokens": -1}, "cannot be -1"),
        ({"max_lines": -1}, "cannot be negative"),
        ({"max_tokens": "many"}, "Expected `int | null`, got `str` - at `$.max_tokens`"),
        ({"temperature": {}}, "$.temperature"),
        ({"stop": ["x"] * 65}, "may be 64 stop strings; there are 65"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_what_cannot_be_done_is_said_in_one_sentence(http, scripted, fields, sentence, streamed):
    error = await refused(http, stream=streamed, **fields)
    assert sentence in error["message"]
    assert error["type"] == "invalid_request_error"
    assert scripted.requests == []


@pytest.mark.parametrize("fields", [{"echo": False}, {"logprobs": None}, {"logprobs": False}, {"best_of": 1}, {"logit_bias": {}}])
async def test_what_asks_for_nothing_is_no_reason_to_refuse(http, fields):
    await ask(http, **fields)


@pytest.mark.parametrize("streamed", [False, True])
async def test_errors_of_the_engine_have_a_status(http, scripted, streamed):
    scripted.error = RequestError("The decoding option temperature must be from 0 to 10; it is 99.", "docs/models.md explains it.")
    assert "it is 99" in (await refused(http, stream=streamed))["message"]
    scripted.error = CheckpointError("The weights are corrupt.", "Get them again.")
    error = await refused(http, 500, stream=streamed)
    assert error == {
        "message": "The weights are corrupt. Get them again.",
        "type": "server_error",
        "param": None,
        "code": "CheckpointError",
    }


async def test_an_unforeseen_error_quotes_no_text(http, scripted, caplog):
    scripted.error = ValueError(SECRET)
    with caplog.at_level(logging.INFO):
        error = await refused(http, 500, prompt=SECRET)
        await ask_badly(http, b'{"prompt": {"' + SECRET.encode() + b'": 1}}')
        await ask_badly(http, b'{"prompt": "' + SECRET.encode())
    assert "ValueError" in error["message"]
    assert SECRET not in str(error)
    assert SECRET not in caplog.text


async def ask_badly(http, body):
    response = await http.post(PATH, content=body)
    assert response.status_code == 400
    assert SECRET not in response.text


async def test_an_error_in_the_middle_of_a_stream_is_an_event(http, scripted, events):
    class Breaking(type(scripted)):
        def infill(self, request, *, cancelled=None, on_step=None):
            super().infill(request, cancelled=cancelled, on_step=on_step)
            raise ValueError(SECRET)

    scripted.__class__ = Breaking
    chunks = await stream(http, events)
    assert chunks[0]["choices"][0]["text"] == "re"
    assert "ValueError" in chunks[-2]["error"]["message"]
    assert SECRET not in str(chunks)


async def test_while_the_model_loads_the_client_may_come_again():
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    service = EngineService(EngineConfig(), lambda config, progress: asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(5))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=build_app(service)), base_url="http://engine") as http:
        for streamed in (False, True):
            response = await http.post(PATH, json={**ASK, "stream": streamed})
            assert response.status_code == 503
            assert response.headers["retry-after"] == "1"
            assert "still loading" in response.json()["error"]["message"]
    gate.set()
    await service.close("stopped")


@pytest.mark.parametrize("field", ["max_tokens", "max_lines", "deadline_ms", "seed"])
async def test_no_number_is_too_large(http, field):
    body = b'{"prompt": "x", "' + field.encode() + b'": 1' + b"0" * 400 + b"}"
    for _ in range(2):  # the first one must not keep others from being served
        response = await asyncio.wait_for(http.post(PATH, content=body), 5)
        assert response.status_code == 200
        assert response.json()["choices"][0]["text"] == "return a + b\n"


@pytest.mark.parametrize("name", ["max_lines", "deadline_ms"])
async def test_no_number_in_the_url_is_too_large(http, name):
    response = await http.post(f"{PATH}?{name}={'9' * 5000}", json=ASK)
    assert response.status_code == 400
    assert "is not a number of at most nine digits" in response.json()["error"]["message"]


@pytest.mark.parametrize("body", [b'{"prompt": ' + b"[" * 100_000, b'{"other": ' + b'{"a": ' * 30_000])
async def test_a_body_that_is_nested_without_end_is_not_valid(http, body, caplog):
    response = await http.post(PATH, content=body)
    assert response.status_code == 400
    assert "is not valid" in response.json()["error"]["message"]
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (rb"a\ud83d", "a\ufffd"),
        (rb"\ude00a", "\ufffda"),
        (rb"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (rb"\uD83D\uDE00\\ud83d\ud83d", "\U0001f600\\ud83d\ufffd"),
        (rb"\ud83d\n", "\ufffd\n"),
    ],
)
async def test_half_an_emoji_is_no_reason_to_refuse(http, scripted, escaped, text):
    # JavaScript cuts texts inside of pairs of surrogates, and JSON.stringify escapes what is left.
    response = await http.post(PATH, content=b'{"prompt": "' + escaped + b'", "suffix": "' + escaped + b'"}')
    assert response.status_code == 200
    assert (scripted.requests[-1].prefix, scripted.requests[-1].suffix) == (text, text)


async def test_what_clients_take_for_line_ends_does_not_break_an_event(http, scripted):
    scripted.script = ["a\x0b\x0c", "\x85", "\u2028", "\u2029é", "\r", "\n"]
    response = await http.post(PATH, json={**ASK, "stream": True})
    # As httpx and Python cut a text into lines.
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
    assert "".join(json.loads(line)["choices"][0]["text"] for line in lines[:-1]) == "".join(scripted.script)


async def test_a_tool_with_many_requests_lets_an_editor_through(service, scripted):
    app = build_app(service)
    scripted.step_seconds = 0.005
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://engine") as http:
        many = [asyncio.create_task(http.post(PATH, json={**ASK, "prompt": f"tool {number}"})) for number in range(20)]
        while not scripted.requests:
            await asyncio.sleep(0.001)
        assert (await http.post("/v1/infill", json={"prefix": "editor"})).status_code == 200
        assert [request.prefix for request in scripted.requests].index("editor") <= 2
        assert {each.status_code for each in await asyncio.gather(*many)} == {200}
    assert [r.prefix for r in scripted.requests if r.prefix != "editor"] == [f"tool {number}" for number in range(20)]


async def test_the_deadline_counts_from_the_beginning(http, scripted):
    scripted.script = ["x"] * 100
    scripted.step_seconds = 0.005
    before = asyncio.create_task(ask(http, max_tokens=100))
    while not scripted.requests:
        await asyncio.sleep(0.001)
    late = await ask(http, deadline_ms=20)
    assert (late["choices"][0]["text"], late["dlsp"]["reason"]) == ("", "deadline")
    assert not before.done()
    scripted.step_seconds = 0.0
    assert (await ask(http, deadline_ms=60_000))["choices"][0]["text"]
    assert scripted.requests[-1].limits.deadline_ms < 60_000
    await before
    assert len(scripted.requests) == 2


async def test_who_leaves_lets_the_next_one_through(service, scripted, leaving):
    scripted.script = ["x"] * 100_000
    scripted.step_seconds = 0.005
    app = build_app(service)
    running, waiting, last = (leaving(app, PATH, {**ASK, "prompt": name, "stream": True}) for name in ("running", "waiting", "last"))
    while scripted.steps < 3:
        await asyncio.sleep(0.001)
    waiting.leave.set()
    await asyncio.wait_for(waiting.task, 2)
    running.leave.set()
    await asyncio.wait_for(running.task, 2)
    while len(scripted.requests) < 2:
        await asyncio.sleep(0.001)
    last.leave.set()
    await asyncio.wait_for(last.task, 2)
    assert [request.prefix for request in scripted.requests] == ["running", "last"]


async def test_too_long_a_body_is_refused(http):
    error = await refused(http, 413, prompt="x" * 300_000)
    assert "larger than 200,000 bytes" in error["message"]


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_client_leaving_ends_the_denoise_loop_within_a_step(service, scripted, leaving, streamed):
    scripted.script = ["x"] * 100_000
    scripted.step_seconds = 0.005
    call = leaving(build_app(service), PATH, {**ASK, "stream": streamed, "stop": ["never"]})
    while scripted.steps < 3:
        await asyncio.sleep(0.001)
    left = time.monotonic()
    call.leave.set()
    await asyncio.wait_for(call.task, 2)
    while not scripted.cancelled_at:
        assert time.monotonic() - left < 2
        await asyncio.sleep(0.001)
    assert scripted.cancelled_at - left < 0.2
    assert service.status.state in ("ready", "busy")


async def test_a_host_that_stops_says_so(service, scripted, leaving):
    scripted.script = ["x"] * 100_000
    scripted.step_seconds = 0.005
    call = leaving(build_app(service), PATH, ASK)
    while scripted.steps < 3:
        await asyncio.sleep(0.001)
    await service.close("stopped")
    await asyncio.wait_for(call.task, 2)
    assert call.sent[0]["status"] == 500
    assert b"shutting down" in call.sent[1]["body"]


async def test_the_one_model_is_listed(http):
    said = (await http.get("/v1/models")).json()
    assert said["object"] == "list"
    assert [m["id"] for m in said["data"]] == ["scripted"]
    assert said["data"][0]["meta"]["n_ctx"] == 640


async def test_chat_is_refused_with_a_way_out(http):
    response = await http.post("/v1/chat/completions", json={"messages": []})
    assert response.status_code == 404
    assert "/v1/completions" in response.json()["error"]["message"]
