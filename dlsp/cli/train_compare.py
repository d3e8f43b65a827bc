"""The columns of `dlsp train compare`: each training run exported, loaded in its layout, asked and timed; one that can check its drafts
is decoded without doing so as well.

Knows neither options nor the corpus; what is asked is handed in.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from engine.api import Hole
from engine.bench import holes, keystroke, summary
from engine.bench.data import Case, CaseSet
from engine.bench.report import Report
from engine.runtime.engine import Engine
from engine.train.compare import load
from engine.train.export import export
from engine.train.trainer import log_rows

KINDS = ("rest_of_line", "whole_line", "within_line")


@dataclass(frozen=True, slots=True)
class Asked:
    """Held-out holes by kind; `positions` places among `timed` with `context` tokens around them, where keystrokes are timed; CPU
    threads; and time limits in milliseconds within which rests of lines are asked for again."""

    cases: Mapping[str, CaseSet]
    timed: Sequence[Case]
    context: int
    positions: int
    threads: int
    budgets: tuple[int, ...] = ()


def columns_of(state: Path, name: str, tokenizer: Path, asked: Asked) -> dict[str, dict[str, Any]]:
    """The figures of one run, by the name of the run, and of the decoding where it has two."""
    with tempfile.TemporaryDirectory() as folder:
        export([state], tokenizer, Path(folder), name)
        engine = load(Path(folder), asked.threads)
        if engine.defaults.schedule != "speculative":
            found = {name: _figures(engine, asked)}
        else:
            found = {f"{name}, checked": _figures(engine, asked)}
            engine.defaults = msgspec.structs.replace(engine.defaults, schedule="threshold")
            found[f"{name}, diffusion"] = _figures(engine, asked)
    log = _last_losses(state.with_name("log.jsonl"))
    return {each: figures | {"log": log} for each, figures in found.items()}


def _figures(engine: Engine, asked: Asked) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for kind, case_set in asked.cases.items():
        figures[kind] = _score(engine, case_set, 0)
    figures["within_ms"] = {budget: _score(engine, asked.cases["rest_of_line"], budget) for budget in asked.budgets}
    plan = keystroke.KeystrokePlan(context=asked.context, warm=2)
    samples = keystroke.measure(engine, keystroke.places(asked.timed, plan)[: asked.positions], plan)
    figures["cold"] = keystroke.summarize([s for s in samples if not s.warm])
    figures["warm"] = keystroke.summarize([s for s in samples if s.warm])
    figures["parameters"] = sum(p.numel() for p in engine.network.parameters())
    return figures


def _score(engine: Engine, cases: CaseSet, deadline_ms: int) -> dict[str, Any]:
    question = holes.Question(Hole(max_tokens=cases.max_tokens, max_lines=cases.max_lines), deadline_ms=deadline_ms)
    run = holes.Run(name=cases.name, answer=holes.ask_model(engine, question), settings={})
    return summary.summarize(holes.score(cases, run), (0.5, 0.7, 0.9))


def table(columns: Mapping[str, dict[str, Any]], facts: dict[str, Any]) -> Report:
    """The runs side by side."""
    names = list(columns)
    rows: list[tuple[str, list[str]]] = [
        ("parameters", [f"{columns[n]['parameters'] / 1e6:.2f}M" for n in names]),
        ("steps", [str(columns[n]["log"].get("step", "-")) for n in names]),
        (
            "loss in holes, in context",
            [f"{columns[n]['log'].get('masked', 0):.2f}, {columns[n]['log'].get('prefix', 0):.2f}" for n in names],
        ),
    ]
    for kind in KINDS:
        rows.append((f"{kind.replace('_', ' ')}: exact", [summary.percent(columns[n][kind]["exact_match"]) for n in names]))
        rows.append(
            ("    forwards, ms p50", [f"{columns[n][kind]['forwards']:.1f}, {columns[n][kind]['latency_ms']['p50']:.0f}" for n in names])
        )
    for budget in columns[names[0]]["within_ms"]:
        exact = [summary.percent(columns[n]["within_ms"][budget]["exact_match"]) for n in names]
        rows.append((f"rest of line within {budget} ms: exact", exact))
    for warmth in ("cold", "warm"):
        times = [columns[n][warmth]["latency_ms"] for n in names]
        rows.append((f"{warmth} keystroke, ms p50, p95", [f"{t['p50']:.0f}, {t['p95']:.0f}" for t in times]))
    rows.append(("    forwards warm", [f"{columns[n]['warm']['forwards']:.1f}" for n in names]))
    return Report(title="training runs", columns=names, rows=rows, data={"bench": "compare-runs", "results": columns, **facts})


def _last_losses(log: Path) -> dict[str, Any]:
    """The mean of the last rows of a run's log."""
    rows = log_rows(log)[-5:]
    if not rows:
        return {}
    return {key: rows[-1]["step"] if key == "step" else sum(row[key] for row in rows) / len(rows) for key in rows[-1]}
