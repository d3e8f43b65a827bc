"""What is on screen stays there while one types along it, in the order of messages that real editors send."""

from __future__ import annotations

import asyncio

from engine.api import Fill, InfillRequest, InfillResult
from lsp_memory import MemoryClient, session_with
from scripted_backend import Gate, ScriptedBackend

LINE = "value + other(1)"


async def asked(client: MemoryClient, times: int) -> None:
    await client.until(lambda: len(client.backend.requests) >= times, f"request number {times} to the backend")


def several(*texts: str) -> InfillResult:
    """An answer with alternatives."""
    first, *others = (Fill(text=text, confidence=0.9, tokens=2) for text in texts)
    return InfillResult(fills=(first,), finish="complete", others=tuple((other,) for other in others))


async def test_an_editor_that_cancels_before_it_asks_again_gets_the_answer_to_its_first_question() -> None:
    gate = Gate()
    async with session_with(ScriptedBackend(gate), "x = \n") as client:
        request = client.ghost(0, 4)
        await asked(client, 1)
        for count in range(1, 4):
            client.cancel(request)
            client.insert(0, 3 + count, LINE[count - 1], version=1 + count)
            await asyncio.sleep(0.02)
            request = client.ghost(0, 4 + count)
        await client.ask("dlsp/status")
        gate.held[0].set_result(LINE)
        assert (await client.result(request))["items"][0]["insertText"] == LINE[3:]
        assert len(client.backend.requests) == 1
        assert client.backend.cancelled == []


async def test_an_editor_that_cancels_nothing_costs_one_request() -> None:
    gate = Gate()
    async with session_with(ScriptedBackend(gate), "x = \n") as client:
        requests = [client.ghost(0, 4)]
        await asked(client, 1)
        for count in range(1, 10):
            client.insert(0, 3 + count, LINE[count - 1], version=1 + count)
            requests.append(client.ghost(0, 4 + count))
        await client.ask("dlsp/status")
        gate.held[0].set_result(LINE)
        *earlier, last = [await client.result(request) for request in requests]
        assert [answer["items"] for answer in earlier] == [[]] * 9
        assert last["items"][0]["insertText"] == LINE[9:]
        assert len(client.backend.requests) == 1


async def test_a_cancelled_request_that_nobody_comes_for_stops() -> None:
    gate = Gate()
    async with session_with(ScriptedBackend(gate), "x = \n") as client:
        request = client.ghost(0, 4)
        await asked(client, 1)
        client.cancel(request)
        await client.until(lambda: client.backend.cancelled, "end of the request", seconds=2.0)
        other = client.ghost(0, 4)
        await asked(client, 2)
        client.cancel(other)
        client.insert(0, 0, "#", version=2)
        await client.ask("dlsp/status")
        await client.until(lambda: len(client.backend.cancelled) == 2, "end of the second", seconds=0.2)


async def test_who_asked_explicitly_and_cancels_stops_the_model_at_once() -> None:
    gate = Gate()
    async with session_with(ScriptedBackend(gate), "x = \n") as client:
        request = client.ghost(0, 4, kind=1)
        await asked(client, 1)
        client.cancel(request)
        await client.until(lambda: client.backend.cancelled, "end of the request", seconds=0.2)


async def test_acceptance_by_word_by_line_and_wholly_needs_no_second_request() -> None:
    block = "first = 1\n    second = 2\n    return first"
    async with session_with(ScriptedBackend(block), "def f():\n    \n") as client:
        assert await client.texts(1, 4, kind=1) == [block]
        text, version = "", 1
        for accepted in ("first", " = 1", "\n    second = 2", "\n"):
            version += 1
            line, character = 1 + text.count("\n"), len(("    " + text).rpartition("\n")[2])
            client.insert(line, character, accepted, version=version)
            text += accepted
            line, character = 1 + text.count("\n"), len(("    " + text).rpartition("\n")[2])
            assert await client.texts(line, character) == [block[len(text) :]], accepted
        assert len(client.backend.requests) == 1


async def test_alternatives_are_asked_for_once_and_keep_their_order() -> None:
    def script(request: InfillRequest) -> InfillResult:
        return several("value", "variant", " value ", "other") if request.decoding.alternatives > 1 else several("first()")

    async with session_with(ScriptedBackend(script), "x = \n", options={"alternatives": 4}) as client:
        assert await client.texts(0, 4) == ["first()"]
        offered = await client.texts(0, 4, kind=1)
        assert offered == ["first()", "value", "variant", "other"], "what is on screen comes first, the same text comes once"
        assert [request.decoding.alternatives for request in client.backend.requests] == [1, 4]
        assert await client.texts(0, 4, kind=1) == offered
        client.insert(0, 4, "va", version=2)
        assert await client.texts(0, 6) == ["lue", "riant"]
        assert len(client.backend.requests) == 2


async def test_what_follows_a_suggestion_is_asked_for_while_it_is_read() -> None:
    def script(request: InfillRequest) -> str:
        return "first" if request.prefix == "x = " else " + second"

    async with session_with(ScriptedBackend(script), "x = ", options={"prefetch": "always"}) as client:
        assert await client.texts(0, 4) == ["first"]
        await asked(client, 2)
        assert client.backend.requests[1].prefix == "x = first"
        client.insert(0, 4, "first", version=2)
        assert await client.texts(0, 9) == [" + second"]
        assert len(client.backend.requests) <= 3


async def test_nothing_is_asked_ahead_on_a_cpu_unless_the_user_wants_it() -> None:
    async with session_with(ScriptedBackend("first"), "x = ") as client:
        assert await client.texts(0, 4) == ["first"]
        await asyncio.sleep(0.05)
        assert len(client.backend.requests) == 1


async def test_what_was_asked_for_by_hand_stays_while_one_types_along_it() -> None:
    async with session_with(ScriptedBackend("first"), "x = ", options={"trigger": "manual"}) as client:
        assert await client.texts(0, 4) == []
        assert client.reason == "manual"
        assert await client.texts(0, 4, kind=1) == ["first"]
        client.insert(0, 4, "fi", version=2)
        assert await client.texts(0, 6) == ["rst"]
        client.insert(0, 6, "x", version=3)
        assert await client.texts(0, 7) == []
        assert len(client.backend.requests) == 1
