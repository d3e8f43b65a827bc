"""What happens between a question and its answer, besides typing: faults, settings, files that become excluded, a popup's item."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from dlsp import asking
from dlsp.postprocess.draft import Draft
from engine.api import Fill, InfillResult, Status
from lsp_memory import MemoryClient, memory_client, session_with
from scripted_backend import Gate, ScriptedBackend

SELECTED = {"range": {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 3}}, "text": "print"}


async def asked(client: MemoryClient, times: int) -> None:
    await client.until(lambda: len(client.backend.requests) >= times, f"request number {times} to the backend")


@pytest.mark.parametrize("part", ["gather", "polish"])
async def test_a_fault_of_ours_is_an_empty_answer_with_a_reason_and_no_error(
    part: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    said = "-".join(("secret", "text"))

    def fail(given: Any) -> Any:
        raise KeyError(said)

    monkeypatch.setattr(asking, part, fail)
    async with session_with(ScriptedBackend("value"), "some_name = ", capabilities={}) as client:
        assert await client.texts(0, 12) == []
        assert client.reason == "backend_error"
        assert "KeyError" in client.statuses[-1]["message"]
        assert await client.popup(0, 12) == []
        assert await client.texts(0, 12, kind=1) == []
    assert said not in caplog.text


async def test_an_alternative_that_is_missing_is_left_out() -> None:
    result = InfillResult(fills=(Fill(text="value", confidence=0.9, tokens=1),), finish="complete", others=((),))
    async with session_with(ScriptedBackend(lambda request: result), "some_name = ") as client:
        assert await client.texts(0, 12, kind=1) == ["value"]


@pytest.mark.parametrize(
    ("setting", "reason"),
    [({"exclude": ["**/a.py"]}, "excluded_file"), ({"enabled": False}, "disabled"), ({"languages": {"python": False}}, "")],
)
async def test_a_document_that_is_excluded_or_switched_off_during_the_pause_is_not_asked_about(setting: Any, reason: str) -> None:
    async with session_with(ScriptedBackend("value"), "some_name = valu", options={"debounceMs": 400, "eagerness": "low"}) as client:
        request = client.ghost(0, 16)
        await client.ask("dlsp/status")
        client.notify("workspace/didChangeConfiguration", {"settings": {"dlsp": setting}})
        assert (await client.result(request))["items"] == []
        assert client.reason == (reason or "disabled_language")
        assert client.backend.requests == []


async def test_what_was_asked_under_other_settings_is_not_shown() -> None:
    gate = Gate()
    async with session_with(ScriptedBackend(gate), "some_name = ") as client:
        request = client.ghost(0, 12)
        await asked(client, 1)
        client.notify("workspace/didChangeConfiguration", {"settings": {"dlsp": {"enabled": False}}})
        await client.until(lambda: client.backend.cancelled, "end of the request", seconds=1.0)
        assert (await client.result(request))["items"] == []
        assert len(client.session.suggestions) == 0


async def test_a_state_that_cannot_be_watched_is_an_error_and_no_endless_loading() -> None:
    class Unwatchable(ScriptedBackend):
        async def watch(self) -> Any:
            yield Status(state="loading")
            raise ValueError("bug")

    async with memory_client(Unwatchable("value")) as client:
        await client.initialize()
        await client.until(lambda: client.session.status.report.state == "error", "error")
        assert not client.session.status.loading


async def test_what_is_on_screen_stays_where_a_block_begins() -> None:
    def script(request: Any) -> str:
        return "{1: 2}" if request.prefix.endswith("= ") else "3: 4,\n    5: 6,"

    async with session_with(ScriptedBackend(script), "import os\nx = \n") as client:
        assert await client.texts(1, 4) == ["{1: 2}"]
        client.insert(1, 4, "{", version=2)
        assert await client.texts(1, 5) == ["1: 2}"]
        assert len(client.backend.requests) == 1
        await client.texts(1, 5, kind=1)
        assert len(client.backend.requests) == 2, "who asks by hand may get more lines"


async def test_low_eagerness_does_not_use_up_the_time_of_the_popup() -> None:
    async def script(request: Any) -> str:
        await asyncio.sleep(0.25)
        return "value"

    options = {"eagerness": "low", "debounceMs": 300, "deadlineMs": 300, "minConfidence": 0}
    async with session_with(ScriptedBackend(script), "some_name = val\n", options=options, capabilities={}) as client:
        client.insert(0, 15, "u", version=2)
        assert len(await client.popup(0, 16)) == 1


async def test_behind_a_selected_item_nothing_is_said_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def replacing(draft: Draft) -> Draft:
        return msgspec.structs.replace(draft, replaces=1)

    monkeypatch.setattr(asking, "polish", replacing)
    async with session_with(ScriptedBackend("(value)"), "pri)\nsome_name = 1\n") as client:
        assert await client.texts(0, 3, selectedCompletionInfo=SELECTED) == []
        assert client.reason == "popup_selected"


async def test_a_suggestion_behind_a_selected_item_is_counted_when_the_item_is_there() -> None:
    async with session_with(ScriptedBackend("(value)"), "pri\nsome_name = 1\n") as client:
        events: list[Any] = []
        client.session.ledger.sink = events.append
        assert await client.texts(0, 3, selectedCompletionInfo=SELECTED) == ["print(value)"]
        assert [event for event in events if event.event == "shown"] == []
        client.change({"range": SELECTED["range"], "text": "print"}, version=2)
        assert await client.texts(0, 5) == ["(value)"]
        client.insert(0, 5, "(value)", version=3)
        await client.ask("dlsp/status")
        assert [event.event for event in events if event.event != "latency"] == ["shown", "accepted"]
        assert len(client.backend.requests) == 1
