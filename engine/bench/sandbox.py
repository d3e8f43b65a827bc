"""Runs untrusted Python programs, each in a fresh, limited process, and says whether they came to their end.

A program passes only by returning a random token after its last line, so exiting early with status 0 is no pass. It
knows nothing of benchmarks; it guards against accidents of generated code, not against a determined attacker.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import msgspec

from engine.errors import DlspError

CHILD = Path(__file__).with_name("sandbox_child.py")

START_SECONDS = 30.0
"""How long the interpreter itself may take to start on a busy machine; the program's own time counts from there."""


class SandboxLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one program may use. `wall_seconds` counts from the program's first line."""

    wall_seconds: float = 3.0
    memory_bytes: int = 1 << 30
    file_bytes: int = 1 << 20


class Verdict(msgspec.Struct, frozen=True):
    """How a program ended. `detail` is the exception's name, or a word on why there is no verdict."""

    status: Literal["passed", "failed", "timeout", "crashed"]
    detail: str = ""

    @property
    def passed(self) -> bool:
        """True where the program ran to its end."""
        return self.status == "passed"


class Sandbox:
    """Runs programs under limits, in namespaces without network where the system allows it.

    Raises DlspError on systems that have no process groups and limits (Windows).
    """

    def __init__(self, limits: SandboxLimits | None = None) -> None:
        if not hasattr(os, "killpg"):
            raise DlspError("Programs cannot be executed safely on this system.", "Run execution-based benches on Linux or macOS.")
        self.limits = limits or SandboxLimits()
        self._wrapper = _namespace_wrapper()

    @property
    def isolation(self) -> str:
        """`namespaces` (own network, process ids and user) or `process` (limits and an audit hook only)."""
        return "namespaces" if self._wrapper else "process"

    def run(self, program: str) -> Verdict:
        """Execute one program. Blocks for `wall_seconds` at most, once the interpreter has started."""
        token = secrets.token_hex(16).encode()
        with tempfile.TemporaryDirectory(prefix="dlsp-bench-", ignore_cleanup_errors=True) as folder:
            process = self._start(folder)
            try:
                return self._converse(process, program.encode("utf-8", errors="replace"), token)
            finally:
                _end(process)

    def run_many(self, programs: Iterable[str], workers: int) -> Iterator[Verdict]:
        """The verdicts of `programs`, in their order, with `workers` of them running at a time."""
        with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
            yield from pool.map(self.run, programs)

    def _start(self, folder: str) -> subprocess.Popen[bytes]:
        limits = (self.limits.memory_bytes, self.limits.file_bytes, int(self.limits.wall_seconds) + 2)
        # -I: no PYTHON* variables, no user site, no working directory on the path; -S: only the standard library.
        command = [*self._wrapper, sys.executable, "-I", "-S", "-B", str(CHILD), *map(str, limits)]
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": folder},
            start_new_session=True,
        )

    def _converse(self, process: subprocess.Popen[bytes], program: bytes, token: bytes) -> Verdict:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(struct.pack(">Q", len(program)) + program + token)
            process.stdin.flush()
        answer = _Reader(process)
        if answer.line(START_SECONDS) != b"ready":
            return Verdict("crashed", "the interpreter did not start")
        line = answer.line(self.limits.wall_seconds)
        if line is None:
            return Verdict("timeout", f"{self.limits.wall_seconds:g} s")
        if line == b"passed " + token:
            return Verdict("passed")
        if line.startswith(b"failed "):
            return Verdict("failed", line[7:].decode("utf-8", errors="replace"))
        return Verdict("crashed", "exited without a verdict")


class _Reader:
    """Lines from a child's standard output within a time; an exit counts as end of file even if a grandchild holds the pipe."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._process, self._pipe = process, process.stdout
        self._buffer = b""
        self._ended = False

    def line(self, seconds: float) -> bytes | None:
        """The next line without its end, b"" at the end of the output, None when the time is over."""
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._pipe, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if self._ended:
                    return b""
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                # The short wait is only for the rare program that leaves a grandchild behind and exits.
                ready = selector.select(min(left, 0.1))
                exited = not ready and self._process.poll() is not None
                if ready:
                    chunk = os.read(self._pipe.fileno(), 4096)
                    self._buffer += chunk
                    self._ended = not chunk
                elif exited:
                    self._ended = True
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the whole group, whatever the verdict: a program may have left processes behind."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def _namespace_wrapper() -> tuple[str, ...]:
    """The command that gives a program its own network and process ids, or nothing where that is not permitted."""
    tool = shutil.which("unshare")
    if tool is None:
        return ()
    wrapper = (tool, "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--")
    try:
        done = subprocess.run([*wrapper, "true"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return wrapper if done.returncode == 0 else ()
