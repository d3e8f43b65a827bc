"""What `dlsp train adapt` shows and writes of its result: the verdict, the table, and the model card.

Knows rows of answers and counts of files; the card has neither paths nor text of the repository.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.bench.report import Report
    from engine.bench.rows import Row
    from engine.train.adapt import Adapted
    from engine.train.adapt_files import Sources

Rows = dict[str, list["Row"]]
"""Scored holes by kind."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Holes of all kinds together: right only after, right only before, and the chance of that without any effect."""

    gained: int
    lost: int
    p: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything that is reported. `seconds` is the time of the whole command."""

    name: str
    sources: Sources
    adapted: Adapted
    before: Rows
    after: Rows
    verdict: Verdict
    kept: bool
    seconds: float


def judge(before: Rows, after: Rows) -> Verdict:
    """Whether more holes were won than lost, all kinds together."""
    from engine.bench.compare import paired

    found = paired([(a.exact, b.exact) for kind in before for a, b in zip(before[kind], after[kind], strict=True)])
    return Verdict(found["gained"], found["lost"], found["p"])


def report(outcome: Outcome, size: int, threads: int) -> Report:
    """The table, and sentences about what became of the result. `size` in bytes."""
    from dlsp.cli.bench_options import facts_of_run
    from engine.bench.report import Report
    from engine.models.store import size_text

    rows = [(label, cells) for label, *cells in _table(outcome)]
    verdict, adapted = outcome.verdict, outcome.adapted
    measured = ", ".join(f"{len(found)} {kind.replace('_', ' ')}" for kind, found in outcome.before.items())
    notes = [
        f"The same held-out holes before and after ({measured}), 95 % Wilson intervals; {adapted.steps} steps in "
        f"{adapted.seconds / 60:.1f} minutes, {adapted.passes:.1f} passes over the text; {outcome.seconds / 60:.1f} minutes in all."
    ]
    if verdict.gained <= verdict.lost:
        notes.append("It did not help: nothing was kept." if not outcome.kept else "It did not help; it was kept because --force says so.")
    elif verdict.p > 0.05:
        notes.append(f"The gain is within what chance gives (p = {verdict.p:.2f}): more code, more --minutes or more --holes would tell.")
    if outcome.kept:
        notes.append(f"Kept as {outcome.name} ({size_text(size)}). `dlsp models use {outcome.name}` makes it the model of your editors,")
        notes.append(f"`dlsp models use nano` goes back, and `dlsp models remove {outcome.name}` deletes it.")
    data = {
        "bench": "adapt",
        "model": outcome.name,
        "kept": outcome.kept,
        "base": adapted.base.name,
        "files": len(outcome.sources.training),
        "characters": outcome.sources.characters,
        "held_out": len(outcome.sources.held_out),
        "dropped": outcome.sources.dropped,
        "steps": adapted.steps,
        "seconds": round(outcome.seconds, 1),
        "training_seconds": round(adapted.seconds, 1),
        "passes": round(adapted.passes, 2),
        "loss": [round(adapted.first_loss, 3), round(adapted.last_loss, 3)],
        "interrupted": adapted.interrupted,
        "results": {kind: {"before": _figures(outcome.before[kind]), "after": _figures(outcome.after[kind])} for kind in outcome.before},
        "gained": verdict.gained,
        "lost": verdict.lost,
        "p": round(verdict.p, 4),
        **facts_of_run(threads),
    }
    return Report(title=f"adapt: {outcome.name}", columns=["before", "after", "holes won, lost"], rows=rows, data=data, notes=notes)


def model_card(outcome: Outcome) -> str:
    """What the result was made from, in counts: no paths, no text."""
    sources, adapted = outcome.sources, outcome.adapted
    languages = ", ".join(f"{name} {count}" for name, count in sources.languages().items())
    table = "\n".join(f"| {' | '.join(row)} |" for row in _table(outcome))
    return f"""# {outcome.name}

The model {adapted.base.name}, fine-tuned on one repository by `dlsp train adapt` on the machine where it lies. It may repeat pieces of that
repository: treat it as you treat the code itself, and do not publish it where you would not publish the code.

| fact | value |
|---|---|
| base | {adapted.base.name}, {adapted.base.licence} |
| learned from | {len(sources.training)} files, {sources.characters:,} characters ({languages}) |
| never learned from | {len(sources.held_out)} files, chosen by a hash of their paths |
| training | {adapted.steps} steps, {adapted.seconds / 60:.1f} minutes, {adapted.passes:.1f} passes over the text |
| loss of hidden tokens, nats | {adapted.first_loss:.2f} at first, {adapted.last_loss:.2f} at last |

Holes in the files it never learned from, with 95 % Wilson intervals:

| | before | after | holes won, lost |
|---|---|---|---|
{table}

`dlsp models remove {outcome.name}` deletes it.
"""


def _table(outcome: Outcome) -> list[list[str]]:
    """Label, before, after, and holes won and lost."""
    from engine.bench.summary import percent

    rows = []
    for kind, found in outcome.before.items():
        pairs = [(a.exact, b.exact) for a, b in zip(found, outcome.after[kind], strict=True)]
        one, other = _figures(found), _figures(outcome.after[kind])
        won, lost = sum(b and not a for a, b in pairs), sum(a and not b for a, b in pairs)
        label = f"{kind.replace('_', ' ')}, exact match (n = {len(pairs)})"
        rows.append([label, percent(one["exact_match"]), percent(other["exact_match"]), f"+{won} -{lost}"])
        one_shown, other_shown = one["shown"][0], other["shown"][0]
        rows.append(
            [
                f"    shown (confidence >= {one_shown['threshold']:g}), of these right",
                *(f"{percent(s['coverage'], interval=False)}, {percent(s['precision'], interval=False)}" for s in (one_shown, other_shown)),
                "",
            ]
        )
    return rows


def _figures(rows: Sequence[Row]) -> dict[str, Any]:
    from dlsp.settings import Settings
    from engine.bench.summary import summarize

    return summarize(rows, (Settings().min_confidence,))
