"""`dlsp replay`: run a recorded session again and say what came out differently. How it is run is not known here."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

EXIT_DIFFERENT = 1
_MOST_SHOWN = 10
_MOST_CHARACTERS = 200


def replay(
    trace: Annotated[Path, typer.Argument(metavar="TRACE", help="A file that `dlsp serve --record FILE` wrote.")],
    fast: Annotated[bool, typer.Option("--fast", help="Leave out the pauses; the order stays.")] = False,
    ask_model: Annotated[
        bool, typer.Option("--ask-model", help="Ask the engine of the settings in the trace, not the recorded answers.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One line of JSON.")] = False,
) -> None:
    """Run a recorded editor session again and compare. Exit status 1 if the server failed or, with the recorded engine, an answer
    is another one."""
    from dlsp.cli.serve import create_backend
    from dlsp.replay import Plan, read
    from dlsp.replay import replay as run

    plan = Plan(fast=fast, backend="settings" if ask_model else "recorded", create_backend=create_backend)
    report = asyncio.run(run(read(trace), plan))
    if json:
        print(msgspec.json.encode(report).decode())
    else:
        print(f"{report.requests} requests, {report.answers} answers, {report.unanswered} missing, {report.crashes} failures of the server")
        print(f"inline completion: {report.p50:g} ms median, {report.p95:g} ms p95")
        print(f"{len(report.different)} answers are different")
        for difference in report.different[:_MOST_SHOWN]:
            print(f"  line {difference.line}, {difference.method}:")
            print(f"    recorded {_short(difference.recorded)}")
            print(f"    now      {_short(difference.got)}")
    if report.crashes or report.unanswered or (report.different and not ask_model):
        raise typer.Exit(EXIT_DIFFERENT)


def _short(answer: Any) -> str:
    text = msgspec.json.encode(answer).decode()
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1] + "…"
