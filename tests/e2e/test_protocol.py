"""What our protocol does differently from pygls': parameters the types cannot hold, commands, methods of our own, client facts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from lsprotocol import types

from dlsp.features.client import ClientFacts
from dlsp.features.protocol import Extras
from lsp_memory import URI, MemoryClient, memory_client, session_with
from scripted_backend import ScriptedBackend


def on_request(client: MemoryClient, method: str) -> list[tuple[Any, Extras]]:
    """What a handler of a method gets: the parameters, and the extras at that moment."""
    got: list[tuple[Any, Extras]] = []

    @client.server.feature(method)
    async def handler(params: Any) -> None:
        await asyncio.sleep(0)
        got.append((params, client.server.extras()))

    return got


def extras_of(client: MemoryClient) -> dict[Any, Extras]:
    kept: dict[Any, Extras] = client.server.protocol._extras
    return kept


async def test_a_request_s_extras() -> None:
    async with memory_client() as client:
        got = on_request(client, "textDocument/hover")
        await client.initialize()
        place = {"textDocument": {"uri": URI, "version": 7}, "position": {"line": 0, "character": 0}}
        params = {**place, "formattingOptions": {"tabSize": 2, "insertSpaces": False}, "workDoneToken": "t"}
        await client.ask("textDocument/hover", params)
        (_, extras) = got.pop()
        assert (extras.tab_size, extras.insert_spaces, extras.version, extras.work_done_token) == (2, False, 7, "t")
        assert extras.params == params
        await client.ask("textDocument/hover", place | {"textDocument": {"uri": URI}})
        (_, extras) = got.pop()
        assert (extras.tab_size, extras.insert_spaces, extras.version, extras.work_done_token) == (0, True, None, None)


@pytest.mark.parametrize(
    "options", [None, [], 4, {"tabSize": "4"}, {"tabSize": True, "insertSpaces": 1}, {"tabSize": -2}, {"tabSize": 10**9}]
)
async def test_extras_that_make_no_sense_count_as_not_said(options: Any) -> None:
    async with memory_client() as client:
        got = on_request(client, "dlsp/any")
        await client.initialize()
        await client.ask("dlsp/any", {"formattingOptions": options, "textDocument": {"version": "1"}, "workDoneToken": 1.5})
        (_, extras) = got.pop()
        assert (extras.tab_size, extras.insert_spaces, extras.version, extras.work_done_token) == (0, True, None, None)


async def test_two_requests_at_once_have_their_own_extras_and_none_is_kept() -> None:
    async with memory_client() as client:
        got: dict[Any, Any] = {}

        @client.server.feature("dlsp/any")
        async def handler(params: Any) -> None:
            await asyncio.sleep(0.01 * params["n"])
            got[params["n"]] = client.server.extras().params["n"]

        @client.server.feature("dlsp/fails")
        async def fails(params: Any) -> None:
            raise ValueError

        await client.initialize()
        await asyncio.gather(*(client.ask("dlsp/any", {"n": n}) for n in (3, 1, 2)))
        assert got == {1: 1, 2: 2, 3: 3}
        for method, params in (("dlsp/fails", {}), ("no/such", {}), ("textDocument/hover", 5), ("dlsp/any", 5)):
            assert "error" in await client.answer(client.request(method, params))
        request = client.request("dlsp/any", {"n": 1000})
        client.cancel(request)
        assert (await client.answer(request))["error"]["code"] == -32800
        assert not extras_of(client)
        assert client.server.extras() == Extras()


@pytest.mark.parametrize("params", [None, {}, {"a": {"b": [1, {"type_name": 2}]}}, [1, 2]])
async def test_methods_of_our_own_get_plain_json(params: Any) -> None:
    async with memory_client() as client:
        got = on_request(client, "dlsp/any")
        await client.initialize()
        await client.ask("dlsp/any", params)
        client.notify("dlsp/any", params)
        await client.until(lambda: len(got) == 2, "notification")
        assert [each[0] for each in got] == [params, params]


# Commands


def command(client: MemoryClient, name: str) -> list[Any]:
    got: list[Any] = []

    @client.server.command(name)
    async def handler(argument: dict[str, Any]) -> dict[str, Any]:
        got.append(argument)
        if argument.get("wait"):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                got.append("cancelled")
                raise
        return {"token": client.server.extras().work_done_token}

    return got


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [({}, {}), ({"arguments": []}, {}), ({"arguments": [None]}, {}), ({"arguments": [{"a": {"b": 1}}, 2]}, {"a": {"b": 1}})],
)
async def test_a_command_gets_its_first_argument_as_plain_json(arguments: dict[str, Any], argument: Any) -> None:
    async with memory_client() as client:
        got = command(client, "test.run")
        assert "test.run" in (await client.initialize())["executeCommandProvider"]["commands"]
        result = await client.ask("workspace/executeCommand", {"command": "test.run", "workDoneToken": 5, **arguments})
        assert result == {"token": 5}
        assert got == [argument]


@pytest.mark.parametrize(
    "params", [{"command": "test.none"}, {"command": "test.run", "arguments": ["a"]}, {"command": "test.run", "arguments": 3}, {}]
)
async def test_a_command_that_is_asked_for_wrongly_is_refused(params: Any) -> None:
    async with memory_client() as client:
        got = command(client, "test.run")
        await client.initialize()
        answer = await client.answer(client.request("workspace/executeCommand", params))
        assert answer["error"]["code"] == -32602
        assert not got


async def test_cancelling_a_command_ends_its_work() -> None:
    async with memory_client() as client:
        got = command(client, "test.run")
        await client.initialize()
        request = client.request("workspace/executeCommand", {"command": "test.run", "arguments": [{"wait": True}]})
        await client.until(lambda: got, "command")
        client.cancel(request)
        assert (await client.answer(request))["error"]["code"] == -32800
        assert got[-1] == "cancelled"


async def test_shutdown_ends_a_command() -> None:
    async with memory_client() as client:
        got = command(client, "test.run")
        await client.initialize()
        request = client.request("workspace/executeCommand", {"command": "test.run", "arguments": [{"wait": True}]})
        await client.until(lambda: got, "command")
        await client.ask("shutdown")
        assert (await client.answer(request))["error"]["code"] == -32800
        assert got[-1] == "cancelled"


# What the client can do

FULL: dict[str, Any] = {
    "general": {"positionEncodings": ["utf-8"]},
    "window": {"workDoneProgress": True, "showDocument": {"support": True}},
    "notebookDocument": {"synchronization": {}},
    "workspace": {
        "workspaceEdit": {"documentChanges": True, "changeAnnotationSupport": {}, "snippetEditSupport": True, "metadataSupport": True},
        "didChangeWatchedFiles": {"dynamicRegistration": True},
    },
    "textDocument": {
        "inlineCompletion": {},
        "completion": {
            "completionItem": {"snippetSupport": True, "documentationFormat": ["markdown"], "insertTextModeSupport": {"valueSet": [1, 2]}}
        },
        "codeAction": {
            "dataSupport": True,
            "disabledSupport": True,
            "resolveSupport": {"properties": ["edit"]},
            "tagSupport": {"valueSet": [1]},
        },
    },
}
FLAGS = [name for name in ClientFacts.__struct_fields__ if name not in ("name", "version")]


async def facts(client: MemoryClient, capabilities: dict[str, Any]) -> dict[str, Any]:
    params = {"processId": None, "rootUri": None, "capabilities": capabilities, "clientInfo": {"name": "Ed", "version": "1"}}
    told: dict[str, Any] = (await client.ask("initialize", params))["capabilities"]
    return told


@pytest.mark.parametrize("newer", [False, True])
async def test_a_client_that_can_do_everything(newer: bool) -> None:
    # A kind of symbol that nobody knows makes the whole message one that the protocol's types cannot hold.
    text_document = {**FULL["textDocument"], "documentSymbol": {"symbolKind": {"valueSet": [10_000]}}} if newer else FULL["textDocument"]
    async with memory_client() as client:
        told = await facts(client, {**FULL, "textDocument": text_document})
        assert [name for name in FLAGS if not getattr(client.server.client, name)] == []
        assert (client.server.client.name, client.server.client.version) == ("Ed", "1")
        assert told["positionEncoding"] == "utf-8"


async def test_a_client_that_says_nothing() -> None:
    async with memory_client() as client:
        await facts(client, {})
        assert [name for name in FLAGS if getattr(client.server.client, name)] == []


@pytest.mark.parametrize("value", [None, 5, "x", [], {"completion": 7, "codeAction": {"tagSupport": {"valueSet": [99, True]}}}])
async def test_capabilities_that_make_no_sense_are_no_capabilities(value: Any) -> None:
    async with memory_client() as client:
        await facts(client, {"textDocument": value, "workspace": {"workspaceEdit": value}})
        assert [name for name in FLAGS if getattr(client.server.client, name)] == []


async def test_two_servers_do_not_share_what_a_client_can_do() -> None:
    async with session_with(ScriptedBackend(), "x") as one, memory_client() as other:
        assert one.server.client.inline
        assert not other.server.client.inline


def test_the_types_have_the_tag_that_is_asked_for() -> None:
    assert types.CodeActionTag.LlmGenerated.value == 1
