"""Replaying traces: one made by a session in this process, then changed by hand."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dlsp.backends.base import Backend
from dlsp.cli.main import main
from dlsp.recording import Line, RecordedBackend, Tap, TappedSink, tapped
from dlsp.replay import Plan, read, replay
from dlsp.server import build_server, run_server
from dlsp.session import Session
from dlsp.settings import Settings
from engine.api import InfillRequest
from engine.errors import ConfigError
from lsp_memory import MemoryClient
from scripted_backend import ScriptedBackend


async def session_on_record(path: Path) -> None:
    """An editor that asks, types along, cancels, asks for what is not there, and says goodbye."""

    async def script(request: InfillRequest) -> str:
        if request.prefix.endswith("slow = "):
            await asyncio.sleep(30)
        return f"value_{len(request.prefix)}"

    tap = Tap(path, {"settings": {"maxLines": 4}})
    session = Session(lambda settings: RecordedBackend(ScriptedBackend(script), tap))
    spoken, heard = asyncio.StreamReader(), asyncio.StreamReader()
    client = MemoryClient.__new__(MemoryClient)
    listening = asyncio.create_task(tapped(spoken, tap, heard))
    client.session, client.backend, client.messages = session, ScriptedBackend(), []
    client.configuration, client.refuse, client.leave, client._buffer, client._waiting, client._next_id = (
        {"debounceMs": 1},
        set(),
        set(),
        b"",
        {},
        0,
    )
    client._changed, client._reader, client.answers, client.sent = asyncio.Event(), spoken, Counter(), 0
    client.run = asyncio.create_task(run_server(build_server(session), session, heard, TappedSink(client, tap)))
    await client.initialize(options={"minConfidence": 0}, capabilities={"workspace": {"configuration": True}})
    client.open("first_name = \nslow = \n")
    await client.ready()
    assert await client.texts(0, 13) == ["value_13"]
    client.insert(0, 13, "v", version=2)
    assert await client.texts(0, 14) == ["alue_13"]
    cancelled = client.ghost(1, 7)
    await asyncio.sleep(0.05)
    client.cancel(cancelled)
    assert "error" in await client.answer(cancelled)
    assert "error" in await client.answer(client.request("no/such/method", {}))
    await client.ask("shutdown")
    client.notify("exit")
    async with asyncio.timeout(5):
        await client.run
    spoken.feed_eof()
    await listening
    tap.close()


@pytest.fixture
async def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace"
    await session_on_record(path)
    return path


def changed(path: Path, find: str, put: str) -> list[Line]:
    text = path.read_text()
    assert find in text
    path.write_text(text.replace(find, put))
    return read(path)


@pytest.mark.parametrize("fast", [True, False])
async def test_the_same_server_says_the_same(trace: Path, fast: bool) -> None:
    report = await replay(read(trace), Plan(fast=fast))
    assert report.different == ()
    assert (report.requests, report.answers, report.unanswered, report.crashes) == (6, 6, 0, 0)
    assert 0 < report.p50 <= report.p95


async def test_another_answer_is_named(trace: Path) -> None:
    lines = changed(trace, '"insertText":"alue_13"', '"insertText":"another"')
    (difference,) = (await replay(lines, Plan(fast=True))).different
    assert difference.method == "textDocument/inlineCompletion"
    assert difference.recorded["items"][0]["insertText"] == "another"
    assert difference.got["items"][0]["insertText"] == "alue_13"
    assert lines[difference.line - 1].message["method"] == difference.method


async def test_a_request_that_the_trace_has_not_takes_the_next_answer_of_its_document(trace: Path) -> None:
    lines = read(trace)
    lines = [
        Line(line.t, line.speaker, {**line.message, "request": {**line.message["request"], "prefix": "older code"}})
        if line.speaker == "backend"
        else line
        for line in lines
    ]
    assert (await replay(lines, Plan(fast=True))).different == ()


async def test_a_trace_cannot_say_where_its_text_is_sent(trace: Path) -> None:
    lines = read(trace)
    facts = {**lines[0].message, "settings": {"backend": "remote", "remoteUrl": "https://elsewhere.example"}}
    asked: list[Settings] = []

    def create(settings: Settings) -> Backend:
        asked.append(settings)
        return ScriptedBackend("mine")

    await replay([Line(0.0, "trace", facts), *lines[1:]], Plan(fast=True, backend="settings", create_backend=create))
    assert asked[-1].remote_url == "https://elsewhere.example"
    assert {settings.backend for settings in asked} == {"local"}


async def test_an_own_engine_may_be_asked(trace: Path) -> None:
    asked: list[Settings] = []

    def create(settings: Settings) -> Backend:
        asked.append(settings)
        return ScriptedBackend("mine")

    report = await replay(read(trace), Plan(fast=True, backend="settings", create_backend=create))
    assert [settings.max_lines for settings in asked] == [4]
    assert asked[0].debounce_ms == 1
    assert any("mine" in msgspec.json.encode(difference.got).decode() for difference in report.different)
    with pytest.raises(ConfigError):
        await replay(read(trace), Plan(backend="settings"))


async def test_a_trace_that_was_cut_off(trace: Path) -> None:
    text = trace.read_text()
    trace.write_text(text[: text.index('"no/such/method"')])
    report = await replay(read(trace), Plan(fast=True))
    assert (report.different, report.crashes, report.unanswered) == ((), 0, 0)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "no trace of version 1"),
        ("hello\nworld\n", "line 1 is not valid"),
        ('{"t":0,"from":"trace","message":{"version":99}}\n', "no trace of version 1"),
        ('{"t":0,"from":"trace","message":{"version":1}}\n{"t":1,"from":"nobody","message":1}\n{}\n', "line 2 is not valid"),
    ],
)
def test_what_is_no_trace_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "x"
    path.write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        read(path)


def run(*args: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["replay", *args])
    return int(ended.value.code or 0)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trace"
    asyncio.run(session_on_record(path))
    assert run(str(path), "--fast") == 0
    assert "6 requests, 6 answers, 0 missing, 0 failures" in capsys.readouterr().out
    changed(path, '"insertText":"alue_13"', '"insertText":"another"')
    assert run(str(path), "--fast", "--json") == 1
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert len(report["different"]) == 1
    assert run(str(path), "--fast") == 1
    assert "another" in capsys.readouterr().out
    assert run(str(tmp_path / "none")) == 2
    assert "cannot be read" in capsys.readouterr().err
