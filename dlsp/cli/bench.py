"""`dlsp bench`: quality of filled holes, time to an answer, to start, to load and to take a step, measured on this machine.

Reads options and the environment, loads what is asked for, and hands over to `engine.bench`; nothing is measured here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dlsp.cli.bench_context import Place, Plan, source_sets, workspaces
from dlsp.cli.bench_holes import compare, holes
from dlsp.cli.bench_options import (
    Corpus,
    Device,
    Dtype,
    Model,
    Seed,
    Split,
    Threads,
    engine_config,
    facts_of_run,
    held_out_cases,
    held_out_files,
    load_engine,
    progress_bar,
    server_command,
    show_report,
)
from engine.errors import RequestError

if TYPE_CHECKING:
    from engine.bench.data import Case

bench_app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Measure quality and speed on this machine. Every bench prints a table, then one line of JSON.",
)
bench = bench_app
bench_app.command()(holes)
bench_app.command()(compare)


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
    config = engine_config(model, device, dtype, threads)
    # Some places have too few characters to type; three times as many as wanted leaves enough.
    drawn = held_out_cases(corpus, split, "rest_of_line", 3 * positions, seed).cases
    facts = facts_of_run(threads) | {"through": through, "context": context, "seed": seed, "deadline_ms": deadline_ms}
    with progress_bar("keystrokes") as on_progress:
        plan = bench_keystroke.KeystrokePlan(
            context=context, warm=warm, max_tokens=max_tokens, deadline_ms=max(0, deadline_ms), on_progress=on_progress
        )
        cases = bench_keystroke.places(drawn, plan)[:positions]
        if not cases:
            raise RequestError("The corpus has no place with enough text to type.", "Pass a smaller --warm.")
        facts["positions"] = len(cases)
        if through == "engine":
            engine, facts["model"] = load_engine(config)
            samples = bench_keystroke.measure(engine, cases, plan)
            notes = [f"{engine.model} on {engine.device}, in process."]
        else:
            settings: dict[str, Any] = {"model": config.model, "device": config.device, "dtype": config.dtype, "threads": config.threads}
            settings |= {"promptTokens": context}
            settings |= {name: value for name, value in (("deadlineMs", deadline_ms), ("debounceMs", debounce_ms)) if value >= 0}
            samples, server_facts, notes = _through_server(cases, plan, settings, invoked)
            facts |= server_facts
    show_report(bench_keystroke.report(samples, facts, notes))


@bench_app.command()
def startup(repeat: Annotated[int, typer.Option(min=1, help="Measured starts.")] = 10) -> None:
    """Time from the start of the language server to its answer to `initialize`, and the memory it holds then."""
    from engine.bench import startup as bench_startup

    with progress_bar("starts") as on_progress:
        results = bench_startup.measure(server_command(), os.environ, repeat, on_progress)
    show_report(bench_startup.report(results, facts_of_run(0)))


@bench_app.command()
def overhead(
    lines: Annotated[
        list[int] | None,
        typer.Option(min=10, help="Lines of the document. Repeatable.  [default: 500, 5000, 20000]", show_default=False),
    ] = None,
    keystrokes: Annotated[int, typer.Option(min=1, help="Characters typed into each document.")] = 200,
) -> None:
    """Processor time of the language server at a keystroke, with an engine that answers at once, by the size of the document."""
    from dlsp.cli.bench_overhead import Plan as OverheadPlan
    from dlsp.cli.bench_overhead import measure
    from engine.bench import overhead as bench_overhead

    costs: dict[int, list[float]] = {}
    for size in lines or (500, 5_000, 20_000):
        with progress_bar(f"{size} lines") as on_progress:
            strokes = measure(OverheadPlan(lines=size, keystrokes=keystrokes, on_progress=on_progress))
        costs[size] = [stroke.cost_ms for stroke in strokes if stroke.asked]
    show_report(bench_overhead.report(costs, facts_of_run(0) | {"keystrokes": keystrokes}))


@bench_app.command()
def idle(
    seconds: Annotated[float, typer.Option(min=1, help="How long to look.")] = 60,
    settle: Annotated[float, typer.Option(min=0, help="Seconds from the model's being ready until then.")] = 30,
    model: Model = "nano",
) -> None:
    """Processor time of the language server and of its engine host while nobody types, with a document of this package open."""
    from engine.bench import idle as bench_idle
    from engine.bench.full_path import ServerPlan

    package = Path(__file__).resolve().parent.parent
    text = Path(__file__).read_text("utf-8")
    head = text.index("@bench_app")
    server = ServerPlan(arguments=server_command(), environment=os.environ, settings={"model": model})
    with progress_bar("seconds") as on_progress:
        plan = bench_idle.IdlePlan(package, text[:head], text[head:], settle, seconds, on_progress)
        shares = bench_idle.measure(plan, server)
    show_report(bench_idle.report(shares, facts_of_run(0) | {"seconds": seconds, "settle": settle}))


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

    config = engine_config(model, device, dtype, threads)
    cases = held_out_cases(corpus, split, "rest_of_line", repeat + 1, seed).cases
    engine, model_facts = load_engine(config)
    plan = bench_steps.StepsPlan(contexts=context or bench_steps.StepsPlan().contexts, max_tokens=max_tokens, repeat=repeat)
    results, has_uncached = bench_steps.measure(engine, cases, plan)
    facts = facts_of_run(threads) | {"seed": seed, "model": model_facts}
    show_report(bench_steps.report(results, has_uncached, facts))


@bench_app.command()
def load(
    repeat: Annotated[int, typer.Option(min=1, help="Measured loads, after one that is not.")] = 3,
    model: Model = "nano",
    device: Device = "auto",
    dtype: Dtype = "auto",
    threads: Threads = 0,
) -> None:
    """Time to load a model beside the time to only read its files, and the memory that loading takes at its peak."""
    from engine.bench import load as bench_load

    config = engine_config(model, device, dtype, threads)
    with progress_bar("loads") as on_progress:
        results = bench_load.measure(config, bench_load.LoadPlan(repeat=repeat), on_progress)
    about = {"name": config.model, "device": config.device, "dtype": config.dtype}
    show_report(bench_load.report(results, facts_of_run(threads) | {"model": about}))


@bench_app.command()
def context(
    corpus: Corpus = None,
    split: Split = "test",
    sources: Annotated[str, typer.Option(help="Context sources, with commas between them; empty for all.")] = "",
    n: Annotated[int, typer.Option("--n", "--limit", min=1, help="Holes; each is asked once for each set of sources.")] = 300,
    kind: Annotated[str, typer.Option(help="Holes: rest_of_line, whole_line or within_line.")] = "rest_of_line",
    language: Annotated[str, typer.Option(help="Only holes in this language.")] = "python",
    share: Annotated[float, typer.Option(min=0.0, max=0.8, help="Share of the text before the cursor that gives way to context.")] = 0.25,
    prompt_tokens: Annotated[int, typer.Option(min=0, help="What the model reads, in tokens; 0: what it was trained with.")] = 0,
    budget_ms: Annotated[int, typer.Option(min=0, help="Time for gathering; 0: as long as it takes.")] = 0,
    seed: Seed = 0,
    model: Model = "nano",
    device: Device = "auto",
    dtype: Dtype = "auto",
    threads: Threads = 0,
) -> None:
    """What context from other files gains: held-out packages as workspaces, with no source, each alone, all, and all but each."""
    from engine.bench import context as bench_context
    from engine.bench import held_out

    sets = source_sets([name.strip() for name in sources.split(",") if name.strip()])
    config = engine_config(model, device, dtype, threads)
    files = held_out_files(corpus, split)
    cases = held_out.draw_languages(files, kind, n, seed, language)
    packages: dict[str, dict[str, str]] = {}
    for file in files:
        packages.setdefault(file.package, {})[file.path] = file.text
    facts = facts_of_run(threads) | {"seed": seed, "share": share, "budget_ms": budget_ms}
    engine, facts["model"] = load_engine(config)
    # Whether a model is better with text from other files is what is to be found out.
    engine.reads_snippets = engine.token_ids.document is not None
    reads = prompt_tokens or engine.defaults.prefix_tokens + engine.defaults.suffix_tokens
    facts["prompt_tokens"] = reads
    with workspaces(packages, Plan(share=share, prompt_tokens=reads, budget_ms=budget_ms, seed=seed)) as make:

        def ask(case: Case, name: str) -> bench_context.Asked:
            package = case.id[: case.id.index(f"/{case.path}:")]
            made = make(Place(package, case.path, case.language, case.prefix, case.suffix), sets[name])
            return bench_context.Asked(made.request, made.gather_ms, len(made.request.snippets))

        with progress_bar("context") as on_progress:
            figures = bench_context.measure(engine, cases, list(sets), ask, on_progress)
    show_report(bench_context.report(cases, figures, facts))


@bench_app.command()
def fetch(
    data: Annotated[Path, typer.Option(envvar="DLSP_BENCH_DATA", help="Folder for the files.", show_default=False)],
) -> None:
    """Download the HumanEval-Infilling files from their authors' repository; only the published bytes are kept."""
    from engine.bench.fetch import fetch as download

    download(data, report=typer.echo)


def _through_server(cases: Any, plan: Any, settings: dict[str, Any], invoked: bool) -> tuple[Any, dict[str, Any], list[str]]:
    """Samples, facts for the JSON line, and what to say under the table."""
    from engine.bench import full_path

    trigger = full_path.INVOKED if invoked else full_path.AUTOMATIC
    server = full_path.ServerPlan(arguments=server_command(), environment=os.environ, settings=settings, trigger=trigger)
    samples, found = full_path.measure(cases, plan, server)
    return samples, found.data() | {"settings": settings, "trigger": "invoked" if invoked else "automatic"}, found.notes()
