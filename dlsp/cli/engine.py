"""`dlsp engine`: run the engine host in the foreground, list the user's hosts, or stop them. Knows nothing of editors."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from engine.api import HostAddress, Status
from engine.config import DType, EngineConfig
from engine.errors import ConfigError, DlspError, HostError

if TYPE_CHECKING:
    from engine.serve.address import HostRecord

_STATUS_SECONDS = 3.0
_STOP_SECONDS = 6.0


def engine(
    model: Annotated[str, typer.Option(help='"nano", a model that `dlsp models` lists, or the path of a checkpoint folder.')] = "nano",
    device: Annotated[str, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 leaves the number to torch.")] = 0,
    idle: Annotated[float, typer.Option(metavar="SECONDS", help="End this long after the last editor has left.")] = 900.0,
    status: Annotated[bool, typer.Option("--status", help="List the running hosts and exit.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the running hosts and exit.")] = False,
) -> None:
    """Run the engine host, which holds the model, in the foreground. Editors start one by themselves; this is to watch it."""
    if status:
        _print_hosts()
    elif stop:
        _stop_hosts()
    else:
        if dtype not in get_args(DType):
            raise ConfigError(f"There is no number format {dtype!r}.", f"Use one of {', '.join(get_args(DType))}.")
        _run(EngineConfig(model=model, device=device, dtype=cast(DType, dtype), threads=threads, idle_exit_seconds=idle))


def _run(config: EngineConfig) -> None:
    """Serve in this process until Ctrl-C, `dlsp engine --stop` or the idle time."""
    from engine.serve.host import HostOptions, run_host

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)

    def announce(address: HostAddress, own: bool) -> None:
        where = address.socket or address.url
        if own:
            typer.echo(f"Serving {config.model} on {where} as process {address.pid}. Ctrl-C stops it.")
        else:
            typer.echo(f"Process {address.pid} serves {config.model} already, on {where}. `dlsp engine --stop` stops it.")

    run_host(HostOptions(config=config, detached=False), announce)


def _print_hosts() -> None:
    from engine.serve.address import running_hosts

    hosts = running_hosts()
    if not hosts:
        typer.echo("No engine host is running.")
        return
    rows = [("PID", "MODEL", "STATE", "DEVICE", "MEMORY", "ADDRESS")]
    for host in hosts:
        state = asyncio.run(_ask(host.address))
        memory = _resident_megabytes(host.pid)
        rows.append(
            (
                str(host.pid),
                state.model or host.config.model,
                state.state + (f" ({state.reason})" if state.reason else ""),
                " ".join(filter(None, (state.device or host.config.device, state.dtype))),
                f"{memory} MB" if memory else "?",
                host.address.socket or host.address.url,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _stop_hosts() -> None:
    """Ask every host to end, and make those end that do not within a few seconds."""
    from engine.serve.address import running_hosts

    hosts = running_hosts()
    if not hosts:
        typer.echo("No engine host is running.")
        return
    for host in hosts:
        _signal(host, signal.SIGTERM)
    give_up = time.monotonic() + _STOP_SECONDS
    while (left := _still_there(hosts)) and time.monotonic() < give_up:
        time.sleep(0.05)
    for host in left:
        _signal(host, getattr(signal, "SIGKILL", signal.SIGTERM))
    while left and _still_there(left):
        if time.monotonic() > give_up + _STOP_SECONDS:
            raise HostError(f"Process {left[0].pid} does not end.", f"Run `kill -9 {left[0].pid}`.")
        time.sleep(0.05)
    for host in hosts:
        typer.echo(f"Stopped the engine host of {host.config.model} (process {host.pid}).")


def _still_there(hosts: list[HostRecord]) -> list[HostRecord]:
    """Those of `hosts` that still hold their lock."""
    from engine.serve.address import running_hosts

    present = {host.pid for host in running_hosts()}
    return [host for host in hosts if host.pid in present]


def _signal(host: HostRecord, number: int) -> None:
    try:
        os.kill(host.pid, number)
    except ProcessLookupError:
        pass
    except PermissionError:
        raise HostError(f"Process {host.pid} cannot be stopped.", "It belongs to another user.") from None


async def _ask(address: HostAddress) -> Status:
    """The present state of the host at `address`; state `error` when it does not say."""
    from dlsp.backends.remote import HttpEngineClient

    client = HttpEngineClient(address)
    try:
        async with asyncio.timeout(_STATUS_SECONDS), aclosing(client.statuses()) as states:
            async for state in states:
                return state
    except (DlspError, TimeoutError):
        pass
    finally:
        await client.close()
    return Status(state="error", reason="no_answer")


def _resident_megabytes(pid: int) -> int:
    """The memory a process has resident, 0 where the system does not say."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) // 1024
    except OSError:
        pass
    try:
        said = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False, timeout=5).stdout
        return int(said or 0) // 1024
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return 0
