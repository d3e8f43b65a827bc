"""Commands that switch completions off and on, seen from the editor."""

from __future__ import annotations

import time
from typing import Any

import pytest

from lsp_memory import CAPABILITIES, MemoryClient, session_with
from scripted_backend import ScriptedBackend


async def run(client: MemoryClient, command: str, *arguments: Any) -> Any:
    return await client.ask("workspace/executeCommand", {"command": command, "arguments": list(arguments)})


async def test_commands_are_advertised() -> None:
    async with session_with(ScriptedBackend(), "") as client:
        initialized = next(m["result"] for m in client.messages if isinstance(m.get("result"), dict) and "capabilities" in m["result"])
        commands = initialized["capabilities"]["executeCommandProvider"]["commands"]
        assert {"dlsp.snooze", "dlsp.resume", "dlsp.toggle", "dlsp.reset", "dlsp.logFile"} <= set(commands)


async def test_snooze_and_resume() -> None:
    async with session_with(ScriptedBackend("value"), "some_name = ") as client:
        result = await run(client, "dlsp.snooze", {"minutes": 5})
        assert 4.9 < (result["snoozedUntilMs"] / 1000 - time.time()) / 60 < 5.1
        assert client.statuses[-1]["snoozedUntilMs"] == result["snoozedUntilMs"]
        assert await client.texts(0, 12) == []
        assert client.reason == "snoozed"
        assert await client.texts(0, 12, kind=1) == ["value"]
        (message,) = client.said("window/showMessage")
        assert (message["type"], "5 minutes" in message["message"]) == (3, True)
        assert (await run(client, "dlsp.resume"))["snoozedUntilMs"] == 0
        assert await client.texts(0, 12) == ["value"]
        assert client.statuses[-1]["snoozedUntilMs"] == 0


async def test_a_pause_that_is_over_is_told() -> None:
    async with session_with(ScriptedBackend("value"), "some_name = ") as client:
        await run(client, "dlsp.snooze", {"minutes": 1 / 60})
        assert client.statuses[-1]["snoozedUntilMs"] > 0
        await client.until(lambda: client.statuses[-1]["snoozedUntilMs"] == 0, "the end of the pause")
        assert await client.texts(0, 12) == ["value"]


@pytest.mark.parametrize("minutes", [0, -1, "ten", True, 1e9])
async def test_a_pause_must_be_a_length_of_time(minutes: Any) -> None:
    async with session_with(ScriptedBackend(), "") as client:
        answer = await client.answer(
            client.request("workspace/executeCommand", {"command": "dlsp.snooze", "arguments": [{"minutes": minutes}]})
        )
        assert answer["error"]["code"] == -32602
        assert "minutes" in answer["error"]["message"]


async def test_off_means_no_request_at_all() -> None:
    backend = ScriptedBackend("value")
    async with session_with(backend, "some_name = ") as client:
        assert (await run(client, "dlsp.toggle"))["enabled"] is False
        for kind in (1, 2):
            assert await client.texts(0, 12, kind=kind) == []
        assert client.reason == "disabled"
        assert client.statuses[-1]["enabled"] is False
        assert backend.requests == []
        assert (await run(client, "dlsp.toggle"))["enabled"] is True
        assert await client.texts(0, 12) == ["value"]


async def test_one_language_off() -> None:
    async with session_with(ScriptedBackend("value"), "some_name = ") as client:
        client.open("some_name := ", uri="file:///code/a.go", language="go")
        await run(client, "dlsp.toggle", {"language": "python"})
        assert (client.statuses[-1]["language"], client.statuses[-1]["enabled"]) == ("python", False), "before anything is asked for"
        assert await client.texts(0, 12) == []
        assert client.reason == "disabled_language"
        assert (client.statuses[-1]["language"], client.statuses[-1]["enabled"]) == ("python", False)
        assert await client.texts(0, 13, uri="file:///code/a.go") == ["value"]
        assert (client.statuses[-1]["language"], client.statuses[-1]["enabled"]) == ("go", True)
        await run(client, "dlsp.toggle", {"language": "python"})
        assert await client.texts(0, 12) == ["value"]


async def test_what_a_setting_forbids_stays_off_and_is_said() -> None:
    async with session_with(ScriptedBackend(), "", options={"languages": {"go": False}}) as client:
        assert "`languages`" in (await run(client, "dlsp.toggle", {"language": "go"}))["message"]
        assert client.session.overrides.off == set()
        client.notify("workspace/didChangeConfiguration", {"settings": {"dlsp": {"enabled": False}}})
        await client.until(lambda: not client.session.settings.enabled, "the setting")
        assert client.statuses[-1]["enabled"] is False
        for command in ("dlsp.toggle", "dlsp.resume"):
            result = await run(client, command)
            assert (result["enabled"], "`enabled`" in result["message"]) == (False, True)


async def test_reset_forgets() -> None:
    backend = ScriptedBackend("value")
    async with session_with(backend, "some_name = ") as client:
        await run(client, "dlsp.toggle", {"language": "python"})
        await run(client, "dlsp.reset")
        assert await client.texts(0, 12) == ["value"]
        assert len(backend.requests) == 1
        pace = client.session.pace
        await run(client, "dlsp.reset")
        assert client.session.pace is not pace
        assert await client.texts(0, 12) == ["value"]
        assert len(backend.requests) == 2


async def test_the_log_file_is_named_or_shown() -> None:
    async with session_with(ScriptedBackend(), "") as client:
        result = await run(client, "dlsp.logFile")
        assert result["log"].endswith("server.log")
        assert result["counts"].endswith("stats.jsonl")
        (message,) = client.said("window/showMessage")
        assert result["log"] in message["message"]


async def test_an_editor_that_cannot_show_the_log_file_gets_the_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    path = tmp_path / "server.log"
    path.write_text("x")
    monkeypatch.setattr("dlsp.features.control.log_file", lambda: path)
    capabilities = {**CAPABILITIES, "window": {"showDocument": {"support": True}}}
    async with session_with(ScriptedBackend(), "", capabilities=capabilities) as client:
        client.refuse = {"window/showDocument"}
        await run(client, "dlsp.logFile")
        assert client.said("window/showDocument")[0]["uri"] == path.as_uri()
        assert len(client.said("window/showMessage")) == 1
