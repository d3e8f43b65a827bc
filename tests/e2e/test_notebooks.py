"""Notebooks through the whole server: cells are documents, in the order the client says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from lsp_memory import CAPABILITIES, MemoryClient, memory_client
from scripted_backend import ScriptedBackend

BOOK = "file:///code/a.ipynb"
ABLE = {**CAPABILITIES, "notebookDocument": {"synchronization": {}}}


def cell(name: str, kind: int = 2) -> dict[str, Any]:
    return {"kind": kind, "document": uri(name)}


def uri(name: str) -> str:
    return f"vscode-notebook-cell:/code/a.ipynb#{name}"


def document(name: str, text: str, language: str = "python") -> dict[str, Any]:
    return {"uri": uri(name), "languageId": language, "version": 1, "text": text}


def change(client: MemoryClient, **cells: Any) -> None:
    client.notify("notebookDocument/didChange", {"notebookDocument": {"uri": BOOK, "version": 2}, "change": {"cells": cells}})


@asynccontextmanager
async def notebook(text: str = "total = ") -> AsyncIterator[MemoryClient]:
    """A notebook of a cell of code, one of prose and another one of code, which holds `text`."""
    async with memory_client(ScriptedBackend("price")) as client:
        await client.initialize(options={"debounceMs": 0}, capabilities=ABLE)
        book = {"uri": BOOK, "notebookType": "jupyter-notebook", "version": 1, "cells": [cell("a"), cell("prose", 1), cell("b")]}
        texts = [document("a", "price = 12345\n"), document("prose", "# Title\n", "markdown"), document("b", text)]
        client.notify("notebookDocument/didOpen", {"notebookDocument": book, "cellTextDocuments": texts})
        await client.ready()
        yield client


@pytest.mark.parametrize(("capabilities", "advertised"), [(ABLE, True), (CAPABILITIES, False)])
async def test_it_is_offered_to_clients_that_have_notebooks(capabilities: dict[str, Any], advertised: bool) -> None:
    async with memory_client(ScriptedBackend("1")) as client:
        sync = (await client.initialize(capabilities=capabilities)).get("notebookDocumentSync")
        assert bool(sync) is advertised
        if sync:
            assert sync["notebookSelector"] == [{"notebook": "*"}]


async def test_a_cell_is_completed_like_any_document() -> None:
    async with notebook() as client:
        assert await client.texts(0, 8, uri=uri("b")) == ["price"]
        assert client.session.notebooks.before(uri("b")) == (uri("a"),)


async def test_prose_is_off_like_markdown() -> None:
    async with notebook() as client:
        assert await client.texts(0, 7, uri=uri("prose")) == []
        assert client.reason == "disabled_language"


async def test_what_is_typed_into_a_cell_is_seen() -> None:
    async with notebook() as client:
        place = {"line": 0, "character": 8}
        edit = {"document": {"uri": uri("b"), "version": 2}, "changes": [{"range": {"start": place, "end": place}, "text": "𝄞ü + "}]}
        change(client, textContent=[edit])
        assert await client.texts(0, 14, uri=uri("b")) == ["price"]
        assert client.session.documents[uri("b")].snapshot.text == "total = 𝄞ü + "


async def test_cells_that_come_go_and_move() -> None:
    async with notebook() as client:
        new = {"array": {"start": 1, "deleteCount": 1, "cells": [cell("c")]}, "didOpen": [document("c", "tax = 19\n")]}
        change(client, structure={**new, "didClose": [{"uri": uri("prose")}]})
        await client.ask("dlsp/status")
        assert client.session.notebooks.before(uri("b")) == (uri("a"), uri("c"))
        assert client.session.documents[uri("c")].snapshot.text == "tax = 19\n"
        assert uri("prose") not in client.session.documents
        change(client, structure={"array": {"start": 0, "deleteCount": 3, "cells": [cell("b"), cell("c"), cell("a")]}})
        await client.ask("dlsp/status")
        assert client.session.notebooks.before(uri("a")) == (uri("b"), uri("c"))
        change(client, data=[cell("b", 1)])
        await client.ask("dlsp/status")
        assert client.session.notebooks.before(uri("a")) == (uri("c"),)


async def test_nothing_is_left_of_a_closed_notebook_even_if_the_client_names_no_cells() -> None:
    async with notebook() as client:
        client.notify("notebookDocument/didClose", {"notebookDocument": {"uri": BOOK}, "cellTextDocuments": []})
        assert await client.texts(0, 8, uri=uri("b")) == []
        assert client.reason == "unknown_document"
        assert not client.session.documents


async def test_changes_that_change_nothing_or_make_no_sense_do_no_harm() -> None:
    async with notebook() as client:
        client.notify("notebookDocument/didChange", {"notebookDocument": {"uri": BOOK, "version": 2}, "change": {"metadata": {"a": 1}}})
        client.notify("notebookDocument/didChange", {"notebookDocument": {"uri": BOOK}})
        change(
            client,
            structure={"array": {"start": 70, "deleteCount": 7}},
            textContent=[{"document": {"uri": "x:y", "version": 1}, "changes": []}],
        )
        assert await client.texts(0, 8, uri=uri("b")) == ["price"]


async def test_a_cell_whose_language_changed_is_closed_and_opened_in_one_message() -> None:
    async with notebook() as client:
        new = {"array": {"start": 2, "deleteCount": 1, "cells": [cell("b")]}, "didOpen": [document("b", "total = ", "lua")]}
        change(client, structure={**new, "didClose": [{"uri": uri("b")}]})
        assert await client.texts(0, 8, uri=uri("b")) == ["price"]
        assert client.session.documents[uri("b")].snapshot.language == "lua"


async def test_cells_of_an_excluded_notebook_are_excluded_whatever_they_are_called() -> None:
    async with memory_client(ScriptedBackend("price")) as client:
        await client.initialize(options={"debounceMs": 0, "exclude": ["private.ipynb"]}, capabilities=ABLE)
        book = {"uri": "file:///code/private.ipynb", "notebookType": "jupyter-notebook", "version": 1}
        texts = [{**document("a", "price = 12345\n"), "uri": "cell:1"}, {**document("b", "total = "), "uri": "cell:2"}]
        cells = [{"kind": 2, "document": text["uri"]} for text in texts]
        client.notify("notebookDocument/didOpen", {"notebookDocument": {**book, "cells": cells}, "cellTextDocuments": texts})
        await client.ready()
        assert await client.texts(0, 8, uri="cell:2") == []
        assert client.reason == "excluded_file"
