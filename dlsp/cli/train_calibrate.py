"""`dlsp train calibrate`: measure how often a checkpoint's answers are right, and make its confidence say so.

Learns from holes of one split and shows what came of it on another; the curve is `engine.train.calibrate`, the asking `engine.bench`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.errors import RequestError

if TYPE_CHECKING:
    from engine.bench.data import CaseSet
    from engine.bench.holes import Infiller
    from engine.bench.report import Report
    from engine.models.families import Calibration
    from engine.train.calibrate import Sample

MIX = {"rest_of_line": 0.6, "within_line": 0.2, "whole_line": 0.2}
"""What an editor asks for, by kind of hole: mostly the rest of the line that is being typed. This is judged by.

Learned from are as many holes of each kind: where a hole stands counts for much, and a few holes teach little about it.
"""

THRESHOLDS = (0.2, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
WANTED_PRECISION = 0.6
FOR_JUDGING = "test"

Samples = Mapping[str, Sequence["Sample"]]
"""Samples by kind of hole."""


def calibrate(
    model: Annotated[str, typer.Option(help="Checkpoint folder whose config.json gets the calibration.", show_default=False)],
    corpus: Annotated[Path, typer.Option(help="Held-out source files: the held_out.jsonl of the corpus.", show_default=False)],
    split: Annotated[str, typer.Option(help="Files to learn from.")] = "other",
    judge: Annotated[str, typer.Option(help="Files to judge by.")] = FOR_JUDGING,
    n: Annotated[int, typer.Option("--n", min=10, help="Holes to learn from, and as many to judge by.")] = 1500,
    seed: Annotated[int, typer.Option(help="Seed of the sample.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 leaves the number to torch.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure and show, and leave the checkpoint as it is.")] = False,
) -> None:
    """Make a checkpoint's confidence the probability that its answer is exactly right.

    Asks for held-out holes of the kinds an editor asks for, fits a curve, and writes it into config.json. The table shows other files,
    which the curve has not seen.
    """
    from dlsp.cli.bench_options import engine_config, facts_of_run, held_out_cases, load_engine, progress_bar, show_report
    from engine.models import checkpoint
    from engine.train.calibrate import fit, writable, write

    if split in (judge, FOR_JUDGING):
        raise RequestError(f"The split {split!r} is there to judge by, not to learn from.", "Pass another --split.")
    folder = checkpoint.find(model)
    if not dry_run:
        writable(folder)
    mixes = {split: dict.fromkeys(MIX, 1 / len(MIX)), judge: MIX}
    cases = {
        part: {kind: held_out_cases(corpus, part, kind, round(n * share), seed) for kind, share in mix.items()}
        for part, mix in mixes.items()
    }
    engine, about = load_engine(engine_config(str(folder), device, "auto", threads))
    engine.calibration = None  # raw confidence is what is calibrated, also the second time
    total = sum(len(found.cases) for kinds in cases.values() for found in kinds.values())
    done = 0
    samples: dict[str, dict[str, list[Sample]]] = {}
    with progress_bar("holes") as on_progress:

        def count() -> None:
            nonlocal done
            done += 1
            on_progress(done, total)

        for part, kinds in cases.items():
            samples[part] = {kind: answer(engine, found, count) for kind, found in kinds.items()}
    calibration = fit([sample for found in samples[split].values() for sample in found])
    if not dry_run:
        write(folder, calibration)
    facts = facts_of_run(threads) | {"model": about, "split": split, "judge": judge, "seed": seed, "written": not dry_run}
    learned = {kind: len(found) for kind, found in samples[split].items()}
    show_report(report(samples[judge], calibration, facts | {"learned_from": learned}))


def answer(engine: Infiller, cases: CaseSet, on_answer: Callable[[], None]) -> list[Sample]:
    """The answers to the cases that have text; an editor never shows the others, so how sure they are does not matter."""
    from engine.api import Hole
    from engine.bench.holes import Question, ask_model
    from engine.bench.metrics import exact_match
    from engine.runtime.calibration import place_between
    from engine.train.calibrate import Sample

    ask = ask_model(engine, Question(Hole(max_tokens=cases.max_tokens, max_lines=cases.max_lines)))
    samples = []
    for case in cases.cases:
        found = ask(case)
        on_answer()
        if found.text.strip():
            right = exact_match(found.text, case.middle)
            samples.append(Sample(found.confidence, place_between(case.prefix, case.suffix), found.finish == "complete", right))
    return samples


def report(samples: Samples, calibration: Calibration, facts: Mapping[str, Any]) -> Report:
    """Before beside after, on all kinds of holes together and on each."""
    from engine.bench.report import Report
    from engine.bench.summary import percent

    every = [sample for found in samples.values() for sample in found]
    groups = {"all kinds": every, **{kind.replace("_", " "): found for kind, found in samples.items()}}
    figures = {name: [_figures(found, None), _figures(found, calibration)] for name, found in groups.items()}
    rows: list[tuple[str, list[str]]] = []
    for name, columns in figures.items():
        rows.append((f"{name} (n = {columns[0]['n']}): right", [percent(f["right"]) for f in columns]))
        rows.append(("    calibration error, Brier score", [f"{f['calibration_error']:.3f}, {f['brier']:.4f}" for f in columns]))
        for index, threshold in enumerate(THRESHOLDS):
            rows.append((f"    >= {threshold:g}: right, of all that is shown", [_cell(f["shown"][index]) for f in columns]))
    data = {"bench": "calibrate", "calibration": calibration, "results": figures, **facts}
    return Report(
        title="calibrate", columns=["raw", "calibrated"], rows=rows, data=data, notes=_notes(figures["all kinds"][1], calibration, facts)
    )


def _figures(samples: Sequence[Sample], calibration: Calibration | None) -> dict[str, Any]:
    from engine.bench.metrics import share
    from engine.train.calibrate import brier, calibration_error, confidences

    sure = confidences(samples, calibration)
    shown = []
    for threshold in THRESHOLDS:
        right = [sample.right for confidence, sample in zip(sure, samples, strict=True) if confidence >= threshold]
        shown.append({"threshold": threshold, "precision": share(sum(right), len(right)), "coverage": share(len(right), len(samples))})
    return {
        "n": len(samples),
        "right": share(sum(sample.right for sample in samples), len(samples)),
        "calibration_error": round(calibration_error(sure, samples), 4),
        "brier": round(brier(sure, samples), 4),
        "shown": shown,
    }


def _notes(figures: Mapping[str, Any], calibration: Calibration, facts: Mapping[str, Any]) -> list[str]:
    learned = sum(facts["learned_from"].values())
    notes = [
        f"Learned from {learned} answers of split {facts['split']}, judged by {figures['n']} of split {facts['judge']}; answers without "
        "text are left out; 95 % Wilson intervals; calibration error over ten bins.",
        f"slope {calibration.slope:g}, offset {calibration.offset:g}, at indent {calibration.at_indent:g}, "
        f"text follows {calibration.text_follows:g}: {'written to config.json.' if facts['written'] else 'not written.'}",
    ]
    enough = next((shown for shown in figures["shown"] if shown["precision"]["share"] >= WANTED_PRECISION), None)
    if enough is None:
        return [*notes, f"At no threshold {WANTED_PRECISION:.0%} of what is shown is right."]
    found, part = enough["precision"], enough["coverage"]["share"]
    wanted = f"{WANTED_PRECISION:.0%} of what is shown is right from {enough['threshold']:g} on"
    return [*notes, f"{wanted} ({found['share']:.1%} of {found['of']}, {part:.1%} of the answers)."]


def _cell(shown: Mapping[str, Any]) -> str:
    from engine.bench.summary import percent

    if not shown["coverage"]["n"]:
        return "none shown"
    return f"{percent(shown['precision'])}, {percent(shown['coverage'], interval=False)}"
