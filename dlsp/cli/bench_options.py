"""What the bench commands have in common: their options, the engine they load, and how they show progress and results.

Knows no bench.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from engine.api import Remask, Schedule, Score
from engine.config import DType, EngineConfig
from engine.errors import ConfigError, RequestError

if TYPE_CHECKING:
    from engine.bench.data import CaseSet
    from engine.bench.held_out import SourceFile
    from engine.bench.report import Report
    from engine.runtime.engine import Engine

Model = Annotated[str, typer.Option(help='"nano", a model that `dlsp models` lists, or the path of a checkpoint folder.')]
Device = Annotated[str, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16, float16, int8 or int4.")]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0 leaves the number to torch.")]
Corpus = Annotated[
    Path | None, typer.Option(help="Held-out source files: a JSON-lines file with package, split, path and text.", show_default=False)
]
Split = Annotated[str, typer.Option(help="Which files of the corpus are used; empty for all.")]
Seed = Annotated[int, typer.Option(help="Seed of the sample.")]

LengthOption = Annotated[
    str,
    typer.Option(
        "--length-policy",
        help="How the number of tokens is found: end-token, expand-delete, hypotheses, calibrated, entropy-fit, fixed, fixed:N, or "
        "oracle (the true number of tokens). Empty: the model's own.",
    ),
]
SlotsOption = Annotated[
    int, typer.Option("--slots", min=0, help="Slots that a hole starts with (all it ever has, for fixed); 0: the model's own.")
]
ScoreOption = Annotated[str, typer.Option("--score", help="What ranks proposals: confidence, margin or entropy. Empty: the model's own.")]
ScheduleOption = Annotated[
    str,
    typer.Option(
        "--schedule", help="How many a step commits: threshold, factor, entropy-bound, fixed or speculative. Empty: the model's own."
    ),
]
LevelOption = Annotated[
    float,
    typer.Option("--level", min=0.0, help="The schedule's parameter: probability, factor, nats, or tokens a step; 0: the model's own."),
]
EarlyCommitOption = Annotated[
    bool | None,
    typer.Option("--early-commit/--no-early-commit", help="Finish a hole at once when the model is sure.", show_default="the model's own"),
]
StabilityOption = Annotated[
    float,
    typer.Option("--stability", min=0.0, help="Commit only what moved less than this (nats) in the last two steps; 0: do not ask for it."),
]
RemaskOption = Annotated[str, typer.Option("--remask", help="Take back commits: none, confidence or remdm. Empty: the model's own.")]
TemperatureOption = Annotated[float, typer.Option("--temperature", min=0.0, help="0 is greedy.")]
TopPOption = Annotated[
    float, typer.Option("--top-p", min=0.001, max=1.0, help="Sample only from the most probable tokens that make up this.")
]
HealingOption = Annotated[
    bool,
    typer.Option(
        "--healing/--no-healing",
        help="Take the word before the cursor back into the hole; published evaluations do not.",
        show_default=True,
    ),
]
AlternativesOption = Annotated[
    int, typer.Option("--alternatives", min=1, help="Different answers a case; the first is scored, and any of them besides.")
]


def score_name(value: str) -> Score:
    """A score of the wire. Raises RequestError for others."""
    return cast(Score, _one_of(value, Score, "score"))


def schedule_name(value: str) -> Schedule:
    """A schedule of the wire. Raises RequestError for others."""
    return cast(Schedule, _one_of(value, Schedule, "schedule"))


def remask_name(value: str) -> Remask:
    """A remask rule of the wire. Raises RequestError for others."""
    return cast(Remask, _one_of(value, Remask, "remask rule"))


def engine_config(model: str, device: str, dtype: str, threads: int) -> EngineConfig:
    """The engine that the options name. Raises ConfigError where one is wrong."""
    if dtype not in get_args(DType):
        raise ConfigError(f"There is no number format {dtype!r}.", f"Use one of {', '.join(get_args(DType))}.")
    return EngineConfig(model=model, device=device, dtype=cast(DType, dtype), threads=threads)


def load_engine(config: EngineConfig) -> tuple[Engine, dict[str, Any]]:
    """The engine, and what to report about it."""
    from engine.bench.subject import load
    from engine.models.notices import notice_once

    engine, facts = load(config)
    for said in (facts.get("fallback"), notice_once(engine.family, engine.notice)):
        if said:
            print(f"dlsp: {said}", file=sys.stderr)
    return engine, facts


def held_out_cases(corpus: Path | None, split: str, kind: str, n: int, seed: int) -> CaseSet:
    """`n` holes drawn from a corpus file. Raises RequestError where there is no corpus or nothing in it."""
    from engine.bench import held_out

    cases = held_out.draw(held_out_files(corpus, split), kind, n, seed)
    if not cases.cases:
        raise RequestError(f"{corpus} has no line of code to draw from.", "Pass another --corpus or --split.")
    return cases


def held_out_languages(corpus: Path | None, split: str, kind: str, n: int, seed: int, language: str) -> CaseSet:
    """`n` holes in each language of a corpus file, or in `language` alone. Raises RequestError where there is nothing to draw from."""
    from engine.bench import held_out

    cases = held_out.draw_languages(held_out_files(corpus, split), kind, n, seed, language)
    if not cases.cases:
        raise RequestError(f"{corpus} has no line of code to draw from.", "Pass another --corpus or --split.")
    return cases


def held_out_files(corpus: Path | None, split: str) -> list[SourceFile]:
    """The files of a corpus file. Raises RequestError where there is no corpus."""
    from engine.bench import held_out

    if corpus is None:
        raise RequestError(
            "The held-out files are not known.", "Pass --corpus FILE, the held_out.jsonl that building the training corpus writes."
        )
    return held_out.read(corpus, split)


def server_command() -> list[str]:
    """The server that belongs to this command. -P: the working directory must not provide modules."""
    return [sys.executable, "-P", "-m", "dlsp", "serve", "--stdio"]


def facts_of_run(threads: int) -> dict[str, Any]:
    """The machine and the command line."""
    from engine.bench.report import machine

    return {"machine": machine(threads), "command": shlex.join(["dlsp", *sys.argv[1:]])}


def show_report(report: Report) -> None:
    """The table, then the JSON line."""
    from rich.console import Console

    from engine.bench.report import show

    # A pipe has no width; a table must not be squeezed into 80 columns there.
    show(report, Console() if sys.stdout.isatty() else Console(width=160))


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error that goes away in the end."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _one_of(value: str, kind: Any, what: str) -> str:
    """`value`, if the Literal `kind` has it. Raises RequestError with the values there are."""
    if value not in get_args(kind):
        raise RequestError(f"There is no {what} {value!r}.", f"Use {', '.join(name for name in get_args(kind) if name)}.")
    return value
