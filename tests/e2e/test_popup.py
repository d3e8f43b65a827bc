"""Popup completion through the whole server, with a scripted model."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from dlsp.answer import Answer, Question
from engine.api import Status
from lsp_memory import CAPABILITIES, URI, MemoryClient, memory_client, session_with
from scripted_backend import ScriptedBackend

ITEM = {"documentationFormat": ["markdown"], "insertTextModeSupport": {"valueSet": [1]}}
PLAIN: dict[str, Any] = {"textDocument": {"completion": {"completionItem": ITEM}}}
"""A client without ghost text of its own."""
PATIENT = {"deadlineMs": 20_000}
"""A busy machine is no reason for an empty list."""


def popup_session(backend: ScriptedBackend, text: str, *, options: Any = None) -> AbstractAsyncContextManager[MemoryClient]:
    return session_with(backend, text, capabilities=PLAIN, options={**PATIENT, **(options or {})})


async def test_an_item_of_the_popup() -> None:
    async with popup_session(ScriptedBackend("ute(a)"), "total = comp") as client:
        (item,) = await client.popup(0, 12)
        assert item["label"] == "compute(a)"
        assert item["textEdit"] == {
            "newText": "compute(a)",
            "range": {"start": {"line": 0, "character": 8}, "end": {"line": 0, "character": 12}},
        }
        assert item["filterText"] == "compute(a)"
        assert not item.get("preselect")
        assert "compute(a)" in item["documentation"]["value"]


async def test_the_list_is_asked_for_again_as_the_user_types() -> None:
    async with popup_session(ScriptedBackend("1"), "total_of_all = ") as client:
        params = {"textDocument": {"uri": URI}, "position": {"line": 0, "character": 15}}
        assert (await client.ask("textDocument/completion", params))["isIncomplete"] is True


async def test_a_block_is_offered_whole_and_by_its_first_line() -> None:
    async with popup_session(ScriptedBackend("a = 1\n    return a"), "def compute():\n    \n") as client:
        whole, first = await client.popup(1, 4)
        assert whole["textEdit"]["newText"] == "a = 1\n    return a"
        assert first["textEdit"]["newText"] == "a = 1"
        assert whole["documentation"] == {"kind": "markdown", "value": "```python\na = 1\n    return a\n```"}


async def test_a_client_that_would_shift_the_lines_of_a_block_gets_the_first_and_all_to_read() -> None:
    capabilities = {"textDocument": {"completion": {"completionItem": {"documentationFormat": ["markdown"]}}}}
    backend = ScriptedBackend("a = 1\n    return a")
    async with session_with(backend, "def compute():\n    \n", capabilities=capabilities, options=PATIENT) as client:
        (item,) = await client.popup(1, 4)
        assert item["textEdit"]["newText"] == "a = 1"
        assert "return a" in item["documentation"]["value"]


async def test_an_item_says_which_model_it_is_from() -> None:
    async with popup_session(ScriptedBackend("price"), "total_of_all = ") as client:
        (item,) = await client.popup(0, 15)
        assert item["detail"] == "dlsp scripted"


async def test_a_text_that_says_again_what_stands_behind_the_cursor_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(session: object, question: Question) -> Answer:
        return Answer(texts=("first, second]\nnext = 1",), at=question.at, replaces=1)

    monkeypatch.setattr("dlsp.features.completion.answer", answer)
    async with popup_session(ScriptedBackend(), "totals = []") as client:
        (item,) = await client.popup(0, 10)
        assert item["textEdit"]["newText"] == "first, second]\nnext = 1"
        places = {"start": {"line": 0, "character": 10}, "end": {"line": 0, "character": 11}}
        assert item["additionalTextEdits"] == [{"range": places, "newText": ""}]


@pytest.mark.parametrize(
    ("text", "character", "kind", "lines"), [("    ", 4, 1, 12), ("    ", 4, 2, 1), ("ab", 2, 1, 1), ("a = ", 4, 3, 1)]
)
async def test_only_who_asks_behind_no_word_has_asked(text: str, character: int, kind: int, lines: int) -> None:
    options = {"multiline": "invoked"}
    async with popup_session(ScriptedBackend("1"), f"def compute():\n{text}", options=options) as client:
        await client.popup(1, character, kind=kind)
        assert client.backend.requests[0].holes[0].max_lines == lines


@pytest.mark.parametrize(
    ("capabilities", "kind"),
    [
        ({}, "plaintext"),
        ({"textDocument": {"completion": {"completionItem": {"documentationFormat": ["markdown", "plaintext"]}}}}, "markdown"),
    ],
)
async def test_documentation_in_a_form_the_client_reads(capabilities: dict[str, Any], kind: str) -> None:
    async with memory_client(ScriptedBackend("1")) as client:
        await client.initialize(capabilities=capabilities, options=PATIENT)
        client.open("total_of_all = ")
        await client.ready()
        (item,) = await client.popup(0, 15)
        assert item["documentation"]["kind"] == kind


async def test_a_document_that_is_not_open() -> None:
    async with popup_session(ScriptedBackend("1"), "total = ") as client:
        assert await client.popup(0, 4, uri="file:///code/other.py") == []
        assert client.reason == "unknown_document"


# Who gets it


@pytest.mark.parametrize(
    ("capabilities", "popup", "reason"),
    [
        (CAPABILITIES, "auto", "inline_client"),
        (CAPABILITIES, "always", ""),
        (CAPABILITIES, "never", "disabled"),
        (PLAIN, "auto", ""),
        (PLAIN, "never", "disabled"),
    ],
)
async def test_who_gets_items(capabilities: dict[str, Any], popup: str, reason: str) -> None:
    async with session_with(
        ScriptedBackend("price"), "total_of_all = ", capabilities=capabilities, options={**PATIENT, "popup": popup}
    ) as client:
        items = await client.popup(0, 15)
        assert bool(items) is not bool(reason)
        assert client.reason == reason
        assert bool(client.backend.requests) is not bool(reason)


async def test_that_the_popup_gets_nothing_does_not_hide_why_the_ghost_text_is_empty() -> None:
    async with session_with(ScriptedBackend(""), "total_of_all = ") as client:
        await client.popup(0, 15)
        assert client.reason == "inline_client"
        assert await client.texts(0, 15) == []
        assert client.reason == "empty_output"
        await client.popup(0, 15)
        assert client.reason == "empty_output"


# Never in the way


async def test_the_clients_list_is_not_held_longer_than_the_deadline() -> None:
    async def never(request: object) -> str:
        await asyncio.Event().wait()
        return ""

    async with popup_session(ScriptedBackend(never), "total_of_all = ", options={"deadlineMs": 50}) as client:
        began = time.monotonic()
        assert await client.popup(0, 15, kind=2) == []
        assert time.monotonic() - began < 2.0
        assert client.reason == "deadline"


async def test_nobody_waits_for_the_model_to_be_loaded() -> None:
    async with memory_client(ScriptedBackend("1", first=Status(state="loading"))) as client:
        await client.initialize(capabilities=PLAIN)
        client.open("total_of_all = ")
        began = time.monotonic()
        assert await client.popup(0, 15) == []
        assert time.monotonic() - began < 2.0
        assert "loading" in [status["reason"] for status in client.statuses]


async def test_cancelling_is_answered() -> None:
    async def never(request: object) -> str:
        await asyncio.Event().wait()
        return ""

    async with popup_session(ScriptedBackend(never), "total_of_all = ", options={"deadlineMs": 0}) as client:
        request = _ask(client)
        await client.until(lambda: client.backend.running, "request to the model")
        client.cancel(request)
        assert (await client.answer(request))["error"]["code"] == -32800
        await client.until(lambda: not client.backend.running, "end of the request")


def _ask(client: MemoryClient) -> int:
    params = {"textDocument": {"uri": URI}, "position": {"line": 0, "character": 15}, "context": {"triggerKind": 2}}
    return client.request("textDocument/completion", params)
