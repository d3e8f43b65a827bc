"""Compares two runs on the same cases, pair by pair: what one setting gains over another, and whether that is more than chance.

Paired, because most cases are easy or hard for both; the unpaired intervals of the two runs overlap long before their
difference is in doubt. Knows row files, and neither models nor scoring.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engine.bench import metrics
from engine.bench.report import Report
from engine.bench.rows import Row, read
from engine.errors import RequestError

_MEASURES: tuple[tuple[str, str, Callable[[Row], bool | None]], ...] = (
    ("pass_at_1", "pass@1", lambda row: row.passed),
    ("exact_match", "exact match", lambda row: row.exact),
    ("same_program", "same program", lambda row: row.same_program),
)


def compare(first: Path, second: Path) -> Report:
    """The report of `second` against `first`; a difference above zero speaks for `second`.

    Raises DlspError where a file cannot be read, and RequestError where they are not about the same set or share no case.
    """
    (heading_a, rows_a), (heading_b, rows_b) = read(first), read(second)
    sets = heading_a.settings.get("set"), heading_b.settings.get("set")
    if sets[0] != sets[1]:
        raise RequestError(f"{first} is about the set {sets[0]!r}, {second} about {sets[1]!r}.", "Compare two runs on the same set.")
    shared = [case for case in rows_a if case in rows_b]
    if any(rows_a[case].truth != rows_b[case].truth for case in shared):
        raise RequestError(f"{first} and {second} have different truths for a case.", "Compare two runs on the same version of a set.")
    if not shared:
        raise RequestError(f"{first} and {second} have no case in common.", "Use the same --limit and --seed in both runs.")
    pairs = [(rows_a[case], rows_b[case]) for case in shared]
    data: dict[str, Any] = {"bench": "compare", "set": sets[0], "n": len(pairs)}
    table: list[tuple[str, list[str]]] = []
    for key, label, judge in _MEASURES:
        outcomes = [(right_a, right_b) for a, b in pairs if (right_a := judge(a)) is not None and (right_b := judge(b)) is not None]
        if outcomes:
            data[key] = paired(outcomes)
            table += _cells(label, data[key])
    table += _costs(pairs)
    notes = [f"n = {len(pairs)} cases in both files. Difference: second minus first, 95 % interval for pairs, McNemar's exact test."]
    left_out = len(rows_a) + len(rows_b) - 2 * len(pairs)
    if left_out:
        notes.append(f"Rows without a partner in the other file, left out: {left_out}.")
    notes += [f"{name}: {words}" for name, words in _settings(heading_a.settings, heading_b.settings)]
    notes.append("Cases cut from one program are not independent: on humaneval-multi the true interval is wider.")
    data |= {"left_out": left_out, "first": heading_a.settings, "second": heading_b.settings}
    data |= {"answerers": [heading_a.answerer, heading_b.answerer]}
    return Report(title=f"compare: {sets[0]}", columns=[first.name, second.name, "difference"], rows=table, data=data, notes=notes)


def paired(outcomes: Sequence[tuple[bool, bool]]) -> dict[str, Any]:
    """The two shares, their difference (second minus first) with a 95 % interval, and the exact two-sided McNemar p.

    The interval is Wald's with one pair added to each of the two discordant counts (Bonett and Price 2012, Journal of
    Educational and Behavioral Statistics 37), which keeps its coverage in small samples; the test is McNemar's (1947).
    """
    n = len(outcomes)
    gained = sum(b and not a for a, b in outcomes)
    lost = sum(a and not b for a, b in outcomes)
    gain, loss = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    margin = metrics.Z_95 * math.sqrt((gain + loss - (gain - loss) ** 2) / (n + 2))
    return {
        "n": n,
        "first": metrics.share(sum(a for a, _ in outcomes), n),
        "second": metrics.share(sum(b for _, b in outcomes), n),
        "difference": round((gained - lost) / n, 4),
        "low": round(max(-1.0, gain - loss - margin), 4),
        "high": round(min(1.0, gain - loss + margin), 4),
        "gained": gained,
        "lost": lost,
        "discordant": gained + lost,
        "p": _mcnemar(gained, lost),
    }


def _mcnemar(gained: int, lost: int) -> float:
    """The chance that a fair coin splits the discordant pairs at least this unevenly."""
    n, fewer = gained + lost, min(gained, lost)
    tail = sum(math.comb(n, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / 2**n)


def _cells(label: str, result: dict[str, Any]) -> list[tuple[str, list[str]]]:
    shares = [f"{100 * result[side]['share']:.1f} %" for side in ("first", "second")]
    difference = f"{100 * result['difference']:+.1f} ({100 * result['low']:+.1f} to {100 * result['high']:+.1f})"
    sides = [str(result["lost"]), str(result["gained"]), f"{result['discordant']} discordant, p = {result['p']:.3g}"]
    return [(label, [*shares, difference]), ("    only here", sides)]


def _costs(pairs: Sequence[tuple[Row, Row]]) -> list[tuple[str, list[str]]]:
    """Mean forwards, and the median latency, of both sides; floors have neither."""
    asked = [(a.answer, b.answer) for a, b in pairs if a.answer.forwards and b.answer.forwards]
    if not asked:
        return []
    forwards = [metrics.mean(pair[side].forwards for pair in asked) for side in (0, 1)]
    latency = [metrics.percentile([pair[side].latency_ms for pair in asked], 50) for side in (0, 1)]
    return [
        ("forwards", [f"{forwards[0]:.1f}", f"{forwards[1]:.1f}", f"{forwards[1] - forwards[0]:+.1f}"]),
        ("latency p50", [f"{latency[0]:.0f} ms", f"{latency[1]:.0f} ms", f"{latency[1] - latency[0]:+.0f} ms"]),
    ]


def _settings(first: dict[str, Any], second: dict[str, Any]) -> list[tuple[str, str]]:
    """What the two runs did differently, by dotted name."""
    found: list[tuple[str, str]] = []
    for name in sorted(first.keys() | second.keys()):
        a, b = first.get(name), second.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found += [(f"{name}.{inner}", words) for inner, words in _settings(a, b)]
        elif a != b and name != "cases":
            found.append((name, f"{a!r} against {b!r}"))
    return found
