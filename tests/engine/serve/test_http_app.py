"""The app in process: answers, errors, the stream of states, and what a client's leaving does."""

import asyncio
import logging
import time
import weakref

import httpx
import msgspec
import pytest

from asgi_call import RawCall
from engine.api import Fill, InfillRequest, InfillResult, WireError, empty_result
from engine.config import EngineConfig
from engine.errors import CheckpointError, RequestError
from engine.serve import service as service_module
from engine.serve.http import build_app
from engine.serve.service import EngineService

STEP = 0.005
SECRET = "correct horse battery staple"


class FakeEngine:
    model, device, dtype, fallback_reason, notice = "fake", "cpu", "float32", "", ""
    prompt_tokens = 640
    reads_snippets = True

    def __init__(self):
        self.cancelled_at = 0.0
        self.running = False

    def infill(self, request, *, cancelled=None):
        if request.prefix == "fail":
            raise ValueError(request.suffix)
        if request.prefix == "refuse":
            raise RequestError("The hole list is empty.", "Send one hole.")
        while request.prefix == "endless":
            self.running = True
            if cancelled():
                self.cancelled_at = time.monotonic()
                return empty_result("cancelled", "cancelled")
            time.sleep(STEP)
        return InfillResult(fills=(Fill(text=request.prefix.upper(), confidence=0.5, tokens=1),), finish="complete")

    def close(self):
        pass


@pytest.fixture
async def engine():
    return FakeEngine()


@pytest.fixture
async def service(engine):
    service = EngineService(EngineConfig(max_request_bytes=2000), lambda config, progress: engine, "1.2.3")
    yield service
    await service.close("stopped")


async def ready(service):
    service.start()
    await until(lambda: service.status.state == "ready")


async def until(condition, seconds=2.0):
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it did not happen in time"
        await asyncio.sleep(0.001)


def client(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://engine")


async def post(service, request, **options):
    content = request if isinstance(request, bytes) else msgspec.json.encode(request)
    async with client(build_app(service)) as http:
        return await http.post("/v1/infill", content=content, **options)


def error_of(response):
    return msgspec.json.decode(response.content, type=WireError)


async def test_healthz_answers_before_the_model_is_there(service):
    async with client(build_app(service)) as http:
        said = (await http.get("/healthz")).json()
    assert said["ok"] is True
    assert said["version"] == "1.2.3"
    assert said["key"] == service.config.key
    assert said["pid"] > 0


async def test_infill_answers(service):
    await ready(service)
    response = await post(service, InfillRequest(prefix="abc"))
    assert response.status_code == 200
    assert msgspec.json.decode(response.content, type=InfillResult).text == "ABC"


async def test_loading_is_said_at_once_and_goes_on_without_the_request(engine):
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    loads = []

    def load(config, progress):
        loads.append(config)
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(5)
        return engine

    service = EngineService(EngineConfig(), load)
    response = await post(service, InfillRequest(prefix="abc"))
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert error_of(response).type == "LoadingError"
    assert service.status.state == "loading"
    assert (await post(service, InfillRequest(prefix="abc"))).status_code == 503
    gate.set()
    await until(lambda: service.status.state == "ready")
    assert len(loads) == 1
    assert (await post(service, InfillRequest(prefix="abc"))).status_code == 200
    await service.close("stopped")


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"", 400, "not a valid InfillRequest"),
        (b"{", 400, "not a valid InfillRequest"),
        (b"[]", 400, "Expected `object`"),
        (b'{"prefix": "", "other": ' + b"[" * 1900, 400, "not a valid InfillRequest"),
        (b'{"prefix": "", "limits": {"deadline_ms": 1' + b"0" * 400 + b"}}", 400, "more than a day away"),
        (b'{"suffix": "x"}', 400, "missing required field `prefix`"),
        (b'{"prefix": 3}', 400, r"Expected `str`, got `int` - at `\$.prefix`"),
        (b'{"prefix": "\xff"}', 400, "not a valid InfillRequest"),
        (msgspec.json.encode(InfillRequest(prefix="refuse")), 400, "The hole list is empty"),
        (msgspec.json.encode(InfillRequest(prefix="x" * 3000)), 413, "larger than 2,000 bytes"),
    ],
)
async def test_requests_that_cannot_be_served(service, body, status, text):
    await ready(service)
    response = await post(service, body)
    assert response.status_code == status
    error = error_of(response)
    assert error.type == "RequestError"
    assert error.action
    import re

    assert re.search(text, error.message)
    assert (await asyncio.wait_for(post(service, InfillRequest(prefix="after")), 5)).status_code == 200


async def test_a_large_body_without_a_length_is_refused_too(service):
    await ready(service)

    async def chunks():
        for _ in range(10):
            yield b"x" * 1000

    async with client(build_app(service)) as http:
        response = await http.post("/v1/infill", content=chunks())
    assert response.status_code == 413


async def test_an_engine_failure_is_a_500_without_document_text_anywhere(service, caplog):
    await ready(service)
    with caplog.at_level(logging.INFO):
        response = await post(service, InfillRequest(prefix="fail", suffix=SECRET))
        await post(service, InfillRequest(prefix=SECRET))
        await post(service, b'{"prefix": ["' + SECRET.encode() + b'"]}')
    assert response.status_code == 500
    assert error_of(response).type == "HostError"
    assert "ValueError" in error_of(response).message
    assert SECRET not in response.text
    assert SECRET not in caplog.text
    assert (await post(service, InfillRequest(prefix="after"))).status_code == 200


def mended_after_a_try(engine):
    """A loader that fails the first time."""
    outcomes = [CheckpointError("The weights are corrupt.", "Get them again."), engine]

    def load(config, progress):
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return load


async def test_a_model_that_cannot_be_loaded_says_so_and_is_tried_again_later(engine, monkeypatch):
    service = EngineService(EngineConfig(), mended_after_a_try(engine))
    service.start()
    await until(lambda: service.status.state == "error")
    assert service.status.reason == "checkpoint_error"
    assert service.status.message == "The weights are corrupt. Get them again."
    response = await post(service, InfillRequest(prefix="abc"))
    assert response.status_code == 500
    assert error_of(response) == WireError(type="CheckpointError", message="The weights are corrupt.", action="Get them again.")
    monkeypatch.setattr(service_module, "_RELOAD_AFTER_SECONDS", 0.0)
    assert (await post(service, InfillRequest(prefix="abc"))).status_code == 503
    await until(lambda: service.status.state == "ready")
    await service.close("stopped")


async def test_whoever_comes_newly_finds_the_model_being_tried_again(engine):
    service = EngineService(EngineConfig(), mended_after_a_try(engine))
    service.start()
    await until(lambda: service.status.state == "error")
    states = service.watch(60.0)
    assert (await anext(states)).state == "loading"
    await until(lambda: service.status.state == "ready")
    assert (await anext(states)).state == "ready"
    await states.aclose()
    await service.close("stopped")


async def test_an_unforeseen_load_failure_is_a_state_too():
    def load(config, progress):
        raise OSError("libcuda.so is a text file")

    service = EngineService(EngineConfig(), load)
    service.start()
    await until(lambda: service.status.state == "error")
    assert service.status.reason == "host_error"
    assert "libcuda.so is a text file" in service.status.message
    assert "dlsp doctor" in service.status.message
    await service.close("stopped")


@pytest.mark.parametrize("kind", [CheckpointError, RuntimeError])
async def test_a_model_that_fails_late_does_not_stay_in_memory(kind):
    class Network:
        pass

    networks = []

    def move(network):
        raise RuntimeError("out of memory")

    def load(config, progress):
        network = Network()
        networks.append(weakref.ref(network))
        try:
            move(network)
        except RuntimeError as error:
            raise kind("It does not fit.") from error

    service = EngineService(EngineConfig(), load)
    service.start()
    await until(lambda: service.status.state == "error")
    await until(lambda: networks[0]() is None)
    await service.close("stopped")


async def test_a_fallback_to_the_cpu_is_told(engine):
    engine.fallback_reason = "cuda: out of memory"
    service = EngineService(EngineConfig(), lambda config, progress: engine)
    await ready(service)
    assert (service.status.reason, service.status.message) == ("cpu_fallback", "cuda: out of memory")
    await service.close("stopped")


async def test_how_much_the_model_reads_is_told_once_it_is_loaded(engine):
    service = EngineService(EngineConfig(), lambda config, progress: engine)
    assert service.status.prompt_tokens == 0
    await ready(service)
    assert service.status.prompt_tokens == 640
    await service.close("stopped")


async def test_what_a_licence_asks_is_told(engine):
    engine.notice = "For research only."
    service = EngineService(EngineConfig(), lambda config, progress: engine)
    await ready(service)
    assert (service.status.reason, service.status.message) == ("licence", "For research only.")
    await service.close("stopped")


async def test_unknown_routes_and_methods_are_wire_errors(service):
    async with client(build_app(service)) as http:
        missing, wrong = await http.get("/v2/infill"), await http.get("/v1/infill")
    assert (missing.status_code, wrong.status_code) == (404, 405)
    assert error_of(missing).type == error_of(wrong).type == "RequestError"
    assert wrong.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("header", "status"), [(None, 401), ("Bearer wrong", 401), ("right", 401), ("Bearer right", 200), ("bearer ünicode", 401)]
)
@pytest.mark.parametrize("path", ["/healthz"])
async def test_the_token_is_asked_for(service, header, status, path):
    headers = {"Authorization": header.encode()} if header else {}
    async with client(build_app(service, token="right")) as http:
        response = await http.get(path, headers=headers)
    assert response.status_code == status
    if status == 401:
        assert error_of(response).type == "HostError"


async def test_the_client_leaving_cancels_its_request_within_a_step(service, engine):
    await ready(service)
    call = RawCall(build_app(service), "POST", "/v1/infill", msgspec.json.encode(InfillRequest(prefix="endless")))
    await until(lambda: engine.running)
    assert service.idle_seconds() == 0.0
    left = time.monotonic()
    call.leave.set()
    await asyncio.wait_for(call.task, 1)
    await until(lambda: engine.cancelled_at)
    assert engine.cancelled_at - left < 10 * STEP
    await asyncio.sleep(0.01)
    assert service.idle_seconds() > 0.0


async def test_the_stream_begins_with_the_present_state_and_follows_changes(service):
    call = RawCall(build_app(service), "GET", "/v1/status")
    await until(lambda: call.states())
    assert call.sent[0]["status"] == 200
    assert (b"content-type", b"application/x-ndjson") in call.sent[0]["headers"]
    assert [s.state for s in call.states()] == ["starting"]
    await ready(service)
    await post(service, InfillRequest(prefix="abc"))
    await until(lambda: call.states()[-1].state == "ready" and len(call.states()) > 2)
    last = call.states()[-1]
    assert (last.model, last.device, last.dtype, last.version, last.progress) == ("fake", "cpu", "float32", "1.2.3", 1.0)
    await service.close("idle_exit")
    await asyncio.wait_for(call.task, 1)
    assert (call.states()[-1].state, call.states()[-1].reason) == ("idle", "idle_exit")
    assert call.sent[-1]["more_body"] is False


async def test_the_stream_repeats_the_state_as_a_heartbeat(service):
    call = RawCall(build_app(service, heartbeat=0.02), "GET", "/v1/status")
    await until(lambda: len(call.states()) >= 4)
    assert {s.state for s in call.states()} == {"starting"}
    call.leave.set()
    await asyncio.wait_for(call.task, 1)


async def test_a_stream_counts_as_a_client_until_it_is_left(service):
    call = RawCall(build_app(service), "GET", "/v1/status")
    await until(lambda: call.states())
    await asyncio.sleep(0.01)
    assert service.idle_seconds() == 0.0
    call.leave.set()
    await asyncio.wait_for(call.task, 1)
    await asyncio.sleep(0.01)
    assert 0.0 < service.idle_seconds() < 0.5


async def test_busy_is_a_state(service, engine):
    await ready(service)
    call = RawCall(build_app(service), "POST", "/v1/infill", msgspec.json.encode(InfillRequest(prefix="endless")))
    await until(lambda: service.status.state == "busy")
    call.leave.set()
    await until(lambda: service.status.state == "ready")
    await call.task


async def test_progress_comes_in_coarse_steps(engine):
    seen = []

    def load(config, progress):
        for i in range(1001):
            progress(i / 1000)
        return engine

    service = EngineService(EngineConfig(), load)
    publish = service._publish
    service._publish = lambda status: (seen.append(status), publish(status))
    await ready(service)
    progress = [s.progress for s in seen if s.state == "loading"]
    assert progress == sorted(progress)
    assert 10 <= len(progress) <= 22
    await service.close("stopped")
