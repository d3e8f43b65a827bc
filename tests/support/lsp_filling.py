"""A client in memory that applies what a server asks it to, as an editor would, and a backend with texts for each hole."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from dlsp.session import Session
from dlsp.settings import Settings
from editor_model import EditorModel
from engine.api import Fill, InfillRequest, InfillResult
from lsp_memory import URI, MemoryClient
from scripted_backend import ScriptedBackend

FULL: dict[str, Any] = {
    "general": {"positionEncodings": ["utf-16"]},
    "window": {"workDoneProgress": True},
    "workspace": {
        "applyEdit": True,
        "workspaceEdit": {
            "documentChanges": True,
            "changeAnnotationSupport": {},
            "snippetEditSupport": True,
            "metadataSupport": True,
        },
    },
    "textDocument": {
        "inlineCompletion": {},
        "codeAction": {
            "dataSupport": True,
            "disabledSupport": True,
            "resolveSupport": {"properties": ["edit"]},
            "tagSupport": {"valueSet": [1]},
        },
    },
}
PLAIN: dict[str, Any] = {"workspace": {"applyEdit": True}}


def fills(*texts: str, others: Sequence[Sequence[str]] = (), confidence: float = 0.8) -> InfillResult:
    """A result with one text for each hole."""

    def made(each: Sequence[str]) -> tuple[Fill, ...]:
        return tuple(Fill(text=text, confidence=confidence, tokens=len(text.split())) for text in each)

    return InfillResult(fills=made(texts), finish="complete", others=tuple(made(other) for other in others), model="scripted")


def by_hole(*texts: str) -> Callable[[InfillRequest], InfillResult]:
    """Texts for the holes of the first request, in order; a request for fewer holes gets those again whose prefix it has."""
    known: dict[str, str] = {}

    def script(request: InfillRequest) -> InfillResult:
        if not known:
            keys = [request.prefix[-20:], *(hole.after[-20:] for hole in request.holes[:-1])]
            known.update(zip(keys, texts, strict=False))
        keys = [request.prefix[-20:], *(hole.after[-20:] for hole in request.holes[:-1])]
        return fills(*(known.get(key, "") for key in keys))

    return script


class FillingClient(MemoryClient):
    """`applying` says what it does when it is asked to apply an edit: `apply`, `refuse`, `fail`, or nothing at all."""

    def __init__(self, session: Session, backend: ScriptedBackend) -> None:
        super().__init__(session, backend)
        self.applying = "apply"
        self.editor = EditorModel("")
        self.version = 1
        self.uri = URI
        self.applied: list[dict[str, Any]] = []
        self.grants_progress = True

    def _take(self, message: dict[str, Any]) -> None:
        if message.get("method") == "workspace/applyEdit":
            self.messages.append(message)
            self._apply(message)
        elif message.get("method") == "window/workDoneProgress/create" and not self.grants_progress:
            self.messages.append(message)
        else:
            super()._take(message)

    def _apply(self, message: dict[str, Any]) -> None:
        if self.applying == "silent":
            return
        answer: dict[str, Any] = {"result": {"applied": True}}
        if self.applying == "refuse":
            answer = {"result": {"applied": False, "failureReason": "The file is read-only."}}
        elif self.applying == "fail":
            answer = {"error": {"code": -32603, "message": "no"}}
        else:
            self.put(message["params"]["edit"])
            self.applied.append(message["params"])
        self.send({"jsonrpc": "2.0", "id": message["id"], **answer})

    def put(self, edit: dict[str, Any]) -> None:
        """Apply an edit as an editor does, and tell the server so."""
        if "documentChanges" in edit:
            assert "changes" not in edit
            (change,) = edit["documentChanges"]
            assert change["textDocument"] == {"uri": self.uri, "version": self.version}, "an edit of another version"
            edits = change["edits"]
        else:
            ((uri, edits),) = edit["changes"].items()
            assert uri == self.uri
        self.editor.apply(*((each["range"], each["newText"] if "newText" in each else _plain(each["snippet"]["value"])) for each in edits))
        self.version += 1
        self.change({"text": self.editor.text}, version=self.version, uri=self.uri)

    def show(self, text: str, *, language: str = "python", uri: str = URI) -> None:
        """Open a document in this editor."""
        self.editor, self.uri = EditorModel(text), uri
        self.open(text, language=language, uri=uri)

    def command(self, name: str, **argument: Any) -> int:
        return self.request("workspace/executeCommand", {"command": name, "arguments": [{"uri": self.uri, **argument}]})

    async def run_command(self, name: str, **argument: Any) -> dict[str, Any]:
        result: dict[str, Any] = await self.result(self.command(name, **argument))
        await asyncio.sleep(0)
        return result

    def selection(self, text: str) -> dict[str, Any]:
        """The range of the first place where a text stands."""
        start = self.editor.text.index(text)
        at = dict(self.editor.places())
        return {"start": at[start], "end": at[start + len(text)]}

    @property
    def shown(self) -> list[str]:
        """What was told to the user in a box."""
        return [params["message"] for params in self.said("window/showMessage")]


def _plain(snippet: str) -> str:
    """A snippet without its stops."""
    out, depth, index = "", 0, 0
    while index < len(snippet):
        if snippet[index] == "\\":
            out, index = out + snippet[index + 1], index + 2
        elif snippet[index] == "$" and snippet[index + 1 : index + 2] == "{":
            index, depth = snippet.index(":", index) + 1, depth + 1
        elif snippet[index] == "$":
            index += 2
        elif snippet[index] == "}" and depth:
            index, depth = index + 1, depth - 1
        else:
            out, index = out + snippet[index], index + 1
    return out


@contextlib.asynccontextmanager
async def filling_client(
    script: Any, text: str, *, capabilities: dict[str, Any] | None = None, language: str = "python", options: Any = None, uri: str = URI
) -> AsyncIterator[FillingClient]:
    """An initialized client with one document open and the model ready."""
    backend = ScriptedBackend(script)

    def create(settings: Settings) -> ScriptedBackend:
        return backend

    session = Session(create)
    client = FillingClient(session, backend)
    try:
        await client.initialize(options={"debounceMs": 0, **(options or {})}, capabilities=FULL if capabilities is None else capabilities)
        client.show(text, language=language, uri=uri)
        await client.ready()
        yield client
        assert client.session.documents[uri].snapshot.text == client.editor.text, "the server's text is another one"
    finally:
        if not client.run.done():
            client.hang_up()
        async with asyncio.timeout(5):
            await client.run
