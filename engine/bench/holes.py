"""Quality of filled holes: answers every case, executes what can be executed, and sums up one answerer after another.

Scoring knows nothing of models: an answerer is a function from a case to an answer, a floor without a model included.

Definitions. *Exact match* and *edit similarity* compare stripped texts; against a one-line truth only the first line of an
answer counts. *Same program* counts answers whose whole file has the true file's syntax tree. *Parses* is the share of
answers that make the file parse, among cases whose file parses with the truth and not with nothing. *Passes* is the
official program run to its end in the sandbox. A hole that is a whole line (the prefix ends at a line start, the suffix does
not begin with a line end) needs a line end of its own: one is added before execution where an answer lacks it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from engine.api import Hole, InfillRequest, InfillResult, Limits
from engine.bench import metrics
from engine.bench.data import Case, CaseSet
from engine.bench.report import Report, spread
from engine.bench.rows import Answer, Row, RowFile
from engine.bench.sandbox import Sandbox

CHUNK = 32
"""Cases answered before their programs are executed: execution must not run beside an answer whose latency is measured."""


class Infiller(Protocol):
    """The part of an engine that a bench needs."""

    def infill(self, request: InfillRequest) -> InfillResult:
        """Fill the holes of one request."""
        ...


Answerer = Callable[[Case], Answer]


@dataclass(frozen=True, slots=True)
class Run:
    """One answerer on one set. `settings` is everything that changes answers: a file of rows is continued only if it agrees."""

    name: str
    answer: Answerer
    settings: dict[str, Any]
    out: Path | None = None
    workers: int = 2
    on_progress: Callable[[int, int], None] = lambda done, total: None


def ask_model(engine: Infiller, hole: Hole, deadline_ms: int) -> Answerer:
    """An answerer that sends every case to `engine` as a document of its own, so that no case profits from another."""

    def answer(case: Case) -> Answer:
        request = InfillRequest(
            prefix=case.prefix,
            suffix=case.suffix,
            holes=(hole,),
            limits=Limits(deadline_ms=deadline_ms),
            client="bench",
            document=case.id,
            path=case.path,
            language="python",
        )
        began = time.perf_counter()
        result = engine.infill(request)
        elapsed = 1000 * (time.perf_counter() - began)
        fill = result.fills[0] if result.fills else None
        return Answer(
            text=result.text,
            confidence=fill.confidence if fill else 0.0,
            tokens=fill.tokens if fill else 0,
            steps=result.steps,
            forwards=result.forwards,
            latency_ms=round(elapsed, 3),
            finish=result.finish,
            reason=result.reason,
            length_policy=result.length_policy,
            device=result.device,
        )

    return answer


def ask_floor(floor: Callable[[Case], str]) -> Answerer:
    """An answerer that asks a baseline."""
    return lambda case: Answer(text=floor(case))


def score(cases: CaseSet, run: Run) -> list[Row]:
    """Answer and score every case, rows in the set's order. With `out`, rows already there are kept and new ones appended.

    Raises DlspError where `out` belongs to a run with other settings, or cannot be written.
    """
    file = RowFile(run.out, run.name, run.settings, cases) if run.out else None
    done = file.rows() if file else {}
    left = [case for case in cases.cases if case.id not in done]
    sandbox = Sandbox() if any(case.test for case in left) else None
    run.on_progress(len(cases.cases) - len(left), len(cases.cases))
    for start in range(0, len(left), CHUNK):
        chunk = left[start : start + CHUNK]
        answers = [run.answer(case) for case in chunk]
        for row in _judge(run, chunk, answers, sandbox):
            done[row.id] = row
            if file:
                file.append(row)
        run.on_progress(len(done), len(cases.cases))
    return [done[case.id] for case in cases.cases]


def completed(case: Case, text: str) -> str:
    """`text` as it is executed: with a line end where the hole is a whole line and the answer has none."""
    whole_line = (not case.prefix or case.prefix.endswith("\n")) and not case.suffix.startswith("\n")
    return text + "\n" if whole_line and text and not text.endswith("\n") else text


def summarize(rows: Sequence[Row], thresholds: Sequence[float]) -> dict[str, Any]:
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
        "pass_at_1": _share(sum(bool(r.passed) for r in executed), len(executed)) if executed else None,
        "exact_match": _share(sum(r.exact for r in rows), len(rows)),
        "same_program": _share(sum(r.same_program for r in rows), len(rows)),
        "edit_similarity": round(metrics.mean(r.similarity for r in rows), 4),
        "parses": _share(sum(bool(r.parses) for r in parseable), len(parseable)) if parseable else None,
        "empty": _share(sum(not a.text.strip() for a in answers), len(rows)),
        "characters": round(metrics.mean(lengths), 2),
        "true_characters": round(metrics.mean(truth_lengths), 2),
        "length_ratio_p50": round(metrics.percentile(ratios, 50), 3),
        "too_long": _share(sum(a > b for a, b in zip(lengths, truth_lengths, strict=True)), len(rows)),
        "tokens": round(metrics.mean(a.tokens for a in answers), 2),
        "steps": round(metrics.mean(a.steps for a in answers), 2),
        "forwards": round(metrics.mean(a.forwards for a in answers), 2),
        "tokens_per_forward": round(sum(a.tokens for a in answers) / forwards, 3) if forwards else 0.0,
        "latency_ms": spread([a.latency_ms for a in answers if a.forwards]),
        "finish": _counts(a.finish for a in answers),
        "length_policy": next((a.length_policy for a in answers if a.length_policy), ""),
        "shown": [_shown(rows, threshold) for threshold in thresholds],
    }


def report(cases: CaseSet, figures: dict[str, dict[str, Any]], facts: dict[str, Any]) -> Report:
    """The figures of several answerers side by side. `facts` are added to the JSON line as they are."""
    columns = list(figures)
    rows: list[tuple[str, list[str]]] = []

    def add(label: str, cell: Callable[[dict[str, Any]], str]) -> None:
        cells = [cell(figures[c]) for c in columns]
        if any(c != "-" for c in cells):
            rows.append((label, cells))

    add("pass@1", lambda f: _percent(f["pass_at_1"]))
    add("exact match", lambda f: _percent(f["exact_match"]))
    add("same program", lambda f: _percent(f["same_program"]))
    add("edit similarity", lambda f: f"{100 * f['edit_similarity']:.1f}")
    add("parses (where nothing does not)", lambda f: _percent(f["parses"]))
    add("empty answers", lambda f: _percent(f["empty"], interval=False))
    add("characters, true characters", lambda f: f"{f['characters']:.1f}, {f['true_characters']:.1f}")
    add("length ratio p50, too long", lambda f: f"{f['length_ratio_p50']:.2f}, {_percent(f['too_long'], interval=False)}")
    add("steps, forwards, tokens", lambda f: f"{f['steps']:.1f}, {f['forwards']:.1f}, {f['tokens']:.1f}" if f["forwards"] else "-")
    add("tokens per forward", lambda f: f"{f['tokens_per_forward']:.2f}" if f["forwards"] else "-")
    add("latency p50, p95", lambda f: f"{f['latency_ms']['p50']:.0f}, {f['latency_ms']['p95']:.0f} ms" if f["latency_ms"]["n"] else "-")
    for index, shown in enumerate(next(iter(figures.values()))["shown"]):
        add(f"shown at confidence >= {shown['threshold']:g}: precision", lambda f, i=index: _precision(f["shown"][i]))  # type: ignore[misc]
        add("    coverage", lambda f, i=index: _percent(f["shown"][i]["coverage"], interval=False))  # type: ignore[misc]
    policy = next((f["length_policy"] for f in figures.values() if f["length_policy"]), "")
    notes = [f"n = {len(cases.cases)}, 95 % Wilson intervals" + (f", length policy: {policy}." if policy else ".")]
    if cases.origin.get("as_published") is False:
        notes.append("The data file is not the published one (its hash differs): these figures cannot be compared with others'.")
    data = {"bench": "holes", "set": cases.name, "n": len(cases.cases), "origin": cases.origin, "results": figures, **facts}
    return Report(title=f"holes: {cases.name}", columns=columns, rows=rows, data=data, notes=notes)


def _judge(run: Run, cases: Sequence[Case], answers: Sequence[Answer], sandbox: Sandbox | None) -> Iterator[Row]:
    executable = [case.program(completed(case, answer.text)) for case, answer in zip(cases, answers, strict=True) if case.test]
    verdicts = sandbox.run_many(executable, run.workers) if sandbox else iter(())
    for case, answer in zip(cases, answers, strict=True):
        verdict = next(verdicts) if case.test else None
        exact = metrics.exact_match(answer.text, case.middle)
        parses, same = _syntax(case, answer.text, exact)
        yield Row(
            answerer=run.name,
            id=case.id,
            truth=case.middle,
            answer=answer,
            exact=exact,
            same_program=same,
            similarity=round(metrics.edit_similarity(metrics.comparable(answer.text, case.middle), case.middle.strip()), 4),
            parses=parses,
            passed=None if verdict is None else verdict.passed,
            verdict="" if verdict is None else f"{verdict.status} {verdict.detail}".strip(),
        )


def _syntax(case: Case, text: str, exact: bool) -> tuple[bool | None, bool]:
    """Whether the filled file parses (None where that says nothing), and whether it is the true program."""
    true_tree = metrics.parse(case.prefix + case.middle + case.suffix)
    if true_tree is None:
        return None, exact
    tree = metrics.parse(case.prefix + completed(case, text) + case.suffix)
    same = exact or (tree is not None and metrics.same_tree(tree, true_tree))
    telling = metrics.parse(case.prefix + case.suffix) is None
    return (tree is not None) if telling else None, same


def _shown(rows: Sequence[Row], threshold: float) -> dict[str, Any]:
    """Right among those an editor would show: passed where executed, else exact."""
    shown = [row for row in rows if row.answer.text.strip() and row.answer.confidence >= threshold]
    right = sum(row.exact if row.passed is None else row.passed for row in shown)
    return {"threshold": threshold, "precision": _share(right, len(shown)), "coverage": _share(len(shown), len(rows))}


def _share(successes: int, n: int) -> dict[str, float]:
    low, high = metrics.wilson(successes, n)
    return {"n": successes, "of": n, "share": round(successes / n, 4) if n else 0.0, "low": round(low, 4), "high": round(high, 4)}


def _percent(share: dict[str, float] | None, interval: bool = True) -> str:
    if share is None or not share["of"]:
        return "-"
    text = f"{100 * share['share']:.1f} %"
    return f"{text} ({100 * share['low']:.1f} to {100 * share['high']:.1f})" if interval else text


def _precision(shown: dict[str, Any]) -> str:
    return _percent(shown["precision"]) if shown["coverage"]["n"] else "none shown"


def _counts(words: Iterator[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in words:
        if word:
            counts[word] = counts.get(word, 0) + 1
    return counts
