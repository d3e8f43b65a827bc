"""The figures of scored holes, and the table that puts several answerers side by side.

Knows rows and nothing of how they came about. A *forward* is one network pass over a batch, whatever the batch holds:
length hypotheses and alternatives that are denoised together share it. *Tokens per forward* divides the tokens of the first
answers alone by all forwards, those that looked for the length or made other alternatives included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from engine.bench import metrics
from engine.bench.data import CaseSet
from engine.bench.lengths import BUCKETS, bucket_name, summarize_lengths
from engine.bench.report import Report, spread
from engine.bench.rows import Row

Figures = dict[str, Any]


def summarize(rows: Sequence[Row], thresholds: Sequence[float]) -> Figures:
    """The figures of one answerer, shares as {n, of, share, low, high} with 95 % Wilson intervals."""
    answers = [row.answer for row in rows]
    executed = [row for row in rows if row.passed is not None]
    parseable = [row for row in rows if row.parses is not None]
    truth_lengths = [len(row.truth.strip()) for row in rows]
    lengths = [len(a.text.strip()) for a in answers]
    forwards = sum(a.forwards for a in answers)
    ratios = [length / truth for length, truth in zip(lengths, truth_lengths, strict=True) if truth]
    return {
        "n": len(rows),
        "pass_at_1": metrics.share(sum(bool(r.passed) for r in executed), len(executed)) if executed else None,
        "exact_match": metrics.share(sum(r.exact for r in rows), len(rows)),
        "same_program": metrics.share(sum(r.same_program for r in rows), len(rows)),
        "any_of": _any_of(rows, executed),
        "edit_similarity": round(metrics.mean(r.similarity for r in rows), 4),
        "parses": metrics.share(sum(bool(r.parses) for r in parseable), len(parseable)) if parseable else None,
        "empty": metrics.share(sum(not a.text.strip() for a in answers), len(rows)),
        "characters": round(metrics.mean(lengths), 2),
        "true_characters": round(metrics.mean(truth_lengths), 2),
        "length_ratio_p50": round(metrics.percentile(ratios, 50), 3),
        "too_long": metrics.share(sum(a > b for a, b in zip(lengths, truth_lengths, strict=True)), len(rows)),
        "lengths": summarize_lengths(rows),
        "tokens": round(metrics.mean(a.tokens for a in answers), 2),
        "steps": round(metrics.mean(a.steps for a in answers), 2),
        "forwards": round(metrics.mean(a.forwards for a in answers), 2),
        "tokens_per_forward": round(sum(a.tokens for a in answers) / forwards, 3) if forwards else 0.0,
        "latency_ms": spread([a.latency_ms for a in answers if a.forwards]),
        "finish": _counts(a.finish for a in answers),
        "length_policy": ", ".join(_counts(a.length_policy for a in answers)),
        "shown": [_shown(rows, threshold) for threshold in thresholds],
    }


def summarize_languages(cases: CaseSet, rows: Sequence[Row], thresholds: Sequence[float]) -> Figures:
    """The figures of one answerer, those of each language besides (`languages`) where the set has more than one."""
    language = {case.id: case.language for case in cases.cases}
    apart: dict[str, list[Row]] = {}
    for row in rows:
        apart.setdefault(language[row.id], []).append(row)
    whole = summarize(rows, thresholds)
    if len(apart) > 1:
        whole["languages"] = {name: summarize(apart[name], thresholds) for name in sorted(apart)}
    return whole


def report(cases: CaseSet, figures: dict[str, Figures], facts: dict[str, Any]) -> Report:
    """The figures of several answerers side by side. `facts` are added to the JSON line as they are."""
    columns = list(figures)
    rows: list[tuple[str, list[str]]] = []

    def add(label: str, cell: Callable[[Figures], str]) -> None:
        cells = [cell(figures[c]) for c in columns]
        if any(c != "-" for c in cells):
            rows.append((label, cells))

    add("pass@1", lambda f: percent(f["pass_at_1"]))
    add("exact match", lambda f: percent(f["exact_match"]))
    most = max((f["any_of"]["answers"] for f in figures.values() if f["any_of"]), default=0)
    add(f"any of {most}: pass", lambda f: percent(f["any_of"]["pass"]) if f["any_of"] else "-")
    add(f"any of {most}: exact match", lambda f: percent(f["any_of"]["exact_match"]) if f["any_of"] else "-")
    add("same program", lambda f: percent(f["same_program"]))
    add("edit similarity", lambda f: f"{100 * f['edit_similarity']:.1f}")
    add("parses (where nothing does not)", lambda f: percent(f["parses"]))
    add("empty answers", lambda f: percent(f["empty"], interval=False))
    add("characters, true characters", lambda f: f"{f['characters']:.1f}, {f['true_characters']:.1f}")
    add("length ratio p50, too long", lambda f: f"{f['length_ratio_p50']:.2f}, {percent(f['too_long'], interval=False)}")
    if any(f["lengths"] for f in figures.values()):
        _add_lengths(add)
    add("steps, forwards, tokens", lambda f: f"{f['steps']:.1f}, {f['forwards']:.1f}, {f['tokens']:.1f}" if f["forwards"] else "-")
    add("tokens per forward", lambda f: f"{f['tokens_per_forward']:.2f}" if f["forwards"] else "-")
    add("latency p50, p95", lambda f: f"{f['latency_ms']['p50']:.0f}, {f['latency_ms']['p95']:.0f} ms" if f["latency_ms"]["n"] else "-")
    for index, shown in enumerate(next(iter(figures.values()))["shown"]):
        add(f"shown at confidence >= {shown['threshold']:g}: precision", lambda f, i=index: _precision(f["shown"][i]))  # type: ignore[misc]
        add("    coverage", lambda f, i=index: percent(f["shown"][i]["coverage"], interval=False))  # type: ignore[misc]
    for language, of_first in next(iter(figures.values())).get("languages", {}).items():
        _add_language(add, language, of_first)
    policy = next((f["length_policy"] for f in figures.values() if f["length_policy"]), "")
    notes = [f"n = {len(cases.cases)}, 95 % Wilson intervals" + (f", length policy: {policy}." if policy else ".")]
    if cases.origin.get("as_published") is False:
        notes.append("The data file is not the published one (its hash differs): these figures cannot be compared with others'.")
    data = {"bench": "holes", "set": cases.name, "n": len(cases.cases), "origin": cases.origin, "results": figures, **facts}
    return Report(title=f"holes: {cases.name}", columns=columns, rows=rows, data=data, notes=notes)


def percent(share: dict[str, float] | None, interval: bool = True) -> str:
    """A share for a table cell, with its interval; a dash where nothing was counted."""
    if share is None or not share["of"]:
        return "-"
    text = f"{100 * share['share']:.1f} %"
    return f"{text} ({100 * share['low']:.1f} to {100 * share['high']:.1f})" if interval else text


def _add_language(add: Callable[[str, Callable[[Figures], str]], None], language: str, of_first: Figures) -> None:
    """The rows of one language; `of_first` are the first answerer's figures in it."""

    def of(cell: Callable[[Figures], str]) -> Callable[[Figures], str]:
        return lambda f: cell(f["languages"][language])

    add(f"{language} (n = {of_first['n']}): exact match", of(lambda f: percent(f["exact_match"])))
    add("    edit similarity, empty answers", of(lambda f: f"{100 * f['edit_similarity']:.1f}, {percent(f['empty'], interval=False)}"))
    for index, shown in enumerate(of_first["shown"]):
        label = f"    shown at confidence >= {shown['threshold']:g}: precision"
        add(label, of(lambda f, i=index: _precision(f["shown"][i])))  # type: ignore[misc]


def _add_lengths(add: Callable[[str, Callable[[Figures], str]], None]) -> None:
    """The rows about lengths in tokens: the errors, then quality by the true length."""

    def of(cell: Callable[[Figures], str]) -> Callable[[Figures], str]:
        return lambda f: cell(f["lengths"]) if f["lengths"] else "-"

    add("length in tokens, true length", of(lambda n: f"{n['tokens']:.1f}, {n['true_tokens']:.1f}"))
    add(
        "    error: median, mean, bias",
        of(lambda n: f"{n['absolute_error_p50']:g}, {n['absolute_error_mean']:.1f}, {n['error_mean']:+.1f}"),
    )
    add("    exactly right, within 1", of(lambda n: f"{percent(n['right'], interval=False)}, {percent(n['within_1'], interval=False)}"))
    for low, high in BUCKETS:
        name = bucket_name(low, high)
        add(f"true length {name}: pass, exact", of(lambda n, name=name: _bucket_cell(n["buckets"], name)))  # type: ignore[misc]


def _bucket_cell(buckets: Sequence[dict[str, Any]], name: str) -> str:
    bucket = next((b for b in buckets if b["true_tokens"] == name), None)
    if bucket is None:
        return "-"
    return f"{percent(bucket['pass_at_1'], interval=False)}, {percent(bucket['exact_match'], interval=False)} of {bucket['n']}"


def _any_of(rows: Sequence[Row], executed: Sequence[Row]) -> dict[str, Any] | None:
    """The share of cases where one of the alternatives is right; None where no case has more than one."""
    answers = max((1 + len(row.answer.others) for row in rows), default=1)
    if answers == 1:
        return None
    return {
        "answers": answers,
        "pass": metrics.share(sum(bool(r.any_passed) for r in executed), len(executed)) if executed else None,
        "exact_match": metrics.share(sum(r.any_exact for r in rows), len(rows)),
    }


def _shown(rows: Sequence[Row], threshold: float) -> dict[str, Any]:
    """Right among those an editor would show: passed where executed, else exact."""
    shown = [row for row in rows if row.answer.text.strip() and row.answer.confidence >= threshold]
    right = sum(row.exact if row.passed is None else row.passed for row in shown)
    return {"threshold": threshold, "precision": metrics.share(right, len(shown)), "coverage": metrics.share(len(shown), len(rows))}


def _precision(shown: dict[str, Any]) -> str:
    return percent(shown["precision"]) if shown["coverage"]["n"] else "none shown"


def _counts(words: Iterator[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in words:
        if word:
            counts[word] = counts.get(word, 0) + 1
    return counts
