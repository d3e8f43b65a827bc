"""`dlsp models`: what is on disk and what could be, pulling, checking, choosing and removing models.

Shows and asks; where models lie is known to `engine.models.store`, how they are pulled to `engine.models.hub`, and torch is
imported only by the commands that look into weights.
"""

from __future__ import annotations

import json as json_format
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from engine.errors import CheckpointError, ConfigError, DlspError, RequestError

if TYPE_CHECKING:
    from rich.progress import TaskID

    from engine.models.checkpoint import Checkpoint
    from engine.models.hub import Plan
    from engine.models.quantize import Precision

EXIT_DAMAGED = 1
BUILT_IN = "nano"
BUILT_IN_WORK = {"float32": 73_500_000, "bfloat16": 48_700_000}
"""Bytes that the embedded model needs besides its weights, as the engine computes it; smaller formats would save nothing worth having."""

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
    """A model on disk, as the list shows it. Sizes in bytes; `memory` is what the weights take in each number format, `needed` the
    same with room to work in, where it is known. `problem` says why a folder in use is not understood."""

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
    needed: dict[str, int] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    problem: str = ""


@models_app.callback(invoke_without_command=True)
def show(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="One line of JSON: models, unfinished downloads, families.")] = False,
) -> None:
    """List the models on this machine and the families of models that dlsp knows."""
    if context.invoked_subcommand is not None:
        return
    from engine.models import store
    from engine.models.examples import EXAMPLES
    from engine.models.families import FAMILIES

    chosen, rows, unfinished = _chosen(), _rows(), store.interrupted()
    families = [
        {"name": f.name, "licence": f.licence, "notice": f.notice, "example": EXAMPLES[f.name]._asdict() if f.name in EXAMPLES else None}
        for f in FAMILIES
    ]
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
            *(_memory(row, name) for name in FORMATS),
        )
        for row in rows
    ]
    _print_table([header, *table])
    print("\n* is in use. The columns on the right: memory that it needs in this number format (`dtype`), weights and room to work;")
    print("> is the weights alone.")
    if not any(row.in_use for row in rows):
        print(f"In use: {chosen}{_elsewhere(chosen)}.")
    for row in rows:
        if row.problem:
            print(f"{row.name}: {row.problem}")
        if row.damaged:
            print(f"{row.name} is damaged ({', '.join(row.damaged)}): `dlsp models pull {row.name}` mends it.")
    for begun in unfinished:
        name = f"{begun.id}@{begun.commit[:12]}"
        print(f"{name} is not complete: {size(begun.size)} are here.")
        print(f"  `dlsp models pull {name}` goes on, `dlsp models remove {name}` deletes it.")
    print("\nFamilies that dlsp knows, with a model to pull of each (docs/models.md has more, and helps to choose):\n")
    header = ("  FAMILY", "FOR EXAMPLE", "PARAMETERS", "MEMORY BFLOAT16", "INT4", "LICENCE")
    _print_table([header, *(_family_row(family.name, family.licence) for family in FAMILIES)])
    print()
    for family in FAMILIES:
        if family.notice:
            print(f"  {family.name}: {family.notice}")


@models_app.command()
def pull(name: Name) -> None:
    """Download a model. An interrupted download goes on, a damaged model is mended; only data is taken, never programs."""
    from engine.models import store

    try:
        from engine.models import hub
    except ValueError as error:
        # The library reads its environment when it is imported.
        raise ConfigError(f"The settings for the hub make no sense ({error}).", "Check HF_ENDPOINT and other HF_ variables.") from error
    _refuse_built_in(name, "there is nothing to pull", f"`dlsp models use {BUILT_IN}` makes it the model of your editors.")
    wanted = store.parse(name)
    planned: list[Plan] = []

    def announce(plan: Plan) -> None:
        planned.append(plan)
        size = store.size_text(plan.total)
        rest = f", of which {store.size_text(plan.resumed)} are here already" if plan.resumed else " to download"
        branch = "" if plan.revision == plan.commit else f" ({plan.revision})"
        print(f"{plan.id}@{plan.commit[:12]}{branch}, family {plan.family}, licence {plan.licence}: {size}{rest}.")
        _tell_once(plan.family, plan.notice)

    try:
        with _progress() as report:
            how = hub.Pull(
                on_plan=announce, on_check=partial(report, "checking"), on_progress=partial(report, "downloading"), needed=_needed
            )
            model = hub.pull(wanted, how)
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        raise
    if planned:
        print(f"Installed in {model.folder}.")
    else:
        print(f"{model.name} is here already, and every file is as the hub has it ({model.folder}).")
        _tell_once(model.manifest.family, model.manifest.notice)
    memory = ", ".join(f"{store.size_text(size)} as {name}" for name, size in (model.manifest.needed or model.manifest.memory).items())
    print(f"It needs {memory}." if model.manifest.needed else f"Its weights take {memory}.")
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
        actions = []
        for check in checkpoint.verify(folder, model.hashes() if model else None):
            _say(f"  {'ok  ' if check.state == 'ok' else 'FAIL'}  {check.name}: {check.detail}")
            if check.state == "failed":
                wrong = True
                actions.append(check.action)
        for action in dict.fromkeys(filter(None, actions)):
            print(f"  fix: {action}")
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
    else:
        value = name if facts.built_in else str(folder.resolve())
    _tell_once(facts.family.name, facts.notice)
    if value == _chosen():
        print(f"{value} is in use already.")
        return
    write_text_setting(user_file(), "model", value)
    print(f"{value} is in use from now on ({user_file()}).")
    print(
        "`dlsp doctor --load` tries it. Editors take it up when their language server starts again, unless they set a `model` themselves."
    )


@models_app.command()
def remove(name: Name) -> None:
    """Delete a model and its unfinished downloads: all revisions, or the one that is named."""
    from engine.models import store

    _refuse_built_in(name, "it cannot be removed", "`dlsp models` lists what can.")
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
    folder = Path(_chosen()).expanduser()
    if not rows[0].in_use and folder.is_dir():
        rows.append(_by_path(folder))
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
                needed=facts.needed,
                damaged=model.damaged(),
            )
        )
    return rows


def _built_in(in_use: bool) -> Row:
    """The embedded model, which has no manifest; what its weights take is counted without torch."""
    from engine import errors

    folder = Path(errors.__file__).resolve().parent / "weights" / BUILT_IN
    files = [path for path in folder.glob("*") if path.is_file()]
    elements = sum(_elements(_header(path)) for path in files if path.suffix == ".safetensors")
    memory = {"float32": 4 * elements, "bfloat16": 2 * elements} if elements else {}
    size = sum(path.stat().st_size for path in files)
    needed = {name: weights + BUILT_IN_WORK[name] for name, weights in memory.items()}
    return Row(BUILT_IN, "dlsp", "Apache-2.0", size, str(folder), in_use, memory=memory, needed=needed)


def _by_path(folder: Path) -> Row:
    """A model in use that is neither built in nor pulled, as far as it can be told without torch."""
    from engine.models.families import Facts, recognise
    from engine.models.notices import licence_of
    from engine.text.tokenizer import lookup

    files = sorted(path for path in folder.glob("*.safetensors") if path.is_file())
    size = sum(path.stat().st_size for path in folder.glob("*") if path.is_file())
    try:
        headers = [_header(path) for path in files]
        raw = json_format.loads((folder / "config.json").read_text(encoding="utf-8"))
        family = recognise(Facts(raw, lookup(folder), frozenset(name for tensors in headers for name in tensors)))
        elements = sum(_elements(tensors) for tensors in headers)
    except DlspError as error:
        return Row(str(folder), "-", "-", size, str(folder), True, problem=str(error))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        said = f"it is not a whole model ({error}). `dlsp models verify {folder}` says more."
        return Row(str(folder), "-", "-", size, str(folder), True, problem=said)
    licence, notice = licence_of(folder, family.licence, family.notice)
    memory = {"float32": 4 * elements, "bfloat16": 2 * elements}
    return Row(str(folder), family.name, licence, size, str(folder), True, notice=notice, memory=memory)


def _header(path: Path) -> dict[str, Any]:
    """What a safetensors file holds, by its header: its length in 8 bytes, then shapes and more as JSON."""
    with path.open("rb") as file:
        tensors: dict[str, Any] = json_format.loads(file.read(int.from_bytes(file.read(8), "little")))
    return {name: facts for name, facts in tensors.items() if name != "__metadata__"}


def _elements(header: dict[str, Any]) -> int:
    """Numbers in a safetensors file."""
    return sum(math.prod(facts["shape"]) for facts in header.values())


def _memory(row: Row, precision: str) -> str:
    """What the list says of one number format."""
    from engine.models.store import size_text

    if precision in row.needed:
        return size_text(row.needed[precision])
    if precision in row.memory:
        return f">{size_text(row.memory[precision])}"
    return "not needed" if row.name == BUILT_IN else "-"


def _family_row(family: str, licence: str) -> tuple[str, ...]:
    from engine.models.examples import EXAMPLES

    example = EXAMPLES.get(family)
    if example is None:
        return (f"  {family}", f"{BUILT_IN} (built in)" if family == "dlsp" else "-", "-", "-", "-", licence)
    figures = (f"{size:.1f} GB" if size else "-" for size in (example.bfloat16, example.int4))
    return (f"  {family}", example.id, f"{example.parameters:.1f}B", *figures, licence)


def _needed(model: Checkpoint, precision: Precision) -> int:
    """Bytes that a model needs, with the longest prompt that it gets by default."""
    from engine.models.quantize import COMPUTE_DTYPES
    from engine.runtime.loading import footprint

    return footprint(model, precision, COMPUTE_DTYPES["bfloat16"]).total


def _refuse_built_in(name: str, so: str, action: str) -> None:
    if name.strip().casefold() == BUILT_IN:
        raise RequestError(f"{BUILT_IN} is built in: {so}.", action)


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


def _tell_once(family: str, notice: str) -> None:
    """Show the notice of a licence, unless that has been done."""
    from engine.models.notices import notice_once

    if fresh := notice_once(family, notice):
        print(f"Please note: {fresh}", flush=True)


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _say(line: str) -> None:
    """A line that is seen at once, also through a pipe: what comes next may take a minute."""
    print(line, flush=True)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar a phase on standard error with size, speed and time left; without a terminal a line for every tenth."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _tenths()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True, redirect_stdout=False)
    tasks: dict[str, TaskID] = {}

    def report(phase: str, done: int, total: int) -> None:
        if phase not in tasks:
            # Not before there is something to show: what is printed until then goes where stdout goes.
            tasks[phase] = bar.add_task(phase, total=total)
            bar.start()
        bar.update(tasks[phase], completed=done, total=total)

    try:
        yield report
    finally:
        bar.stop()


def _tenths() -> Callable[[str, int, int], None]:
    said: dict[str, int] = {}

    def report(phase: str, done: int, total: int) -> None:
        tenth = 10 * done // total if total else 0
        if tenth > said.get(phase, 0):
            said[phase] = tenth
            print(f"{phase} {10 * tenth} %", file=sys.stderr, flush=True)

    return report
