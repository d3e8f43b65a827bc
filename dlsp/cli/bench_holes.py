"""`dlsp bench holes` and `dlsp bench compare`: quality of filled holes, and of one run against another.

Turns options into a choice of decoding and hands over to `engine.bench`; nothing is answered or scored here.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from dlsp.cli.bench_options import (
    AlternativesOption,
    Corpus,
    Device,
    Dtype,
    EarlyCommitOption,
    HealingOption,
    LengthOption,
    LevelOption,
    RemaskOption,
    ScheduleOption,
    ScoreOption,
    SlotsOption,
    Split,
    StabilityOption,
    TemperatureOption,
    Threads,
    TopPOption,
    engine_config,
    facts_of_run,
    held_out_languages,
    load_engine,
    progress_bar,
    remask_name,
    schedule_name,
    score_name,
    show_report,
)
from engine.errors import RequestError


def holes(
    case_set: Annotated[
        str,
        typer.Option(
            "--set",
            help="humaneval-single, humaneval-multi, humaneval-random, humaneval-light, held-out, "
            "or a JSON-lines file: id, prefix, suffix, middle and kind; or prompt, suffix and canonical_solution.",
        ),
    ] = "humaneval-single",
    model: Annotated[
        str | None,
        typer.Option(
            help='"nano", a model that `dlsp models` lists, or the path of a checkpoint folder. Without it and with --baseline: no model.',
            show_default=False,
        ),
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
    length_policy: LengthOption = "",
    slots: SlotsOption = 0,
    score: ScoreOption = "",
    schedule: ScheduleOption = "",
    level: LevelOption = 0.0,
    early_commit: EarlyCommitOption = None,
    stability: StabilityOption = 0.0,
    remask: RemaskOption = "",
    temperature: TemperatureOption = 0.0,
    top_p: TopPOption = 1.0,
    alternatives: AlternativesOption = 1,
    healing: HealingOption = True,
    limit: Annotated[
        int, typer.Option("--limit", "--n", min=0, help="A seeded sample of this many cases; 0: all (held-out: 300 in each language).")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the sample, and of the decoding where that draws lots.")] = 0,
    kind: Annotated[str, typer.Option(help="Held-out holes: rest_of_line, whole_line or within_line.")] = "rest_of_line",
    language: Annotated[str, typer.Option(help="Only cases in this language, of an own file or held-out; empty for all.")] = "",
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
        Path | None,
        typer.Option(
            help="Keep every case's row here (JSON lines); an interrupted run with the same settings goes on from it.", show_default=False
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(envvar="DLSP_BENCH_DATA", help="Folder with the HumanEval-Infilling files.", show_default=False)
    ] = None,
) -> None:
    """Fill every hole of a set and score the answers. HumanEval programs are executed, in a sandbox without network."""
    from engine.api import Decoding, Hole
    from engine.bench import holes as scoring
    from engine.bench.baselines import BASELINES
    from engine.bench.decoding import choose
    from engine.bench.summary import report, summarize_languages

    floors = list(dict.fromkeys(baseline or ()))
    unknown = [name for name in floors if name not in BASELINES]
    if unknown:
        raise RequestError(f"There is no baseline {unknown[0]!r}.", f"Use {', '.join(BASELINES)}.")
    config = engine_config(model or "nano", device, dtype, threads)
    decoding = Decoding(
        slots=slots,
        score=score_name(score),
        schedule=schedule_name(schedule),
        level=level,
        early_commit=early_commit,
        stability=stability,
        remask=remask_name(remask),
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        alternatives=alternatives,
        healing=healing,
    )
    choice = choose(length_policy, decoding)
    if case_set == "held-out":
        cases = held_out_languages(corpus, split, kind, limit or 300, seed, language)
        # Floors cost nothing where nothing is executed, and figures mean little without them.
        floors = floors or list(BASELINES)
    else:
        from engine.bench.data import load

        cases = load(case_set, data).in_language(language).sample(limit, seed)
    hole = Hole(max_tokens=max_tokens or cases.max_tokens, max_lines=max_lines or cases.max_lines)
    limits = {"max_tokens": hole.max_tokens, "max_lines": hole.max_lines, "deadline_ms": deadline_ms}
    facts = facts_of_run(threads) | {"seed": seed, **limits}

    thresholds = show_threshold or ()
    figures: dict[str, dict[str, Any]] = {}
    if model is not None or not baseline:
        from engine.bench.subject import slot_counter, token_counter

        engine, facts["model"] = load_engine(config)
        facts["decoding"] = choice.facts()
        question = scoring.Question(hole, deadline_ms, choice, slot_counter(engine, healing))
        run = scoring.Run(
            name=engine.model,
            answer=scoring.ask_model(engine, question),
            settings={"model": facts["model"], "decoding": choice.facts(), "limit": limit, "language": language, **limits},
            out=out,
            workers=workers,
            count=token_counter(engine),
        )
        with progress_bar("model") as on_progress:
            figures[engine.model] = summarize_languages(cases, scoring.score(cases, replace(run, on_progress=on_progress)), thresholds)
    for name in floors:
        path = out.with_name(f"{out.stem}.{name}{out.suffix}") if out else None
        run = scoring.Run(name=name, answer=scoring.ask_floor(BASELINES[name]), settings={}, out=path, workers=workers)
        with progress_bar(name) as on_progress:
            figures[name] = summarize_languages(cases, scoring.score(cases, replace(run, on_progress=on_progress)), thresholds)
    show_report(report(cases, figures, facts))


def compare(
    first: Annotated[Path, typer.Argument(metavar="ROWS_A", help="Rows that `dlsp bench holes --out` kept.", show_default=False)],
    second: Annotated[Path, typer.Argument(metavar="ROWS_B", help="Rows of another run on the same set.", show_default=False)],
) -> None:
    """Compare two runs on the same set case by case: the difference with its interval, and the cases where they disagree."""
    from engine.bench.compare import compare as compare_rows

    show_report(compare_rows(first, second))
