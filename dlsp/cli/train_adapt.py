"""`dlsp train adapt`: fine-tune the embedded model on a repository, measured before and after on files that it never learns from.

Finds the files that may be read and shows what comes of it; the training is `engine.train.adapt`. Nothing leaves the machine.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dlsp.cli.train_adapt_report import Outcome, Rows, judge, model_card, report
from engine.errors import DocumentError, RequestError

if TYPE_CHECKING:
    from engine.bench.data import Case
    from engine.runtime.engine import Engine
    from engine.train.adapt import Progress
    from engine.train.adapt_files import Sources

KINDS = ("rest_of_line", "whole_line")
MOST_MINUTES = 10.0
MEASURED_SHARE = 0.12
"""Of the whole time, for measuring before; measuring after takes as long."""
CHUNK = 10
EXIT_NO_GAIN = 1
LEFT_OUT_FOLDERS = frozenset({"node_modules", "__pycache__", "venv", "site-packages"})


def adapt(
    repo: Annotated[Path, typer.Option("--repo", help="The repository, or a folder of it.", show_default=False)],
    name: Annotated[
        str, typer.Option(help="Name of the result: NAME gives adapted/NAME. Default: that of the folder.", show_default=False)
    ] = "",
    model: Annotated[str, typer.Option(help="What to start from: nano, or another checkpoint of its layout.")] = "nano",
    minutes: Annotated[
        float,
        typer.Option(min=0.0, max=MOST_MINUTES, help="Time for everything, measuring included; 0: by the size of the repository."),
    ] = 0.0,
    device: Annotated[str, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 leaves the number to torch.")] = 0,
    holes: Annotated[int, typer.Option(min=10, help="Most holes of each kind to measure on.")] = 250,
    force: Annotated[bool, typer.Option("--force", help="Keep the result even if it did not help.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of training and of the holes.")] = 20261121,
) -> None:
    """Fine-tune nano on your own repository, in at most ten minutes, and keep the result if it is better there.

    Ignored files and secrets are never read. A tenth of the files is held out and shows what was gained. Ctrl-C ends the training early,
    with what it has; a second one stops without a trace. Exit status 1 if nothing was gained.
    """
    from dlsp.cli.bench_options import show_report
    from engine.bench.subject import load
    from engine.models import checkpoint, store
    from engine.train.adapt import AdaptPlan, Watch
    from engine.train.adapt import adapt as train
    from engine.train.adapt_files import gather
    from engine.train.adapt_result import drafted, keep, model_name

    began = time.monotonic()
    if not repo.is_dir():
        raise DocumentError(f"There is no folder {repo}.", "Pass --repo with the folder of your repository.")
    root = repo.resolve()
    title = model_name(name.removeprefix("adapted/") or root.name)
    base = checkpoint.read(checkpoint.find(model))
    if store.matching(title):
        _tell(f"There is a model {title} already; a result that is kept replaces it. Another --name keeps both.")
    paths = source_paths(root)
    sources = gather(root, paths)
    minutes = minutes or usual_minutes(sources.characters)
    _tell(
        f"{len(sources.training)} files of {root.name} to learn from ({sources.characters / 1e6:.1f} million characters), "
        f"{len(sources.held_out)} held out; about {_about(minutes)}."
    )
    cases = draw_cases(sources, holes, seed)
    config = _engine_config(model, device, threads)
    before, took = measure(load(config)[0], cases, limit_s=MEASURED_SHARE * 60 * minutes)
    asked = {kind: cases[kind][: len(rows)] for kind, rows in before.items()}
    seconds = max(1.0, 60 * minutes - (time.monotonic() - began) - 1.1 * took - 5)
    plan = AdaptPlan(seconds=seconds, device=device, threads=threads, seed=seed)
    with interruptible() as stopped, _bar() as show:
        adapted = train(base, [file.text for file in sources.training], plan, Watch(show, stopped))
    if adapted.interrupted:
        _tell("Training ended early; measuring what there is. Ctrl-C again leaves everything as it was.")
    with drafted(adapted, title) as draft:
        after, _ = measure(load(_engine_config(str(draft), device, threads))[0], asked)
        verdict = judge(before, after)
        kept = verdict.gained > verdict.lost or force
        outcome = Outcome(title, sources, adapted, before, after, verdict, kept, time.monotonic() - began)
        installed = keep(draft, title, model_card(outcome)) if kept else None
    show_report(report(outcome, installed.size if installed else 0, threads))
    if not kept:
        raise typer.Exit(EXIT_NO_GAIN)


def source_paths(root: Path) -> list[str]:
    """The source files below `root` that may be read, with `/`: no secrets, nothing ignored, no links, no hidden folders.

    Ignore files of folders above count up to the top of the version-controlled tree.
    """
    from dlsp.context.exclude import Exclusions
    from dlsp.settings import read_file, resolve, user_file
    from engine.train.adapt_files import source_language

    top = next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), root)
    exclusions = Exclusions(resolve([read_file(user_file())]).exclude, (top,))
    found = []
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in LEFT_OUT_FOLDERS and not _foreign(here / f))
        for file in files:
            path = here / file
            if source_language(file) and not path.is_symlink() and not exclusions.excludes(path.as_uri()):
                found.append(path.relative_to(root).as_posix())
    return sorted(found)


def usual_minutes(characters: int) -> float:
    """Minutes for a repository: about two passes over its text on two CPU cores, from 4 to 10."""
    return min(MOST_MINUTES, 4 + characters / 400_000)


def draw_cases(sources: Sources, n: int, seed: int) -> dict[str, list[Case]]:
    """`n` held-out holes of each kind (fewer where there are fewer), Python's by its tokens, other languages' by their lines.

    Raises RequestError where there are none.
    """
    from engine.bench import held_out
    from engine.bench.data import LANGUAGES, Case
    from engine.train.adapt_holes import spans

    cases: dict[str, list[Case]] = {}
    python = [held_out.SourceFile(package="", path=f.path, text=f.text) for f in sources.held_out if f.language == "python"]
    others = [f for f in sources.held_out if f.language != "python"]
    size = sum(len(f.text) for f in sources.held_out)
    share = sum(len(f.text) for f in python) / max(1, size)
    names = {"shell": LANGUAGES["sh"]}
    for kind in KINDS:
        drawn = list(held_out.draw(python, kind, round(n * share), seed).cases) if python else []
        pool = [
            Case(
                id=f"{f.path}:{a}-{b}",
                prefix=f.text[:a],
                suffix=f.text[b:],
                middle=f.text[a:b],
                kind=kind,
                path=f.path,
                language=names.get(f.language, f.language),
            )
            for f in others
            for a, b in spans(f.path, f.text, kind, seed)
        ]
        rng = random.Random(f"{seed}:{kind}")
        drawn += rng.sample(pool, min(len(pool), n - len(drawn)))
        rng.shuffle(drawn)
        cases[kind] = drawn
    if not all(cases.values()):
        raise RequestError("The held-out files have no line of code to measure on.", "Adapt to a larger repository.")
    return cases


def measure(engine: Engine, cases: dict[str, list[Case]], limit_s: float = float("inf")) -> tuple[Rows, float]:
    """Answer and score the cases, kinds in turn, until all are done or the time is up; the rows and the seconds."""
    from dlsp.cli.bench_options import progress_bar
    from engine.api import Hole
    from engine.bench import holes
    from engine.bench.data import CaseSet

    question = holes.Question(Hole(max_tokens=CaseSet(name="", cases=()).max_tokens, max_lines=1))
    run = holes.Run(name="", answer=holes.ask_model(engine, question), settings={})
    rows: Rows = {kind: [] for kind in cases}
    began = time.monotonic()
    longest = max(map(len, cases.values()))
    with progress_bar("measuring") as on_progress:
        for start in range(0, longest, CHUNK):
            for kind, every in cases.items():
                chunk = tuple(every[start : start + CHUNK])
                rows[kind] += holes.score(CaseSet(name=kind, cases=chunk), run) if chunk else []
            on_progress(min(start + CHUNK, longest), longest)
            if time.monotonic() - began > limit_s:
                break
    return rows, time.monotonic() - began


@contextmanager
def interruptible(*signals: signal.Signals) -> Iterator[Callable[[], bool]]:
    """While the block runs, the first of `signals` (none named: Ctrl-C) only makes the yielded function true; a second one does what
    it always did."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    usual = {number: signal.getsignal(number) for number in signals or (signal.SIGINT,)}

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        asked.set()
        restore()

    for number in usual:
        signal.signal(number, note)
    try:
        yield asked.is_set
    finally:
        restore()


def _engine_config(model: str, device: str, threads: int) -> Any:
    from dlsp.cli.bench_options import engine_config

    return engine_config(model, device, "auto", threads)


def _foreign(folder: Path) -> bool:
    """Links, virtual environments, and repositories within the repository."""
    return folder.is_symlink() or (folder / "pyvenv.cfg").exists() or (folder / ".git").exists()


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    """Loss and time left on standard error: a bar on a terminal, else a line for every tenth."""
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if not console.is_terminal:
        tenth = 0

        def say(progress: Progress) -> None:
            nonlocal tenth
            if int(10 * progress.share) > tenth:
                tenth = int(10 * progress.share)
                _tell(f"training {10 * tenth} %, loss {progress.loss:.2f}, {_time(progress.seconds_left)} left")

        yield say
        return
    columns = (TextColumn("training"), BarColumn(), TaskProgressColumn(), TextColumn("loss {task.fields[loss]}, {task.fields[left]} left"))
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0, loss="-", left="-")
        yield lambda p: bar.update(task, completed=p.share, loss=f"{p.loss:.2f}", left=_time(p.seconds_left))


def _about(minutes: float) -> str:
    return f"{minutes:.0f} minutes" if minutes >= 1.5 else f"{60 * minutes:.0f} seconds"


def _time(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
