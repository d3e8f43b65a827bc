"""`dlsp doctor`: show what `dlsp.doctor` finds, line by line or as JSON. What is checked is not known here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from dlsp.doctor import Check, Plan, examine

EXIT_SOMETHING_FAILED = 1

_COLOURS = {"pass": typer.colors.GREEN, "warn": typer.colors.YELLOW, "fail": typer.colors.RED}


def doctor(
    model: Annotated[str, typer.Option(help="Check this model instead of the one in the settings.")] = "",
    device: Annotated[str, typer.Option(help="Check this device instead of the one in the settings.")] = "",
    load: Annotated[
        bool, typer.Option("--load", help="Load the model, too, and fill a hole with it; a team server is asked to fill one.")
    ] = False,
    file: Annotated[Path | None, typer.Option("--file", metavar="PATH", help="Say whether this file may enter a prompt, and why.")] = None,
    root: Annotated[
        Path | None, typer.Option("--root", metavar="FOLDER", help="The editor's workspace folder; this one by default.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One line of JSON: a list of checks.")] = False,
) -> None:
    """Say what is missing and the command that fixes it. Exit status 1 if something fails, 0 for warnings."""
    checks = []
    for check in examine(Plan(model=model, device=device, load=load, file=file, root=root)):
        checks.append(check)
        if not json:
            _show(check)
    if json:
        print(msgspec.json.encode(checks).decode())
    if any(check.state == "fail" for check in checks):
        raise typer.Exit(EXIT_SOMETHING_FAILED)


def _show(check: Check) -> None:
    coloured = sys.stdout.isatty()
    word = typer.style(check.state, fg=_COLOURS[check.state]) if coloured else check.state
    print(f"{word}  {check.name:<15} {check.detail}")
    if check.fix:
        print(f"      {'':<15} fix: {check.fix}")
    sys.stdout.flush()
