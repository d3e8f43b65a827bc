"""`dlsp bench`: quality of filled holes, time to an answer, start-up, and time of a step, measured on this machine.

Reads options and the environment, loads what is asked for, and hands over to `engine.bench`; nothing is measured here.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from engine.config import DType, EngineConfig
from engine.errors import ConfigError, RequestError

if TYPE_CHECKING:
    from engine.bench.data import CaseSet
    from engine.bench.report import Report
    from engine.runtime.engine import Engine

bench_app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Measure quality and speed on this machine. Every bench prints a table, then one line of JSON.",
)
bench = bench_app

Model = Annotated[str, typer.Option(help='"nano" or the path of a checkpoint folder.')]
Device = Annotated[str, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0 leaves the number to torch.")]
Corpus = Annotated[
    Path | None, typer.Option(help="Held-out source files: a JSON-lines file with package, split, path and text.", show_default=False)
]
Split = Annotated[str, typer.Option(help="Which files of the corpus are used; empty for all.")]
Seed = Annotated[int, typer.Option(help="Seed of the sample.")]


@bench_app.command()
def holes(
    case_set: Annotated[
        str,
        typer.Option(
            "--set",
            help="humaneval-single, humaneval-multi, humaneval-random, humaneval-light, held-out, "
            "or a JSON-lines file with id, prefix, suffix, middle and kind.",
        ),
    ] = "humaneval-single",
    model: Annotated[
        str | None,
        typer.Option(help='"nano" or the path of a checkpoint folder. Without it and with --baseline: no model.', show_default=False),
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            help="A floor to run through the same scoring: empty, pass, copy-previous-line, copy-matching-line. Repeatable.",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    threads: Threads = 0,
    limit: Annotated[int, typer.Option("--limit", "--n", min=0, help="A seeded sample of this many cases; 0: all (held-out: 300).")] = 0,
    seed: Seed = 0,
    kind: Annotated[str, typer.Option(help="Held-out holes: rest_of_line, whole_line or within_line.")] = "rest_of_line",
    corpus: Corpus = None,
    split: Split = "test",
    max_tokens: Annotated[int, typer.Option(min=0, help="The longest answer, in tokens; 0: what suits the set.")] = 0,
    max_lines: Annotated[int, typer.Option(min=0, help="The longest answer, in lines; 0: what suits the set.")] = 0,
    deadline_ms: Annotated[int, typer.Option(min=0, help="Take the best so far after this many milliseconds; 0: no deadline.")] = 0,
    show_threshold: Annotated[
        list[float] | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Precision and coverage when only answers at least this confident are shown. Repeatable.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Programs that are executed at a time.")] = 2,
    out: Annotated[
        Path | None, typer.Option(help="Keep every case's row here (JSON lines); an interrupted run goes on from it.", show_default=False)
    ] = None,
    data: Annotated[
        Path | None, typer.Option(envvar="DLSP_BENCH_DATA", help="Folder with the HumanEval-Infilling files.", show_default=False)
    ] = None,
) -> None:
    """Fill every hole of a set and score the answers. HumanEval programs are executed, in a sandbox without network."""
    from engine.api import Hole
    from engine.bench import holes as scoring
    from engine.bench.baselines import BASELINES

    floors = list(dict.fromkeys(baseline or ()))
    unknown = [name for name in floors if name not in BASELINES]
    if unknown:
        raise RequestError(f"There is no baseline {unknown[0]!r}.", f"Use {', '.join(BASELINES)}.")
    config = _engine_config(model or "nano", device, dtype, threads)
    if case_set == "held-out":
        cases = _held_out(corpus, split, kind, limit or 300, seed)
        # Floors cost nothing where nothing is executed, and figures mean little without them.
        floors = floors or list(BASELINES)
    else:
        from engine.bench.data import load

        cases = load(case_set, data).sample(limit, seed)
    hole = Hole(max_tokens=max_tokens or cases.max_tokens, max_lines=max_lines or cases.max_lines)
    limits = {"max_tokens": hole.max_tokens, "max_lines": hole.max_lines, "deadline_ms": deadline_ms}
    facts = _facts(threads) | {"seed": seed, **limits}

    figures: dict[str, dict[str, Any]] = {}
    if model is not None or not baseline:
        engine, facts["model"] = _load(config)
        settings = {"model": facts["model"], **limits}
        with _progress("model") as on_progress:
            answer = scoring.ask_model(engine, hole, deadline_ms)
            run = scoring.Run(name=engine.model, answer=answer, settings=settings, out=out, workers=workers, on_progress=on_progress)
            figures[engine.model] = scoring.summarize(scoring.score(cases, run), show_threshold or ())
    for name in floors:
        with _progress(name) as on_progress:
            path = out.with_name(f"{out.stem}.{name}{out.suffix}") if out else None
            answer = scoring.ask_floor(BASELINES[name])
            run = scoring.Run(name=name, answer=answer, settings={}, out=path, workers=workers, on_progress=on_progress)
            figures[name] = scoring.summarize(scoring.score(cases, run), show_threshold or ())
    _show(scoring.report(cases, figures, facts))


@bench_app.command()
def keystroke(
    corpus: Corpus = None,
    split: Split = "test",
    through: Annotated[str, typer.Option(help="engine: in this process; server: a language server and its host.")] = "engine",
    positions: Annotated[int, typer.Option(min=1, help="Cursor positions, each in a document of its own.")] = 200,
    context: Annotated[int, typer.Option(min=16, help="Tokens of context around the cursor.")] = 1000,
    warm: Annotated[int, typer.Option(min=0, max=100, help="Further keystrokes at every position; 0 measures cold requests only.")] = 3,
    seed: Seed = 0,
    model: Model = "nano",
    device: Device = "auto",
    dtype: Dtype = "auto",
    threads: Threads = 0,
    max_tokens: Annotated[int, typer.Option(min=1, help="The longest answer, in tokens (in process only).")] = 64,
    deadline_ms: Annotated[
        int,
        typer.Option(
            min=-1, help="Take the best so far after this many milliseconds; 0: no deadline; -1: none in process, the server's default."
        ),
    ] = -1,
    debounce_ms: Annotated[int, typer.Option(min=-1, help="The server's pause before it asks; -1: its default (server only).")] = -1,
    invoked: Annotated[bool, typer.Option("--invoked", help="Ask as a person would, past debounce and filters (server only).")] = False,
) -> None:
    """Time from a keystroke to its answer in held-out files: cold (a document's first request) and warm (the next keystrokes)."""
    from engine.bench import keystroke as bench_keystroke

    if through not in ("engine", "server"):
        raise RequestError(f"Keystrokes cannot go through {through!r}.", "Use engine or server.")
    config = _engine_config(model, device, dtype, threads)
    # Some places have too few characters to type; three times as many as wanted leaves enough.
    drawn = _held_out(corpus, split, "rest_of_line", 3 * positions, seed).cases
    facts = _facts(threads) | {"through": through, "context": context, "seed": seed, "deadline_ms": deadline_ms}
    with _progress("keystrokes") as on_progress:
        plan = bench_keystroke.KeystrokePlan(
            context=context, warm=warm, max_tokens=max_tokens, deadline_ms=max(0, deadline_ms), on_progress=on_progress
        )
        cases = bench_keystroke.places(drawn, plan)[:positions]
        if not cases:
            raise RequestError("The corpus has no place with enough text to type.", "Pass a smaller --warm.")
        facts["positions"] = len(cases)
        if through == "engine":
            engine, facts["model"] = _load(config)
            samples = bench_keystroke.measure(engine, cases, plan)
            notes = [f"{engine.model} on {engine.device}, in process."]
        else:
            settings: dict[str, Any] = {"model": config.model, "device": config.device, "dtype": config.dtype, "threads": config.threads}
            settings |= {"promptTokens": context}
            settings |= {name: value for name, value in (("deadlineMs", deadline_ms), ("debounceMs", debounce_ms)) if value >= 0}
            samples, server_facts, notes = _through_server(cases, plan, settings, invoked)
            facts |= server_facts
    _show(bench_keystroke.report(samples, facts, notes))


@bench_app.command()
def startup(repeat: Annotated[int, typer.Option(min=1, help="Measured starts.")] = 10) -> None:
    """Time from the start of the language server to its answer to `initialize`, and the memory it holds then."""
    from engine.bench import startup as bench_startup

    with _progress("starts") as on_progress:
        results = bench_startup.measure(_server_command(), os.environ, repeat, on_progress)
    _show(bench_startup.report(results, _facts(0)))


@bench_app.command()
def steps(
    corpus: Corpus = None,
    split: Split = "test",
    context: Annotated[
        list[int] | None,
        typer.Option(min=16, help="Context budget in tokens. Repeatable.  [default: 128, 256, 512, 1024]", show_default=False),
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="The longest answer, in tokens.")] = 32,
    repeat: Annotated[int, typer.Option(min=1, help="Places measured for each context.")] = 10,
    seed: Seed = 0,
    model: Model = "nano",
    device: Device = "auto",
    dtype: Dtype = "auto",
    threads: Threads = 0,
) -> None:
    """Time of a forward pass at several context lengths, with and without reuse of keys and values, side by side."""
    from engine.bench import steps as bench_steps

    config = _engine_config(model, device, dtype, threads)
    cases = _held_out(corpus, split, "rest_of_line", repeat + 1, seed).cases
    engine, model_facts = _load(config)
    plan = bench_steps.StepsPlan(contexts=context or bench_steps.StepsPlan().contexts, max_tokens=max_tokens, repeat=repeat)
    results, has_uncached = bench_steps.measure(engine, cases, plan)
    facts = _facts(threads) | {"seed": seed, "model": model_facts}
    _show(bench_steps.report(results, has_uncached, facts))


def _through_server(cases: Any, plan: Any, settings: dict[str, Any], invoked: bool) -> tuple[Any, dict[str, Any], list[str]]:
    """Samples, facts for the JSON line, and what to say under the table."""
    from engine.bench import full_path

    trigger = full_path.INVOKED if invoked else full_path.AUTOMATIC
    server = full_path.ServerPlan(arguments=_server_command(), environment=os.environ, settings=settings, trigger=trigger)
    samples, found = full_path.measure(cases, plan, server)
    return samples, found.data() | {"settings": settings, "trigger": "invoked" if invoked else "automatic"}, found.notes()


def _held_out(corpus: Path | None, split: str, kind: str, n: int, seed: int) -> CaseSet:
    from engine.bench import held_out

    if corpus is None:
        raise RequestError(
            "The held-out files are not known.", "Pass --corpus FILE, the held_out.jsonl that building the training corpus writes."
        )
    cases = held_out.draw(held_out.read(corpus, split), kind, n, seed)
    if not cases.cases:
        raise RequestError(f"{corpus} has no line of code to draw from.", "Pass another --corpus or --split.")
    return cases


def _load(config: EngineConfig) -> tuple[Engine, dict[str, Any]]:
    """The engine, and what to report about it."""
    from engine.bench.subject import load

    engine, facts = load(config)
    if "fallback" in facts:
        print(f"dlsp: {facts['fallback']}", file=sys.stderr)
    return engine, facts


def _engine_config(model: str, device: str, dtype: str, threads: int) -> EngineConfig:
    if dtype not in get_args(DType):
        raise ConfigError(f"There is no number format {dtype!r}.", f"Use one of {', '.join(get_args(DType))}.")
    return EngineConfig(model=model, device=device, dtype=cast(DType, dtype), threads=threads)


@bench_app.command()
def fetch(
    data: Annotated[Path, typer.Option(envvar="DLSP_BENCH_DATA", help="Folder for the files.", show_default=False)],
) -> None:
    """Download the HumanEval-Infilling files from their authors' repository; only the published bytes are kept."""
    from engine.bench.fetch import fetch as download

    download(data, report=typer.echo)


def _server_command() -> list[str]:
    """The server that belongs to this command. -P: the working directory must not provide modules."""
    return [sys.executable, "-P", "-m", "dlsp", "serve", "--stdio"]


def _facts(threads: int) -> dict[str, Any]:
    from engine.bench.report import machine

    return {"machine": machine(threads), "command": shlex.join(["dlsp", *sys.argv[1:]])}


def _show(report: Report) -> None:
    from rich.console import Console

    from engine.bench.report import show

    # A pipe has no width; a table must not be squeezed into 80 columns there.
    show(report, Console() if sys.stdout.isatty() else Console(width=160))


@contextmanager
def _progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error that goes away in the end."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
