"""A language client over stdio that hides nothing: real process, raw JSON-RPC, every message kept in order.

pytest-lsp and pygls would share code with the server under test, and answer or drop messages of their own accord.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DLSP = [sys.executable, "-P", "-m", "dlsp"]
WEIGHTS = ROOT / "engine" / "weights" / "nano"


def have_weights() -> bool:
    return (WEIGHTS / "config.json").exists() and any(WEIGHTS.glob("model*.safetensors"))


@contextlib.contextmanager
def home() -> Iterator[dict[str, str]]:
    """An environment whose every personal folder is a new one. Its path is short: a Unix socket's path may have 107 bytes.

    Engine hosts that were started in it are ended with it.
    """
    base = Path(tempfile.mkdtemp(prefix="dlsp-", dir="/tmp" if os.name == "posix" else None))
    env = {k: v for k, v in os.environ.items() if not k.startswith(("DLSP_", "XDG_", "PYTEST", "NVIM", "VIM"))}
    env |= {"HOME": str(base), "USERPROFILE": str(base), "TMPDIR": str(base / "t"), "OMP_NUM_THREADS": "2", "NO_COLOR": "1"}
    for name in ("CONFIG", "CACHE", "DATA", "STATE", "RUNTIME"):
        env[f"XDG_{name}_{'DIR' if name == 'RUNTIME' else 'HOME'}"] = str(base / name.lower())
    for folder in ("t", "config", "cache", "data", "state", "runtime"):
        (base / folder).mkdir(mode=0o700)
    try:
        yield env
    finally:
        for pid in host_pids(base):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(base, ignore_errors=True)


def host_pids(base: Path | str) -> list[int]:
    """Engine hosts whose HOME is `base`, found the hard way, so that it does not matter how they are started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (folder / "cmdline").read_bytes().split(b"\0")
            environment = (folder / "environ").read_bytes().split(b"\0")
            if any(b"engine.serve" in part for part in command) and f"HOME={base}".encode() in environment:
                found.append(int(folder.name))
    return sorted(found)


class Server:
    """One `dlsp serve` process and what it said. Use as a context manager; leaving it ends the process."""

    def __init__(self, env: dict[str, str], *, cwd: Path | None = None, command: list[str] | None = None) -> None:
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            command or [*DLSP, "serve", "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, cwd=cwd
        )
        self.messages: list[dict[str, Any]] = []
        self.stderr = bytearray()
        self.configuration: Any = None
        self._changed = threading.Condition()
        self._write = threading.Lock()
        self._next_id = 0
        for target in (self._read, self._read_stderr):
            threading.Thread(target=target, daemon=True).start()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(OSError):
                assert self.process.stdin
                self.process.stdin.close()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait(5)

    def initialize(self, options: dict[str, Any] | None = None, root: Path | None = None) -> dict[str, Any]:
        """`initialize` and `initialized`; returns the capabilities."""
        params = {
            "processId": os.getpid(),
            "rootUri": root.as_uri() if root else None,
            "workspaceFolders": [{"uri": root.as_uri(), "name": root.name}] if root else None,
            "initializationOptions": options,
            "capabilities": {
                "general": {"positionEncodings": ["utf-16"]},
                "window": {"workDoneProgress": True},
                "textDocument": {"inlineCompletion": {"dynamicRegistration": False}},
            },
        }
        answer = self.answer(self.request("initialize", params))
        self.notify("initialized", {})
        return answer["result"]["capabilities"]

    def open(self, path: Path, text: str, language: str = "python") -> str:
        """`didOpen`; returns the uri."""
        uri = path.as_uri()
        self.notify("textDocument/didOpen", {"textDocument": {"uri": uri, "languageId": language, "version": 1, "text": text}})
        return uri

    def change(self, uri: str, version: int, text: str) -> None:
        self.notify("textDocument/didChange", {"textDocument": {"uri": uri, "version": version}, "contentChanges": [{"text": text}]})

    def inline(self, uri: str, line: int, character: int, kind: int = 1) -> int:
        """Ask for ghost text (kind 1: invoked, 2: automatic); returns the id of the request."""
        position = {"line": line, "character": character}
        return self.request(
            "textDocument/inlineCompletion", {"textDocument": {"uri": uri}, "position": position, "context": {"triggerKind": kind}}
        )

    def ghost(self, uri: str, line: int, character: int, kind: int = 1, timeout: float = 60.0) -> list[str]:
        """The texts of an inline completion. Fails on an error answer."""
        answer = self.answer(self.inline(uri, line, character, kind), timeout)
        assert "error" not in answer, answer
        result = answer["result"] or []
        return [item["insertText"] for item in (result["items"] if isinstance(result, dict) else result)]

    def served(self, uri: str, line: int, character: int, timeout: float = 180.0) -> bool:
        """Whether the model answers, asked again while it loads. What it says is its own affair: it may have nothing to offer."""
        trouble = {"loading", "backend_error", "deadline", "superseded", "moved", "unknown_document"}
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            said = len(self.statuses())
            if self.ghost(uri, line, character):
                return True
            status = self.until(lambda said=said: next((s for s in self.statuses()[said:] if s["reason"]), None), "a reason")
            if status["reason"] not in trouble:
                return True
            time.sleep(0.1)
        return False

    def request(self, method: str, params: Any) -> int:
        self._next_id += 1
        self._send({"jsonrpc": "2.0", "id": self._next_id, "method": method, "params": params})
        return self._next_id

    def notify(self, method: str, params: Any) -> None:
        self._send({"jsonrpc": "2.0", "method": method, "params": params})

    def cancel(self, request: int) -> None:
        self.notify("$/cancelRequest", {"id": request})

    def answers(self, request: int) -> list[dict[str, Any]]:
        return [m for m in self.messages if m.get("id") == request and "method" not in m]

    def answer(self, request: int, timeout: float = 60.0) -> dict[str, Any]:
        return self.until(lambda: next(iter(self.answers(request)), None), f"an answer to request {request}", timeout)

    def said(self, method: str) -> list[Any]:
        """The params of every notification or request of this kind so far."""
        return [m.get("params") for m in list(self.messages) if m.get("method") == method]

    def statuses(self) -> list[dict[str, Any]]:
        return self.said("dlsp/status")

    def wait_for_status(self, state: str, timeout: float = 180.0, after: int = 0) -> dict[str, Any]:
        return self.until(lambda: next((s for s in self.statuses()[after:] if s["state"] == state), None), f"state {state}", timeout)

    def until(self, condition: Callable[[], Any], what: str, timeout: float = 60.0) -> Any:
        """The first truthy value of `condition`, which is asked again after every message."""
        end = time.monotonic() + timeout
        with self._changed:
            while not (value := condition()):
                left = end - time.monotonic()
                if left <= 0 or (self.process.poll() is not None and left < timeout - 1):
                    states = [(s["state"], s.get("reason")) for s in self.statuses()]
                    stderr = self.stderr.decode(errors="replace")[-3000:]
                    raise AssertionError(f"No {what} within {timeout} s (exit {self.process.poll()}).\n{states}\n{stderr}")
                self._changed.wait(min(left, 0.2))
            return value

    def shut_down(self) -> int:
        """`shutdown` and `exit`; returns the exit status."""
        assert self.answer(self.request("shutdown", None)).get("result", 0) is None
        self.notify("exit", None)
        return self.process.wait(10)

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps(message).encode()
        with self._write:
            assert self.process.stdin
            self.process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
            self.process.stdin.flush()

    def _read(self) -> None:
        stream = self.process.stdout
        assert stream
        while True:
            length = 0
            while line := stream.readline().strip():
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            if not length:
                return
            message = json.loads(stream.read(length))
            with self._changed:
                self.messages.append(message)
                self._changed.notify_all()
            if "id" in message and "method" in message:
                self._reply(message)

    def _reply(self, message: dict[str, Any]) -> None:
        """Answer what a server asks of a client: configuration section by section, and yes to everything else."""
        result: Any = None
        if message["method"] == "workspace/configuration":
            result = [self.configuration for _ in message["params"]["items"]]
        with contextlib.suppress(OSError):
            self._send({"jsonrpc": "2.0", "id": message["id"], "result": result})

    def _read_stderr(self) -> None:
        assert self.process.stderr
        while chunk := self.process.stderr.read1(65536):
            self.stderr += chunk
