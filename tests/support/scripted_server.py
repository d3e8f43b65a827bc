"""Run as a script: a real `dlsp serve --stdio` process in all but its backend, which answers `value` after the seconds given.

A further `--record FILE` is passed on.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import typer

from dlsp.cli import serve as command
from engine.api import InfillRequest
from scripted_backend import ScriptedBackend


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
    record = Path(sys.argv[3]) if sys.argv[2:3] == ["--record"] else None

    async def script(request: InfillRequest) -> str:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            print("the model was told to stop", file=sys.stderr, flush=True)
            raise
        print("this must not reach the editor as a message")
        return "value"

    command.create_backend = lambda settings: ScriptedBackend(script)  # type: ignore[assignment, return-value]
    try:
        command.serve(stdio=True, tcp="", record=record, client_process_id=None)
    except typer.Exit as end:
        sys.exit(end.exit_code)


if __name__ == "__main__":
    main()
