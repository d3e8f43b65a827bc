"""A private runtime folder for each test, hosts with a fake engine that do not outlive it, and an engine that says what it is told."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec
import pytest

from asgi_call import RawCall
from engine.api import Fill, HostAddress, InfillResult, Timings, WireError
from engine.config import EngineConfig
from engine.serve.http import build_app
from engine.serve.service import EngineService

SCRIPT = Path(__file__).with_name("fake_host.py")
HOME = SCRIPT.parents[3]


@pytest.fixture
def runtime(monkeypatch, tmp_path):
    """The folder that becomes XDG_RUNTIME_DIR; short, because a socket's path must be."""
    folder = Path(tempfile.mkdtemp(prefix="dlsp-t", dir="/tmp"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


class Hosts:
    """Starts hosts; `folder` is the fake model of all of them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.processes: list[subprocess.Popen] = []

    def config(self, **facts):
        return EngineConfig(**{"model": str(self.folder), "idle_exit_seconds": 30.0, **facts})

    def start(self, *arguments, config=None, **popen):
        """A starting host; `answer` waits for its line."""
        facts = msgspec.json.encode(config or self.config()).decode()
        command = [sys.executable, "-P", str(SCRIPT), "--config", facts, *arguments]
        popen = {"env": {**os.environ, "PYTHONPATH": str(HOME)}, "stderr": subprocess.PIPE, **popen}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True, **popen)
        self.processes.append(process)
        return process

    def answer(self, process):
        line = process.stdout.readline()
        for kind in (HostAddress, WireError):
            with contextlib.suppress(msgspec.ValidationError):
                answer = msgspec.json.decode(line, type=kind)
                if kind is WireError or answer.pid:
                    return answer
        raise AssertionError(f"{line!r} {process.stderr.read()!r}")

    def notes(self):
        path = self.folder / "notes"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def hosts(runtime, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    hosts = Hosts(folder)
    yield hosts
    for process in hosts.processes:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        if process.stderr:
            process.stderr.close()


@dataclass(frozen=True)
class Slot:
    text: str
    state: str
    confidence: float = 0.9


@dataclass(frozen=True)
class View:
    step: int
    text: str
    slots: tuple
    gap: int = 0


class ScriptedEngine:
    """Commits the tokens of `script` one a step on canvases of `canvas` slots, in `order` (left to right where it is None)."""

    model, device, dtype, fallback_reason, notice = "scripted", "cpu", "float32", "", ""
    prompt_tokens = 640
    reads_snippets = True

    def __init__(self):
        self.script = ["re", "turn", " a", " +", " b", "\n"]
        self.others = []
        self.order = None
        self.canvas = 4
        self.step_seconds = 0.0
        self.requests = []
        self.steps = 0
        self.cancelled_at = 0.0
        self.error = None
        self.result = None

    def infill(self, request, *, cancelled=None, on_step=None):
        self.requests.append(request)
        self.steps = 0
        if self.error is not None:
            raise self.error
        if self.result is not None:
            return self.result
        done, finish = [], "complete"
        most = request.holes[0].max_tokens
        tokens = self.script
        while len(done) < min(len(tokens), most) and finish == "complete":
            here = tokens[len(done) : len(done) + self.canvas]
            committed = set()
            for slot in self.order or range(len(here)):
                if slot >= len(here):
                    continue
                time.sleep(self.step_seconds)
                committed.add(slot)
                self.steps += 1
                if on_step:
                    slots = tuple(Slot(t, "committed") if i in committed else Slot("", "masked") for i, t in enumerate(here))
                    if len(here) < self.canvas:
                        slots += (Slot("", "end"),)
                    on_step(View(self.steps, "".join(done), slots))
                if cancelled and cancelled():
                    self.cancelled_at = time.monotonic()
                    finish = "cancelled"
                    break
            left = 0
            while left in committed:
                left += 1
            done += here[:left]
        if len(done) > most:
            done, finish = done[:most], "length"
        return InfillResult(
            fills=(Fill(text="".join(done), confidence=0.5, tokens=len(done)),),
            finish=finish,
            reason="" if any(done) else ("cancelled" if finish == "cancelled" else "empty_output"),
            steps=self.steps,
            forwards=self.steps,
            prompt_tokens=30,
            reused_tokens=10,
            timings=Timings(prompt_ms=2.0, denoise_ms=8.0),
            model=self.model,
            others=tuple((Fill(text=text, confidence=0.1, tokens=2),) for text in self.others[: request.decoding.alternatives - 1]),
        )

    def close(self):
        pass


@pytest.fixture
def scripted():
    return ScriptedEngine()


@pytest.fixture
async def service(scripted):
    """A service whose engine is loaded."""
    service = EngineService(EngineConfig(max_request_bytes=200_000), lambda config, progress: scripted, "1.2.3")
    service.start()
    while service.status.state != "ready":
        await asyncio.sleep(0.001)
    yield service
    await service.close("stopped")


@pytest.fixture
async def http(service):
    """A client of the app, in process."""
    transport = httpx.ASGITransport(app=build_app(service))
    async with httpx.AsyncClient(transport=transport, base_url="http://engine") as client:
        yield client


def events_of(body):
    """The events of a stream; `[DONE]` is the text itself."""
    out = []
    for block in body.split("\n\n"):
        if block:
            assert block.startswith("data: ")
            data = block.removeprefix("data: ")
            out.append(data if data == "[DONE]" else msgspec.json.decode(data))
    return out


@pytest.fixture
def events():
    return events_of


@pytest.fixture
def leaving():
    """A POST of JSON by a client that can leave."""
    return lambda app, path, body: RawCall(app, "POST", path, msgspec.json.encode(body))
