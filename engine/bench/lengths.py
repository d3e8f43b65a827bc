"""Predicted and true lengths in tokens: how far apart they are, and how quality depends on the true one.

Both lengths are those of texts encoded on their own by the model's tokenizer, so the same text has the same length however
the model came to write it. Knows rows, and neither models nor tokenizers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.bench import metrics
from engine.bench.rows import Row

BUCKETS: tuple[tuple[int, int | None], ...] = ((0, 0), (1, 4), (5, 8), (9, 16), (17, 32), (33, None))
"""Bounds of the true length, both inclusive; the last bucket has no end. Holes with nothing in them are one of their own."""


def summarize_lengths(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Errors in tokens (predicted minus true) over all rows, and the figures of each bucket that has rows.

    None where no row knows its lengths (a floor has no tokenizer).
    """
    known = [(row, row.text_tokens, row.true_tokens) for row in rows if row.text_tokens is not None and row.true_tokens is not None]
    if not known:
        return None
    errors = [predicted - true for _, predicted, true in known]
    sizes = [abs(error) for error in errors]
    buckets = []
    for low, high in BUCKETS:
        inside = [row for row, _, true in known if low <= true and (high is None or true <= high)]
        if inside:
            buckets.append(_bucket(inside, low, high))
    return {
        "n": len(known),
        "tokens": round(metrics.mean(predicted for _, predicted, _ in known), 2),
        "true_tokens": round(metrics.mean(true for _, _, true in known), 2),
        "absolute_error_p50": metrics.percentile(sizes, 50),
        "absolute_error_mean": round(metrics.mean(sizes), 2),
        "error_mean": round(metrics.mean(errors), 2),
        "right": metrics.share(sum(size == 0 for size in sizes), len(known)),
        "within_1": metrics.share(sum(size <= 1 for size in sizes), len(known)),
        "buckets": buckets,
    }


def bucket_name(low: int, high: int | None) -> str:
    """`5-8`, `33+`, `0`."""
    return f"{low}+" if high is None else str(low) if low == high else f"{low}-{high}"


def _bucket(rows: Sequence[Row], low: int, high: int | None) -> dict[str, Any]:
    executed = [row for row in rows if row.passed is not None]
    errors = [row.text_tokens - row.true_tokens for row in rows if row.text_tokens is not None and row.true_tokens is not None]
    return {
        "true_tokens": bucket_name(low, high),
        "n": len(rows),
        "pass_at_1": metrics.share(sum(bool(row.passed) for row in executed), len(executed)) if executed else None,
        "exact_match": metrics.share(sum(row.exact for row in rows), len(rows)),
        "length_right": metrics.share(sum(error == 0 for error in errors), len(rows)),
        "error_mean": round(metrics.mean(errors), 2),
    }
