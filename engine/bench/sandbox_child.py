"""The inside of the sandbox: limits itself, executes one program from standard input, answers with a verdict line.

Runs as a script under `python -I -S`, standard library only; it knows nothing of the rest of the package.
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
from types import CodeType

FORBIDDEN = frozenset(
    {"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile", "os.system", "os.kill", "os.killpg", "pty.spawn"}
)
FORBIDDEN_FAMILIES = ("socket.", "subprocess.", "ctypes.", "syslog.", "ftplib.", "urllib.")
PATH_EVENTS = frozenset(
    f"os.{name}" for name in ("chdir", "chmod", "chown", "link", "mkdir", "remove", "rename", "rmdir", "symlink", "truncate", "utime")
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def main(memory_bytes: int, file_bytes: int, cpu_seconds: int) -> None:
    """Read a program and a token; say `ready`, run the program, then say `passed TOKEN` or `failed EXCEPTION`."""
    control, answer = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    (size,) = struct.unpack(">Q", _read(control, 8))
    source = _read(control, size).decode("utf-8")
    me = os.getpid()
    _limit(memory_bytes, file_bytes, cpu_seconds)
    _guard(os.path.realpath(os.getcwd()))
    os.write(answer, b"ready\n")
    verdict = _execute(source)
    # The token stays in the pipe, out of the program's reach, until the program is over; a forked copy has no say.
    if os.getpid() == me:
        line = b"passed " + _read(control, 32) if verdict is None else b"failed " + verdict.encode()
        os.write(answer, line + b"\n")
    os._exit(0)


def _execute(source: str) -> str | None:
    """None where the program ran to its end, else the name of what stopped it (SystemExit included)."""
    try:
        code: CodeType = compile(source, "<candidate>", "exec", dont_inherit=True)
        exec(code, {"__name__": "__candidate__"})
    except BaseException as error:  # noqa: BLE001 - whatever generated code raises is a verdict, not a fault of ours
        return type(error).__name__.replace("\n", " ")
    return None


def _limit(memory_bytes: int, file_bytes: int, cpu_seconds: int) -> None:
    import resource

    wanted = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CPU: cpu_seconds,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0,
    }
    for kind, value in wanted.items():
        # Some systems know a limit but refuse to set it (macOS: address space); the others still hold.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (value, value))


def _guard(root: str) -> None:
    """Refuse processes, sockets and writes outside `root` with an audit hook, which a program cannot take off again."""
    realpath = os.path.realpath
    null = os.devnull

    def inside(path: object) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return True  # a descriptor that is already open
        full = os.fsdecode(realpath(path))
        return full in (root, null) or full.startswith(root + os.sep)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in FORBIDDEN or event.startswith(FORBIDDEN_FAMILIES):
            raise PermissionError(f"{event} is not permitted here")
        if event == "open":
            flags = arguments[2]
            if isinstance(flags, int) and flags & WRITING and not inside(arguments[0]):
                raise PermissionError("writing outside the working directory is not permitted here")
        elif event in PATH_EVENTS and not all(inside(a) for a in arguments if not isinstance(a, int)):
            raise PermissionError(f"{event} outside the working directory is not permitted here")

    sys.addaudithook(hook)


def _read(descriptor: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = os.read(descriptor, size - len(data))
        if not chunk:
            break
        data += chunk
    return data


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
