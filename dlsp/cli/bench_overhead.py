"""What the language server itself costs at a keystroke: real code in a workspace, typed character by character, with an engine that
answers at once. Counts processor time of the server's thread, so that a busy machine is not measured; knows no model.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from dlsp.server import build_server, run_server
from dlsp.session import Session
from engine.api import Fill, InfillRequest, InfillResult, Status

_PACKAGE = Path(__file__).resolve().parent.parent
_HEAD = "answer.py"
_OTHERS_OPEN = 4
_UNMEASURED = 20
_INDEX_SECONDS = 30.0
_ANSWER_SECONDS = 30.0
_TYPED = (
    "result = session.find(snapshot, document, at)",
    "for number, line in enumerate(lines):",
    "    if number > limit and line.strip():",
    "        yield Point(number, len(line)), line",
    "return [value for value in values if value]",
)
_REPLY = "value_{0}"
_REPLY_LINES = ("first_{0} = read(source)", "if first_{0} is None:", "    return None", "return first_{0}.strip()")


class Keystroke(msgspec.Struct, frozen=True, kw_only=True):
    """What one typed character cost, in milliseconds of processor time: the change, the question and its answer.

    `asked`: the model was asked. Otherwise the answer was known, or there was a reason not to ask.
    """

    cost_ms: float
    asked: bool


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How many lines the document has, and how many characters are typed into it."""

    lines: int = 5_000
    keystrokes: int = 200
    on_progress: Callable[[int, int], None] = lambda done, total: None


def measure(plan: Plan) -> list[Keystroke]:
    """Type into one document. Raises TimeoutError if the server does not answer."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve() / "workspace"
        shutil.copytree(_PACKAGE, root, ignore=shutil.ignore_patterns("__pycache__"))
        sources = [(path.name, path.as_uri(), path.read_text("utf-8")) for path in sorted(root.rglob("*.py"))]
        return asyncio.run(_measure(plan, root, [_Source(*source) for source in sources]))


class _Source(NamedTuple):
    name: str
    uri: str
    text: str


async def _measure(plan: Plan, root: Path, sources: Sequence[_Source]) -> list[Keystroke]:
    engine = _InstantEngine()
    client = _Client(Session(lambda settings: engine))
    try:
        await client.begin(root)
        for source in sources[:_OTHERS_OPEN]:
            client.open(source.uri, source.text)
        uri = f"{root.as_uri()}/typed.py"
        client.open(uri, _text(sources, plan.lines))
        await client.quiet()
        return await _type(client, uri, plan, engine)
    finally:
        await client.end()


async def _type(client: _Client, uri: str, plan: Plan, engine: _InstantEngine) -> list[Keystroke]:
    strokes: list[Keystroke] = []
    characters = itertools.cycle(character for row in _TYPED for character in (*row, "\n"))
    line, column = plan.lines // 2, 0
    client.change(uri, line, column, "\n")
    # The first keystrokes load grammars and fill caches, once in a session.
    for number in range(-_UNMEASURED, plan.keystrokes):
        character, asked, began = next(characters), engine.requests, time.thread_time()
        client.change(uri, line, column, character)
        line, column = (line + 1, 0) if character == "\n" else (line, column + 1)
        await client.ghost(uri, line, column)
        cost_ms = 1000 * (time.thread_time() - began)
        if number >= 0:
            strokes.append(Keystroke(cost_ms=cost_ms, asked=engine.requests > asked))
            plan.on_progress(number + 1, plan.keystrokes)
    return strokes


def _text(sources: Sequence[_Source], lines: int) -> str:
    """So many lines of real code: one file with its imports, and what the others have below theirs."""
    head, *more = sorted(sources, key=lambda source: source.name != _HEAD)
    bodies = (row for source in itertools.cycle(more) for row in source.text.splitlines() if not row.startswith(("from ", "import ")))
    return "\n".join(itertools.islice(itertools.chain(head.text.splitlines(), bodies), lines)) + "\n"


def _block(row: str) -> str:
    """Lines that go on from a row: behind what opens a block on lines of their own."""
    indentation = row[: len(row) - len(row.lstrip())]
    if not row.strip():
        return f"\n{indentation}".join(_REPLY_LINES)
    return "".join(f"\n{indentation}    {reply}" for reply in _REPLY_LINES)


class _InstantEngine:
    """Answers every request at once, and each differently, so that nearly every keystroke needs a new one."""

    name = "instant"

    def __init__(self) -> None:
        self.requests = 0
        self._open = asyncio.Event()

    async def infill(self, request: InfillRequest) -> InfillResult:
        self.requests += 1
        text = _REPLY if request.holes[0].max_lines == 1 else _block(request.prefix.rpartition("\n")[2])
        fill = Fill(text=text.format(self.requests), confidence=0.9, tokens=8)
        return InfillResult(fills=(fill,), finish="complete")

    async def watch(self) -> AsyncIterator[Status]:
        yield Status(state="ready", model=self.name, device="cpu")
        await self._open.wait()

    async def close(self) -> None:
        self._open.set()


class _Client:
    """An editor within this process. What it does itself is little: it makes the messages and looks for the answer's id."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._reader = asyncio.StreamReader()
        self._answered = asyncio.Event()
        self._wanted = b""
        self._messages = itertools.count(1)
        self._run = asyncio.create_task(run_server(build_server(session), session, self._reader, self))

    def write(self, data: bytes, /) -> None:
        if self._wanted and self._wanted in data:
            self._answered.set()

    def close(self) -> None:
        self._answered.set()

    async def begin(self, root: Path) -> None:
        options = {"debounceMs": 0, "minConfidence": 0.0, "backend": "local"}
        params: dict[str, Any] = {
            "processId": None,
            "rootUri": root.as_uri(),
            "initializationOptions": options,
            "capabilities": {"textDocument": {"inlineCompletion": {}}},
        }
        await self._ask("initialize", params)
        self._send("initialized", {})

    def open(self, uri: str, text: str) -> None:
        self._send("textDocument/didOpen", {"textDocument": {"uri": uri, "languageId": "python", "version": 0, "text": text}})

    def change(self, uri: str, line: int, character: int, text: str) -> None:
        place = {"line": line, "character": character}
        change = {"range": {"start": place, "end": place}, "text": text}
        self._send("textDocument/didChange", {"textDocument": {"uri": uri, "version": next(self._messages)}, "contentChanges": [change]})

    async def ghost(self, uri: str, line: int, character: int) -> None:
        place = {"line": line, "character": character}
        await self._ask("textDocument/inlineCompletion", {"textDocument": {"uri": uri}, "position": place, "context": {"triggerKind": 2}})

    async def quiet(self) -> None:
        """Wait until the model is ready and the workspace is read: both happen once, in the background."""
        async with asyncio.timeout(_INDEX_SECONDS):
            await self._session.wait_until_loaded(_INDEX_SECONDS)
            assert self._session.workspace is not None, "it is read as soon as the client says `initialized`"
            await self._session.workspace.settled()

    async def end(self) -> None:
        self._reader.feed_eof()
        await self._run

    async def _ask(self, method: str, params: Any) -> None:
        number = next(self._messages)
        self._wanted = b'"id": %d' % number
        self._answered.clear()
        self._send(method, params, id=number)
        async with asyncio.timeout(_ANSWER_SECONDS):
            await self._answered.wait()

    def _send(self, method: str, params: Any, **more: int) -> None:
        body = json.dumps({"jsonrpc": "2.0", "method": method, "params": params, **more}).encode()
        self._reader.feed_data(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
