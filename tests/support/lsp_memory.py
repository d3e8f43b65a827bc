"""A language client connected to the server within one process: real framing and real JSON, no pipes, about 10 ms a session."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from dlsp.server import build_server, run_server
from dlsp.session import Session
from dlsp.settings import Settings
from scripted_backend import ScriptedBackend

URI = "file:///code/src/a.py"
CAPABILITIES: dict[str, Any] = {
    "general": {"positionEncodings": ["utf-16"]},
    "textDocument": {"inlineCompletion": {}, "completion": {"completionItem": {"documentationFormat": ["markdown"]}}},
}


class MemoryClient:
    """Every message from the server is kept in order in `messages`; requests in `leave` are not answered, those in `refuse` with an
    error. Awaiting `ask` gives the result, or raises on an error."""

    def __init__(self, session: Session, backend: ScriptedBackend) -> None:
        self.session = session
        self.backend = backend
        self.messages: list[dict[str, Any]] = []
        self.answers: Counter[Any] = Counter()
        self.sent = 0
        self.configuration: Any = None
        self.refuse: set[str] = set()
        self.leave: set[str] = set()
        self.server = build_server(session)
        self._reader = asyncio.StreamReader()
        self._buffer = b""
        self._waiting: dict[Any, asyncio.Future[dict[str, Any]]] = {}
        self._next_id = 0
        self._changed = asyncio.Event()
        self.run = asyncio.create_task(run_server(self.server, session, self._reader, self))

    # What the server writes to.

    def write(self, data: bytes, /) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            header, _, rest = self._buffer.partition(b"\r\n\r\n")
            length = next(int(line.partition(b":")[2]) for line in header.split(b"\r\n") if line.lower().startswith(b"content-length"))
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            self._take(json.loads(rest[:length]))

    def close(self) -> None:
        pass

    def _take(self, message: dict[str, Any]) -> None:
        self.messages.append(message)
        if "method" in message and "id" in message:
            if message["method"] in self.leave:
                self._changed.set()
                return
            result = [self.configuration for _ in message["params"]["items"]] if message["method"] == "workspace/configuration" else None
            answer = {"error": {"code": -32601, "message": "no"}} if message["method"] in self.refuse else {"result": result}
            self.send({"jsonrpc": "2.0", "id": message["id"], **answer})
        elif "id" in message:
            self.answers[message["id"]] += 1
            if (future := self._waiting.get(message["id"])) and not future.done():
                future.set_result(message)
        self._changed.set()

    # What a test says.

    def send(self, message: Any) -> None:
        self.sent += 1
        body = json.dumps(message).encode()
        self._reader.feed_data(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    def hang_up(self) -> None:
        self._reader.feed_eof()

    def notify(self, method: str, params: Any = None) -> None:
        self.send({"jsonrpc": "2.0", "method": method, "params": params})

    def request(self, method: str, params: Any = None) -> int:
        self._next_id += 1
        self._waiting[self._next_id] = asyncio.get_running_loop().create_future()
        self.send({"jsonrpc": "2.0", "id": self._next_id, "method": method, "params": params})
        return self._next_id

    def cancel(self, request: int) -> None:
        self.notify("$/cancelRequest", {"id": request})

    async def answer(self, request: int, seconds: float = 5.0) -> dict[str, Any]:
        async with asyncio.timeout(seconds):
            return await self._waiting[request]

    async def result(self, request: int, seconds: float = 5.0) -> Any:
        message = await self.answer(request, seconds)
        assert "error" not in message, message
        return message["result"]

    async def ask(self, method: str, params: Any = None) -> Any:
        return await self.result(self.request(method, params))

    async def until(self, condition: Callable[[], Any], what: str, seconds: float = 5.0) -> Any:
        try:
            async with asyncio.timeout(seconds):
                while not (value := condition()):
                    self._changed.clear()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._changed.wait(), 0.005)
                return value
        except TimeoutError:
            raise AssertionError(f"no {what} within {seconds} s") from None

    async def initialize(
        self, *, options: Any = None, capabilities: dict[str, Any] | None = None, root: str = "file:///code"
    ) -> dict[str, Any]:
        params = {
            "processId": None,
            "rootUri": root,
            # Their texts are short, too.
            "initializationOptions": {"minCharacters": 1, **(options or {})} if isinstance(options, dict | None) else options,
            "capabilities": CAPABILITIES if capabilities is None else capabilities,
        }
        result = await self.ask("initialize", params)
        self.notify("initialized", {})
        return result["capabilities"]

    def open(self, text: str, *, uri: str = URI, language: str = "python", version: int = 1) -> None:
        self.notify("textDocument/didOpen", {"textDocument": {"uri": uri, "languageId": language, "version": version, "text": text}})

    def change(self, *changes: Any, version: int, uri: str = URI) -> None:
        self.notify("textDocument/didChange", {"textDocument": {"uri": uri, "version": version}, "contentChanges": list(changes)})

    def insert(self, line: int, character: int, text: str, *, version: int, uri: str = URI) -> None:
        place = {"line": line, "character": character}
        self.change({"range": {"start": place, "end": place}, "text": text}, version=version, uri=uri)

    def ghost(self, line: int, character: int, *, kind: Any = 2, uri: str = URI, **context: Any) -> int:
        """Ask for ghost text; returns the id of the request."""
        place = {"line": line, "character": character}
        params = {"textDocument": {"uri": uri}, "position": place, "context": {"triggerKind": kind, **context}}
        return self.request("textDocument/inlineCompletion", params)

    async def texts(self, line: int, character: int, **more: Any) -> list[str]:
        """The texts that are offered as ghost text at a place."""
        result = await self.result(self.ghost(line, character, **more))
        return [item["insertText"] for item in result["items"]]

    async def popup(self, line: int, character: int, *, kind: int = 1, uri: str = URI) -> list[dict[str, Any]]:
        place = {"line": line, "character": character}
        params = {"textDocument": {"uri": uri}, "position": place, "context": {"triggerKind": kind}}
        return (await self.ask("textDocument/completion", params))["items"]

    def said(self, method: str) -> list[Any]:
        return [message.get("params") for message in self.messages if message.get("method") == method]

    @property
    def statuses(self) -> list[dict[str, Any]]:
        return self.said("dlsp/status")

    @property
    def reason(self) -> str:
        """The reason of the latest answer."""
        return self.statuses[-1]["reason"]

    async def ready(self) -> None:
        await self.until(lambda: not self.session.status.loading, "model")


@contextlib.asynccontextmanager
async def memory_client(backend: ScriptedBackend | None = None, *, config_file: Path | None = None) -> AsyncIterator[MemoryClient]:
    """A client whose server uses `backend`, not yet initialized. Ends with `shutdown` and `exit`, which must succeed."""
    backend = backend or ScriptedBackend()

    def create(settings: Settings) -> ScriptedBackend:
        return backend

    client = MemoryClient(Session(create, config_file=config_file), backend)
    try:
        yield client
    finally:
        if not client.run.done():
            client.hang_up()
        async with asyncio.timeout(5):
            await client.run


@contextlib.asynccontextmanager
async def session_with(backend: ScriptedBackend, text: str, *, options: Any = None, **more: Any) -> AsyncIterator[MemoryClient]:
    """An initialized client with one Python document open and the model ready. There is no debounce unless `options` ask for it."""
    async with memory_client(backend) as client:
        await client.initialize(options={"debounceMs": 0, **(options or {})}, **more)
        client.open(text)
        await client.ready()
        yield client
