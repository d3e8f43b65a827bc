"""`dlsp train`: build the corpus, the tokenizer and the embedded model, step by step. Everything heavy is imported on use."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from dlsp.cli.train_adapt import adapt, interruptible
from dlsp.cli.train_calibrate import calibrate

train_app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    help="Adapt the embedded model to your code, or train one: corpus, tokenizer, run, export.",
)

train_app.command()(adapt)
train_app.command()(calibrate)

Workspace = Annotated[Path, typer.Option("--work", help="Folder for corpus, states and logs.")]
WORK = Path("train-work")


def _bench_data() -> Path | None:
    folder = os.environ.get("DLSP_BENCH_DATA")
    return Path(folder) if folder else None


@train_app.command()
def corpus(
    work: Workspace = WORK,
    downloads: Annotated[Path | None, typer.Option(help="Folder that keeps what was fetched; default: `downloads` in --work.")] = None,
    allow_missing: Annotated[bool, typer.Option(help="Build without the packages that cannot be fetched.")] = False,
) -> None:
    """Fetch the pinned packages (pip, npm, apt-get), filter them, and write the corpus with its manifest.

    Files that share a long line or 13 words with a benchmark in $DLSP_BENCH_DATA are dropped. Cut off, it goes on with what it fetched.
    """
    from engine.train.corpus import Job, build

    data = _bench_data()
    if data is None:
        typer.echo("DLSP_BENCH_DATA is not set: the corpus is not checked against any benchmark.", err=True)
    manifest = build(Job(work / "corpus", downloads or work / "downloads", data, allow_missing, typer.echo))
    for name, count in manifest["languages"].items():
        typer.echo(f"{name:12}{count['packages']:5} packages{count['files']:8} files{count['bytes'] / 1e6:9.2f} MB")
    for reason, (files, size) in manifest["dropped"].items():
        typer.echo(f"dropped: {reason:24}{files:8} files{size / 1e6:9.2f} MB")
    typer.echo(f"{manifest['train_bytes'] / 1e6:.1f} MB to train on, {manifest['python_share']:.0%} Python, in {work / 'corpus'}")
    typer.echo(f"sha256 of train.jsonl: {manifest['sha256']['train.jsonl']}")


@train_app.command()
def tokenizer(work: Workspace = WORK, vocabulary: int = 8192) -> None:
    """Learn the byte-level BPE tokenizer from a sample of the corpus."""
    from engine.train import bpe
    from engine.train.corpus import read

    texts = (row["text"] for row in read(work / "corpus" / "train.jsonl"))
    trained = bpe.train(bpe.sample(texts, 25_000_000, 6), vocabulary, work / "tokenizer.json")
    held_out = [row["text"] for row in read(work / "corpus" / "held_out.jsonl")]
    tokens = sum(len(e.ids) for e in trained.encode_batch(held_out))
    typer.echo(f"{trained.get_vocab_size()} tokens, {sum(map(len, held_out)) / tokens:.2f} characters a token on held-out packages")


@train_app.command()
def run(
    work: Workspace = WORK,
    preset: Annotated[str, typer.Option(help="cpu, h200 (one large GPU, 22 minutes), compare or smoke.")] = "cpu",
    name: Annotated[str, typer.Option(help="The run's folder below --work; an existing one is gone on with.")] = "run",
    layout: Annotated[str, typer.Option(help="split (what ships), full, suffix-first or causal.")] = "split",
    minutes: Annotated[float, typer.Option(min=0, help="Training time; 0: the preset's.")] = 0.0,
    steps: Annotated[int, typer.Option(min=0, help="Training steps; 0: the preset's.")] = 0,
    batch: Annotated[int, typer.Option(min=0, help="Windows a step; 0: the preset's.")] = 0,
    holes: Annotated[int, typer.Option(min=0, help="Holes a window; 0: the preset's.")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda; empty: the preset's.")] = "",
    workers: Annotated[int, typer.Option(min=-1, help="Processes that draw batches; -1: the preset's.")] = -1,
    seed: Annotated[int, typer.Option(min=0, help="0: the preset's.")] = 0,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="No: rehearsals start at once, steps are slow.")] = True,
    verify_share: Annotated[float, typer.Option(min=0, max=1, help="Share of canvases that are read causally; 0: the preset's.")] = 0.0,
    complementary: Annotated[
        bool, typer.Option("--complementary", help="What one canvas of a hole hides at random, the next one shows.")
    ] = False,
    rate: Annotated[float, typer.Option(min=0, help="Multiplies the learning rates; with --start take less than 1.")] = 1.0,
    start: Annotated[
        list[Path] | None, typer.Option(help="State of another run whose weights a new run begins with. Repeatable: their mean.")
    ] = None,
) -> None:
    """Train, or go on with a run that was cut off: give the same command again.

    Ctrl-C and SIGTERM save and end it, with exit status 130; killing it loses at most five minutes.
    """
    from msgspec.structs import replace

    from engine.runtime.device import place
    from engine.text.tokenizer import Tokenizer
    from engine.train.cuts import Cutter
    from engine.train.presets import configure
    from engine.train.trainer import Trainer

    # There is a process for every core that draws batches: none of them needs a pool of threads besides.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    text = Tokenizer(work / "tokenizer.json")
    given = {
        "minutes": minutes,
        "steps": steps,
        "batch": batch,
        "holes": holes,
        "verify_share": verify_share,
        "device": device,
        "seed": seed,
        "complementary": complementary,
    }
    changes: dict[str, object] = {name: value for name, value in given.items() if value} | {"layout": layout}
    if not compiled:
        changes["compile"] = False
    config = configure(preset, text, **changes, **({"workers": workers} if workers >= 0 else {}))
    config = replace(config, muon_rate=rate * config.muon_rate, adam_rate=rate * config.adam_rate)
    place(config.device, "auto")  # says at once where there is no such device
    cutter = Cutter(work / "corpus" / "train.jsonl", text, config.document_id, config.window, config.holes, weighted=config.package_weights)
    trainer = Trainer(config, cutter, work / name)
    if start and not trainer.step:
        trainer.start_from(*start)
    typer.echo(f"step {trainer.step}, {trainer.progress:.0%} done; the log is {work / name / 'log.jsonl'}")
    with interruptible(signal.SIGINT, signal.SIGTERM) as stopped:
        trainer.run(stopped=stopped)
    typer.echo(f"step {trainer.step}, {trainer.progress:.0%} done; saved in {trainer.state_path}")
    if trainer.progress < 1:
        raise KeyboardInterrupt


@train_app.command()
def export(
    work: Workspace = WORK,
    name: Annotated[list[str] | None, typer.Option(help="The run. Repeatable: the mean of their weights.  [default: run]")] = None,
    out: Path = Path("model"),
    title: str = "nano",
) -> None:
    """Write a run's present state as a checkpoint that `--model` accepts."""
    from engine.train.export import export as write

    write([work / run / "state.pt" for run in name or ["run"]], work / "tokenizer.json", out, title)
    typer.echo(f"wrote {out}")


@train_app.command()
def compare(
    states: Annotated[list[Path], typer.Argument(metavar="STATE...", help="Training states (state.pt), one a column.", show_default=False)],
    work: Workspace = WORK,
    limit: Annotated[int, typer.Option(min=1, help="Held-out holes of each kind.")] = 300,
    positions: Annotated[int, typer.Option(min=1, help="Places where a keystroke is timed.")] = 40,
    context: Annotated[int, typer.Option(min=64, help="Context of a keystroke, in tokens.")] = 1000,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 leaves the number to torch.")] = 0,
    budget: Annotated[list[int] | None, typer.Option(min=1, help="Rest of line within so many milliseconds as well. Repeatable.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the samples.")] = 0,
) -> None:
    """Put training runs of any layout side by side: held-out holes exactly filled, and the time from a keystroke to its answer."""
    from dlsp.cli.bench_options import facts_of_run, held_out_cases, progress_bar, show_report
    from dlsp.cli.train_compare import KINDS, Asked, columns_of, table

    cases = {kind: held_out_cases(work / "corpus" / "held_out.jsonl", "test", kind, limit, seed) for kind in KINDS}
    timed = held_out_cases(work / "corpus" / "held_out.jsonl", "test", "rest_of_line", 3 * positions, seed + 1)
    asked = Asked(cases, timed.cases, context, positions, threads, tuple(budget or ()))
    columns: dict[str, dict[str, Any]] = {}
    with progress_bar("runs") as on_progress:
        for number, state in enumerate(states):
            on_progress(number, len(states))
            name = state.parent.name if state.name == "state.pt" else state.stem
            columns |= columns_of(state, name, work / "tokenizer.json", asked)
    show_report(table(columns, facts_of_run(threads) | {"seed": seed, "limit": limit, "context": context}))
