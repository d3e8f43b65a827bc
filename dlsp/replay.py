"""Run a recorded session again, through a real server within this process, and compare its answers with the recorded ones.

What the editor said comes from the trace, in its order; the engine's answers do too, unless the settings' own engine is wanted.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Literal

import msgspec

from dlsp.backends.base import Backend
from dlsp.recording import VERSION, Frames, Line
from dlsp.server import build_server, run_server
from dlsp.session import Session
from dlsp.settings import Settings
from engine import errors
from engine.api import InfillRequest, InfillResult, Status, empty_result
from engine.errors import ConfigError, DlspError, HostError

ANSWER_SECONDS = 10.0
"""How long an answer that the trace has may take before the replay goes on without it."""
LOADING_SECONDS = 120.0
_INTERNAL_ERROR = -32603


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`fast` leaves out the pauses of the trace but keeps its order. `backend`: the recorded engine, or that of the settings,
    which `create_backend` makes; it is one on this machine in any case."""

    fast: bool = False
    backend: Literal["recorded", "settings"] = "recorded"
    create_backend: Callable[[Settings], Backend] | None = None


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A request whose answer is not the recorded one; `line` is its line in the trace."""

    line: int
    method: str
    recorded: Any
    got: Any


class Report(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How a replay went. `unanswered` are requests that the trace has an answer to and this run has none; `crashes` are answers that
    say the server failed, and the end of the server before the end of the trace. Latencies are milliseconds of inline completions."""

    requests: int = 0
    answers: int = 0
    unanswered: int = 0
    crashes: int = 0
    p50: float = 0.0
    p95: float = 0.0
    different: tuple[Difference, ...] = ()


def read(path: Path) -> list[Line]:
    """The lines of a trace; one that was cut off in the middle of its last line is taken without it. Raises ConfigError."""
    try:
        raw = path.read_bytes().splitlines()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}.", "Name a file that `dlsp serve --record` wrote.") from error
    lines: list[Line] = []
    for number, text in enumerate(raw, 1):
        try:
            lines.append(msgspec.convert(json.loads(text), Line))
        except (ValueError, msgspec.ValidationError) as error:
            if number == len(raw) and lines:
                break
            raise ConfigError(
                f"{path} is no trace: line {number} is not valid.", "Name a file that `dlsp serve --record` wrote."
            ) from error
    first = lines[0].message if lines and lines[0].speaker == "trace" else None
    if not isinstance(first, dict) or first.get("version") != VERSION:
        raise ConfigError(f"{path} is no trace of version {VERSION}.", "Name a file that this version's `dlsp serve --record` wrote.")
    return lines


async def replay(lines: list[Line], plan: Plan) -> Report:
    """Run a trace again. Raises ConfigError if its engine is wanted and `plan` does not say how to make one."""
    recorded = _RecordedEngine(lines)
    if plan.backend == "settings" and plan.create_backend is None:
        raise ConfigError("This replay needs an engine.", "Say how to make one.")
    create = plan.create_backend if plan.backend == "settings" else None
    # Whoever hands a trace on must not be able to say where the text in it, or beside it on this disk, is sent.
    session = Session(
        (lambda settings: create(msgspec.structs.replace(settings, backend="local"))) if create else lambda settings: recorded
    )
    run = _Run(lines, session, recorded)
    try:
        await run.go(plan)
    finally:
        await run.end()
    return run.report()


class _RecordedEngine:
    """Answers as the trace's engine did, each answer when the replay has come to the line that has it.

    A request that the trace has not is answered as the next one of the same document was; where there is none, with nothing.
    """

    name = "recorded"

    def __init__(self, lines: list[Line]) -> None:
        self._waiting: dict[str, deque[int]] = defaultdict(deque)
        self._by_document: dict[str, deque[int]] = defaultdict(deque)
        self._messages: dict[int, Any] = {}
        self._reached: dict[int, asyncio.Event] = {}
        self._taken: set[int] = set()
        self._states: asyncio.Queue[Status | None] = asyncio.Queue()
        self.has_states = any(line.speaker == "status" for line in lines)
        for number, line in enumerate(lines):
            if line.speaker == "backend":
                request = msgspec.convert(line.message["request"], InfillRequest)
                self._waiting[_key(request)].append(number)
                self._by_document[request.document].append(number)
                self._messages[number] = line.message
                self._reached[number] = asyncio.Event()

    def reach(self, number: int, line: Line) -> None:
        """The replay is at a line of the engine's."""
        if line.speaker == "status":
            self.publish(msgspec.convert(line.message, Status))
        else:
            self._reached[number].set()

    def publish(self, status: Status) -> None:
        """The engine's next state."""
        self._states.put_nowait(status)

    async def infill(self, request: InfillRequest) -> InfillResult:
        """The recorded answer. Raises what the engine raised then."""
        number = self._take(request)
        if number is None:
            return empty_result("complete", "empty_output", "recorded", "cpu")
        await self._reached[number].wait()
        message = self._messages[number]
        if "result" in message:
            return msgspec.convert(message["result"], InfillResult)
        if message["error"] == "cancelled":
            # As it was: the editor has lost interest by now, and its cancellation is on its way.
            await asyncio.Event().wait()
        kind = getattr(errors, message["error"], None)
        raise (kind if isinstance(kind, type) and issubclass(kind, DlspError) else HostError)("It failed when it was recorded, too.")

    async def watch(self) -> AsyncIterator[Status]:
        """The recorded states."""
        while (status := await self._states.get()) is not None:
            yield status

    async def close(self) -> None:
        """No more states."""
        self._states.put_nowait(None)

    def _take(self, request: InfillRequest) -> int | None:
        for candidates in (self._waiting[_key(request)], self._by_document[request.document]):
            while candidates:
                if (number := candidates.popleft()) not in self._taken:
                    self._taken.add(number)
                    return number
        return None


class _Run:
    """One replay: a server, and the editor's side of the conversation."""

    def __init__(self, lines: list[Line], session: Session, recorded: _RecordedEngine) -> None:
        self._lines = lines
        self._session = session
        self._engine = recorded
        self._frames = Frames()
        self._reader = asyncio.StreamReader()
        self._changed = asyncio.Event()
        self._got: dict[Any, Any] = {}
        self._asked: dict[Any, tuple[int, str]] = {}
        self._sent_at: dict[Any, float] = {}
        self._latencies: list[float] = []
        self._crashes = 0
        self._missing: set[Any] = set()
        self._expected = {
            line.message["id"]: line.message
            for line in lines
            if line.speaker == "server" and isinstance(line.message, dict) and "id" in line.message and "method" not in line.message
        }
        self._replies = _replies(lines)
        self._server = asyncio.create_task(run_server(build_server(session), session, self._reader, self))

    # What the server writes to.

    def write(self, data: bytes, /) -> None:
        for message in self._frames.feed(data):
            if "method" in message:
                if "id" in message:
                    self._reply(message)
            else:
                self._take(message)

    def close(self) -> None:
        pass

    async def go(self, plan: Plan) -> None:
        """Go through the trace, line by line."""
        began, own_engine = time.monotonic(), plan.backend == "recorded"
        for number, line in enumerate(self._lines):
            if self._server.done():
                self._crashes += not _ends(self._lines[:number])
                return
            if not plan.fast:
                await asyncio.sleep(max(0.0, began + line.t - time.monotonic()))
            if line.speaker == "client":
                await self._say(number, line.message, plan)
            elif line.speaker == "server":
                await self._await(line.message)
            elif line.speaker in ("backend", "status") and own_engine:
                self._engine.reach(number, line)
                # The server has as much time to hear of it as it had then: a turn or two of its loop.
                await asyncio.sleep(0)
        for request in list(self._asked):
            await self._await({"id": request})

    async def end(self) -> None:
        """Hang up, and wait until the server has put everything away."""
        self._reader.feed_eof()
        try:
            await self._server
        except (OSError, RuntimeError):
            self._crashes += 1

    def report(self) -> Report:
        """How it went."""
        different = []
        for request, (number, method) in self._asked.items():
            if request in self._got and request in self._expected and (pair := _differ(self._expected[request], self._got[request])):
                different.append(Difference(line=number + 1, method=method, recorded=pair[0], got=pair[1]))
        ordered = sorted(self._latencies)
        return Report(
            requests=len(self._asked),
            answers=len(self._got),
            unanswered=sum(request in self._expected and request not in self._got for request in self._asked),
            crashes=self._crashes,
            p50=round(ordered[len(ordered) // 2], 1) if ordered else 0.0,
            p95=round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], 1) if ordered else 0.0,
            different=tuple(different),
        )

    async def _say(self, number: int, message: Any, plan: Plan) -> None:
        if isinstance(message, dict) and "method" not in message:
            # An answer to the server. It has asked under another id this time, and has been answered already.
            return
        if isinstance(message, dict) and message["method"] == "initialize":
            message = _with_settings(message, self._lines[0].message.get("settings"))
        if isinstance(message, dict) and isinstance(message.get("id"), str | int):
            self._asked[message["id"]] = (number, str(message["method"]))
            self._sent_at[message["id"]] = time.perf_counter()
        body = json.dumps(message).encode()
        self._reader.feed_data(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        # So that what belongs to this message happens before the next one, as it did then.
        for _ in range(3):
            await asyncio.sleep(0)
        if isinstance(message, dict) and message["method"] == "initialized":
            if plan.backend == "settings":
                await self._session.wait_until_loaded(LOADING_SECONDS)
            elif not self._engine.has_states:
                self._engine.publish(Status(state="ready", model="recorded", device="cpu"))

    async def _await(self, message: Any) -> None:
        """Wait until the server has given an answer that the trace has at this place."""
        request = message.get("id") if isinstance(message, dict) and "method" not in message else None
        if request not in self._asked or request in self._missing:
            return
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                while request not in self._got and not self._server.done():
                    self._changed.clear()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._changed.wait(), 0.2)
        except TimeoutError:
            self._missing.add(request)

    def _take(self, message: dict[str, Any]) -> None:
        request = message.get("id")
        self._got[request] = message
        if (error := message.get("error")) and error.get("code") == _INTERNAL_ERROR:
            self._crashes += 1
        if self._asked.get(request, (0, ""))[1] == "textDocument/inlineCompletion":
            self._latencies.append((time.perf_counter() - self._sent_at[request]) * 1000)
        self._changed.set()

    def _reply(self, message: dict[str, Any]) -> None:
        """Answer a request of the server's as the editor did when it was asked the same for the n-th time."""
        waiting = self._replies.get(message["method"])
        reply = waiting.popleft() if waiting else {"result": None}
        body = json.dumps({"jsonrpc": "2.0", "id": message["id"], **reply}).encode()
        self._reader.feed_data(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))


def _key(request: InfillRequest) -> str:
    """What makes two requests the same question: all but who asks, and how patiently."""
    plain = msgspec.structs.replace(request, client="", version=0, limits=msgspec.structs.replace(request.limits, deadline_ms=0))
    return msgspec.json.encode(plain).decode()


def _replies(lines: list[Line]) -> dict[str, deque[dict[str, Any]]]:
    """What the editor answered to the server's requests, by method, in the order of the requests."""
    answers = {
        line.message.get("id"): {key: line.message[key] for key in ("result", "error") if key in line.message}
        for line in lines
        if line.speaker == "client" and isinstance(line.message, dict) and "method" not in line.message
    }
    replies: dict[str, deque[dict[str, Any]]] = defaultdict(deque)
    for line in lines:
        if line.speaker == "server" and isinstance(line.message, dict) and {"id", "method"} <= line.message.keys():
            replies[line.message["method"]].append(answers.get(line.message["id"]) or {"result": None})
    return replies


def _with_settings(message: dict[str, Any], file: Any) -> dict[str, Any]:
    """`initialize` with the settings of the user's file, as they were, below those that the editor sent."""
    params = message.get("params")
    if not file or not isinstance(file, dict) or not isinstance(params, dict):
        return message
    own = params.get("initializationOptions")
    own = own.get("dlsp", own) if isinstance(own, dict) else {}
    return {**message, "params": {**params, "initializationOptions": {**file, **(own if isinstance(own, dict) else {})}}}


def _differ(recorded: dict[str, Any], got: dict[str, Any]) -> tuple[Any, Any] | None:
    """The two answers, if they are not the same. Of errors only the code counts."""
    pair = tuple({"error": answer["error"].get("code")} if "error" in answer else answer.get("result") for answer in (recorded, got))
    return None if pair[0] == pair[1] else (pair[0], pair[1])


def _ends(lines: list[Line]) -> bool:
    """Whether the editor has said goodbye in a trace."""
    last = itertools.islice(reversed(lines), 20)
    return any(line.speaker == "client" and isinstance(line.message, dict) and line.message.get("method") == "exit" for line in last)
