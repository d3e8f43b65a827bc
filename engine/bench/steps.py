"""Time of a denoise step and a forward pass at several context lengths, with and without reuse of keys and values.

Both ways run side by side, alternating, in one process; only their ratio can be compared across machines. Knows nothing of quality.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from engine.api import Hole, InfillRequest, InfillResult, Limits
from engine.bench import metrics
from engine.bench.data import Case
from engine.bench.holes import Infiller
from engine.bench.report import Report, spread


@dataclass(frozen=True, slots=True)
class StepsPlan:
    """Context budgets in tokens, hole limits in tokens, and how many times each is measured (after one unmeasured request)."""

    contexts: Sequence[int] = (128, 256, 512, 1024)
    max_tokens: int = 32
    repeat: int = 10


@dataclass(slots=True)
class _Sample:
    first: list[float]
    kept: list[float]
    plain: list[float]
    kept_per_forward: list[float]
    plain_per_forward: list[float]
    prompt_tokens: list[int]


def measure(engine: Infiller, cases: Sequence[Case], plan: StepsPlan) -> tuple[list[dict[str, Any]], bool]:
    """Figures for each context budget, and whether this engine can also run without reuse (`infill_uncached`).

    For every case a document is opened (`first`), then one more character is typed and asked for again, with what is kept
    from the first request and with nothing kept. Times are milliseconds of a whole request and per forward pass.
    """
    assert cases, "nothing to measure"
    uncached: Callable[[InfillRequest], InfillResult] | None = getattr(engine, "infill_uncached", None)
    results = []
    for context in plan.contexts:
        sample = _Sample([], [], [], [], [], [])
        for turn in range(plan.repeat + 1):
            case = cases[turn % len(cases)]
            _one(engine.infill, uncached, _requests(case, context, plan.max_tokens, turn), sample)
            if turn == 0:
                sample = _Sample([], [], [], [], [], [])
        results.append(
            {
                "context": context,
                "prompt_tokens": round(metrics.mean(sample.prompt_tokens), 1),
                "first_ms": spread(sample.first),
                "kept_ms": spread(sample.kept),
                "kept_ms_per_forward": spread(sample.kept_per_forward),
                "uncached_ms": spread(sample.plain),
                "uncached_ms_per_forward": spread(sample.plain_per_forward),
                "request_ratio": round(metrics.median_ratio(sample.plain, sample.kept), 2),
                "forward_ratio": round(metrics.median_ratio(sample.plain_per_forward, sample.kept_per_forward), 2),
            }
        )
    return results, uncached is not None


def report(results: Sequence[dict[str, Any]], has_uncached: bool, facts: dict[str, Any]) -> Report:
    """One column for each context budget."""

    def cells(key: str) -> list[str]:
        return [f"{r[key]['p50']:.1f} / {r[key]['p95']:.1f}" if r[key]["n"] else "-" for r in results]

    rows: list[tuple[str, list[str]]] = [
        ("prompt tokens, mean", [f"{r['prompt_tokens']:.0f}" for r in results]),
        ("first request, ms p50 / p95", cells("first_ms")),
        ("next keystroke, ms", cells("kept_ms")),
        ("    ms a forward", cells("kept_ms_per_forward")),
    ]
    notes = ["A forward encodes new context or takes one denoise step."]
    if has_uncached:
        rows += [
            ("next keystroke without reuse, ms", cells("uncached_ms")),
            ("    ms a forward", cells("uncached_ms_per_forward")),
            ("without / with reuse: request", [f"{r['request_ratio']:.2f} x" for r in results]),
            ("    a forward", [f"{r['forward_ratio']:.2f} x" for r in results]),
        ]
    else:
        notes.append("Skipped: this engine has no way to run without reuse.")
    columns = [f"{r['context']} tokens" for r in results]
    data = {"bench": "steps", "results": list(results), "uncached": has_uncached, **facts}
    return Report(title="steps: time of a forward pass by context", columns=columns, rows=rows, data=data, notes=notes)


def _requests(case: Case, context: int, max_tokens: int, turn: int) -> tuple[InfillRequest, InfillRequest]:
    """The same place before and after one character is typed."""
    before, after = case.prefix, case.prefix + case.middle[:1]
    first = InfillRequest(
        prefix=before,
        suffix=case.suffix,
        holes=(Hole(max_tokens=max_tokens, max_lines=1),),
        limits=Limits(prompt_tokens=context),
        client="bench",
        document=f"steps-{context}-{turn}",
        version=1,
    )
    second = InfillRequest(
        prefix=after,
        suffix=case.suffix,
        holes=first.holes,
        limits=first.limits,
        client=first.client,
        document=first.document,
        version=2,
    )
    return first, second


def _one(
    infill: Callable[[InfillRequest], InfillResult],
    uncached: Callable[[InfillRequest], InfillResult] | None,
    requests: tuple[InfillRequest, InfillRequest],
    sample: _Sample,
) -> None:
    first, second = requests
    elapsed, result = _timed(infill, first)
    sample.first.append(elapsed)
    sample.prompt_tokens.append(result.prompt_tokens)
    elapsed, result = _timed(infill, second)
    sample.kept.append(elapsed)
    sample.kept_per_forward.append(elapsed / max(1, result.forwards))
    if uncached is not None:
        elapsed, result = _timed(uncached, second)
        sample.plain.append(elapsed)
        sample.plain_per_forward.append(elapsed / max(1, result.forwards))


def _timed(infill: Callable[[InfillRequest], InfillResult], request: InfillRequest) -> tuple[float, InfillResult]:
    began = time.perf_counter()
    result = infill(request)
    return 1000 * (time.perf_counter() - began), result
