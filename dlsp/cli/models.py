"""`dlsp models`: what is on disk and what could be, pulling, checking, choosing and removing models.

Shows and asks; where models lie is known to `engine.models.store`, how they are pulled to `engine.models.hub`, and torch is
imported only by the commands that look into weights.
"""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from engine.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from engine.models.hub import Plan
    from engine.models.store import Installed

EXIT_DAMAGED = 1
BUILT_IN = "nano"
FORMATS = ("float32", "bfloat16", "int8", "int4")

models_app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="List, pull, check, choose and remove models.",
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Org/Name, or Org/Name@revision.", show_default=False)]


@dataclass(frozen=True, slots=True)
class Row:
    """A model on disk, as the list shows it. Sizes in bytes; `memory` is what the weights take in each number format."""

    name: str
    family: str
    licence: str
    size: int
    folder: str
    in_use: bool = False
    id: str = ""
    revision: str = ""
    commit: str = ""
    notice: str = ""
    memory: dict[str, int] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)


@models_app.callback(invoke_without_command=True)
def show(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="One line of JSON: models, unfinished downloads, families.")] = False,
) -> None:
    """List the models on this machine and the families of models that dlsp knows."""
    if context.invoked_subcommand is not None:
        return
    from engine.models import store
    from engine.models.families import FAMILIES

    chosen, rows, unfinished = _chosen(), _rows(), store.interrupted()
    families = [{"name": family.name, "licence": family.licence, "notice": family.notice} for family in FAMILIES]
    if json:
        facts = {
            "in_use": chosen,
            "folder": str(store.default_root()),
            "models": rows,
            "unfinished": unfinished,
            "families": families,
        }
        print(msgspec.json.encode(facts, enc_hook=str).decode())
        return
    size = store.size_text
    header = ("  MODEL", "FAMILY", "LICENCE", "ON DISK", *(name.upper() for name in FORMATS))
    table = [
        (
            ("* " if row.in_use else "  ") + row.name,
            row.family,
            row.licence,
            size(row.size),
            *(size(row.memory[name]) if name in row.memory else "-" for name in FORMATS),
        )
        for row in rows
    ]
    _print_table([header, *table])
    print("\n* is in use. The columns on the right: memory that the weights take in this number format (`dtype`).")
    if not any(row.in_use for row in rows):
        print(f"In use: {chosen}{_elsewhere(chosen)}.")
    for row in rows:
        if row.damaged:
            print(f"{row.name} is damaged ({', '.join(row.damaged)}): `dlsp models pull {row.name}` mends it.")
    for partial in unfinished:
        name = f"{partial.id}@{partial.commit[:12]}"
        print(f"{name} is not complete: {size(partial.size)} are here.")
        print(f"  `dlsp models pull {name}` goes on, `dlsp models remove {name}` deletes it.")
    print("\nFamilies that dlsp knows, for `dlsp models pull Org/Name` (docs/models.md helps to choose):\n")
    _print_table([("  FAMILY", "LICENCE", ""), *((f"  {f['name']}", f["licence"], f["notice"]) for f in families)])


@models_app.command()
def pull(name: Name) -> None:
    """Download a model. An interrupted download goes on, a damaged model is mended; only data is taken, never programs."""
    from engine.models import store

    try:
        from engine.models import hub
    except ValueError as error:
        # The library reads its environment when it is imported.
        raise ConfigError(f"The settings for the hub make no sense ({error}).", "Check HF_ENDPOINT and other HF_ variables.") from error
    wanted = store.parse(name)
    planned: list[Plan] = []

    def announce(plan: Plan) -> None:
        planned.append(plan)
        size = store.size_text(plan.total)
        rest = f", of which {store.size_text(plan.resumed)} are here from an earlier attempt" if plan.resumed else " to download"
        branch = "" if plan.revision == plan.commit else f" ({plan.revision})"
        print(f"{plan.id}@{plan.commit[:12]}{branch}, family {plan.family}, licence {plan.licence}: {size}{rest}.")
        if plan.notice:
            print(f"Please note: {plan.notice}", flush=True)

    try:
        with _progress() as on_progress:
            model = hub.pull(wanted, hub.Pull(on_plan=announce, on_progress=on_progress))
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        raise
    if planned:
        _told(model)
        print(f"Installed in {model.folder}.")
    else:
        print(f"{model.name} is here already, and every file is as the hub has it ({model.folder}).")
        _tell_once(model)
    memory = ", ".join(f"{store.size_text(size)} as {name}" for name, size in model.manifest.memory.items())
    print(f"Its weights take {memory}.")
    if _find_folder(_chosen()) != model.folder:
        print(f"`dlsp models use {wanted if wanted.revision else model.manifest.id}` makes it the model of your editors.")


@models_app.command()
def verify(
    name: Annotated[str, typer.Argument(help="A model; without it all are checked.", show_default=False)] = "",
) -> None:
    """Read every file of a model and compare it with what was pulled. Exit status 1 if something is wrong."""
    from engine.models import checkpoint, store

    names = [name] if name else [BUILT_IN, *(model.name for model in store.installed())]
    wrong = False
    for each in names:
        folder = checkpoint.find(each)
        model = store.read(folder)
        print(f"{model.name if model else each} ({folder})")
        failed = False
        for check in checkpoint.verify(folder, model.hashes() if model else None):
            failed |= check.state == "failed"
            _say(f"  {'ok  ' if check.state == 'ok' else 'FAIL'}  {check.name}: {check.detail}")
        if failed and model:
            print(f"  fix: `dlsp models pull {model.name}` downloads what is damaged again.")
        wrong |= failed
    if wrong:
        raise typer.Exit(EXIT_DAMAGED)


@models_app.command()
def use(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Org/Name[@revision], the path of a folder, or nano.", show_default=False)],
) -> None:
    """Make a model the one that your editors use, in the settings file. `dlsp models use nano` goes back to the embedded one."""
    from dlsp.cli.settings_file import write_text_setting
    from dlsp.doctor import look_at_files
    from dlsp.settings import user_file
    from engine.models import checkpoint, store

    folder = checkpoint.find(name)
    facts = checkpoint.read(folder)
    look_at_files(folder)
    model = store.find(name) if store.locate(name) == folder else None
    if model:
        wanted = store.parse(name)
        value = f"{model.manifest.id}@{wanted.revision}" if wanted.revision else model.manifest.id
        _tell_once(model)
    else:
        value = name if facts.built_in else str(folder.resolve())
        if facts.notice:
            print(f"Please note: {facts.notice}")
    if value == _chosen():
        print(f"{value} is in use already.")
        return
    write_text_setting(user_file(), "model", value)
    print(f"{value} is in use from now on ({user_file()}).")
    print("Open editors take it up when their language server starts again. A `model` that an editor itself sets counts more.")


@models_app.command()
def remove(name: Name) -> None:
    """Delete a model and its unfinished downloads: all revisions, or the one that is named."""
    from engine.models import store

    store.parse(name)
    leaving = {model.folder for model in store.matching(name)}
    in_use = [model.folder for model in store.matching(_chosen())]
    if in_use and leaving.issuperset(in_use):
        raise CheckpointError(f"{_chosen()} is in use.", f"Run `dlsp models use {BUILT_IN}` first.")
    print(f"{store.size_text(store.remove(name))} are free again.")


def _rows() -> list[Row]:
    from engine.models import store

    used = _find_folder(_chosen())
    rows = [_built_in(_chosen() == BUILT_IN)]
    for model in store.installed():
        facts = model.manifest
        rows.append(
            Row(
                name=model.name,
                family=facts.family,
                licence=facts.licence,
                size=model.size,
                folder=str(model.folder),
                in_use=model.folder == used,
                id=facts.id,
                revision=facts.revision,
                commit=facts.commit,
                notice=facts.notice,
                memory=facts.memory,
                damaged=model.damaged(),
            )
        )
    return rows


def _built_in(in_use: bool) -> Row:
    """The embedded model, which has no manifest; what its weights take is counted without torch."""
    from engine import errors

    folder = Path(errors.__file__).resolve().parent / "weights" / BUILT_IN
    files = [path for path in folder.glob("*") if path.is_file()]
    elements = sum(_elements(path) for path in files if path.suffix == ".safetensors")
    memory = {"float32": 4 * elements, "bfloat16": 2 * elements} if elements else {}
    size = sum(path.stat().st_size for path in files)
    return Row(BUILT_IN, "dlsp", "Apache-2.0", size, str(folder), in_use, memory=memory)


def _elements(path: Path) -> int:
    """Numbers in a safetensors file, by its header: its length in 8 bytes, then shapes and more as JSON."""
    with path.open("rb") as file:
        tensors: dict[str, Any] = json_format.loads(file.read(int.from_bytes(file.read(8), "little")))
    count = 0
    for name, facts in tensors.items():
        if name != "__metadata__":
            product = 1
            for length in facts["shape"]:
                product *= length
            count += product
    return count


def _chosen() -> str:
    """The model that the settings file names, or the default."""
    from dlsp.settings import read_file, resolve, user_file

    return resolve([read_file(user_file())]).model


def _find_folder(name: str) -> Path | None:
    from engine.models import store

    return None if Path(name).expanduser().is_dir() else store.locate(name)


def _elsewhere(name: str) -> str:
    """What to say of a model in use that is not in the list."""
    from engine.models import store

    if Path(name).expanduser().is_dir():
        return ""
    way = f"`dlsp models pull {name}` fetches it" if store.is_name(name) else "`dlsp models use NAME` chooses another"
    return f", which is not on this machine ({way})"


def _tell_once(model: Installed) -> None:
    """Show the notice of a licence, unless that has been done."""
    if model.manifest.notice and not model.manifest.notice_shown:
        print(f"Please note: {model.manifest.notice}")
        _told(model)


def _told(model: Installed) -> None:
    from engine.models import store

    if not model.manifest.notice_shown:
        store.write(model.folder, msgspec.structs.replace(model.manifest, notice_shown=True))


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _say(line: str) -> None:
    """A line that is seen at once, also through a pipe: what comes next may take a minute."""
    print(line, flush=True)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error with size, speed and time left; without a terminal a line for every tenth."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _tenths()
        return
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True, redirect_stdout=False)

    def report(done: int, total: int) -> None:
        if not bar.tasks:
            # Not before there is something to show: what is printed until then goes where stdout goes.
            bar.add_task("", total=total)
            bar.start()
        bar.update(bar.tasks[0].id, completed=done)

    try:
        yield report
    finally:
        bar.stop()


def _tenths() -> Callable[[int, int], None]:
    said = 0

    def report(done: int, total: int) -> None:
        nonlocal said
        tenth = 10 * done // total if total else 0
        if tenth > said:
            said = tenth
            print(f"{10 * tenth} %", file=sys.stderr, flush=True)

    return report
