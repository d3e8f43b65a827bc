"""Keystrokes through the whole path: a language server over standard input and output, and the engine host that it starts.

A client made of plain JSON, with a private folder for sockets and settings, so that neither the user's own host nor the
user's settings take part. Knows the protocol by its messages only, and nothing of models.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.bench import memory
from engine.bench.data import Case
from engine.bench.keystroke import KeystrokePlan, Sample
from engine.bench.memory import Memory
from engine.bench.rpc import Command, RpcClient
from engine.errors import HostError

LOAD_SECONDS = 300.0
AUTOMATIC, INVOKED = 2, 1

_PRIVATE = ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """Which server (`arguments`, `environment`), the settings it gets from its client, and whether a person asks or the editor does."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    settings: Mapping[str, Any]
    trigger: int = AUTOMATIC


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """Memory after the measurement, and what the server said about its engine. `host` is None where it cannot be seen."""

    server: Memory | None
    host: Memory | None
    model: str
    device: str
    ready_ms: float

    def data(self) -> dict[str, Any]:
        """These facts for a JSON line."""
        return {
            "server": self.server,
            "host": self.host,
            "ready_ms": round(self.ready_ms, 1),
            "model": {"name": self.model, "device": self.device},
        }

    def notes(self) -> list[str]:
        """These facts as sentences for people."""
        held = " and ".join(f"{name} {_held(m)}" for name, m in (("server", self.server), ("host", self.host)))
        return [
            f"{self.model} on {self.device}, ready {self.ready_ms / 1000:.1f} s after `initialize`.",
            f"Memory: {held}.",
            "Steps, forwards and reuse do not show from outside: see `--through engine`.",
        ]


@contextlib.contextmanager
def private_place(environment: Mapping[str, str]) -> Iterator[tuple[dict[str, str], str]]:
    """An environment with folders of its own, and the mark in it by which all processes that inherit it can be found.

    Whatever still runs with that mark in the end is ended: those are hosts that our servers started.
    """
    # Short, because a socket's path may have 103 bytes only.
    folder = tempfile.mkdtemp(prefix="dlsp-b-")
    mark = f"DLSP_BENCH_RUN={secrets.token_hex(8)}"
    name, _, value = mark.partition("=")
    own = {**environment, name: value}
    for number, variable in enumerate(_PRIVATE):
        place = Path(folder, str(number))
        place.mkdir(mode=0o700)
        own[variable] = str(place)
    try:
        yield own, mark
    finally:
        for pid in list(memory.marked(mark)):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGTERM)
        shutil.rmtree(folder, ignore_errors=True)


def initialize(client: RpcClient, settings: Mapping[str, Any], root: str | None = None) -> tuple[str, float]:
    """The position encoding agreed on, and the clock when `initialize` was answered. `root`: URI of a workspace."""
    params = {
        "processId": os.getpid(),
        "rootUri": root,
        "capabilities": {
            "general": {"positionEncodings": ["utf-32", "utf-16"]},
            "textDocument": {"inlineCompletion": {"dynamicRegistration": False}, "synchronization": {"didSave": False}},
            "window": {"workDoneProgress": True},
        },
        "initializationOptions": dict(settings),
    }
    result, arrived = client.request("initialize", params)
    capabilities = result.get("capabilities", {}) if isinstance(result, dict) else {}
    # An empty object is an offer, too.
    if capabilities.get("inlineCompletionProvider") in (None, False):
        raise HostError("The language server offers no inline completion.", "Run `dlsp doctor`.")
    return str(capabilities.get("positionEncoding") or "utf-16"), arrived


def measure(cases: Sequence[Case], plan: KeystrokePlan, server: ServerPlan) -> tuple[list[Sample], ServerFacts]:
    """Type at every place through a server of its own. Each place is a document that is opened one character before it."""
    with private_place(server.environment) as (environment, mark):
        client = RpcClient(Command(server.arguments, environment, tempfile.gettempdir()))
        try:
            encoding, _ = initialize(client, server.settings)
            began = time.perf_counter()
            client.notify("initialized", {})
            ready = wait_ready(client, encoding, cases[0].prefix, cases[0].suffix)
            ready_ms = 1000 * (time.perf_counter() - began)
            samples: list[Sample] = []
            for number, case in enumerate([*cases[:1], *cases]):
                visited = _visit(
                    client, case, plan.warm, _Document(f"file:///bench/{number}/{Path(case.path).name}", encoding, server.trigger)
                )
                samples += visited if number else []
                plan.on_progress(number, len(cases))
            host = next((m for pid in memory.marked(mark) if pid != client.pid and (m := memory.of_process(pid)) is not None), None)
            facts = ServerFacts(memory.of_process(client.pid), host, str(ready.get("model", "")), str(ready.get("device", "")), ready_ms)
            with contextlib.suppress(HostError):
                client.request("shutdown", {}, 10)
                client.notify("exit", {})
            return samples, facts
        finally:
            client.close()


def wait_ready(client: RpcClient, encoding: str, before: str, after: str) -> dict[str, Any]:
    """The status once the model is loaded. Opens a document and asks at a place in it: the server may need one to begin."""
    uri = "file:///bench/start.py"
    client.notify("textDocument/didOpen", {"textDocument": {"uri": uri, "languageId": "python", "version": 1, "text": before + after}})
    client.request("textDocument/inlineCompletion", _ask(uri, before, encoding, INVOKED))
    status = client.wait_notification("dlsp/status", lambda s: s.get("state") in ("ready", "idle", "error"), LOAD_SECONDS)
    if status["state"] == "error":
        raise HostError(f"The engine cannot be used: {status.get('message') or status.get('reason') or 'no reason given'}")
    return dict(status)


def _held(memory_of: Memory | None) -> str:
    if memory_of is None:
        return "not visible"
    share = f" ({memory_of.pss_mb:.1f} MB proportional)" if memory_of.pss_mb is not None else ""
    return f"{memory_of.rss_mb:.1f} MB resident{share}"


@dataclass(frozen=True, slots=True)
class _Document:
    uri: str
    encoding: str
    trigger: int


def _visit(client: RpcClient, case: Case, warm: int, document: _Document) -> list[Sample]:
    """Open the document without the last character of the prefix; every keystroke from there on is one change and one request."""
    uri, encoding = document.uri, document.encoding
    typed, text_after = case.prefix[:-1], case.suffix
    opened = {"uri": uri, "languageId": "python", "version": 1, "text": typed + text_after}
    client.notify("textDocument/didOpen", {"textDocument": opened})
    samples: list[Sample] = []
    before = ""
    for number, character in enumerate(case.prefix[-1] + case.middle[:warm]):
        position = _position(typed, encoding)
        change = {"range": {"start": position, "end": position}, "text": character}
        typed += character
        client.notifications.clear()
        began = time.perf_counter()
        client.notify("textDocument/didChange", {"textDocument": {"uri": uri, "version": number + 2}, "contentChanges": [change]})
        result, arrived = client.request("textDocument/inlineCompletion", _ask(uri, typed, encoding, document.trigger))
        text = _text(result, typed, encoding)
        reasons = [n["params"].get("reason", "") for n in client.notifications if n["method"] == "dlsp/status"]
        samples.append(
            Sample(
                warm=number > 0,
                latency_ms=1000 * (arrived - began),
                empty=not text,
                typed_through=bool(text) and before.startswith(character) and before[len(character) :] == text,
                reason="" if text else next((r for r in reversed(reasons) if r), "unknown"),
            )
        )
        before = text
    client.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
    return samples


def _ask(uri: str, before: str, encoding: str, trigger: int) -> dict[str, Any]:
    return {"textDocument": {"uri": uri}, "position": _position(before, encoding), "context": {"triggerKind": trigger}}


def _position(before: str, encoding: str) -> dict[str, int]:
    """The protocol's position behind the text `before`."""
    line = before.rsplit("\n", 1)[-1]
    units = {"utf-32": len(line), "utf-8": len(line.encode())}.get(encoding, len(line.encode("utf-16-le")) // 2)
    return {"line": before.count("\n"), "character": units}


def _text(result: Any, typed: str, encoding: str) -> str:
    """What the first item would add behind the cursor; empty where there is none."""
    items = result.get("items", []) if isinstance(result, dict) else result or []
    if not items:
        return ""
    inserted = items[0]["insertText"]
    text = str(inserted["value"] if isinstance(inserted, dict) else inserted)
    line = typed.rsplit("\n", 1)[-1]
    span = items[0].get("range")
    # The range may begin before the cursor; what it covers there is text that stands already.
    if span:
        covered = next(
            (n for n in range(len(line) + 1) if _position(line[:n], encoding)["character"] >= span["start"]["character"]), len(line)
        )
        text = text.removeprefix(line[covered:])
    return text
