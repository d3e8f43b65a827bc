"""Files that change on the disk reach the index: through the client's watcher where it has one, else when they are saved."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from lsp_memory import CAPABILITIES, MemoryClient, memory_client

WATCHING: dict[str, Any] = {**CAPABILITIES, "workspace": {"didChangeWatchedFiles": {"dynamicRegistration": True}}}


async def indexed(client: MemoryClient, name: str) -> None:
    workspace = client.session.workspace
    assert workspace is not None
    await client.until(lambda: workspace.definitions(name, "file:///x.py"), f"definition of {name}")


async def test_a_client_that_can_watch_is_asked_to_and_believed(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def first(): ...\n")
    async with memory_client() as client:
        await client.initialize(capabilities=WATCHING, root=tmp_path.as_uri())
        await client.ready()
        await indexed(client, "first")
        workspace = client.session.workspace
        assert workspace is not None
        await client.until(lambda: workspace.watched, "watcher")
        asked = [r for params in client.said("client/registerCapability") for r in params["registrations"]]
        (watch,) = [each for each in asked if each["method"] == "workspace/didChangeWatchedFiles"]
        patterns = [watcher["globPattern"] for watcher in watch["registerOptions"]["watchers"]]
        assert any(".gitignore" in pattern for pattern in patterns)
        assert any("py" in pattern for pattern in patterns)

        (tmp_path / "b.py").write_text("def second(): ...\n")
        client.notify("workspace/didChangeWatchedFiles", {"changes": [{"uri": (tmp_path / "b.py").as_uri(), "type": 1}]})
        await indexed(client, "second")


async def test_other_clients_are_not_asked_and_tell_what_they_save(tmp_path: Path) -> None:
    async with memory_client() as client:
        await client.initialize(root=tmp_path.as_uri())
        await client.ready()
        workspace = client.session.workspace
        assert workspace is not None
        await workspace.settled()
        assert not workspace.watched
        assert not [p for p in client.said("client/registerCapability") if "didChangeWatchedFiles" in str(p)]
        (tmp_path / "c.py").write_text("def third(): ...\n")
        client.notify("textDocument/didSave", {"textDocument": {"uri": (tmp_path / "c.py").as_uri()}})
        await asyncio.wait_for(indexed(client, "third"), 10)
