"""The commands for a selection, their progress and cancellation, refusals, and `dlsp/infill`, which applies nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dlsp.outcomes import Event
from engine.api import Fill, InfillRequest, InfillResult, Piece
from engine.errors import HolesApartError
from lsp_filling import FULL, PLAIN, FillingClient, filling_client, fills
from lsp_memory import URI
from scripted_backend import Script

CODE = "def total(values):\n    result = 0\n    for value in values:\n        result += value\n    return result\n"


async def never(request: InfillRequest) -> str:
    await asyncio.sleep(60)
    return "late"


def progress_of(client: FillingClient) -> list[dict[str, Any]]:
    return [params["value"] for params in client.said("$/progress")]


async def running(client: FillingClient, script: Script = never) -> int:
    """A command whose request has reached the model."""
    client.backend.script = script
    request = client.command("dlsp.infill", ranges=[client.selection("result = 0")])
    await client.until(lambda: client.backend.running, "request")
    return request


async def idle(client: FillingClient) -> None:
    """Nothing is left of a command."""
    await client.until(lambda: not client.backend.running, "end of the request")
    assert tokens(client) == []
    assert client.editor.text == CODE
    assert client.applied == []


def tokens(client: FillingClient) -> list[Any]:
    """Tokens of commands that the server still knows."""
    return [token for token in client.server.work_done_progress.tokens if str(token).startswith("dlsp-")]


async def test_a_selection_becomes_a_hole_between_fixed_borders() -> None:
    async with filling_client("result = sum(values)", CODE) as client:
        selected = client.selection("    result = 0\n    for value in values:\n        result += value\n")
        result = await client.run_command("dlsp.infill", version=1, ranges=[selected])
        assert result == {"applied": True, "reason": "", "message": "", "holes": 1, "skipped": 0}
        assert client.editor.text == "def total(values):\n    result = sum(values)\n    return result\n"
        (request,) = client.backend.requests
        assert (request.prefix, request.suffix) == ("def total(values):\n    ", "\n    return result\n")
        assert request.holes[0].draft == ""
        assert request.limits.deadline_ms == pytest.approx(10_000, abs=500), "half of the time is for texts that do not fit"
        (applied,) = client.applied
        assert applied["label"] == "dlsp: Fill the selection"
        assert applied["edit"]["documentChanges"][0]["textDocument"] == {"uri": URI, "version": 1}
        assert client.shown == []


async def test_what_the_model_says_is_made_to_fit() -> None:
    async with filling_client("        result = sum(values)\n        print(result)  \n", CODE) as client:
        await client.run_command("dlsp.infill", ranges=[client.selection("result = 0")])
        assert "\n    result = sum(values)\n    print(result)\n    for" in client.editor.text


async def test_refining_keeps_the_draft_and_what_is_locked() -> None:
    def script(request: InfillRequest) -> Any:
        (hole,) = request.holes
        assert (hole.draft, hole.noise) == ("result += value", 0.3)
        assert [hole.draft[start:end] for start, end in hole.locked] == ["result", "value"]
        return fills("result -= value")

    async with filling_client(script, CODE) as client:
        result = await client.run_command("dlsp.refine", ranges=[client.selection("result += value")], noise=0.3, lock=["names"])
        assert result["applied"], result
        assert "        result -= value\n" in client.editor.text


async def test_a_draft_that_comes_back_as_it_was_is_no_edit() -> None:
    kept = fills("result += value")
    async with filling_client(lambda request: kept, CODE) as client:
        result = await client.run_command("dlsp.refine", ranges=[client.selection("result += value")])
        assert (result["applied"], result["reason"]) == (False, "empty_output")
        assert client.shown == ["dlsp: The model would leave the text as it is. Raise the noise level to get something else."]


async def test_a_draft_that_was_not_finished_in_time_is_no_edit() -> None:
    late = InfillResult(fills=(Fill(text="result += value", confidence=1, tokens=3),), finish="deadline")
    async with filling_client(lambda request: late, CODE) as client:
        result = await client.run_command("dlsp.refine", ranges=[client.selection("result += value")])
        assert (result["applied"], result["reason"]) == (False, "deadline")


async def test_repairing_takes_the_text_that_changes_the_least() -> None:
    broken = CODE.replace("for value in values:", "for value on values:")

    def script(request: InfillRequest) -> Any:
        (hole,) = request.holes
        changed = [hole.draft.replace("for value on values", "while True"), hole.draft.replace(" on ", " in ")]
        return fills(hole.draft, others=[[text] for text in changed if hole.noise == 1])

    async with filling_client(script, broken) as client:
        result = await client.run_command("dlsp.repair", ranges=[client.selection("on")])
        assert result["applied"], result
        assert client.editor.text == CODE


@pytest.mark.parametrize(
    ("broken", "repaired"),
    [("x = f(a, g(b)\n", "x = f(a, g(b))\n"), ("if f(a, [b:\n    pass\n", "if f(a, [b]):\n    pass\n")],
)
async def test_a_bracket_that_nobody_closed_is_closed_whatever_else_the_model_would_write(broken: str, repaired: str) -> None:
    async with filling_client("while True:" if ":" in broken else "y = 1", broken) as client:
        at = {"line": 0, "character": 5}
        result = await client.run_command("dlsp.repair", ranges=[{"start": at, "end": at}])
        assert result["applied"], result
        assert client.editor.text == repaired


@pytest.mark.parametrize("text", ["\n\n", "total = 1\n"])
async def test_there_may_be_nothing_to_repair(text: str) -> None:
    async with filling_client("x", text) as client:
        at = {"line": 0, "character": 0}
        assert (await client.run_command("dlsp.repair", ranges=[{"start": at, "end": at}]))["reason"] == "no_error"
        assert len(client.shown) == 1


async def test_another_text_for_what_was_filled_last() -> None:
    async with filling_client("a = 1", CODE) as client:
        await client.run_command("dlsp.infill", ranges=[client.selection("result = 0")])
        client.backend.script = lambda request: fills("a = 1", others=[["b = 2"]])
        client.version += 1
        client.editor.text = "import os\n" + client.editor.text
        client.insert(0, 0, "import os\n", version=client.version)
        assert (await client.run_command("dlsp.reroll", seed=5))["applied"]
        assert "\n    b = 2\n" in client.editor.text
        decoding = client.backend.requests[-1].decoding
        assert decoding.seed == 5
        assert decoding.temperature > 0


async def test_without_a_last_filling_something_must_be_selected() -> None:
    async with filling_client("x", CODE) as client:
        assert (await client.run_command("dlsp.reroll"))["reason"] == "nothing_selected"


@pytest.mark.parametrize(("name", "left"), [("dlsp.lengthen", "result = sum(values)"), ("dlsp.shorten", "r = 0")])
async def test_longer_and_shorter(name: str, left: str) -> None:
    texts = fills("result = 0", others=[["result = sum(values)"], ["r = 0"]])
    async with filling_client(lambda request: texts, CODE) as client:
        assert (await client.run_command(name, ranges=[client.selection("result = 0")]))["applied"]
        assert f"\n    {left}\n" in client.editor.text


async def test_no_text_of_that_length_is_said() -> None:
    async with filling_client("result = 0", CODE) as client:
        result = await client.run_command("dlsp.shorten", ranges=[client.selection("result = 0")])
        assert (result["applied"], result["reason"]) == (False, "empty_output")
        assert "length" in client.shown[0]


# Progress and cancellation


async def test_progress_begins_and_ends_and_its_token_is_forgotten() -> None:
    async with filling_client("result = 1", CODE) as client:
        await client.run_command("dlsp.infill", ranges=[client.selection("result = 0")])
        await client.run_command("dlsp.infill", ranges=[client.selection("result = 1")])
        kinds = [value["kind"] for value in progress_of(client)]
        assert kinds.count("begin") == kinds.count("end")
        assert tokens(client) == []


async def test_the_clients_own_token_needs_no_creation() -> None:
    async with filling_client("result = 1", CODE, capabilities=PLAIN) as client:
        argument = {"uri": URI, "ranges": [client.selection("result = 0")]}
        await client.ask("workspace/executeCommand", {"command": "dlsp.infill", "arguments": [argument], "workDoneToken": "mine"})
        assert client.said("window/workDoneProgress/create") == []
        assert {params["token"] for params in client.said("$/progress")} == {"mine"}
        begin, *_, end = progress_of(client)
        assert (begin["kind"], begin["cancellable"], end["kind"]) == ("begin", True, "end")


async def test_cancelling_the_progress_cancels_the_model() -> None:
    async with filling_client("", CODE) as client:
        request = await running(client)
        await client.until(lambda: client.said("$/progress"), "progress")
        client.notify("window/workDoneProgress/cancel", {"token": client.said("$/progress")[0]["token"]})
        result = await client.result(request)
        assert (result["applied"], result["reason"]) == (False, "cancelled")
        assert len(client.backend.cancelled) == 1
        assert client.shown == [], "who cancels knows"
        await idle(client)


async def test_cancelling_the_request_cancels_the_model() -> None:
    async with filling_client("", CODE) as client:
        request = await running(client)
        client.cancel(request)
        assert (await client.answer(request))["error"]["code"] == -32800
        await idle(client)
        assert len(client.backend.cancelled) == 1


async def test_the_cancel_command_cancels_the_model() -> None:
    async with filling_client("", CODE) as client:
        request = await running(client)
        assert await client.ask("workspace/executeCommand", {"command": "dlsp.cancel"}) == {"cancelled": 1}
        assert (await client.result(request))["reason"] == "cancelled"
        assert await client.ask("workspace/executeCommand", {"command": "dlsp.cancel"}) == {"cancelled": 0}
        await idle(client)


async def test_a_newer_command_takes_the_place_of_an_older_one() -> None:
    async with filling_client("", CODE) as client:
        older = await running(client)
        client.backend.script = lambda request: "result = 1"
        assert (await client.run_command("dlsp.infill", ranges=[client.selection("result = 0")]))["applied"]
        assert (await client.result(older))["reason"] == "superseded"


async def test_a_client_that_never_grants_progress_is_not_waited_for() -> None:
    async with filling_client("result = 1", CODE) as client:
        client.grants_progress = False
        assert (await client.run_command("dlsp.infill", ranges=[client.selection("result = 0")]))["applied"]


async def test_shutting_down_in_the_midst_of_a_command() -> None:
    async with filling_client("", CODE) as client:
        request = await running(client)
        assert (await client.answer(client.request("shutdown")))["result"] is None
        assert "error" in await client.answer(request)
        await client.until(lambda: not client.backend.running, "end of the request")


# Documents that change, editors that refuse


async def test_a_document_that_changed_in_a_hole_is_left_alone() -> None:
    async with filling_client("", CODE) as client:
        gate = asyncio.Event()

        async def script(request: InfillRequest) -> str:
            await gate.wait()
            return "result = 1"

        request = await running(client, script)
        client.editor.text = client.editor.text.replace("result = 0", "result = 00")
        client.version = 2
        client.insert(1, 14, "0", version=2)
        await client.until(lambda: client.session.documents[URI].snapshot.version == 2, "change")
        gate.set()
        result = await client.result(request)
        assert (result["applied"], result["reason"]) == (False, "changed_meanwhile")
        assert client.applied == []
        assert client.shown == ["dlsp: The document changed meanwhile, so nothing was applied. Run the command again."]


async def test_a_change_elsewhere_moves_the_edit_along() -> None:
    async with filling_client("", CODE) as client:
        gate = asyncio.Event()

        async def script(request: InfillRequest) -> str:
            await gate.wait()
            return "result = 1"

        request = await running(client, script)
        client.editor.text = "import os\n" + client.editor.text
        client.version = 2
        client.insert(0, 0, "import os\n", version=2)
        await client.until(lambda: client.session.documents[URI].snapshot.version == 2, "change")
        gate.set()
        assert (await client.result(request))["applied"]
        assert client.editor.text == "import os\n" + CODE.replace("result = 0", "result = 1")
        await asyncio.sleep(0)


async def test_a_version_that_is_not_the_documents() -> None:
    async with filling_client("x", CODE) as client:
        result = await client.run_command("dlsp.infill", version=0, ranges=[client.selection("result = 0")])
        assert result["reason"] == "changed_meanwhile"
        assert client.backend.requests == []


@pytest.mark.parametrize(("mode", "said"), [("refuse", "The file is read-only"), ("fail", "did not apply")])
async def test_an_editor_that_does_not_apply(mode: str, said: str) -> None:
    async with filling_client("result = 1", CODE) as client:
        client.applying = mode
        result = await client.run_command("dlsp.infill", ranges=[client.selection("result = 0")])
        assert (result["applied"], result["reason"], result["holes"]) == (False, "not_applied", 0)
        (params,) = client.said("window/showMessage")
        assert params["type"] == 2
        assert said in params["message"]


async def test_an_editor_that_never_answers_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("dlsp.features.infill.APPLY_SECONDS", 0.05)
    async with filling_client("result = 1", CODE) as client:
        client.applying = "silent"
        assert (await client.run_command("dlsp.infill", ranges=[client.selection("result = 0")]))["reason"] == "not_applied"
        # Its answer comes at last, which is no fault of anybody's.
        (asked,) = [message for message in client.messages if message.get("method") == "workspace/applyEdit"]
        caplog.clear()
        client.send({"jsonrpc": "2.0", "id": asked["id"], "result": {"applied": True}})
        assert await client.texts(0, 0, kind=1) is not None
        assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


# Refusals


@pytest.mark.parametrize(
    ("options", "uri", "reason"),
    [
        ({"enabled": False}, URI, "disabled"),
        ({"languages": {"python": False}}, URI, "disabled_language"),
        ({}, "file:///code/.env", "excluded_file"),
        ({}, "git:///code/a.py", "not_editable"),
    ],
)
async def test_documents_that_get_nothing(options: dict[str, Any], uri: str, reason: str) -> None:
    async with filling_client("x", CODE, options=options, uri=uri) as client:
        result = await client.run_command("dlsp.infill", ranges=[client.selection("result = 0")])
        assert (result["applied"], result["reason"]) == (False, reason)
        assert client.backend.requests == []
        assert len(client.shown) == 1


async def test_a_document_that_is_not_open_and_a_selection_that_is_empty() -> None:
    async with filling_client("x", CODE) as client:
        at = {"line": 1, "character": 4}
        assert (await client.run_command("dlsp.infill", ranges=[{"start": at, "end": at}]))["reason"] == "nothing_selected"
        assert (await client.run_command("dlsp.infill"))["reason"] == "nothing_selected"
        assert (await client.run_command("dlsp.infill", uri="file:///other.py"))["reason"] == "unknown_document"
        everything = [client.selection("result = 0")]
        assert (await client.run_command("dlsp.infill", ranges=everything, lock=["names", "literals", everything[0]]))[
            "reason"
        ] == "no_hole"
        assert len(client.shown) == 4


@pytest.mark.parametrize(
    "argument",
    [{}, {"uri": 1}, {"uri": URI, "noise": 2}, {"uri": URI, "ranges": [1]}, {"uri": URI, "lock": ["all"]}, {"uri": URI, "seed": -1}],
)
async def test_an_argument_that_makes_no_sense(argument: dict[str, Any]) -> None:
    async with filling_client("x", CODE) as client:
        answer = await client.answer(client.request("workspace/executeCommand", {"command": "dlsp.infill", "arguments": [argument]}))
        assert answer["error"]["code"] == -32602
        assert answer["error"]["message"].startswith("The argument is not valid: ")


async def test_one_hole_that_is_longer_than_the_model_reads() -> None:
    async with filling_client(lambda request: HolesApartError("Apart.", "Send less."), CODE) as client:
        result = await client.run_command("dlsp.refine", ranges=[client.selection("result = 0")], lock=["names"])
        assert (result["applied"], result["reason"]) == (False, "holes_apart")


async def test_text_that_breaks_the_syntax_is_not_applied() -> None:
    async with filling_client("result = (", CODE) as client:
        result = await client.run_command("dlsp.infill", ranges=[client.selection("result = 0")])
        assert (result["applied"], result["reason"]) == (False, "syntax")
        assert client.editor.text == CODE


async def test_where_the_syntax_is_wrong_already_text_may_still_be_filled_in() -> None:
    async with filling_client("result = 1", CODE + "def (:\n") as client:
        assert (await client.run_command("dlsp.infill", ranges=[client.selection("result = 0")]))["applied"]


# The preview


async def test_a_preview_tells_all_and_applies_nothing() -> None:
    def script(request: InfillRequest) -> Any:
        assert request.decoding.alternatives == 2
        assert request.document == f"{URI}#preview"
        fill = Fill(text="b = 1", confidence=0.4, tokens=3, pieces=(Piece(text="b = ", confidence=0.9), Piece(text="1", confidence=0.4)))
        return InfillResult(fills=(fill,), finish="complete", model="nano", others=((Fill(text="c = 2", confidence=0.3, tokens=3),),))

    async with filling_client(script, CODE, options={"alternatives": 2, "tabStops": True}) as client:
        area = client.selection("result = 0")
        result = await client.ask("dlsp/infill", {"uri": URI, "kind": "infill", "ranges": [area]})
        assert result["holes"] == [
            {"range": area, "newText": "b = 1", "confidence": 0.4, "pieces": [["b = ", 0.9], ["1", 0.4]], "alternatives": ["c = 2"]}
        ]
        assert (result["reason"], result["model"], result["version"], result["skipped"]) == ("", "nano", 1, 0)
        assert result["latencyMs"] >= 0
        (edit,) = result["edit"]["documentChanges"][0]["edits"]
        assert edit["snippet"]["value"] == "b = ${1:1}$0"
        assert client.applied == []
        client.put(result["edit"])
        assert "\n    b = 1\n" in client.editor.text
        await asyncio.sleep(0.01)


async def test_a_preview_without_a_result_has_a_reason_and_no_box() -> None:
    async with filling_client("", CODE) as client:
        result = await client.ask("dlsp/infill", {"uri": URI, "ranges": [client.selection("result = 0")]})
        assert (result["edit"], result["holes"], result["reason"]) == (None, [], "empty_output")
        assert client.shown == []
        assert (await client.answer(client.request("dlsp/infill")))["error"]["code"] == -32602


async def test_a_preview_does_not_disturb_a_command() -> None:
    async with filling_client("", CODE, capabilities=FULL) as client:
        request = await running(client)
        client.backend.script = lambda request: "a = 1"
        assert (await client.ask("dlsp/infill", {"uri": URI, "ranges": [client.selection("result = 0")]}))["edit"]
        assert client.backend.running == 1
        client.cancel(request)
        await client.answer(request)


async def test_an_untitled_document_is_filled_like_any_other() -> None:
    async with filling_client("result = 1", CODE, uri="untitled:Untitled-1") as client:
        assert (await client.run_command("dlsp.infill", ranges=[client.selection("result = 0")]))["applied"]
        assert client.applied[0]["edit"]["documentChanges"][0]["textDocument"] == {"uri": "untitled:Untitled-1", "version": 1}
        (request,) = client.backend.requests
        assert request.path == ""


async def test_the_indentation_that_the_client_tells() -> None:
    text = "def f(a): ...\n"
    async with filling_client("return a", text) as client:
        await client.run_command("dlsp.fillHoles", formattingOptions={"tabSize": 2, "insertSpaces": True, "trimTrailingWhitespace": True})
        assert client.editor.text == "def f(a):\n  return a\n"


async def test_what_came_of_it_is_written_down() -> None:
    async with filling_client("result = 1", CODE) as client:
        events: list[Event] = []
        client.session.ledger.sink = events.append
        area = client.selection("result = 0")
        await client.ask("dlsp/infill", {"uri": URI, "ranges": [area]})
        await client.run_command("dlsp.infill", ranges=[area])
        client.backend.script = lambda request: ""
        await client.run_command("dlsp.refine", ranges=[client.selection("result = 1")])
        assert [(event.event, event.kind, event.language, event.reason) for event in events] == [
            ("latency", "command", "python", ""),
            ("latency", "command", "python", ""),
            ("empty", "command", "python", "empty_output"),
        ]
        assert [list(event.stages) for event in events] == [["command.infill"], ["command.infill"], []]


async def test_the_cancel_command_ends_a_preview_of_its_document() -> None:
    async with filling_client(never, CODE) as client:
        request = client.request("dlsp/infill", {"uri": URI, "ranges": [client.selection("result = 0")]})
        await client.until(lambda: client.backend.running, "request")
        assert await client.ask("workspace/executeCommand", {"command": "dlsp.cancel", "arguments": [{"uri": URI}]}) == {"cancelled": 1}
        assert (await client.result(request))["reason"] == "cancelled"
        await idle(client)
