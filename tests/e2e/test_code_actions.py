"""Code actions: what is offered where, and their edits, for clients of every kind."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from typing import Any

import pytest

from engine.api import InfillRequest, Status
from lsp_filling import FULL, FillingClient, filling_client, fills
from lsp_memory import URI

CODE = "def f(a):\n    ...\n\n\nx = 1 + 2\n"
ALL = ["infill", "refine", "alternatives", "infillHoles"]


async def offered(
    client: FillingClient, text: str, *, diagnostics: list[Any] | None = None, only: list[str] | None = None, **context: Any
) -> list[dict[str, Any]]:
    area = client.selection(text) if text else {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 0}}
    more = {"only": only} if only is not None else {}
    params = {"textDocument": {"uri": client.uri}, "range": area, "context": {"diagnostics": diagnostics or [], **more, **context}}
    result: list[dict[str, Any]] = await client.ask("textDocument/codeAction", params)
    return result


def names(actions: list[dict[str, Any]]) -> list[str]:
    return [action["kind"].rpartition(".")[2] for action in actions]


def capabilities(resolve: bool, annotations: bool, document_changes: bool) -> dict[str, Any]:
    edit: dict[str, Any] = {"documentChanges": document_changes}
    if annotations:
        edit["changeAnnotationSupport"] = {}
    action = {"dataSupport": True, "resolveSupport": {"properties": ["edit"]}} if resolve else {}
    return {"workspace": {"applyEdit": True, "workspaceEdit": edit}, "textDocument": {"codeAction": action}}


def without_confirmation(value: Any) -> bool:
    if isinstance(value, dict):
        return not value.get("needsConfirmation") and all(map(without_confirmation, value.values()))
    return all(map(without_confirmation, value)) if isinstance(value, list) else True


@pytest.mark.parametrize(("resolve", "annotations", "document_changes"), list(itertools.product([False, True], repeat=3)))
async def test_every_kind_of_client_gets_its_edit(resolve: bool, annotations: bool, document_changes: bool) -> None:
    async with filling_client("y = 3", CODE, capabilities=capabilities(resolve, annotations, document_changes)) as client:
        (action,) = await offered(client, "x = 1 + 2", only=["refactor.rewrite.dlsp.infill"])
        assert client.backend.requests == [], "an offer must not ask the model"
        if resolve:
            assert "command" not in action
            resolved = await client.ask("codeAction/resolve", action)
            assert resolved["title"] == action["title"]
            edit = resolved["edit"]
            assert client.applied == []
            assert client.said("window/workDoneProgress/create") == []
            client.put(edit)
        else:
            assert "data" not in action
            await client.ask("workspace/executeCommand", {k: v for k, v in action["command"].items() if k != "title"})
            (applied,) = client.applied
            edit = applied["edit"]
        assert client.editor.text == CODE.replace("x = 1 + 2", "y = 3")
        assert ("documentChanges" in edit) == document_changes
        assert ("changes" in edit) != document_changes
        assert ("changeAnnotations" in edit) == (annotations and document_changes)
        assert without_confirmation(edit)
        await asyncio.sleep(0.01)


async def test_what_is_offered_for_a_selection() -> None:
    async with filling_client("", CODE) as client:
        actions = await offered(client, "x = 1")
        assert names(actions) == ALL
        assert [action["title"] for action in actions][-1] == "dlsp: Fill 1 hole"
        assert all(action["tags"] == [1] for action in actions)
        assert actions[-1]["data"] == {"v": 1, "kind": "holes", "uri": URI, "version": 1}
        assert actions[0]["data"]["ranges"] == [client.selection("x = 1")]


async def test_without_a_selection_there_are_holes_and_errors() -> None:
    async with filling_client("", CODE + "y = = 2\n") as client:
        assert names(await offered(client, "")) == ["infillHoles"]
        area = client.selection("y =")
        params = {"textDocument": {"uri": URI}, "range": {"start": area["end"], "end": area["end"]}, "context": {"diagnostics": []}}
        assert names(await client.ask("textDocument/codeAction", params)) == ["infillHoles", "repair"]


async def test_the_light_bulb_does_not_shine_for_nothing() -> None:
    async with filling_client("", CODE) as client:
        assert await offered(client, "", triggerKind=2) == []
        assert names(await offered(client, "x = 1", triggerKind=2)) == ALL
        assert names(await offered(client, "", triggerKind=1)) == ["infillHoles"]


@pytest.mark.parametrize(
    ("only", "kinds"),
    [
        (["refactor"], ALL),
        (["refactor.rewrite"], ALL),
        ([""], ALL),
        (["refactor.rewrite.dlsp.refine"], ["refine"]),
        (["quickfix"], []),
        (["source.organizeImports"], []),
        (["refactor.rewrite.dlsp.ref"], []),
        (["refactor.extract", "source.fixAll.dlsp"], []),
        ([], []),
    ],
)
async def test_only_kinds_that_are_asked_for(only: list[str], kinds: list[str]) -> None:
    async with filling_client("", CODE) as client:
        assert names(await offered(client, "x = 1", only=only)) == kinds


async def test_holes_in_the_selection_come_before_those_of_the_document() -> None:
    async with filling_client("return a", CODE + "def g(): ...\n") as client:
        (action,) = await offered(client, "", only=["refactor.rewrite.dlsp.infillHoles"])
        assert action["title"] == "dlsp: Fill 2 holes"
        (action,) = await offered(client, "def f(a):\n    ...", only=["refactor.rewrite.dlsp.infillHoles"])
        assert action["title"] == "dlsp: Fill 1 hole"
        client.put((await client.ask("codeAction/resolve", action))["edit"])
        assert client.editor.text == CODE.replace("...", "return a") + "def g(): ...\n"
        await asyncio.sleep(0.01)


async def test_a_repair_answers_a_diagnostic() -> None:
    broken = "x = 1\nfor a on b:\n    pass\n"
    async with filling_client(lambda request: fills("for a in b:", others=[["for a in b:\n    pass"]]), broken) as client:
        diagnostic = {"range": client.selection("on"), "message": "invalid\n  syntax " + "x" * 90, "severity": 1, "source": "other"}
        hint = {"range": client.selection("x"), "message": "unused", "severity": 4}
        (action,) = await offered(client, "on", diagnostics=[hint, diagnostic], only=["quickfix"])
        assert action["kind"] == "quickfix.dlsp.repair"
        assert action["title"].startswith("dlsp: Repair: invalid syntax x")
        assert len(action["title"]) < 90
        assert action["diagnostics"] == [diagnostic]
        client.put((await client.ask("codeAction/resolve", action))["edit"])
        assert client.editor.text == "x = 1\nfor a in b:\n    pass\n"
        await asyncio.sleep(0.01)


async def test_resolving_twice_asks_the_model_once() -> None:
    async with filling_client("y = 3", CODE) as client:
        action = (await offered(client, "x = 1 + 2"))[0]
        first, second = [await client.ask("codeAction/resolve", action) for _ in range(2)]
        assert first["edit"] == second["edit"]
        assert len(client.backend.requests) == 1


async def test_an_action_for_another_version_is_refused() -> None:
    async with filling_client("y = 3", CODE) as client:
        action = (await offered(client, "x = 1 + 2"))[0]
        await client.ask("codeAction/resolve", action)
        client.editor.text = "# " + client.editor.text
        client.insert(0, 0, "# ", version=2)
        answer = await client.answer(client.request("codeAction/resolve", action))
        assert answer["error"] == {
            "code": -32801,
            "message": "The document changed meanwhile, so nothing was applied. Run the command again.",
        }


async def test_a_document_that_changes_while_an_action_is_resolved(caplog: pytest.LogCaptureFixture) -> None:
    gate = asyncio.Event()

    async def script(request: InfillRequest) -> str:
        await gate.wait()
        return "y = 3"

    async with filling_client(script, CODE) as client:
        request = client.request("codeAction/resolve", (await offered(client, "x = 1 + 2"))[0])
        await client.until(lambda: client.backend.running, "request")
        client.editor.text = "# " + client.editor.text
        client.insert(0, 0, "# ", version=2)
        await client.until(lambda: client.session.documents[URI].snapshot.version == 2, "change")
        gate.set()
        assert (await client.answer(request))["error"]["code"] == -32801
        assert not [record for record in caplog.records if record.levelname == "ERROR"], "a refusal is no fault of the server's"


async def test_cancelling_a_resolve_cancels_the_model() -> None:
    async def script(request: InfillRequest) -> str:
        await asyncio.sleep(60)
        return ""

    async with filling_client(script, CODE) as client:
        request = client.request("codeAction/resolve", (await offered(client, "x = 1 + 2"))[0])
        await client.until(lambda: client.backend.running, "request")
        client.cancel(request)
        assert (await client.answer(request))["error"]["code"] == -32800
        await client.until(lambda: not client.backend.running, "end of the request")
        assert len(client.backend.cancelled) == 1
        assert client.shown == []


async def test_an_action_without_a_result_is_an_error_with_a_sentence() -> None:
    async with filling_client("", CODE) as client:
        action = (await offered(client, "x = 1 + 2"))[0]
        answer = await client.answer(client.request("codeAction/resolve", action))
        assert answer["error"] == {"code": -32803, "message": "The model had nothing to put there. Try again, or select more."}


@pytest.mark.parametrize("data", [None, 1, {}, {"v": 2, "uri": URI}, {"v": 1, "uri": URI, "version": 1, "kind": "all"}])
async def test_an_action_that_is_not_ours(data: Any) -> None:
    async with filling_client("x", CODE) as client:
        answer = await client.answer(client.request("codeAction/resolve", {"title": "other", "data": data}))
        assert answer["error"]["code"] == -32602


@pytest.mark.parametrize(
    ("options", "uri"), [({"enabled": False}, URI), ({"languages": {"python": False}}, URI), ({}, "file:///code/.env"), ({}, "git:///a.py")]
)
async def test_documents_that_get_nothing(options: dict[str, Any], uri: str) -> None:
    async with filling_client("x", CODE, options=options, uri=uri) as client:
        assert await offered(client, "x = 1") == []


async def test_a_model_that_cannot_be_had_disables_actions() -> None:
    async with filling_client("x", CODE) as client:
        client.backend.publish(Status(state="error", reason="host_failed", message="There is no model."))
        await client.until(lambda: client.session.status.report.state == "error", "error")
        actions = await offered(client, "x = 1")
        assert {action["disabled"]["reason"] for action in actions} == {"There is no model."}
    plain = {**FULL, "textDocument": {"codeAction": {}}}
    async with filling_client("x", CODE, capabilities=plain) as client:
        client.backend.publish(Status(state="error", reason="host_failed", message="There is no model."))
        await client.until(lambda: client.session.status.report.state == "error", "error")
        assert await offered(client, "x = 1") == []


async def test_an_unknown_document() -> None:
    async with filling_client("x", CODE) as client:
        params = {"textDocument": {"uri": "file:///b.py"}, "range": client.selection("x"), "context": {"diagnostics": []}}
        assert await client.ask("textDocument/codeAction", params) == []


async def test_offers_take_no_time_in_a_long_document() -> None:
    body = "def f(a, b):\n    for x in range(10):\n        a = a + b * x\n    return a\n\n" * 1000
    async with filling_client("", body + "x = = 1\n") as client:
        client.backend.publish(Status(state="ready"))
        line = {"line": 5000, "character": 4}
        params = {"textDocument": {"uri": URI}, "range": {"start": line, "end": line}, "context": {"diagnostics": []}}
        await client.ask("textDocument/codeAction", params)
        began = time.process_time()
        for _ in range(20):
            assert names(await client.ask("textDocument/codeAction", params)) == ["repair"]
        assert (time.process_time() - began) / 20 < 0.02


async def test_a_document_that_was_closed_and_opened_again_gets_an_edit_of_its_own() -> None:
    async with filling_client("y = 3", "a = 1\n") as client:
        kind = ["refactor.rewrite.dlsp.infill"]
        (action,) = await offered(client, "a = 1", only=kind)
        await client.ask("codeAction/resolve", action)
        client.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
        client.show("b = 2\nc\n")
        (again,) = await offered(client, "b = 2", only=kind)
        assert again["data"] == action["data"]
        await client.ask("codeAction/resolve", again)
        assert [request.suffix for request in client.backend.requests] == ["\n", "\nc\n"]


async def test_after_an_action_another_text_means_what_it_filled() -> None:
    text = "first = 1\nsecond = 2\n"
    async with filling_client("value_0", text, capabilities=capabilities(True, False, True)) as client:
        assert (await client.run_command("dlsp.infill", ranges=[client.selection("1")]))["applied"]
        (action,) = await offered(client, "2", only=["refactor.rewrite.dlsp.infill"])
        client.backend.script = lambda request: fills("value_2")
        client.put((await client.ask("codeAction/resolve", action))["edit"])
        client.backend.script = lambda request: fills("value_3")
        assert (await client.run_command("dlsp.reroll"))["applied"]
        assert client.editor.text == "first = value_0\nsecond = value_3\n"


async def test_an_action_that_fills_only_some_holes_says_so() -> None:
    async with filling_client("", "def f(a):\n    ...\n\n\ndef g(a):\n    ...\n", capabilities=capabilities(True, False, True)) as client:
        client.backend.script = lambda request: fills(*("return a" if "def g" not in request.prefix else "(" for _ in request.holes))
        (action,) = await offered(client, "", only=["refactor.rewrite.dlsp.infillHoles"])
        resolved = await client.ask("codeAction/resolve", action)
        filled = json.dumps(resolved["edit"]).count("return a")
        assert filled >= 1
        assert len(client.shown) == (1 if filled < 2 else 0)


@pytest.mark.parametrize(
    ("text", "at", "severity", "count"),
    [
        ("x = foo(1\n\n", ((2, 0), (2, 0)), 1, 1),
        ("x = foo(1\n\n", ((2, 0), (2, 0)), 2, 0),
        ("x = 1\n    \ny = 2\n", ((1, 0), (1, 4)), 2, 0),
        ("\n\n", ((0, 0), (0, 0)), 1, 0),
    ],
)
async def test_what_is_reported_behind_the_last_line_is_repaired_in_it(
    text: str, at: tuple[tuple[int, int], tuple[int, int]], severity: int, count: int
) -> None:
    first, last = ({"line": line, "character": character} for line, character in at)
    diagnostic = {"range": {"start": first, "end": last}, "severity": severity, "message": "')' expected"}
    async with filling_client("x = foo(1)", text, capabilities=capabilities(True, False, True)) as client:
        actions = await offered(client, "", diagnostics=[diagnostic], only=["quickfix"])
        assert len(actions) == count
        for action in actions:
            client.put((await client.ask("codeAction/resolve", action))["edit"])
            assert client.editor.text.startswith("x = foo(1)\n")
            await client.ask("dlsp/status")
