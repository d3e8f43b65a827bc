"""The table of what the language server itself costs at a keystroke, by the size of the document, beside the bars.

Knows nothing of how it was measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.bench.report import Report, spread

BARS_MS = {5_000: 5.0, 20_000: 15.0}
"""What 95 % of the keystrokes stay below in documents of so many lines."""


def report(costs_ms: Mapping[int, Sequence[float]], facts: dict[str, Any]) -> Report:
    """One column a size of document, in lines; milliseconds of processor time of the keystrokes for which the model was asked."""
    figures = {lines: spread(values) | {"max": round(max(values, default=0.0), 2)} for lines, values in costs_ms.items()}
    rows = [
        ("n", [f"{f['n']:.0f}" for f in figures.values()]),
        *((f"{name} ms", [f"{f[name]:.1f}" for f in figures.values()]) for name in ("p50", "p95", "max")),
        ("bar for p95", [f"{BARS_MS[lines]:g} ms" if lines in BARS_MS else "-" for lines in figures]),
    ]
    return Report(
        title="a keystroke in the language server, processor time",
        columns=[f"{lines:,} lines" for lines in figures],
        rows=rows,
        data={"bench": "overhead", "cost_ms": {str(lines): f for lines, f in figures.items()}, **facts},
    )
