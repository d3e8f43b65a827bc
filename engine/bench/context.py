"""What context from other files gains: every held-out hole asked once for each set of sources, compared pair by pair.

Who makes the requests is handed in; knows no workspace, no editor, and no source by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from engine.api import Hole, InfillRequest
from engine.bench import metrics
from engine.bench.compare import paired
from engine.bench.data import Case, CaseSet
from engine.bench.holes import Infiller
from engine.bench.report import Report, milliseconds, spread

NONE = "none"
ALL = "all"
"""The two sets of sources that others are compared with: what a source gains alone, and what is lost without it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, the milliseconds it took to make, and how many snippets are in it."""

    request: InfillRequest
    gather_ms: float
    snippets: int


@dataclass(slots=True)
class Figures:
    """What came of one set of sources, case by case."""

    exact: list[bool] = field(default_factory=list)
    similarity: list[float] = field(default_factory=list)
    gather_ms: list[float] = field(default_factory=list)
    model_ms: list[float] = field(default_factory=list)
    prompt_tokens: list[int] = field(default_factory=list)
    snippets: list[int] = field(default_factory=list)


Ask = Callable[[Case, str], Asked]
"""Makes the request of a case with the set of sources of that name."""


def measure(engine: Infiller, cases: CaseSet, sets: Sequence[str], ask: Ask, on_progress: Callable[[int, int], None]) -> dict[str, Figures]:
    """Figures by set. Each request is a document of its own, so that no set profits from what another has encoded."""
    figures = {name: Figures() for name in sets}
    hole = Hole(max_tokens=cases.max_tokens, max_lines=cases.max_lines)
    for number, case in enumerate(cases.cases):
        for name, found in figures.items():
            asked = ask(case, name)
            request = msgspec.structs.replace(asked.request, holes=(hole,), client="bench", document=f"{case.id}:{name}")
            result = engine.infill(request)
            found.exact.append(metrics.exact_match(result.text, case.middle))
            found.similarity.append(metrics.edit_similarity(metrics.comparable(result.text, case.middle), case.middle.strip()))
            found.gather_ms.append(asked.gather_ms)
            found.model_ms.append(result.timings.prompt_ms + result.timings.denoise_ms)
            found.prompt_tokens.append(result.prompt_tokens)
            found.snippets.append(asked.snippets)
        on_progress(number + 1, len(cases.cases))
    return figures


def report(cases: CaseSet, figures: dict[str, Figures], facts: dict[str, Any]) -> Report:
    """A row for each set of sources; differences are to no source and to all sources, in points of exact match."""
    columns = ("exact match", "to none", "to all", "similarity", "with snippets", "tokens", "gather p50 / p95", "model p50 / p95")
    rows, data = [], {}
    for name, found in figures.items():
        share = metrics.share(sum(found.exact), len(found.exact))
        differences = {base: _difference(figures, base, name) for base in (NONE, ALL)}
        some = metrics.mean(count > 0 for count in found.snippets)
        cells = [
            f"{100 * share['share']:.1f} % ({100 * share['low']:.1f} to {100 * share['high']:.1f})",
            *map(_words, differences.values()),
            f"{100 * metrics.mean(found.similarity):.1f}",
            f"{100 * some:.0f} %",
            f"{metrics.mean(found.prompt_tokens):.0f}",
            milliseconds(found.gather_ms),
            milliseconds(found.model_ms),
        ]
        rows.append((name, cells))
        data[name] = {
            "exact_match": share,
            "against_none": differences[NONE],
            "against_all": differences[ALL],
            "edit_similarity": round(metrics.mean(found.similarity), 4),
            "with_snippets": round(some, 4),
            "snippets": round(metrics.mean(found.snippets), 2),
            "prompt_tokens": round(metrics.mean(found.prompt_tokens), 1),
            "gather_ms": spread(found.gather_ms),
            "model_ms": spread(found.model_ms),
        }
    notes = [
        f"n = {len(cases.cases)}, 95 % intervals: Wilson's for shares, for pairs in differences; p is McNemar's exact test.",
        "Holes of one package resemble one another, and many sets are compared: a p of 0.05 is no proof.",
        "Open files and recent edits are drawn by lot here, not by somebody at work: their rows say the least they may gain.",
    ]
    return Report(
        title=f"context: {cases.name}",
        columns=columns,
        rows=rows,
        data={"bench": "context", "set": cases.name, "n": len(cases.cases), "origin": cases.origin, "results": data, **facts},
        notes=notes,
    )


def _difference(figures: dict[str, Figures], base: str, name: str) -> dict[str, Any] | None:
    """What a set gains over another, case by case; None where there is nothing to compare."""
    if name == base or base not in figures or not figures[name].exact:
        return None
    return paired(list(zip(figures[base].exact, figures[name].exact, strict=True)))


def _words(difference: dict[str, Any] | None) -> str:
    if difference is None:
        return "-"
    points = [f"{100 * difference[key]:+.1f}" for key in ("difference", "low", "high")]
    return f"{points[0]} ({points[1]} to {points[2]}, p {difference['p']:.2g})"
