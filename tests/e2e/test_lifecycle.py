"""The connection from its first message to its last, whatever the client does."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from typing import Any

import pytest

from dlsp.session import Session
from engine.api import Status
from engine.errors import HostError
from lsp_memory import CAPABILITIES, MemoryClient, memory_client, session_with
from scripted_backend import ScriptedBackend


async def test_shutdown_and_exit() -> None:
    async with session_with(ScriptedBackend(), "x") as client:
        assert await client.ask("shutdown") is None
        assert (await client.answer(client.ghost(0, 0)))["error"]["code"] == -32600
        client.notify("exit")
        assert await client.run == 0
        assert client.backend.closed


async def test_exit_without_shutdown_and_hanging_up_are_failures() -> None:
    async with session_with(ScriptedBackend(), "x") as client:
        client.notify("exit")
        assert await client.run == 1
        assert client.backend.closed
    async with memory_client() as client:
        client.hang_up()
        assert await client.run == 1
    async with memory_client() as client:
        client.notify("exit")
        assert await client.run == 1


async def test_shutdown_ends_what_is_under_way() -> None:
    async with session_with(ScriptedBackend(lambda request: asyncio.Event().wait()), "x = ") as client:
        request = client.ghost(0, 4)
        await client.until(lambda: client.backend.running, "request")
        await client.ask("shutdown")
        assert (await client.answer(request))["error"]["code"] == -32800
        client.notify("exit")
        assert await client.run == 0
        assert client.backend.running == 0


async def test_the_end_of_the_editor_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlsp.server._PARENT_SECONDS", 0.01)
    editor = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    async with memory_client() as client:
        await client.ask("initialize", {"processId": editor.pid, "rootUri": None, "capabilities": {}})
        await asyncio.sleep(0.1)
        assert not client.run.done()
        editor.kill()
        editor.wait()
        assert await asyncio.wait_for(client.run, 5) == 1


async def test_the_number_of_a_process_in_another_container_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlsp.server._PARENT_SECONDS", 0.01)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    async with memory_client() as client:
        await client.ask("initialize", {"processId": gone.pid, "rootUri": None, "capabilities": {}})
        await asyncio.sleep(0.1)
        assert not client.run.done()


async def test_nothing_is_taken_before_initialize_and_initialize_only_once() -> None:
    async with memory_client() as client:
        assert (await client.answer(client.ghost(0, 0)))["error"]["code"] == -32002
        client.open("x")
        params = {"processId": None, "rootUri": None, "capabilities": {}}
        assert "result" in await client.answer(client.request("initialize", params))
        await client.ask("dlsp/status")
        assert client.session.documents == {}
        assert (await client.answer(client.request("initialize", params)))["error"]["code"] == -32600


async def test_nothing_is_said_before_initialize_is_answered() -> None:
    async with memory_client() as client:
        await client.initialize(options={"maxLines": "x"})
        assert "result" in client.messages[0]


async def test_capabilities_of_the_future_do_no_harm() -> None:
    capabilities = {
        **CAPABILITIES,
        "general": {"positionEncodings": ["utf-7", "utf-32", "utf-16"]},
        "textDocument": {
            "codeAction": {"codeActionLiteralSupport": 5},
            "completion": {"completionItem": {"documentationFormat": ["markdown", "html"]}},
        },
        "workspace": {"symbol": {"symbolKind": {"valueSet": "all"}}},
    }
    async with memory_client(ScriptedBackend("1")) as client:
        told = await client.initialize(capabilities=capabilities, options={"maxLines": 3, "debounceMs": 0})
        assert told["positionEncoding"] == "utf-32"
        assert client.session.settings.max_lines == 3
        client.open("x = ")
        await client.ready()
        assert await client.texts(0, 4) == ["1"]


async def test_what_is_told_to_clients() -> None:
    async with memory_client() as client:
        told = await client.initialize()
        assert told["textDocumentSync"]["change"] == 2
        assert told["textDocumentSync"]["openClose"] is True
        assert told["inlineCompletionProvider"] == {"workDoneProgress": False}
        assert "." in told["completionProvider"]["triggerCharacters"]


@pytest.mark.parametrize(
    "message",
    [
        {"jsonrpc": "1.0", "id": 77, "method": "x"},
        {},
        [],
        "text",
        {"jsonrpc": "2.0", "method": 5},
        {"jsonrpc": "2.0", "method": "unknown/notification"},
        {
            "jsonrpc": "2.0",
            "method": "textDocument/didChange",
            "params": {"textDocument": {"uri": "file:///none", "version": 1}, "contentChanges": []},
        },
        {"jsonrpc": "2.0", "method": "textDocument/didChange", "params": 5},
        {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {}},
        {"jsonrpc": "2.0", "method": "$/cancelRequest"},
        {"jsonrpc": "2.0", "id": "nobody asked", "result": 5},
        {"jsonrpc": "2.0", "id": None, "result": 5},
        {"jsonrpc": "2.0", "id": 4, "error": {"code": "x"}},
    ],
    ids=str,
)
async def test_messages_that_make_no_sense_change_nothing(message: Any) -> None:
    async with session_with(ScriptedBackend("1"), "x = ") as client:
        client.send(message)
        client._reader.feed_data(b"Content-Length: 3\r\n\r\n{{{")
        assert await client.texts(0, 4) == ["1"]
        assert client.said("window/showMessage") == []


async def test_requests_that_make_no_sense_are_answered() -> None:
    async with session_with(ScriptedBackend("1"), "x = ") as client:
        assert (await client.answer(client.request("no/such", {"jsonrpc": "2.0"})))["error"]["code"] == -32601
        client.send({"jsonrpc": "2.0", "id": "1.5", "method": "dlsp/status"})
        client.send({"jsonrpc": "2.0", "id": 500, "method": 5})
        await client.until(lambda: {"1.5", 500} <= {message.get("id") for message in client.messages}, "answers")
        client.send([{"jsonrpc": "2.0", "id": 600, "method": "dlsp/status"}])
        await client.until(lambda: any(message.get("id") == 600 and "result" in message for message in client.messages), "an answer")


async def test_the_status_on_request() -> None:
    async with session_with(ScriptedBackend("1"), "x = ") as client:
        status = await client.ask("dlsp/status")
        assert (status["state"], status["model"], status["device"], status["backend"]) == ("ready", "scripted", "cpu", "local")
        await client.texts(0, 4)
        assert (await client.ask("dlsp/status"))["latencyMs"] > 0
        assert client.statuses[-1] == await client.ask("dlsp/status")


async def test_loading_is_shown_as_progress_where_the_client_can() -> None:
    backend = ScriptedBackend(first=Status(state="loading", model="nano", progress=0.1, message="Reading weights."))
    async with memory_client(backend) as client:
        await client.initialize(capabilities={"window": {"workDoneProgress": True}})
        await client.until(lambda: client.said("$/progress"), "a beginning")
        backend.publish(Status(state="loading", model="nano", progress=0.5))
        await client.until(lambda: len(client.said("$/progress")) > 1, "a report")
        backend.publish(Status(state="ready", model="nano"))
        await client.until(lambda: client.said("$/progress")[-1]["value"]["kind"] == "end", "an end")
        kinds = [said["value"]["kind"] for said in client.said("$/progress")]
        assert kinds[0] == "begin"
        assert kinds.count("begin") == kinds.count("end") == 1
        assert any(said["value"].get("percentage") == 50 for said in client.said("$/progress"))
        assert len({said["token"] for said in client.said("$/progress")}) == 1


async def test_no_progress_where_the_client_cannot_or_will_not() -> None:
    loading = Status(state="loading")
    async with memory_client(ScriptedBackend(first=loading)) as client:
        await client.initialize()
        await client.until(lambda: client.statuses and client.statuses[-1]["state"] == "loading", "state")
        assert client.said("window/workDoneProgress/create") == []
    async with memory_client(ScriptedBackend("1", first=loading)) as client:
        client.refuse = {"window/workDoneProgress/create"}
        await client.initialize(capabilities={"window": {"workDoneProgress": True}})
        await client.until(lambda: client.said("window/workDoneProgress/create"), "a question")
        client.backend.publish(Status(state="ready"))
        await client.ready()
        assert client.said("$/progress") == []


async def test_no_text_of_documents_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    from dlsp.log import set_level

    secret = "hunter2"
    set_level("info")
    try:
        with caplog.at_level(logging.INFO):
            async with session_with(ScriptedBackend(f"{secret}_too"), f"{secret} = ") as client:
                assert await client.texts(0, 10) == [f"{secret}_too"]
                client.insert(0, 10, f"[{secret}]", version=2)
                client.notify("textDocument/didChange", {"textDocument": {"uri": 5, "text": secret}})
                client.request("textDocument/completion", {"position": secret})
                client.request(f"no/{'such'}", {"text": secret})
                client.backend.script = lambda request: ValueError(request.prefix)
                assert await client.texts(0, 19) == []
                assert client.reason == "backend_error"
    finally:
        set_level("warning")
    assert caplog.records
    assert secret not in caplog.text


async def test_two_editors_in_one_process_do_not_know_of_each_other() -> None:
    clients = [MemoryClient(Session(lambda settings: ScriptedBackend("1")), ScriptedBackend()) for _ in range(2)]
    for client in clients:
        await client.initialize(options={"debounceMs": 0})
        await client.ready()
    clients[0].open("x = ")
    assert await clients[0].texts(0, 4) == ["1"]
    assert await clients[1].texts(0, 4) == []
    assert clients[0].session.origin.client != clients[1].session.origin.client
    for client in clients:
        client.hang_up()
        await client.run


async def test_an_engine_that_fails_is_said_once_in_every_editor(caplog: pytest.LogCaptureFixture) -> None:
    """Editors without our status line would see nothing but silence."""
    async with session_with(ScriptedBackend("1"), "x = ") as client:
        backend = client.backend
        backend.publish(Status(state="error", reason="host_lost", message="It ended and is being started again."))
        await client.until(lambda: client.statuses[-1]["reason"] == "host_lost", "loss")
        backend.script = lambda request: HostError("The connection to the engine host was lost.")
        assert await client.texts(0, 4) == []
        assert (client.reason, client.said("window/showMessage")) == ("backend_error", []), "what mends itself is only a state"
        broken = Status(state="error", reason="checkpoint_error", message="/models/x has no config.json. Copy it again.")
        for _ in range(3):
            backend.publish(broken)
            backend.publish(Status(state="loading"))
        await client.until(lambda: len(client.said("window/showMessage")) == 1, "one message")
        expected = {"type": 1, "message": f"dlsp: {broken.message}"}
        assert client.said("window/showMessage") == client.said("window/logMessage") == [expected]
        assert broken.message in caplog.text
        backend.publish(Status(state="error", reason="unreachable", message="The token is refused."))
        await client.until(lambda: len(client.said("window/showMessage")) == 2, "another message")
