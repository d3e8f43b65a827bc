"""`/v1/fim/completions`: one request, and answers for the clients of two vendors."""

import pytest

PATH = "/v1/fim/completions"
ASK = {"model": "codestral-latest", "prompt": "def add(a, b):\n    ", "suffix": "\n", "max_tokens": 64}


async def test_both_shapes_at_once(http, scripted):
    said = (await http.post(PATH, json={**ASK, "random_seed": 7, "min_tokens": 1, "metadata": {}})).json()
    assert said["object"] == "chat.completion"
    choice = said["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": "return a + b\n"}
    assert choice["text"] == "return a + b\n"
    assert choice["finish_reason"] == "stop"
    assert said["usage"]["total_tokens"] == 36
    assert scripted.requests[-1].decoding.seed == 7


@pytest.mark.parametrize(("shape", "has", "lacks"), [("mistral", "message", "text"), ("inception", "text", "message")])
async def test_one_of_them_on_request(http, shape, has, lacks):
    choice = (await http.post(f"{PATH}?shape={shape}", json=ASK)).json()["choices"][0]
    assert has in choice
    assert lacks not in choice
    assert (await http.post(f"{PATH}?shape=round", json=ASK)).status_code == 400


async def test_a_stream_for_both(http, events):
    chunks = events((await http.post(PATH, json={**ASK, "stream": True})).text)
    assert chunks[-1] == "[DONE]"
    assert "".join(c["choices"][0]["delta"]["content"] for c in chunks[:-1]) == "return a + b\n"
    assert "".join(c["choices"][0]["text"] for c in chunks[:-1]) == "return a + b\n"
    assert {c["object"] for c in chunks[:-1]} == {"chat.completion.chunk"}
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-2]["usage"]["total_tokens"] == 36
    assert "usage" not in chunks[0]


async def test_limits_by_either_name(http, scripted):
    await http.post(PATH, json={"prompt": "x", "max_completion_tokens": 9})
    assert scripted.requests[-1].holes[0].max_tokens == 9
    assert scripted.requests[-1].suffix == ""


async def test_errors_for_the_clients_of_both(http):
    response = await http.post(PATH, json={"suffix": "x"})
    assert response.status_code == 400
    said = response.json()
    assert said["object"] == "error"
    assert "prompt" in said["message"]
    assert said["error"]["message"] == said["message"]
    assert said["type"] == said["error"]["type"] == "invalid_request_error"
