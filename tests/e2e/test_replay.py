"""Thousands of random messages: every request is answered exactly once, and the server's document stays equal to the editor's."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from dlsp.documents import Snapshot, from_column
from dlsp.suggestions import KEPT_A_DOCUMENT
from engine.api import InfillRequest
from engine.errors import HostError, LoadingError
from lsp_memory import URI, MemoryClient, memory_client
from scripted_backend import ScriptedBackend, fill

PIECES = ["a", "b", "value", "(", ")", " ", "\n", "\r\n", "\r", "é", "\U0001f600", "\u2028", "\x0c", "x = 1\n", ""]


class Editor:
    """What an editor does to its own text, written without a look at the server: all in UTF-16 units of the whole text."""

    def __init__(self, text: str) -> None:
        self.units = text.encode("utf-16-le", "surrogatepass")

    @property
    def text(self) -> str:
        return self.units.decode("utf-16-le", "surrogatepass")

    def places(self) -> list[tuple[int, int, int]]:
        """(unit, line, character) of every place a cursor can be."""
        found, line, character, unit = [], 0, 0, 0
        text = self.text
        for index, letter in enumerate(text):
            within = letter == "\n" and text[index - 1 : index] == "\r"
            if not within:
                found.append((unit, line, character))
            width = 2 if ord(letter) > 0xFFFF else 1
            unit += width
            character += width
            if letter in "\r\n" and not (letter == "\r" and text[index + 1 : index + 2] == "\n"):
                line, character = line + 1, 0
        return [*found, (unit, line, character)]

    def replace(self, start: int, end: int, text: str) -> None:
        self.units = self.units[: 2 * start] + text.encode("utf-16-le") + self.units[2 * end :]


def script_of(rng: random.Random) -> Any:
    async def script(request: InfillRequest) -> Any:
        await asyncio.sleep(rng.choice([0, 0, 0, 0, 0, 0.001, 0.01, 0.3]))
        return rng.choice(
            ["value", "a", "value(b)", "a\n    b", "", HostError("Gone."), LoadingError("Later."), ValueError("bug"), fill("b", 0.1)]
        )

    return script


def random_change(rng: random.Random, editor: Editor) -> dict[str, Any]:
    text = rng.choice(PIECES)
    if rng.random() < 0.05:
        editor.units = (editor.text[: rng.randrange(40)] + text).encode("utf-16-le")
        return {"text": editor.text}
    places = editor.places()
    first = rng.randrange(len(places))
    last = first if rng.random() < 0.7 else min(first + rng.randrange(8), len(places) - 1)
    (start, *begins), (end, *ends) = places[first], places[last]
    editor.replace(start, end, text)
    area = {"start": dict(zip(("line", "character"), begins, strict=True)), "end": dict(zip(("line", "character"), ends, strict=True))}
    return {"range": area, "text": text}


def typed(rng: random.Random, client: MemoryClient, editor: Editor, version: int) -> int:
    """A character is typed at the end of a line, and the editor asks what follows."""
    places = editor.places()
    ends = [place for place, after in zip(places, [*places[1:], (0, -1, 0)], strict=True) if place[1] != after[1]]
    unit, line, character = rng.choice(ends)
    letter = rng.choice(["v", "a", "=", " ", "é"])
    editor.replace(unit, unit, letter)
    client.insert(line, character, letter, version=version)
    return client.ghost(line, character + 1, kind=rng.choice([1, 2, 2]))


def random_request(rng: random.Random, client: MemoryClient, editor: Editor) -> int:
    places = editor.places()
    # Mostly at the ends of lines, where suggestions are made.
    ends = [place for place, after in zip(places, [*places[1:], (0, -1, 0)], strict=True) if place[1] != after[1]]
    _, line, character = rng.choice(ends if rng.random() < 0.7 else places)
    if rng.random() < 0.7:
        return client.ghost(line, character, kind=rng.choice([0, 1, 2, 2, 2, 7]))
    here = {"line": line, "character": character}
    if rng.random() < 0.2:
        area = {"start": {"line": 0, "character": 0}, "end": here}
        params = {"textDocument": {"uri": URI}, "range": area, "context": {"diagnostics": []}}
        return client.request("textDocument/codeAction", params)
    params = {"textDocument": {"uri": URI}, "position": here}
    if rng.random() < 0.2:
        params["position"] = rng.choice([None, {"line": 10**6, "character": 10**6}, {"line": -1, "character": 0}])
    return client.request("textDocument/completion", params)


def kept_by(client: MemoryClient) -> dict[str, int]:
    """What must not grow from one thousand messages to the next, when nothing is under way."""
    protocol, session = client.server.protocol, client.session
    return {
        "requests": len(protocol._request_futures),
        "extras": len(protocol._extras),
        "progress": len(client.server.work_done_progress.tokens),
        "turns": len(session.turns),
        "flights": sum(session.flights.of(uri) is not None for uri in session.documents),
        "tasks": len(asyncio.all_tasks()),
    }


def codes_in(client: MemoryClient) -> set[int]:
    return {message["error"]["code"] for message in client.messages if "error" in message}


def resident_mb() -> float:
    """Of this process; 0 where the system does not tell so simply."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * 4096 / 1e6 if statm.exists() else 0.0


class Offsets:
    """Watches that whatever is offered continues what stands before it, in one of the latest versions of the document."""

    def __init__(self, client: MemoryClient) -> None:
        self.offered = 0
        self.wrong: list[Any] = []
        self._versions: deque[Snapshot] = deque(maxlen=20)
        self._client = client
        self._take, self._change = client._take, client.session.change
        client._take, client.session.change = self.take, self.change  # type: ignore[method-assign]

    def change(self, *args: Any) -> None:
        self._change(*args)
        self._versions.append(self._client.session.documents[URI].snapshot)

    def take(self, message: dict[str, Any]) -> None:
        self._take(message)
        result = message.get("result")
        for item in result.get("items", []) if isinstance(result, dict) else []:
            edit = item.get("textEdit") or {"range": item["range"], "newText": item["insertText"]}
            self.offered += 1
            if not any(continues(version, edit) for version in self._versions):
                self.wrong.append(edit)


def continues(snapshot: Snapshot, edit: dict[str, Any]) -> bool:
    """Whether an edit is at a place that is there, and what the model said then stands there, or the first line of it."""
    start, end = (snapshot.point((edit["range"][e]["line"], edit["range"][e]["character"]), "utf-16") for e in ("start", "end"))
    exact = [{"line": p.line, "character": from_column(snapshot.line(p.line), p.column, "utf-16")} for p in (start, end)]
    if exact != [edit["range"]["start"], edit["range"]["end"]] or start.line != end.line:
        return False
    after = snapshot.before(start, 100) + edit["newText"].replace("\r\n", "\n").replace("\r", "\n")
    return after.rstrip().endswith(("value", "a", "b", "value(b", "value(b)"))


@pytest.mark.parametrize(("seed", "messages"), [(1, 10_000), (2, 2_000)])
async def test_random_messages(seed: int, messages: int) -> None:
    rng = random.Random(seed)
    editor, requests, version = Editor("def f(a):\n    return a\r\n\U0001f600 = 1\n"), [], 1
    async with memory_client(ScriptedBackend(script_of(random.Random(seed)))) as client:
        await client.initialize(options={"debounceMs": 1, "minConfidence": 0.5})
        client.open(editor.text)
        await client.ready()
        offsets, at_rest = Offsets(client), kept_by(client)
        halfway, codes = 0.0, set[int]()
        while client.sent < messages:
            if not halfway and client.sent > messages / 2:
                codes |= codes_in(client)
                client.messages.clear()
                halfway = resident_mb()
            deed = rng.random()
            if deed < 0.35:
                version += 1
                client.change(*(random_change(rng, editor) for _ in range(rng.choice([1, 1, 1, 2, 4]))), version=version)
                if len(editor.units) > 1200:
                    version += 1
                    editor.units = b""
                    client.change({"text": ""}, version=version)
            elif deed < 0.6:
                version += 1
                requests.append(typed(rng, client, editor, version))
                if rng.random() < 0.25:
                    # Now and then somebody looks at what they get.
                    await asyncio.wait({client._waiting[requests[-1]]}, timeout=0.03)
            elif deed < 0.85 or not requests:
                requests.append(random_request(rng, client, editor))
            else:
                client.cancel(rng.choice(requests[-5:]))
            if rng.random() < 0.3:
                await asyncio.sleep(rng.choice([0, 0, 0.001]))
        for request in requests:
            await client.answer(request, 20)
        assert client.session.documents[URI].snapshot.text == editor.text
        await client.ask("shutdown")
        assert {request: client.answers[request] for request in requests} == dict.fromkeys(requests, 1)
        assert offsets.wrong == []
        assert offsets.offered > messages / 100
        assert codes | codes_in(client) <= {-32800, -32602}
        assert client.said("window/showMessage") == []
        reasons = {status["reason"] for status in client.statuses}
        assert {"", "superseded", "mid_line"} <= reasons
        assert client.session.turns == {}
        await client.until(lambda: client.backend.running == 0, "end of all requests")
        await client.until(lambda: client.session.flights.of(URI) is None, "end of what lingers")
        left = kept_by(client)
        assert {what: n for what, n in left.items() if n > at_rest[what] + 1} == {}
        assert len(client.session.suggestions) <= KEPT_A_DOCUMENT
        assert resident_mb() - halfway < 12, "memory is flat"
