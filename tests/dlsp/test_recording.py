from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dlsp.backends.fake import Answer, FakeBackend
from dlsp.recording import Frames, RecordedBackend, Tap, TappedSink, tapped
from engine.api import InfillRequest
from engine.errors import ConfigError, HostError


def framed(message: Any) -> bytes:
    body = json.dumps(message).encode()
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
async def tap(tmp_path: Path) -> AsyncIterator[Tap]:
    tap = Tap(tmp_path / "trace", {"dlsp": "1", "settings": {"remoteToken": "hush", "maxLines": 3}})
    yield tap
    tap.close()


def test_trace_is_private_new_and_says_what_it_is(tap: Tap, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (first,) = lines(path)
    assert first["from"] == "trace"
    assert first["message"] == {"version": 1, "dlsp": "1", "settings": {"remoteToken": "…", "maxLines": 3}}
    with pytest.raises(ConfigError, match="exists already"):
        Tap(path, {})
    with pytest.raises(ConfigError, match="cannot be written"):
        Tap(tmp_path / "no" / "trace", {})


def test_tokens_are_left_out_wherever_they_are(tap: Tap, tmp_path: Path) -> None:
    tap.client({"params": {"settings": [{"dlsp.remoteToken": "hush"}, {"dlsp": {"remoteToken": "hush", "remoteUrl": "https://a"}}]}})
    tap.server({"result": "\ud800"})
    tap.close()
    tap.client({"late": True})
    text = (tmp_path / "trace").read_text()
    assert "hush" not in text
    assert "https://a" in text
    assert "late" not in text


async def test_both_directions_pass_unchanged_and_are_noted(tap: Tap, tmp_path: Path) -> None:
    class Sink:
        data = b""
        closed = False

        def write(self, data: bytes, /) -> None:
            self.data += data

        def close(self) -> None:
            self.closed = True

    sink = Sink()
    out = TappedSink(sink, tap)
    answer = framed({"id": 1, "result": "é"})
    out.write(answer[:7])
    out.write(answer[7:] + framed({"method": "x"}))
    out.close()
    assert sink.closed
    assert sink.data == answer + framed({"method": "x"})

    spoken, heard = asyncio.StreamReader(), asyncio.StreamReader()
    sent = framed({"method": "a"}) + b"Content-Length: 3\r\n\r\n{]}" + framed({"method": "b"})
    spoken.feed_data(sent)
    spoken.feed_eof()
    await tapped(spoken, tap, heard)
    assert await heard.read() == sent
    assert [(line["from"], line["message"]) for line in lines(tmp_path / "trace")[1:]] == [
        ("server", {"id": 1, "result": "é"}),
        ("server", {"method": "x"}),
        ("client", {"method": "a"}),
        ("client", {"method": "b"}),
    ]
    times = [line["t"] for line in lines(tmp_path / "trace")]
    assert times == sorted(times)


async def test_a_message_nested_too_deeply_is_passed_on_and_not_recorded(tap: Tap, tmp_path: Path) -> None:
    spoken, heard = asyncio.StreamReader(), asyncio.StreamReader()
    bodies = [b"[" * depth + b"]" * depth for depth in (900, 100_000)]
    sent = b"".join(b"Content-Length: %d\r\n\r\n%b" % (len(body), body) for body in bodies) + framed({"method": "b"})
    spoken.feed_data(sent)
    spoken.feed_eof()
    await asyncio.wait_for(tapped(spoken, tap, heard), 10)
    assert await heard.read() == sent
    assert lines(tmp_path / "trace")[-1]["message"] == {"method": "b"}


@pytest.mark.parametrize("data", [b"hello\r\n\r\n" + framed({"a": 1}), b"x" * 20_000])
def test_who_does_not_speak_the_protocol_is_not_recorded(data: bytes) -> None:
    frames = Frames()
    assert frames.feed(data) == []
    assert frames.feed(framed({"b": 2})) == []


async def test_the_engine_is_noted_too(tap: Tap, tmp_path: Path) -> None:
    never = asyncio.Event()
    inner = FakeBackend("value", HostError("Gone."), Answer(reply="x", gate=never))
    backend = RecordedBackend(inner, tap)
    assert backend.name == "fake"
    assert (await backend.infill(InfillRequest(prefix="x = "))).text == "value"
    with pytest.raises(HostError):
        await backend.infill(InfillRequest(prefix="y = "))
    waiting = asyncio.create_task(backend.infill(InfillRequest(prefix="z = ")))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert (await anext(backend.watch())).state == "ready"
    await backend.close()
    assert inner.closed
    first, second, third, state = [line["message"] for line in lines(tmp_path / "trace")[1:]]
    assert (first["request"]["prefix"], first["result"]["fills"][0]["text"]) == ("x = ", "value")
    assert (second["error"], third["error"], state["state"]) == ("HostError", "cancelled", "ready")


async def test_a_full_disk_ends_the_trace_only(tap: Tap, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    class Full:
        closed = False

        def write(self, text: str) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            self.closed = True

    monkeypatch.setattr(tap, "_stream", Full())
    tap.client({})
    tap.client({})
    assert len([r for r in caplog.records if "recording ends" in r.getMessage()]) == 1
