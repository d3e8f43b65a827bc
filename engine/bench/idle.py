"""What a language server and its engine host take while nobody types: processor time, as a share of one core.

A document is open in a workspace and the model is loaded, as between two keystrokes. Read from /proc; knows nothing of models.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.bench import memory
from engine.bench.full_path import ServerPlan, initialize, private_place, wait_ready
from engine.bench.report import Report
from engine.bench.rpc import Command, RpcClient
from engine.errors import HostError

PROC = Path("/proc")
_STATE = 2
"""The column of `stat` behind the command's closing parenthesis: the state, the third field of proc(5)."""
_UTIME, _STIME = 13 - _STATE, 14 - _STATE


@dataclass(frozen=True, slots=True)
class IdlePlan:
    """The workspace and the text that is open in it, how long to let the processes settle, and how long to look; seconds."""

    workspace: Path
    before: str
    after: str
    settle: float = 30.0
    seconds: float = 60.0
    on_progress: Callable[[int, int], None] = field(default=lambda done, total: None)


def processor_seconds(pid: int, proc: Path = PROC) -> float | None:
    """Processor time that a process, with all its threads, has taken so far; None where it is gone or there is no /proc."""
    try:
        # The command may hold spaces and parentheses itself.
        fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[_UTIME]) + int(fields[_STIME])) / os.sysconf("SC_CLK_TCK")


def measure(plan: IdlePlan, server: ServerPlan) -> dict[str, float]:
    """Percent of one core of the processes `server` and `host`. Raises HostError where one cannot be watched to the end."""
    with private_place(server.environment) as (environment, mark):
        client = RpcClient(Command(server.arguments, environment, tempfile.gettempdir()))
        try:
            encoding, _ = initialize(client, server.settings, plan.workspace.as_uri())
            client.notify("initialized", {})
            wait_ready(client, encoding, plan.before, plan.after)
            _wait(plan.settle, 0, plan)
            watched = (client.pid, next((pid for pid in memory.marked(mark) if pid != client.pid), None))
            began, first = time.monotonic(), _taken(*watched)
            _wait(plan.seconds, plan.settle, plan)
            spent = time.monotonic() - began
            taken = {name: seconds - first[name] for name, seconds in _taken(*watched).items()}
            with contextlib.suppress(HostError):
                client.request("shutdown", {}, 10)
                client.notify("exit", {})
            return {name: 100 * seconds / spent for name, seconds in taken.items()}
        finally:
            client.close()


def report(shares: dict[str, float], facts: dict[str, Any]) -> Report:
    """One column for each process."""
    rows: Sequence[tuple[str, list[str]]] = [("processor, % of one core", [f"{share:.2f}" for share in shares.values()])]
    data = {"bench": "idle", "percent": {name: round(share, 3) for name, share in shares.items()}, **facts}
    return Report(title="processor time while nobody types", columns=list(shares), rows=rows, data=data)


def _taken(server: int, host: int | None) -> dict[str, float]:
    taken = {"server": processor_seconds(server), "host": None if host is None else processor_seconds(host)}
    found = {name: seconds for name, seconds in taken.items() if seconds is not None}
    if unseen := [name for name in taken if name not in found]:
        raise HostError(f"The {unseen[0]} cannot be watched: it has ended, or this system has no /proc.", "Run `dlsp doctor`.")
    return found


def _wait(seconds: float, already: float, plan: IdlePlan) -> None:
    began = time.monotonic()
    while (gone := time.monotonic() - began) < seconds:
        plan.on_progress(int(already + gone), int(plan.settle + plan.seconds))
        time.sleep(min(1.0, seconds - gone))
