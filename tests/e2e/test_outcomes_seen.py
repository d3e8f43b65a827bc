"""What became of suggestions, as the ledger learns it from real messages."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from dlsp.outcomes import Event
from lsp_memory import URI, MemoryClient, session_with
from scripted_backend import ScriptedBackend


def listen(client: MemoryClient) -> list[Event]:
    events: list[Event] = []
    client.session.ledger.sink = events.append
    return events


def story(events: list[Event]) -> list[tuple[str, int]]:
    return [(event.event, event.characters) for event in events if event.event not in ("empty", "latency")]


async def test_shown_and_accepted() -> None:
    async with session_with(ScriptedBackend("value + 1"), "some_name = ") as client:
        events = listen(client)
        assert await client.texts(0, 12) == ["value + 1"]
        client.insert(0, 12, "value + 1", version=2)
        await client.ask("dlsp/status")
        assert story(events) == [("shown", 9), ("accepted", 9)]
        shown = next(event for event in events if event.event == "shown")
        assert (shown.source, shown.language) == ("model", "python")


async def test_typed_through_is_one_suggestion() -> None:
    async with session_with(ScriptedBackend("value"), "some_name = ") as client:
        events = listen(client)
        for number, letter in enumerate("value"):
            await client.texts(0, 12 + number)
            client.insert(0, 12 + number, letter, version=2 + number)
        await client.ask("dlsp/status")
        assert story(events) == [("shown", 5), ("typed", 5)]


async def test_reasons_of_empty_answers_are_counted() -> None:
    async with session_with(ScriptedBackend("value"), "some_name = other") as client:
        events = listen(client)
        assert await client.texts(0, 4) == []
        assert [(event.event, event.reason) for event in events] == [("empty", "mid_line")]
        assert client.statuses[-1]["reasons"]["mid_line"] == 1
        assert "cursor" in client.statuses[-1]["explanation"]


async def test_an_editor_that_tells() -> None:
    async with session_with(ScriptedBackend("one two"), "some_name = ") as client:
        events = listen(client)
        await client.texts(0, 12)
        item = {"insertText": "one two", "range": None}
        client.notify("textDocument/didShowCompletion", {"item": item})
        client.notify("textDocument/didPartiallyAcceptCompletion", {"item": item, "acceptedLength": 4})
        client.insert(0, 12, "one ", version=2)
        client.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
        await client.ask("dlsp/status")
        assert story(events) == [("shown", 7), ("partial", 4)]


async def test_the_document_in_focus_is_told() -> None:
    async with session_with(ScriptedBackend(), "") as client:
        client.open("x", uri="file:///code/a.md", language="markdown")
        client.notify("textDocument/didFocus", {"textDocument": {"uri": "file:///code/a.md"}})
        await client.ask("dlsp/status")
        assert (client.statuses[-1]["language"], client.statuses[-1]["enabled"]) == ("markdown", False)


@pytest.mark.parametrize("method", ["didShowCompletion", "didPartiallyAcceptCompletion", "didFocus"])
async def test_nonsense_is_ignored(method: str) -> None:
    nonsense: list[Any] = [
        None,
        {},
        [],
        {"item": None},
        {"item": {"insertText": 3}},
        {"item": {"insertText": {"value": None}}},
        {"item": {"insertText": "value"}, "acceptedLength": -1},
        {"item": {"insertText": "value"}, "acceptedLength": "all"},
        {"item": {"insertText": "\U0001f600"}, "acceptedLength": 1, "textDocument": {"uri": "file:///nowhere"}},
        {"textDocument": {"uri": 5}},
    ]
    async with session_with(ScriptedBackend("value"), "some_name = ") as client:
        for params in nonsense:
            client.notify(f"textDocument/{method}", params)
        assert await client.texts(0, 12) == ["value"]
        assert client.said("window/showMessage") == []
        assert [m for m in client.messages if "error" in m] == []


async def test_counts_hold_no_text_and_no_path() -> None:
    async with session_with(ScriptedBackend("canary_value"), "canary_name = ") as client:
        events = listen(client)
        await client.texts(0, 14)
        client.insert(0, 14, "canary_value", version=2)
        await client.ask("dlsp/status")
        said = msgspec.json.encode(events).decode() + json.dumps(client.statuses)
        assert len(events) >= 2
        assert "canary" not in said
        assert "a.py" not in said
