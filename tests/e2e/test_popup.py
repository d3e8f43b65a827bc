"""Popup completion through the whole server, with a scripted model."""

from __future__ import annotations

from typing import Any

import pytest

from lsp_memory import URI, memory_client, session_with
from scripted_backend import ScriptedBackend


async def test_an_item_of_the_popup() -> None:
    async with session_with(ScriptedBackend("ute(a)"), "x = comp") as client:
        (item,) = await client.popup(0, 8)
        assert item["label"] == "compute(a)"
        assert item["textEdit"] == {
            "newText": "compute(a)",
            "range": {"start": {"line": 0, "character": 4}, "end": {"line": 0, "character": 8}},
        }
        assert item["filterText"] == "compute(a)"
        assert not item.get("preselect")
        assert "compute(a)" in item["documentation"]["value"]


async def test_the_list_is_asked_for_again_as_the_user_types() -> None:
    async with session_with(ScriptedBackend("1"), "x = ") as client:
        params = {"textDocument": {"uri": URI}, "position": {"line": 0, "character": 4}}
        assert (await client.ask("textDocument/completion", params))["isIncomplete"] is True


async def test_a_block_is_offered_whole_and_by_its_first_line() -> None:
    async with session_with(ScriptedBackend("a = 1\n    return a"), "def f():\n    \n") as client:
        whole, first = await client.popup(1, 4)
        assert whole["textEdit"]["newText"] == "a = 1\n    return a"
        assert first["textEdit"]["newText"] == "a = 1"
        assert whole["documentation"] == {"kind": "markdown", "value": "```python\na = 1\n    return a\n```"}


@pytest.mark.parametrize(("text", "character", "kind", "lines"), [("", 0, 1, 12), ("", 0, 2, 1), ("ab", 2, 1, 1), ("a = ", 4, 3, 1)])
async def test_only_who_asks_behind_no_word_has_asked(text: str, character: int, kind: int, lines: int) -> None:
    async with session_with(ScriptedBackend("1"), f"def f():\n{text}") as client:
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
        await client.initialize(capabilities=capabilities)
        client.open("x = ")
        await client.ready()
        (item,) = await client.popup(0, 4)
        assert item["documentation"]["kind"] == kind


async def test_a_document_that_is_not_open() -> None:
    async with session_with(ScriptedBackend("1"), "x = ") as client:
        assert await client.popup(0, 4, uri="file:///other.py") == []
        assert client.reason == "unknown_document"
