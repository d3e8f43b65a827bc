"""Many holes by one command: what is asked, what is applied, and what happens when a text of the model is bad."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from dlsp.documents import opened
from dlsp.holes.openings import of_markers
from editor_model import EditorModel
from engine.api import InfillRequest
from engine.errors import HolesApartError, HostError
from lsp_filling import FULL, PLAIN, by_hole, filling_client, fills
from lsp_stdio import Server, have_weights, home

STUBS = '''import math


def area(radius):
    """The area of a circle."""
    ...


def double(values):
    ...


class Account:
    def __init__(self, owner):
        self.owner = owner
        self.balance = 0

    def deposit(self, amount):
        raise NotImplementedError

    def is_empty(self):
        pass  # TODO: true without money


def first(values): ...
'''
TEXTS = (
    "return math.pi * radius ** 2",
    "return [value * 2 for value in values]",
    "self.balance += amount\n        return self.balance",
    "return self.balance == 0",
    "return values[0]",
)
DONE = '''import math


def area(radius):
    """The area of a circle."""
    return math.pi * radius ** 2


def double(values):
    return [value * 2 for value in values]


class Account:
    def __init__(self, owner):
        self.owner = owner
        self.balance = 0

    def deposit(self, amount):
        self.balance += amount
        return self.balance

    def is_empty(self):
        return self.balance == 0


def first(values):
    return values[0]
'''


async def test_one_command_fills_five_stubs_with_one_edit() -> None:
    async with filling_client(by_hole(*TEXTS), STUBS) as client:
        result = await client.run_command("dlsp.fillHoles")
        assert result == {"applied": True, "reason": "", "message": "", "holes": 5, "skipped": 0}
        assert client.editor.text == DONE
        ast.parse(client.editor.text)
        (applied,) = client.applied
        assert applied["label"] == "dlsp: Fill 5 holes"
        assert applied["metadata"] == {"isRefactoring": True}
        assert client.shown == []
        (request,) = client.backend.requests
        assert len(request.holes) == 5
        assert request.document.endswith("#infill")
        assert "true without money" in request.holes[2].after, "the comment is still there for the model to read"
        assert client.session.status.report.reason == ""


async def test_the_document_around_the_holes_is_told_to_the_model_as_it_is() -> None:
    async with filling_client(by_hole(*TEXTS), STUBS.replace("\n", "\r\n")) as client:
        await client.run_command("dlsp.fillHoles")
        (request,) = client.backend.requests
        assert request.prefix.endswith('"""The area of a circle."""\n    ')
        assert request.holes[0].after == "\n\n\ndef double(values):\n    "
        assert request.suffix == "\n"
        assert client.editor.text == DONE.replace("\n", "\r\n")


async def test_a_bad_text_is_replaced_by_an_alternative() -> None:
    bad = ("return (", *TEXTS[1:])
    async with filling_client(lambda request: fills(*bad, others=[TEXTS]), STUBS) as client:
        assert (await client.run_command("dlsp.fillHoles"))["skipped"] == 0
        assert client.editor.text == DONE


async def test_a_bad_text_is_asked_for_again_with_several_seeds() -> None:
    def script(request: InfillRequest) -> Any:
        if len(request.holes) == 5:
            return fills(TEXTS[0], "return [value", *TEXTS[2:])
        assert request.decoding.alternatives == 4
        assert "return math.pi" in request.prefix, "the holes that are filled are seen"
        return fills("return ]", others=[["..."], [TEXTS[1]]])

    async with filling_client(script, STUBS) as client:
        assert (await client.run_command("dlsp.fillHoles"))["skipped"] == 0
        assert client.editor.text == DONE
        assert len(client.backend.requests) == 2


async def test_a_text_that_is_right_for_some_lines_is_cut() -> None:
    def script(request: InfillRequest) -> Any:
        return fills(TEXTS[0], TEXTS[1], TEXTS[2] + "\n        if (", *TEXTS[3:]) if len(request.holes) == 5 else fills("if (")

    async with filling_client(script, STUBS) as client:
        assert (await client.run_command("dlsp.fillHoles"))["holes"] == 5
        assert client.editor.text == DONE


async def test_the_last_resort_is_to_leave_the_stub_and_say_so() -> None:
    def script(request: InfillRequest) -> Any:
        return fills("return (", *TEXTS[1:]) if len(request.holes) == 5 else fills("...")

    async with filling_client(script, STUBS) as client:
        result = await client.run_command("dlsp.fillHoles")
        assert (result["applied"], result["holes"], result["skipped"]) == (True, 4, 1)
        ast.parse(client.editor.text)
        assert client.editor.text.count("    ...") == 1
        (said,) = client.shown
        assert "4 of 5" in said


async def test_a_stub_is_no_text() -> None:
    async with filling_client(lambda request: fills(*(["pass"] * len(request.holes))), STUBS) as client:
        result = await client.run_command("dlsp.fillHoles")
        assert (result["applied"], result["reason"], result["skipped"]) == (False, "syntax", 5)
        assert client.applied == []
        assert len(client.shown) == 1
        assert client.editor.text == STUBS


async def test_holes_too_far_apart_are_filled_in_two_halves_that_see_each_other() -> None:
    inner = by_hole(*TEXTS)

    def script(request: InfillRequest) -> Any:
        if len(request.holes) > 3:
            inner(request)
            return HolesApartError("The holes are apart.", "Send them in several requests.")
        return inner(request)

    async with filling_client(script, STUBS) as client:
        assert (await client.run_command("dlsp.fillHoles"))["holes"] == 5
        assert client.editor.text == DONE
        assert [len(request.holes) for request in client.backend.requests] == [5, 3, 2]
        assert TEXTS[0] in client.backend.requests[2].prefix


async def test_ranges_of_the_client_are_holes() -> None:
    text = "def f(a):\n    x = \n    return a + \n"
    async with filling_client(by_hole("a + 1", "x"), text) as client:
        ends = [{"line": 1, "character": 8}, {"line": 2, "character": 15}]
        result = await client.run_command("dlsp.fillHoles", ranges=[{"start": end, "end": end} for end in ends])
        assert result["holes"] == 2
        assert client.editor.text == "def f(a):\n    x = a + 1\n    return a + x\n"


async def test_a_mark_of_ones_own() -> None:
    async with filling_client(by_hole("1", "2"), "a = @@\nb = @@\nc = ...\n", options={"holeMarkers": ["@@"]}) as client:
        await client.run_command("dlsp.fillHoles")
        assert client.editor.text == "a = 1\nb = 2\nc = ...\n"


async def test_only_one_marker_when_it_is_named() -> None:
    async with filling_client(by_hole("1"), "a = <fill>\nb = ??\n") as client:
        assert (await client.run_command("dlsp.fillHoles", marker="??"))["holes"] == 1
        assert client.editor.text == "a = <fill>\nb = 1\n"


@pytest.mark.parametrize(
    ("language", "text", "answer", "done"),
    [
        ("rust", "fn f() -> i32 {\n    todo!()\n}\n", "41 + 1", "fn f() -> i32 {\n    41 + 1\n}\n"),
        ("javascript", "function f() {\n  // TODO: answer\n}\n", "return 42;", "function f() {\n  // TODO: answer\n  return 42;\n}\n"),
        ("java", "int f() {\n\tthrow new UnsupportedOperationException();\n}\n", "return 1;", "int f() {\n\treturn 1;\n}\n"),
        ("go", 'func f() int {\n\tpanic("not implemented")\n}\n', "return 1", "func f() int {\n\treturn 1\n}\n"),
        ("cobol", "A <fill> B\n", "TO", "A TO B\n"),
    ],
)
async def test_other_languages(language: str, text: str, answer: str, done: str) -> None:
    async with filling_client(answer, text, language=language) as client:
        await client.run_command("dlsp.fillHoles")
        assert client.editor.text == done


async def test_no_hole_is_one_sentence_with_a_next_step() -> None:
    async with filling_client("x", "a = 1\n") as client:
        result = await client.run_command("dlsp.fillHoles")
        assert (result["applied"], result["reason"]) == (False, "no_hole")
        assert client.shown == ["dlsp: There is no hole to fill. Mark one with `<fill>`, or write `...` as the body of a function."]
        assert client.backend.requests == []


async def test_a_failing_backend_is_one_warning() -> None:
    async with filling_client(HostError("The engine host is gone.", "Run `dlsp doctor`."), STUBS) as client:
        client.backend.script = lambda request: HostError("The engine host is gone.", "Run `dlsp doctor`.")
        result = await client.run_command("dlsp.fillHoles")
        assert result["reason"] == "backend_error"
        assert client.said("window/showMessage") == [{"type": 2, "message": "dlsp: The engine host is gone. Run `dlsp doctor`."}]


async def test_a_plain_client_gets_plain_changes() -> None:
    async with filling_client(by_hole(*TEXTS), STUBS, capabilities=PLAIN) as client:
        await client.run_command("dlsp.fillHoles")
        (applied,) = client.applied
        assert list(applied["edit"]) == ["changes"]
        assert client.editor.text == DONE


POINT = """class Point:
    def __init__(self, x, y, label):
        self.x = x
        self.y = y
        self.label = label

    def get_x(self):
        return self.x

    def get_y(self):
        ...

    def get_label(self):
        ...

    def set_x(self, x):
        self.x = x

    def set_y(self, y):
        pass  # TODO

    def set_label(self, label):
        raise NotImplementedError

    def has_label(self):
        return self.label is not None

    def has_x(self): ...
"""


class Applying(Server):
    """An editor process that agrees to what it is asked to apply."""

    def _reply(self, message: dict[str, Any]) -> None:
        if message["method"] == "workspace/applyEdit":
            with contextlib.suppress(OSError):
                self._send({"jsonrpc": "2.0", "id": message["id"], "result": {"applied": True}})
        else:
            super()._reply(message)


@pytest.fixture
def env() -> Iterator[dict[str, str]]:
    with home() as env:
        yield env


@pytest.mark.skipif(not have_weights(), reason="the weights of nano are not here")
def test_nano_fills_a_file_of_stubs_into_one_that_parses(env: dict[str, str]) -> None:
    uri = "file:///code/src/stubs.py"
    with Applying(env) as server:
        # A machine that is busy with other things must not decide what comes out; there, several threads wait for each other.
        options = {"infillDeadlineMs": 90_000, "threads": 1}
        initialize = {"processId": None, "rootUri": None, "initializationOptions": options, "capabilities": FULL}
        server.answer(server.request("initialize", initialize))
        server.notify("initialized", {})
        server.notify("textDocument/didOpen", {"textDocument": {"uri": uri, "languageId": "python", "version": 3, "text": POINT}})
        server.wait_for_status("ready")
        request = server.request("workspace/executeCommand", {"command": "dlsp.fillHoles", "arguments": [{"uri": uri, "version": 3}]})
        result = server.answer(request, 120)["result"]
        assert (result["applied"], result["holes"], result["skipped"]) == (True, 5, 0), result
        (applied,) = server.said("workspace/applyEdit")
        (change,) = applied["edit"]["documentChanges"]
        assert change["textDocument"] == {"uri": uri, "version": 3}
        editor = EditorModel(POINT)
        editor.apply(*((edit["range"], edit["newText"]) for edit in change["edits"]))
        ast.parse(editor.text)
        assert of_markers(opened(uri, 4, "python", editor.text)) == (), editor.text
        assert server.said("window/showMessage") == []
        assert server.shut_down() == 0
