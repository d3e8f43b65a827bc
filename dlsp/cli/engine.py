"""`dlsp engine`: run the engine host in the foreground, open it to other tools, list the user's hosts, or stop them.

Knows nothing of editors, nor of what the tools ask.
"""

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

import msgspec
import typer

from engine.api import HostAddress, Status, WireError
from engine.config import DType, EngineConfig
from engine.errors import ConfigError, DlspError, HostError

if TYPE_CHECKING:
    from engine.serve.address import HostRecord
    from engine.serve.door import DoorOptions

_STATUS_SECONDS = 3.0
_STOP_SECONDS = 6.0
_SILENCE_SECONDS = 45.0
"""Three missed heartbeats of a host."""


def engine(
    model: Annotated[str, typer.Option(help='"nano", a model that `dlsp models` lists, or the path of a checkpoint folder.')] = "nano",
    device: Annotated[str, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16, float16, int8 or int4.")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 leaves the number to torch.")] = 0,
    idle: Annotated[float, typer.Option(metavar="SECONDS", help="End this long after the last editor has left.")] = 900.0,
    http: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Also answer tools without LSP there, such as 127.0.0.1:8012; never ends by itself.")
    ] = "",
    token: Annotated[
        str, typer.Option(envvar="DLSP_HTTP_TOKEN", help="Ask those tools for this bearer token; a must where others reach the address.")
    ] = "",
    allow_origin: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", help="Let this web page use --http from a browser; may be repeated.")
    ] = None,
    status: Annotated[bool, typer.Option("--status", help="List the running hosts and exit.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the running hosts and exit.")] = False,
) -> None:
    """Run the engine host, which holds the model, in the foreground. Editors start one by themselves; this one is to watch, for tools
    without LSP (--http) and for a team. Only its options say which model, not the settings file."""
    if status:
        _print_hosts()
    elif stop:
        _stop_hosts()
    else:
        if dtype not in get_args(DType):
            raise ConfigError(f"There is no number format {dtype!r}.", f"Use one of {', '.join(get_args(DType))}.")
        config = EngineConfig(model=model, device=device, dtype=cast(DType, dtype), threads=threads, idle_exit_seconds=idle)
        _run(config, _door(http, token, tuple(allow_origin or ())))


def _door(http: str, token: str, origins: tuple[str, ...]) -> DoorOptions | None:
    """What `--http` and its companions say; None without it. Raises ConfigError."""
    from engine.serve.door import parse_door

    if http:
        return parse_door(http, token, origins)
    if origins:
        raise ConfigError("--allow-origin says who may use the address of --http, which is missing.", "Add --http 127.0.0.1:8012.")
    return None


def _run(config: EngineConfig, door: DoorOptions | None) -> None:
    """Serve in this process until Ctrl-C, `dlsp engine --stop` or the idle time. Where another process serves already, it is asked
    to open the door, and this one stays for as long as that stands open."""
    from engine.serve.host import HostOptions, run_host

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    peers: list[HostAddress] = []

    def announce(address: HostAddress, own: bool, url: str) -> None:
        where = address.socket or address.url
        if own:
            also = f", and for other tools on {url}" if url else ""
            typer.echo(f"Serving {config.model} on {where}{also} as process {address.pid}. Ctrl-C stops it.")
        elif door is None:
            typer.echo(f"Process {address.pid} serves {config.model} already, on {where}. `dlsp engine --stop` stops it.")
        else:
            peers.append(address)

    if door is not None:
        _name_others(config)
    while True:
        run_host(HostOptions(config=config, detached=False, door=door), announce)
        if door is None or not peers:
            return
        try:
            ended = asyncio.run(_hold_open(peers.pop(), config, door))
        except HostGoneError:
            typer.echo("That process has ended unexpectedly; this one takes over.")
            continue
        typer.echo(f"That process has stopped ({ended}), and with it the address for other tools.")
        return


class HostGoneError(HostError):
    """The host that kept a door open has vanished."""


async def _hold_open(address: HostAddress, config: EngineConfig, door: DoorOptions) -> str:
    """Have the host at `address` open the door until it stops in good order, then the reason. Raises HostGoneError when it vanishes,
    and what it says where it cannot open the door."""
    import httpx

    transport = httpx.AsyncHTTPTransport(uds=address.socket) if address.socket else None
    headers = {"Authorization": f"Bearer {address.token}"} if address.token else {}
    timeout = httpx.Timeout(5.0, read=_SILENCE_SECONDS)
    base = address.url or "http://engine"
    last = Status(state="starting")
    try:
        async with (
            httpx.AsyncClient(transport=transport, base_url=base, headers=headers, trust_env=False, timeout=timeout) as client,
            client.stream("POST", "/v1/door", content=msgspec.json.encode(door)) as response,
        ):
            if response.status_code != 200:
                said = msgspec.json.decode(await response.aread(), type=WireError)
                raise HostError(said.message, said.action)
            lines = response.aiter_lines()
            url = msgspec.json.decode(await anext(lines))["url"]
            typer.echo(
                f"Process {address.pid} serves {config.model} already, to your editors; it now also answers other tools on {url}.\n"
                "Ctrl-C ends that, and not the process."
            )
            async for line in lines:
                last = msgspec.json.decode(line, type=Status)
    except httpx.HTTPError as error:
        raise HostGoneError(f"Process {address.pid} has ended.", "Start the command again.") from error
    if last.state != "idle":
        raise HostGoneError(f"Process {address.pid} has ended.", "Start the command again.")
    return last.reason


def _name_others(config: EngineConfig) -> None:
    """Say which other models are in memory already: whoever wants to share one with the editor must ask for that one."""
    from engine.serve.address import running_hosts

    for host in running_hosts():
        if host.config.key != config.key:
            facts = f"--model {host.config.model} --device {host.config.device} --dtype {host.config.dtype} --threads {host.config.threads}"
            typer.echo(f"Process {host.pid} serves another configuration; `{facts}` would share it.", err=True)


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
                " ".join((host.address.socket or host.address.url, *host.doors)),
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
