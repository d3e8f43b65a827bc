"""Settings on their way from the client, the user's file and back into what the server does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from dlsp.features import configuration
from dlsp.session import Session
from dlsp.settings import Settings
from engine.api import Status
from engine.errors import ConfigError
from lsp_memory import MemoryClient, memory_client, session_with
from scripted_backend import ScriptedBackend

PULLS: dict[str, Any] = {"workspace": {"configuration": True, "didChangeConfiguration": {"dynamicRegistration": True}}}


async def test_the_client_counts_more_than_the_file_and_the_file_more_than_the_default(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("maxLines = 3\ndebounceMs = 77\n")
    async with memory_client(config_file=config) as client:
        assert client.session.settings.max_lines == 3
        await client.initialize(options={"maxLines": 4})
        assert (client.session.settings.max_lines, client.session.settings.debounce_ms) == (4, 77)
        client.notify("workspace/didChangeConfiguration", {"settings": {"dlsp": {"maxLines": 5}}})
        await client.until(lambda: client.session.settings.max_lines == 5, "the new setting")
        client.notify("workspace/didChangeConfiguration", {"settings": {"dlsp": {}}})
        await client.until(lambda: client.session.settings.max_lines == 4, "the old setting")


async def test_wrong_values_are_named_once_in_the_log_and_the_status_and_never_in_a_box(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("threads = -1\n")
    async with memory_client(config_file=config) as client:
        await client.initialize(options={"maxLines": "many", "debounceMs": 1, "colour": 1})
        (message,) = await client.until(lambda: client.said("window/logMessage"), "a warning")
        assert message["type"] == 2
        for name in ("`maxLines`", "`colour`", "config.toml: `threads`"):
            assert name in message["message"]
        assert client.session.settings.debounce_ms == 1
        assert any(status["reason"] == "invalid_settings" and "`maxLines`" in status["message"] for status in client.statuses)
        for _ in range(2):
            client.notify("workspace/didChangeConfiguration", {"settings": {"dlsp": {"deadlineMs": "soon"}}})
        await client.until(lambda: len(client.said("window/logMessage")) == 2, "a second warning")
        await client.ask("dlsp/status")
        assert len(client.said("window/logMessage")) == 2
        assert client.said("window/showMessage") == []


async def test_settings_are_pulled_at_the_start_and_when_they_change() -> None:
    async with memory_client() as client:
        client.configuration = {"maxLines": 6, "model": None}
        await client.initialize(capabilities=PULLS)
        await client.until(lambda: client.session.settings.max_lines == 6, "the setting")
        (pull,) = client.said("workspace/configuration")
        assert pull["items"] == [{"section": "dlsp"}]
        (registration,) = client.said("client/registerCapability")
        assert registration["registrations"][0]["method"] == "workspace/didChangeConfiguration"
        client.configuration = {"maxLines": 7}
        client.notify("workspace/didChangeConfiguration", {"settings": None})
        await client.until(lambda: client.session.settings.max_lines == 7, "the setting")


async def test_a_client_that_will_not_tell_its_settings() -> None:
    async with memory_client(ScriptedBackend("1")) as client:
        client.refuse = {"workspace/configuration", "client/registerCapability"}
        await client.initialize(capabilities=PULLS)
        client.open("some_name = ")
        await client.ready()
        assert await client.texts(0, 12) == ["1"]


async def test_settings_that_are_told_late_count_and_the_newest_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configuration, "_PULL_SECONDS", 0.05)
    async with memory_client() as client:
        client.leave = {"workspace/configuration"}
        await client.initialize(capabilities=PULLS)
        await client.ready()
        for _ in range(2):
            client.notify("workspace/didChangeConfiguration", {"settings": None})

        def asked() -> list[int]:
            return [message["id"] for message in client.messages if message.get("method") == "workspace/configuration"]

        first, second, _ = await client.until(lambda: len(asked()) == 3 and asked(), "three questions")
        await client.ask("dlsp/status")
        assert client.session.settings.enabled
        client.send({"jsonrpc": "2.0", "id": second, "result": [{"enabled": False, "exclude": ["*.py"]}]})
        await client.until(lambda: not client.session.settings.enabled, "the setting")
        assert client.session.settings.exclude == ("*.py",)
        client.send({"jsonrpc": "2.0", "id": first, "result": [{"enabled": True}]})
        await client.ask("dlsp/status")
        await asyncio.sleep(0.1)
        assert not client.session.settings.enabled, "an older answer that came later"


async def test_another_model_means_another_backend_and_forgets_suggestions() -> None:
    made: list[tuple[Settings, ScriptedBackend]] = []

    def create(settings: Settings) -> ScriptedBackend:
        made.append((settings, ScriptedBackend(settings.model, first=Status(state="ready", model=settings.model))))
        return made[-1][1]

    client = MemoryClient(Session(create), ScriptedBackend())
    await client.initialize(options={"debounceMs": 0})
    client.open("some_name = ")
    await client.ready()
    assert await client.texts(0, 12) == ["nano"]
    client.notify("workspace/didChangeConfiguration", {"settings": {"dlsp": {"maxLines": 2}}})
    await client.ask("dlsp/status")
    assert len(made) == 1
    client.notify("workspace/didChangeConfiguration", {"settings": {"dlsp": {"model": "other"}}})
    await client.until(lambda: len(made) == 2 and made[0][1].closed, "another backend")
    await client.ready()
    assert await client.texts(0, 12) == ["other"]
    client.hang_up()
    await client.run
    assert made[1][1].closed


async def test_a_backend_that_cannot_be_made_is_a_status_and_an_empty_answer() -> None:
    def create(settings: Settings) -> ScriptedBackend:
        raise ConfigError("No address is set.", "Set remoteUrl.")

    client = MemoryClient(Session(create), ScriptedBackend())
    await client.initialize(options={"debounceMs": 0})
    client.open("some_name = ")
    await client.ready()
    assert await client.texts(0, 12) == []
    assert client.statuses[-1]["state"] == "error"
    assert client.reason == "backend_error"
    assert client.statuses[-1]["message"] == "No address is set. Set remoteUrl."
    client.hang_up()
    await client.run


async def test_workspace_folders_come_and_go() -> None:
    async with session_with(ScriptedBackend("1"), "x = ") as client:
        event = {"added": [{"uri": "file:///b", "name": "b"}], "removed": [{"uri": "file:///code", "name": "w"}]}
        client.notify("workspace/didChangeWorkspaceFolders", {"event": event})
        await client.ask("dlsp/status")
        assert client.session.origin.roots == (Path("/b"),)
