"""Time from a keystroke to the answer, in process: cursor positions in real files, the true text typed character by character.

The first request of a document is *cold*, the ones after further keystrokes are *warm*. Knows engines by `infill` alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from engine.api import Hole, InfillRequest, Limits
from engine.bench import metrics
from engine.bench.data import Case
from engine.bench.holes import Infiller
from engine.bench.report import Report, spread

CHARACTERS_A_TOKEN = 4.5
"""More than source code has, so that the document is no shorter than the context asked for; the token budget does the rest."""

PREFIX_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class KeystrokePlan:
    """What is measured: the context budget in tokens, warm keystrokes at every position, limits of the hole, 0 for no deadline."""

    context: int = 1000
    warm: int = 3
    max_tokens: int = 64
    deadline_ms: int = 0
    on_progress: Callable[[int, int], None] = lambda done, total: None


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One answered keystroke. `typed_through` marks answers that were the rest of the one before: no request was needed."""

    warm: bool
    latency_ms: float
    empty: bool
    typed_through: bool = False
    reason: str = ""
    tokens: int = 0
    steps: int = 0
    forwards: int = 0
    prompt_tokens: int = 0
    reused_tokens: int = 0


def places(cases: Sequence[Case], plan: KeystrokePlan) -> list[Case]:
    """Those cases where there are enough characters to type, cut to about the context asked for, at whole lines."""
    return [_around(case, plan) for case in cases if len(case.middle) > plan.warm and case.prefix]


def measure(engine: Infiller, cases: Sequence[Case], plan: KeystrokePlan) -> list[Sample]:
    """Type at every place. The first place is visited once before, unmeasured: the first requests of a process are no keystrokes."""
    samples: list[Sample] = []
    for number, case in enumerate([*cases[:1], *cases]):
        visited = _visit(engine, case, plan, number)
        samples += visited if number else []
        plan.on_progress(number, len(cases))
    return samples


def summarize(samples: Sequence[Sample]) -> dict[str, Any]:
    """Milliseconds (p50, p95, mean, n) and, where the engine was asked in process, what the answers took."""
    forwards = sum(s.forwards for s in samples)
    return {
        "latency_ms": spread([s.latency_ms for s in samples]),
        "empty": sum(s.empty for s in samples),
        "reasons": {reason: sum(s.reason == reason for s in samples) for reason in sorted({s.reason for s in samples if s.reason})},
        "steps": round(metrics.mean(s.steps for s in samples), 2),
        "forwards": round(metrics.mean(s.forwards for s in samples), 2),
        "tokens": round(metrics.mean(s.tokens for s in samples), 2),
        "tokens_per_forward": round(sum(s.tokens for s in samples) / forwards, 3) if forwards else 0.0,
        "prompt_tokens": round(metrics.mean(s.prompt_tokens for s in samples), 1),
        "reused_tokens": round(metrics.mean(s.reused_tokens for s in samples), 1),
    }


def report(samples: Sequence[Sample], facts: dict[str, Any], notes: Sequence[str] = ()) -> Report:
    """Cold and warm side by side; answers that needed no request apart. `facts` are added to the JSON line as they are."""
    asked = [s for s in samples if not s.typed_through]
    groups = {
        "cold": [s for s in asked if not s.warm],
        "warm": [s for s in asked if s.warm],
        "typed through": [s for s in samples if s.typed_through],
    }
    figures = {name: summarize(group) for name, group in groups.items() if group}
    columns = list(figures)

    def cells(show: Callable[[dict[str, Any]], str]) -> list[str]:
        return [show(figures[c]) for c in columns]

    rows: list[tuple[str, list[str]]] = [
        ("n", cells(lambda f: str(f["latency_ms"]["n"]))),
        ("p50 ms", cells(lambda f: f"{f['latency_ms']['p50']:.1f}")),
        ("p95 ms", cells(lambda f: f"{f['latency_ms']['p95']:.1f}")),
        ("mean ms", cells(lambda f: f"{f['latency_ms']['mean']:.1f}")),
        ("empty answers", cells(lambda f: str(f["empty"]))),
    ]
    if any(s.forwards for s in samples):
        rows += [
            ("context, reused tokens", cells(lambda f: f"{f['prompt_tokens']:.0f}, {f['reused_tokens']:.0f}")),
            ("steps, forwards, tokens", cells(lambda f: f"{f['steps']:.1f}, {f['forwards']:.1f}, {f['tokens']:.1f}")),
            ("tokens per forward", cells(lambda f: f"{f['tokens_per_forward']:.2f}")),
        ]
    data = {"bench": "keystroke", "results": figures, **facts}
    return Report(title="keystroke to answer", columns=columns, rows=rows, data=data, notes=notes)


def _visit(engine: Infiller, case: Case, plan: KeystrokePlan, number: int) -> list[Sample]:
    samples = []
    for typed in range(plan.warm + 1):
        request = InfillRequest(
            prefix=case.prefix + case.middle[:typed],
            suffix=case.suffix,
            holes=(Hole(max_tokens=plan.max_tokens, max_lines=1),),
            limits=Limits(deadline_ms=plan.deadline_ms, prompt_tokens=plan.context),
            client="bench",
            document=f"{number}:{case.id}",
            version=typed,
            path=case.path,
            language="python",
        )
        began = time.perf_counter()
        result = engine.infill(request)
        elapsed = 1000 * (time.perf_counter() - began)
        samples.append(
            Sample(
                warm=typed > 0,
                latency_ms=elapsed,
                empty=not result.text,
                reason=result.reason,
                tokens=sum(fill.tokens for fill in result.fills),
                steps=result.steps,
                forwards=result.forwards,
                prompt_tokens=result.prompt_tokens,
                reused_tokens=result.reused_tokens,
            )
        )
    return samples


def _around(case: Case, plan: KeystrokePlan) -> Case:
    """The case with its far context cut off, so that a document holds about the context that is measured."""
    characters = int(plan.context * CHARACTERS_A_TOKEN)
    before, after = int(characters * PREFIX_SHARE), int(characters * (1 - PREFIX_SHARE))
    prefix, suffix = case.prefix, case.suffix
    if len(prefix) > before:
        cut = prefix.find("\n", len(prefix) - before)
        prefix = prefix[cut + 1 :] if cut >= 0 else prefix[-before:]
    if len(suffix) > after:
        cut = suffix.rfind("\n", 0, after)
        suffix = suffix[: cut + 1] if cut > 0 else suffix[:after]
    return msgspec.structs.replace(case, prefix=prefix, suffix=suffix)
