"""Time from the start of a language-server process to its answer to `initialize`, and the memory it holds then.

The engine host is not started: a client that has not said `initialized` needs no model. Knows nothing of engines.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.bench import memory, metrics
from engine.bench.full_path import initialize, private_place
from engine.bench.report import Report, spread
from engine.bench.rpc import Command, RpcClient

SETTLE_SECONDS = 0.3


def measure(
    arguments: Sequence[str], environment: Mapping[str, str], repeat: int, on_progress: Callable[[int, int], None]
) -> list[dict[str, float | None]]:
    """`repeat` starts after one unmeasured start, which fills the disk cache: milliseconds and megabytes of each."""
    results: list[dict[str, float | None]] = []
    with private_place(environment) as (own, _):
        for turn in range(repeat + 1):
            client = RpcClient(Command(arguments, own, tempfile.gettempdir()))
            try:
                _, arrived = initialize(client, {})
                time.sleep(SETTLE_SECONDS)  # what the server does right after its answer belongs to its memory
                held = memory.of_process(client.pid)
                if turn:
                    figures = {"initialize_ms": round(1000 * (arrived - client.started), 2)}
                    results.append({**figures, "rss_mb": held.rss_mb if held else None, "pss_mb": held.pss_mb if held else None})
            finally:
                client.close()
            on_progress(turn, repeat)
    return results


def report(results: Sequence[Mapping[str, float | None]], facts: dict[str, Any]) -> Report:
    """One column; memory is the mean of all starts."""
    times = [r["initialize_ms"] or 0.0 for r in results]
    held = {key: [value for r in results if (value := r[key]) is not None] for key in ("rss_mb", "pss_mb")}
    rows: list[tuple[str, list[str]]] = [
        ("n", [str(len(results))]),
        ("initialize p50 ms", [f"{metrics.percentile(times, 50):.0f}"]),
        ("initialize p95 ms", [f"{metrics.percentile(times, 95):.0f}"]),
        ("resident memory (RSS)", [_megabytes(held["rss_mb"])]),
        ("proportional memory (PSS)", [_megabytes(held["pss_mb"])]),
    ]
    memory_figures = {key: round(metrics.mean(values), 1) if values else None for key, values in held.items()}
    data = {"bench": "startup", "initialize_ms": spread(times), **memory_figures, **facts}
    return Report(title="start-up of the language server", columns=["server"], rows=rows, data=data)


def _megabytes(values: Sequence[float]) -> str:
    return f"{metrics.mean(values):.1f} MB" if values else "-"
