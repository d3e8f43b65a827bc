"""Ghost text through the whole server, with a scripted model."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine.api import InfillRequest, InfillResult, Status, empty_result
from engine.errors import HostError, LoadingError
from lsp_memory import URI, MemoryClient, memory_client, session_with
from scripted_backend import Gate, ScriptedBackend, fill

SMILE = "\U0001f600"


async def asked(client: MemoryClient, times: int) -> None:
    await client.until(lambda: len(client.backend.requests) >= times, f"request number {times} to the backend")


async def test_a_suggestion_and_typing_along_it() -> None:
    async with session_with(ScriptedBackend("value + 1"), "x = \ny = 2\n") as client:
        result = await client.result(client.ghost(0, 4))
        here = {"line": 0, "character": 4}
        assert result["items"] == [{"insertText": "value + 1", "range": {"start": here, "end": here}}]
        assert client.reason == ""
        (request,) = client.backend.requests
        assert (request.prefix, request.suffix, request.holes[0].max_lines) == ("x = ", "\ny = 2\n", 1)
        assert (request.path, request.language, request.version) == ("src/a.py", "python", 1)
        for version, character in enumerate(range(4, 9), start=2):
            client.insert(0, character, "value"[character - 4], version=version)
            assert await client.texts(0, character + 1) == ["value + 1"[character - 3 :]]
        client.change({"range": {"start": {"line": 0, "character": 8}, "end": {"line": 0, "character": 9}}, "text": ""}, version=9)
        assert await client.texts(0, 8) == ["e + 1"]
        assert len(client.backend.requests) == 1


async def test_typing_something_else_asks_again() -> None:
    async with session_with(ScriptedBackend(lambda request: f"v{len(request.prefix)}"), "x = \n") as client:
        assert await client.texts(0, 4) == ["v4"]
        client.insert(0, 4, "w", version=2)
        assert await client.texts(0, 5) == ["v5"]


@pytest.mark.parametrize(("kind", "invoked"), [(0, True), (1, True), (2, False), (3, False), ("2", False), (None, False), (True, True)])
async def test_any_trigger_kind_is_answered(kind: Any, invoked: bool) -> None:
    async with session_with(ScriptedBackend("1"), "a = b\nx = ") as client:
        assert await client.texts(0, 4, kind=kind) == (["1"] if invoked else [])
        assert client.reason == ("" if invoked else "mid_line")


async def test_a_client_that_says_0_once_means_automatic_by_1() -> None:
    async with session_with(ScriptedBackend("1"), "a = b\n") as client:
        assert await client.texts(0, 4, kind=0) == ["1"]
        assert await client.texts(0, 3, kind=1) == []
        assert client.reason == "mid_line"


async def test_fields_we_do_not_know_and_a_context_that_is_missing_do_no_harm() -> None:
    async with session_with(ScriptedBackend("1"), "x = ") as client:
        params = {"textDocument": {"uri": URI, "version": 1}, "position": {"line": 0, "character": 4}, "formattingOptions": {"tabSize": 4}}
        assert len((await client.ask("textDocument/inlineCompletion", params))["items"]) == 1


@pytest.mark.parametrize("method", ["textDocument/inlineCompletion", "textDocument/completion"])
@pytest.mark.parametrize(
    "params", [None, 5, [], {}, {"textDocument": {"uri": URI}}, {"textDocument": {"uri": URI}, "position": {"line": "x"}}]
)
async def test_parameters_that_make_no_sense_get_an_error_answer(method: str, params: Any) -> None:
    async with session_with(ScriptedBackend("1"), "x = ") as client:
        answer = await client.answer(client.request(method, params))
        assert answer["error"]["code"] == -32602
        assert await client.texts(0, 4) == ["1"]
        assert client.said("window/showMessage") == []


async def test_cancelling_reaches_the_backend() -> None:
    async with session_with(ScriptedBackend(Gate()), "x = ") as client:
        request = client.ghost(0, 4)
        await asked(client, 1)
        client.cancel(request)
        answer = await client.answer(request)
        assert answer["error"]["code"] == -32800
        await client.until(lambda: client.backend.cancelled, "cancellation at the backend")
        assert client.backend.running == 0


async def test_cancelled_before_it_began() -> None:
    async with session_with(ScriptedBackend("1"), "x = ") as client:
        request = client.ghost(0, 4)
        client.cancel(request)
        assert (await client.answer(request))["error"]["code"] == -32800
        client.cancel(99_999)
        assert await client.texts(0, 4) == ["1"]


async def test_the_latest_request_wins_and_joins_what_still_agrees() -> None:
    gate = Gate()
    async with session_with(ScriptedBackend(gate), "x = ") as client:
        first = client.ghost(0, 4)
        await asked(client, 1)
        client.insert(0, 4, "v", version=2)
        second = client.ghost(0, 5)
        assert (await client.result(first))["items"] == []
        assert client.reason == "superseded"
        gate.held[0].set_result("value")
        assert (await client.result(second))["items"][0]["insertText"] == "alue"
        assert len(client.backend.requests) == 1
        assert client.backend.cancelled == []


async def test_a_request_that_does_not_agree_any_more_is_given_up() -> None:
    gate = Gate()
    async with session_with(ScriptedBackend(gate), "x = \ny = ") as client:
        first = client.ghost(0, 4)
        await asked(client, 1)
        second = client.ghost(1, 4)
        assert (await client.result(first))["items"] == []
        await asked(client, 2)
        assert client.backend.cancelled == client.backend.requests[:1]
        gate.held[1].set_result("2")
        assert (await client.result(second))["items"][0]["insertText"] == "2"


async def test_a_request_that_turned_out_wrong_is_followed_by_a_new_one() -> None:
    gate = Gate()
    async with session_with(ScriptedBackend(gate), "x = ") as client:
        client.ghost(0, 4)
        await asked(client, 1)
        client.insert(0, 4, "w", version=2)
        second = client.ghost(0, 5)
        await client.until(lambda: client.reason == "superseded", "answer to the first")
        gate.held[0].set_result("value")
        await asked(client, 2)
        gate.held[1].set_result("idth")
        assert (await client.result(second))["items"][0]["insertText"] == "idth"


async def test_waiting_for_an_agreeing_request_has_a_limit() -> None:
    gate = Gate()
    async with session_with(ScriptedBackend(gate), "x = ") as client:
        client.ghost(0, 4)
        await asked(client, 1)
        client.insert(0, 4, "v", version=2)
        client.ghost(0, 5)
        await asked(client, 2)
        assert client.backend.cancelled == client.backend.requests[:1]
        assert client.backend.requests[1].prefix == "x = v"


async def test_the_answer_follows_the_user_who_types_along() -> None:
    gate = Gate()
    async with session_with(ScriptedBackend(gate), "x = \n") as client:
        request = client.ghost(0, 4)
        await asked(client, 1)
        client.insert(0, 4, "va", version=2)
        await client.ask("dlsp/status")
        gate.held[0].set_result("value")
        (item,) = (await client.result(request))["items"]
        assert (item["insertText"], item["range"]["start"]) == ("lue", {"line": 0, "character": 6})


@pytest.mark.parametrize(("line", "character", "text"), [(0, 4, "w"), (0, 0, " "), (0, 4, "value")])
async def test_an_answer_for_a_document_that_moved_on_is_dropped(line: int, character: int, text: str) -> None:
    gate = Gate()
    async with session_with(ScriptedBackend(gate), "x = \n") as client:
        request = client.ghost(0, 4)
        await asked(client, 1)
        client.insert(line, character, text, version=2)
        await client.ask("dlsp/status")
        gate.held[0].set_result("value")
        assert (await client.result(request))["items"] == []
        assert client.reason == "moved"


async def test_an_answer_follows_its_line_when_only_others_changed() -> None:
    gate = Gate()
    async with session_with(ScriptedBackend(gate), "a\nx = \n") as client:
        request = client.ghost(1, 4)
        await asked(client, 1)
        client.insert(0, 0, "import os\n", version=2)
        await client.ask("dlsp/status")
        gate.held[0].set_result("value")
        (item,) = (await client.result(request))["items"]
        assert (item["insertText"], item["range"]["start"]) == ("value", {"line": 2, "character": 4})


async def test_a_document_that_is_closed_meanwhile() -> None:
    async with session_with(ScriptedBackend(Gate()), "x = \n") as client:
        request = client.ghost(0, 4)
        await asked(client, 1)
        client.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
        assert (await client.result(request))["items"] == []
        await client.until(lambda: client.backend.cancelled, "cancellation")
        assert await client.texts(0, 4) == []
        assert client.reason == "unknown_document"


@pytest.mark.parametrize(("encoding", "units"), [("utf-8", 4), ("utf-16", 2), ("utf-32", 1)])
async def test_positions_behind_astral_characters(encoding: str, units: int) -> None:
    capabilities = {"general": {"positionEncodings": [encoding]}}
    async with memory_client(ScriptedBackend("x")) as client:
        told = await client.initialize(options={"debounceMs": 0}, capabilities=capabilities)
        assert told["positionEncoding"] == encoding
        client.open(f"s = {SMILE}{SMILE} \n")
        await client.ready()
        end = 4 + 2 * units + 1
        (item,) = (await client.result(client.ghost(0, end)))["items"]
        assert item["range"]["start"]["character"] == end
        client.insert(0, 4 + units, "z", version=2)
        assert await client.texts(0, end + 1) == ["x"]
        assert client.backend.requests[-1].prefix == f"s = {SMILE}z{SMILE} "


async def test_utf16_where_a_client_names_no_encoding() -> None:
    async with memory_client() as client:
        assert (await client.initialize(capabilities={}))["positionEncoding"] == "utf-16"


async def test_windows_line_ends() -> None:
    async with session_with(ScriptedBackend("\n    a\n    b"), "def f():\r\n\r\nx\r\n", options={"maxLines": 4}) as client:
        (item,) = (await client.result(client.ghost(0, 8, kind=1)))["items"]
        assert item["insertText"] == "\r\n    a\r\n    b"
        (request,) = client.backend.requests
        assert (request.prefix, request.suffix) == ("def f():", "\n\nx\n")
        assert request.holes[0].max_lines == 4
        client.insert(0, 8, "\r\n    a", version=2)
        assert await client.texts(1, 5) == ["\r\n    b"]


async def test_many_quick_keystrokes_cost_one_request_at_a_time() -> None:
    gate = Gate()
    async with session_with(ScriptedBackend(gate), "\nx", options={"debounceMs": 300}) as client:
        word = "parameters_of"
        requests = []
        for number, letter in enumerate(word):
            client.insert(0, number, letter, version=number + 2)
            requests.append(client.ghost(0, number + 1))
        await asked(client, 1)
        assert [request.prefix for request in client.backend.requests] == [word]
        gate.held[0].set_result("1")
        assert (await client.result(requests[-1]))["items"][0]["insertText"] == "1"
        assert [(await client.result(request))["items"] for request in requests[:-1]] == [[]] * (len(word) - 1)
        assert [status["reason"] for status in client.statuses].count("superseded") == len(word) - 1


async def test_a_popup_item_that_is_selected_counts_as_typed() -> None:
    async with session_with(ScriptedBackend("(x)"), "pr\n") as client:
        area = {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 2}}
        request = client.ghost(0, 2, selectedCompletionInfo={"range": area, "text": "print"})
        (item,) = (await client.result(request))["items"]
        assert (item["insertText"], item["range"]) == ("print(x)", area)
        assert client.backend.requests[0].prefix == "print"
        assert client.session.documents[URI].snapshot.text == "pr\n"


async def test_popup_and_ghost_text_share_one_request() -> None:
    gate = Gate()
    async with session_with(ScriptedBackend(gate), "x = ", options={"debounceMs": 10, "popup": "always"}) as client:
        ghost = client.ghost(0, 4)
        popup = asyncio.create_task(client.popup(0, 4, kind=2))
        await asked(client, 1)
        await asyncio.sleep(0.03)
        gate.held[0].set_result("value")
        assert (await client.result(ghost))["items"][0]["insertText"] == "value"
        assert [item["label"] for item in await popup] == ["value"]
        assert len(client.backend.requests) == 1


async def test_cancelling_one_of_two_that_share_does_not_cancel_the_other() -> None:
    gate = Gate()
    async with session_with(ScriptedBackend(gate), "x = ", options={"popup": "always"}) as client:
        ghost = client.ghost(0, 4)
        await asked(client, 1)
        popup = asyncio.create_task(client.popup(0, 4, kind=2))
        await client.ask("dlsp/status")
        client.cancel(ghost)
        assert "error" in await client.answer(ghost)
        gate.held[0].set_result("value")
        assert len(await popup) == 1


async def test_who_asks_explicitly_is_not_put_off_with_what_was_too_doubtful_to_show() -> None:
    gate = Gate()
    async with session_with(ScriptedBackend(gate), "x = ", options={"alternatives": 1, "popup": "always"}) as client:
        popup = asyncio.create_task(client.popup(0, 4, kind=2))
        await asked(client, 1)
        ghost = client.ghost(0, 4, kind=1)
        await client.ask("dlsp/status")
        gate.held[0].set_result(fill("perhaps", 0.1))
        assert await popup == []
        await asked(client, 2)
        gate.held[1].set_result(fill("perhaps", 0.1))
        assert (await client.result(ghost))["items"][0]["insertText"] == "perhaps"


async def test_another_model_ends_what_the_old_one_was_asked() -> None:
    async with session_with(ScriptedBackend(Gate()), "x = ") as client:
        request = client.ghost(0, 4)
        await asked(client, 1)
        client.notify("workspace/didChangeConfiguration", {"settings": {"dlsp": {"model": "other"}}})
        assert (await client.result(request))["items"] == []
        assert len(client.backend.cancelled) == 1


# Reasons


@pytest.mark.parametrize(
    ("options", "language", "uri", "reason"),
    [
        ({"enabled": False}, "python", URI, "disabled"),
        ({}, "markdown", URI, "disabled_language"),
        ({"languages": {"python": False}}, "python", URI, "disabled_language"),
        ({}, "python", "file:///code/.env", "excluded_file"),
        ({"exclude": ["secret/"]}, "python", "file:///code/secret/a.py", "excluded_file"),
    ],
)
async def test_documents_without_suggestions(options: dict[str, Any], language: str, uri: str, reason: str) -> None:
    async with session_with(ScriptedBackend("1"), "", options=options) as client:
        client.open("x = ", uri=uri, language=language)
        assert await client.texts(0, 4, uri=uri, kind=1) == []
        assert client.reason == reason
        assert client.backend.requests == []


async def test_not_after_an_undo_until_something_is_typed() -> None:
    async with session_with(ScriptedBackend("compute()"), "x = \n") as client:
        assert await client.texts(0, 4) == ["compute()"]
        client.insert(0, 4, "compute()", version=2)
        client.change({"range": {"start": {"line": 0, "character": 4}, "end": {"line": 0, "character": 13}}, "text": ""}, version=3)
        assert await client.texts(0, 4) == []
        assert client.reason == "undo"
        assert await client.texts(0, 4, kind=1) == ["compute()"]
        client.insert(0, 4, "c", version=4)
        assert await client.texts(0, 5) == ["ompute()"]


async def test_the_users_doubt_and_the_models() -> None:
    async with session_with(ScriptedBackend(lambda request: fill("perhaps", 0.3)), "x = \n") as client:
        for _ in range(2):
            assert await client.texts(0, 4) == []
            assert client.reason == "low_confidence"
        assert len(client.backend.requests) == 1
        assert await client.texts(0, 4, kind=1) == ["perhaps"]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (HostError("The engine host is gone.", "Run `dlsp doctor`."), "backend_error"),
        (LoadingError("The model is being loaded."), "loading"),
        (ConnectionResetError("peer"), "backend_error"),
        (KeyError("bug"), "backend_error"),
        ("", "empty_output"),
        (empty_result("deadline", "deadline"), "deadline"),
        (empty_result("superseded", "superseded"), "superseded"),
        (fill("x = "), "duplicate"),
    ],
)
async def test_whatever_the_backend_does_the_answer_is_empty_with_a_reason(reply: Any, reason: str) -> None:
    backend = ScriptedBackend(lambda request: reply)
    async with session_with(backend, "x = \n\n") as client:
        assert await client.texts(1, 0) == []
        assert client.reason == reason
        assert bool(client.statuses[-1]["message"]) == isinstance(reply, Exception)
        backend.script = lambda request: "1"
        assert await client.texts(0, 4) == ["1"]
        assert client.reason == ""
        assert client.said("window/showMessage") == []


async def test_a_backend_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlsp.asking.GRACE_SECONDS", 0.02)
    async with session_with(ScriptedBackend(Gate()), "x = ", options={"deadlineMs": 10}) as client:
        assert await client.texts(0, 4) == []
        assert client.reason == "deadline"
        assert len(client.backend.cancelled) == 1


async def test_while_the_model_loads() -> None:
    backend = ScriptedBackend("1", first=Status(state="loading", model="nano", progress=0.2))
    async with memory_client(backend) as client:
        await client.initialize()
        client.open("x = ")
        await client.until(lambda: client.session.status.report.state == "loading", "state")
        assert await client.texts(0, 4) == []
        assert client.reason == "loading"
        waiting = client.ghost(0, 4, kind=1)
        await asyncio.sleep(0.05)
        assert backend.requests == []
        backend.publish(Status(state="ready", model="nano"))
        assert (await client.result(waiting))["items"][0]["insertText"] == "1"


async def test_who_asks_after_an_idle_time_waits_for_the_model() -> None:
    def script(request: InfillRequest) -> InfillResult | Exception:
        if len(backend.requests) == 1:
            backend.publish(Status(state="loading"))
            asyncio.get_running_loop().call_later(0.05, backend.publish, Status(state="ready"))
            return LoadingError("The model is being loaded.")
        return fill("1")

    backend = ScriptedBackend(script, first=Status(state="idle"))
    async with session_with(backend, "x = ") as client:
        assert await client.texts(0, 4, kind=1) == ["1"]
        assert len(backend.requests) == 2
