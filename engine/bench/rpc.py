"""A JSON-RPC client over a child process's standard input and output, for measuring a program from outside.

Speaks the framing only (Content-Length headers); what the methods mean is its callers' business. Every wait has a time limit.
"""

from __future__ import annotations

import contextlib
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import msgspec

from engine.errors import HostError

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Command:
    """A program to measure: its arguments, its whole environment and its working directory."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: str


class RpcClient:
    """One child process. Requests from the child are answered with null, so that it never waits for us.

    `started` is the clock (`time.perf_counter`) just before the process was started; every message carries the time at
    which its last byte was read. Raises HostError where the child cannot be started, ends, or is late.
    """

    def __init__(self, command: Command) -> None:
        self.started = time.perf_counter()
        try:
            self._process = subprocess.Popen(
                list(command.arguments),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=command.folder,
                env=dict(command.environment),
            )
        except OSError as error:
            raise HostError(f"{command.arguments[0]} cannot be started ({error.strerror}).", "Run `dlsp doctor`.") from error
        self._inbox: queue.Queue[tuple[Message | None, float]] = queue.Queue()
        self._number = 0
        self._writing = threading.Lock()
        self.notifications: list[Message] = []
        threading.Thread(target=self._read, name="rpc-reader", daemon=True).start()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def request(self, method: str, params: Mapping[str, Any], seconds: float = 60.0) -> tuple[Any, float]:
        """Send a request; its result and the clock when the answer was there."""
        self._number += 1
        number = self._number
        self._send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        message, arrived = self._wait(lambda m: m.get("id") == number and "method" not in m, seconds, method)
        if "error" in message:
            raise HostError(f"{method} failed: {message['error'].get('message', 'no message')}.", "Run `dlsp doctor`.")
        return message.get("result"), arrived

    def notify(self, method: str, params: Mapping[str, Any]) -> None:
        """Send a notification."""
        self._send({"jsonrpc": "2.0", "method": method, "params": params})

    def wait_notification(self, method: str, accept: Callable[[Any], bool], seconds: float) -> Any:
        """The params of the first notification, past ones included, that `accept` takes."""
        for message in self.notifications:
            if message["method"] == method and accept(message.get("params")):
                return message.get("params")
        message, _ = self._wait(lambda m: m.get("method") == method and accept(m.get("params")), seconds, method)
        return message.get("params")

    def close(self, seconds: float = 5.0) -> None:
        """Ask the child to end by closing its input, and make it where it does not."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait(self, accept: Callable[[Message], bool], seconds: float, what: str) -> tuple[Message, float]:
        deadline = time.perf_counter() + seconds
        while True:
            try:
                message, arrived = self._inbox.get(timeout=max(0.0, deadline - time.perf_counter()))
            except queue.Empty:
                raise HostError(f"The language server did not answer {what} within {seconds:g} seconds.", "Run `dlsp doctor`.") from None
            if message is None:
                raise HostError(f"The language server ended while {what} was awaited.", "Run `dlsp doctor`.")
            if "method" in message and "id" not in message:
                self.notifications.append(message)
            if accept(message):
                return message, arrived

    def _send(self, message: Mapping[str, Any]) -> None:
        body = msgspec.json.encode(message)
        assert self._process.stdin is not None
        try:
            with self._writing:
                self._process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
                self._process.stdin.flush()
        except OSError as error:
            raise HostError("The language server has ended.", "Run `dlsp doctor`.") from error

    def _read(self) -> None:
        pipe = self._process.stdout
        assert pipe is not None
        while (message := _message(pipe)) is not None:
            if "method" in message and "id" in message:
                with contextlib.suppress(HostError):
                    self._send({"jsonrpc": "2.0", "id": message["id"], "result": _answer(message)})
            else:
                self._inbox.put((message, time.perf_counter()))
        self._inbox.put((None, time.perf_counter()))


def _message(pipe: IO[bytes]) -> Message | None:
    """The next message; None at the end of the stream, or where it makes no sense."""
    size = -1
    while line := pipe.readline():
        if not line.strip():
            break
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            size = int(value)
    body = pipe.read(size) if size >= 0 else b""
    try:
        message = msgspec.json.decode(body)
    except msgspec.MsgspecError:
        return None
    return message if isinstance(message, dict) else None


def _answer(message: Message) -> Any:
    """Null, or a null for every item where the child asks for a list of settings."""
    params = message.get("params")
    items = params.get("items") if isinstance(params, dict) else None
    return [None] * len(items) if isinstance(items, list) else None
