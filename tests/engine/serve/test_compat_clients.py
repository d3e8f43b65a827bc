"""What real tools send and what they read of the answer: llama.vim, minuet, Zed and Continue as recorded, OpenAI's own client live.

Recorded means: bodies, headers and paths in the shape that these tools send, with the paths into the answer that they read.
"""

import asyncio
import contextlib
import socket
import threading

import httpx
import pytest

from engine.api import InfillRequest
from engine.config import EngineConfig
from engine.serve.door import DoorOptions
from engine.serve.http import build_public_app
from engine.serve.listening import HostDoors
from engine.serve.service import EngineService

BEFORE, AFTER, TEXT = "def add(a, b):\n    ", "\n\nprint(add(1, 2))\n", "return a + b\n"

LLAMA_VIM = {
    "id_slot": 0,
    "input_prefix": "def add(a, b):\n",
    "input_suffix": AFTER,
    "input_extra": [{"text": "x = 1\ny = 2\nz = 3\n", "time": [1795, 291711], "filename": "other.py"}],
    "prompt": "    ",
    "n_predict": 128,
    "stop": [],
    "n_cmpl": 1,
    "n_indent": 4,
    "top_k": 40,
    "top_p": 0.9,
    "samplers": ["top_k", "top_p", "infill"],
    "stream": False,
    "cache_prompt": True,
    "t_max_prompt_ms": 500,
    "t_max_predict_ms": 250,
    "response_fields": [
        "content",
        "timings/prompt_n",
        "timings/prompt_ms",
        "timings/prompt_per_token_ms",
        "timings/prompt_per_second",
        "timings/predicted_n",
        "timings/predicted_ms",
        "timings/predicted_per_token_ms",
        "timings/predicted_per_second",
        "truncated",
        "tokens_cached",
    ],
}

LLAMA_VIM_RING = {
    "id_slot": 0,
    "input_prefix": "",
    "input_suffix": "",
    "input_extra": LLAMA_VIM["input_extra"],
    "prompt": "",
    "n_predict": 0,
    "temperature": 0.0,
    "samplers": [],
    "stream": False,
    "cache_prompt": True,
    "t_max_prompt_ms": 1,
    "t_max_predict_ms": 1,
    "response_fields": [""],
}


def last(scripted) -> InfillRequest:
    return scripted.requests[-1]


async def test_llama_vim(http, scripted):
    response = await http.post("/infill", json=LLAMA_VIM, headers={"Content-Type": "application/json"})
    assert set(response.json()) == set(LLAMA_VIM["response_fields"])
    assert response.json()["content"] == TEXT
    assert (last(scripted).prefix, last(scripted).suffix) == (BEFORE, AFTER)
    assert [s.path for s in last(scripted).snippets] == ["other.py"]
    several = (await http.post("/infill", json={**LLAMA_VIM, "n_cmpl": 3})).text
    assert several.startswith("[")
    assert '"content":"' in several


async def test_llama_vim_warms_a_cache_that_is_not_there(http, scripted):
    assert (await http.post("/infill", json=LLAMA_VIM_RING)).json() == {}
    assert scripted.requests == []


def minuet_stream(text):
    """What minuet makes of a stream: all `data:` lines that are JSON."""
    import json

    out = []
    for line in text.split("\n"):
        if line.startswith("data:"):
            with contextlib.suppress(json.JSONDecodeError):
                out.append(json.loads(line.removeprefix("data:")))
    return out


MINUET_HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "Authorization": "Bearer TERM"}


async def test_minuet_with_an_openai_fim_endpoint(http, scripted):
    prompt = "# language: python\n# indentation: use 4 spaces for a tab\n" + BEFORE
    body = {"model": "nano", "stream": True, "max_tokens": 56, "top_p": 0.9, "prompt": prompt, "suffix": AFTER}
    response = await http.post("/v1/completions", json=body, headers=MINUET_HEADERS)
    assert "".join(chunk["choices"][0]["text"] for chunk in minuet_stream(response.text)) == TEXT
    assert (last(scripted).prefix, last(scripted).suffix) == (prompt, AFTER)


async def test_minuet_with_the_markers_of_its_llama_cpp_recipe(http, scripted):
    prompt = f"<|fim_prefix|>{BEFORE}<|fim_suffix|>{AFTER}<|fim_middle|>"
    body = {"model": "PLACEHOLDER", "stream": True, "max_tokens": 56, "top_p": 0.9, "prompt": prompt}
    response = await http.post("/v1/completions", json=body, headers=MINUET_HEADERS)
    assert "".join(chunk["choices"][0]["text"] for chunk in minuet_stream(response.text)) == TEXT
    assert (last(scripted).prefix, last(scripted).suffix) == (BEFORE, AFTER)


async def test_minuet_as_codestral(http, scripted):
    body = {"model": "codestral-latest", "stream": True, "prompt": BEFORE, "suffix": AFTER, "stop": ["\n\n"], "max_tokens": 256}
    response = await http.post("/v1/fim/completions", json=body, headers=MINUET_HEADERS)
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in minuet_stream(response.text)) == TEXT
    assert (last(scripted).prefix, last(scripted).suffix) == (BEFORE, AFTER)


@pytest.mark.parametrize(
    ("prompt", "stop"),
    [
        (
            f"<|fim_prefix|>{BEFORE}<|fim_suffix|>{AFTER}<|fim_middle|>",
            ["<|endoftext|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"],
        ),
        (f"<fim_prefix>{BEFORE}<fim_suffix>{AFTER}<fim_middle>", ["<|endoftext|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>"]),
        (f"<PRE> {BEFORE} <SUF>{AFTER} <MID>", ["<PRE>", "<SUF>", "<MID>"]),
        (f"[SUFFIX]{AFTER}[PREFIX]{BEFORE}", ["[PREFIX]", "[SUFFIX]"]),
    ],
)
async def test_zed(http, scripted, prompt, stop):
    body = {"model": "nano", "prompt": prompt, "max_tokens": 64, "stop": stop}
    said = (await http.post("/v1/completions?max_lines=1", json=body)).json()
    assert said["choices"][0]["text"].startswith("return a + b")
    assert said["id"]
    assert (last(scripted).prefix, last(scripted).suffix) == (BEFORE, AFTER)
    assert last(scripted).holes[0].max_tokens == 64


CONTINUE_STOPS = ["[PREFIX]", "[SUFFIX]", "\n+++++ ", "/src/", "#- coding: utf-8", "```"]


async def test_continue_as_mistral(http, scripted, events):
    body = {
        "model": "codestral-latest",
        "prompt": BEFORE,
        "suffix": AFTER,
        "max_tokens": 4096,
        "temperature": 0.01,
        "stop": CONTINUE_STOPS,
        "stream": True,
    }
    headers = {"Accept": "application/json", "x-api-key": "none", "Authorization": "Bearer none"}
    response = await http.post("/v1/fim/completions", json=body, headers=headers)
    chunks = events(response.text)
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks[:-1]) == TEXT
    assert last(scripted).decoding.temperature == 0.01


async def test_continue_as_inception(http, scripted, events):
    body = {
        "model": "mercury-coder",
        "prompt": BEFORE,
        "suffix": "<|endoftext|>",
        "max_tokens": 150,
        "stop": ["\n\n", "\n \n"],
        "stream": True,
    }
    chunks = events((await http.post("/v1/completions", json=body)).text)
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks[:-1]) == "return a + b\n"
    assert last(scripted).suffix == ""


async def test_continue_as_llama_cpp(http, scripted, events):
    prompt = f"<fim_prefix>{BEFORE}<fim_suffix>{AFTER}<fim_middle>"
    body = {"prompt": prompt, "stream": True, "n_predict": 4096, "stop": ["<fim_prefix>", "\n\n"], "top_k": 1, "temperature": 0.01}
    chunks = events((await http.post("/completion", json=body)).text)
    assert "".join(chunk["content"] for chunk in chunks) == TEXT
    assert (last(scripted).prefix, last(scripted).suffix) == (BEFORE, AFTER)


@pytest.fixture
def address(scripted):
    """The base URL of a real server in a thread of its own, for clients that block."""
    ready, over, found = threading.Event(), threading.Event(), []

    async def serve():
        service = EngineService(EngineConfig(), lambda config, progress: scripted, "1.2.3")
        service.start()
        doors = HostDoors(lambda admission: build_public_app(service, admission), lambda urls: None)
        async with doors.open(DoorOptions(port=0, token="right")) as door:
            found.append(door.url)
            while service.status.state != "ready":
                await asyncio.sleep(0.001)
            ready.set()
            await asyncio.to_thread(over.wait)
        await service.close("stopped")

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(20)
    yield f"{found[0]}/v1"
    over.set()
    thread.join(20)


@pytest.fixture
def openai_client(address):
    openai = pytest.importorskip("openai", reason="OpenAI's client is not installed (pip install openai)")
    with openai.OpenAI(base_url=address, api_key="right", max_retries=0, http_client=httpx.Client(trust_env=False)) as client:
        yield client


def test_openai_completes(openai_client, scripted):
    said = openai_client.completions.create(model="nano", prompt=BEFORE, suffix=AFTER, max_tokens=64, temperature=0, stop=["\n\n"], seed=3)
    assert said.choices[0].text == TEXT
    assert said.choices[0].finish_reason == "stop"
    assert said.usage.total_tokens == 36
    assert last(scripted).decoding.seed == 3
    assert [model.id for model in openai_client.models.list()] == ["scripted"]


def test_openai_streams(openai_client):
    stream = openai_client.completions.create(
        model="nano", prompt=BEFORE, suffix=AFTER, max_tokens=64, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == TEXT
    assert chunks[-1].usage.completion_tokens == 6
    canvases = openai_client.completions.create(
        model="nano", prompt=BEFORE, suffix=AFTER, max_tokens=64, stream=True, extra_body={"diffusing": True}
    )
    shown = [chunk.choices[0].text for chunk in canvases]
    assert shown[0] == "re░░░"
    assert shown[-1] == TEXT


def test_openai_leaves_in_the_middle(openai_client, scripted):
    scripted.script = ["x"] * 100_000
    scripted.step_seconds = 0.005
    with openai_client.completions.create(model="nano", prompt=BEFORE, max_tokens=500, stream=True) as stream:
        assert next(iter(stream)).choices[0].text == "x"
    give_up = threading.Event()
    for _ in range(500):
        if scripted.cancelled_at:
            break
        give_up.wait(0.01)
    assert scripted.cancelled_at
    assert scripted.steps < 450


def test_openai_understands_what_is_refused(openai_client, address):
    import openai

    with pytest.raises(openai.BadRequestError, match="logprobs is not available here"):
        openai_client.completions.create(model="nano", prompt="x", logprobs=1)
    with pytest.raises(openai.NotFoundError, match="There is no chat"):
        openai_client.chat.completions.create(model="nano", messages=[])
    with (
        openai.OpenAI(base_url=address, api_key="wrong", max_retries=0, http_client=httpx.Client(trust_env=False)) as stranger,
        pytest.raises(openai.AuthenticationError, match="refused the token"),
    ):
        stranger.completions.create(model="nano", prompt="x")


def test_the_server_is_on_loopback_alone(address):
    port = httpx.URL(address).port
    with socket.socket() as probe:
        probe.settimeout(1)
        # Another address of the loopback network is not this one.
        assert probe.connect_ex(("127.0.0.2", port)) != 0
