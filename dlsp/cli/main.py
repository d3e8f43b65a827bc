"""The `dlsp` command: finds the subcommand and turns our exceptions into one sentence and an exit status.

Subcommands are imported only when they are called, so `dlsp serve` never pays for torch; what they do is not known here.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from dlsp import __version__
from dlsp.cli.train_memory import keep_memory
from engine.errors import DlspError

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130


class _Entry(NamedTuple):
    """Where a subcommand lives: a function, or a `typer.Typer` with subcommands of its own."""

    module: str
    attribute: str
    help: str


_COMMANDS: dict[str, _Entry] = {
    "serve": _Entry("dlsp.cli.serve", "serve", "Run the language server (this is what your editor starts)."),
    "infill": _Entry("dlsp.cli.infill", "infill", "Fill one hole in a file, at PATH:LINE:COL."),
    "engine": _Entry("dlsp.cli.engine", "engine", "Run the engine host, which holds the model."),
    "models": _Entry("dlsp.cli.models", "models_app", "List, pull, check, choose and remove models."),
    "stats": _Entry("dlsp.cli.stats", "stats", "Say what was suggested, accepted and kept; all of it is local."),
    "replay": _Entry("dlsp.cli.replay", "replay", "Run a recorded editor session again and compare."),
    "doctor": _Entry("dlsp.cli.doctor", "doctor", "Say what is missing and the command that fixes it."),
    "bench": _Entry("dlsp.cli.bench", "bench", "Measure speed and quality on this machine."),
    "train": _Entry("dlsp.cli.train", "train_app", "Adapt the embedded model to your code, or train one."),
}


class _LazyGroup(TyperGroup):
    """A group that lists its commands from the table and imports a command's module only to run it (or to show its own help)."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        entry = _COMMANDS.get(cmd_name)
        return TyperCommand(cmd_name, help=entry.help) if entry else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, _, rest = super().resolve_command(ctx, args)
        return name, _load(name) if name else None, rest


app = typer.Typer(
    cls=_LazyGroup,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(args: list[str] | None = None) -> None:
    """Run `dlsp`. Ends by SystemExit: 0, the command's own status, 2 for an error with one sentence on stderr, 130 for Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a character gets a substitute, not a traceback.
            stream.reconfigure(errors="replace")
    if args is None and sys.argv[1:3] in (["train", "run"], ["train", "adapt"]):
        keep_memory()
    try:
        try:
            app(args, prog_name="dlsp")
        finally:
            # Flushed here, where a closed pipe can still be answered, and not while the interpreter is shutting down.
            sys.stdout.flush()
    except DlspError as error:
        print(f"dlsp: {error}", file=sys.stderr)
        sys.exit(EXIT_ERROR)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader (`| head`) has seen enough. What is still buffered must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", "-V", help="Print the version and exit.")] = False,
) -> None:
    """Code completion with diffusion language models, local and private, for every editor."""
    if version:
        typer.echo(f"dlsp {__version__}")
        raise typer.Exit


def _load(name: str) -> Any:
    """The real command behind a name of the table."""
    entry = _COMMANDS[name]
    target = getattr(importlib.import_module(entry.module), entry.attribute)
    if not isinstance(target, typer.Typer):
        single = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]})
        single.command(name)(target)
        target = single
    command = typer.main.get_command(target)
    command.name = name
    return command
