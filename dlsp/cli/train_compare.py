"""The columns of `dlsp train compare`: one training run each, exported, loaded in its layout, asked and timed.

Knows neither options nor the corpus; what is asked is handed in.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.api import Hole
from engine.bench import holes, keystroke, summary
from engine.bench.data import Case, CaseSet
from engine.bench.report import Report
from engine.train.compare import load
from engine.train.export import export

KINDS = ("rest_of_line", "whole_line", "within_line")


def column(
    state: Path, tokenizer: Path, cases: Mapping[str, CaseSet], timed: Sequence[Case], measure: tuple[int, int, int]
) -> dict[str, Any]:
    """Figures of one run; `measure` is the context in tokens, the number of timed places, and the threads."""
    context, positions, threads = measure
    with tempfile.TemporaryDirectory() as folder:
        export(state, tokenizer, Path(folder), state.parent.name)
        engine = load(Path(folder), threads)
        figures: dict[str, Any] = {}
        for kind, case_set in cases.items():
            question = holes.Question(Hole(max_tokens=case_set.max_tokens, max_lines=case_set.max_lines))
            run = holes.Run(name=kind, answer=holes.ask_model(engine, question), settings={})
            figures[kind] = summary.summarize(holes.score(case_set, run), (0.5, 0.7, 0.9))
        plan = keystroke.KeystrokePlan(context=context, warm=2)
        samples = keystroke.measure(engine, keystroke.places(timed, plan)[:positions], plan)
        figures["cold"] = keystroke.summarize([s for s in samples if not s.warm])
        figures["warm"] = keystroke.summarize([s for s in samples if s.warm])
        figures["parameters"] = sum(p.numel() for p in engine.network.parameters())
    figures["log"] = _last_losses(state.with_name("log.jsonl"))
    return figures


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
    for warmth in ("cold", "warm"):
        times = [columns[n][warmth]["latency_ms"] for n in names]
        rows.append((f"{warmth} keystroke, ms p50, p95", [f"{t['p50']:.0f}, {t['p95']:.0f}" for t in times]))
    rows.append(("    forwards warm", [f"{columns[n]['warm']['forwards']:.1f}" for n in names]))
    return Report(title="training runs", columns=names, rows=rows, data={"bench": "compare-runs", "results": columns, **facts})


def _last_losses(log: Path) -> dict[str, Any]:
    """The mean of the last rows of a run's log."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()[-5:]] if log.exists() else []
    if not lines:
        return {}
    return {key: lines[-1]["step"] if key == "step" else sum(row[key] for row in lines) / len(lines) for key in lines[-1]}
