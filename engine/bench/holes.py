"""Quality of filled holes: answers every case, executes what can be executed, and says what is right.

Scoring knows nothing of models: an answerer is a function from a case to an answer, a floor without a model included.

Definitions. *Exact match* and *edit similarity* compare stripped texts; against a one-line truth only the first line of an
answer counts. *Same program* counts answers whose whole file has the true file's syntax tree. *Parses* is the share of
answers that make the file parse, among cases whose file parses with the truth and not with nothing. *Passes* is the
official program run to its end in the sandbox. A hole that is a whole line (the prefix ends at a line start, the suffix does
not begin with a line end) needs a line end of its own: one is added before execution where an answer lacks it.

Lengths are in tokens of the model's tokenizer, of a text encoded on its own: what healing takes back from the prefix counts
neither in the true length nor in the answer's. Where the truth ends with a line end, an answer without one gets it first.
The *oracle* asks for the slots that the truth takes on the engine's own canvas, which is not quite that length: the canvas
also holds what healing took back, and lacks a line end that the engine adds itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec

from engine.api import Hole, InfillRequest, InfillResult, Limits
from engine.bench import metrics
from engine.bench.data import Case, CaseSet
from engine.bench.decoding import ORACLE, Choice
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
TokenCounter = Callable[[str], int]
"""How many tokens a text has on its own, special tokens off."""


@dataclass(frozen=True, slots=True)
class Question:
    """What every case is asked with. `slots` says how many a case's truth takes on the canvas; the oracle needs it."""

    hole: Hole
    deadline_ms: int = 0
    choice: Choice = field(default_factory=Choice)
    slots: Callable[[Case], int] | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One answerer on one set. `settings` is everything that changes answers: a file of rows is continued only if it agrees.

    `count` measures lengths; without it the rows have none.
    """

    name: str
    answer: Answerer
    settings: dict[str, Any]
    out: Path | None = None
    workers: int = 2
    count: TokenCounter | None = None
    on_progress: Callable[[int, int], None] = lambda done, total: None


def ask_model(engine: Infiller, question: Question) -> Answerer:
    """An answerer that sends every case to `engine` as a document of its own, so that no case profits from another.

    The oracle raises a hole's token limit to the slots it asks for where it is lower, and does not ask at all where the truth
    is empty: the true length is then the answer.
    """
    choice = question.choice
    assert question.slots is not None or not choice.oracle, "the oracle needs to know the slots"

    def answer(case: Case) -> Answer:
        slots = question.slots(case) if question.slots is not None and choice.oracle and case.middle else 0
        if choice.oracle and not case.middle:
            return Answer(text="", confidence=1.0, finish="complete", reason="empty_output", length_policy=ORACLE)
        request = InfillRequest(
            prefix=case.prefix,
            suffix=case.suffix,
            holes=(msgspec.structs.replace(question.hole, max_tokens=max(question.hole.max_tokens, slots)),),
            limits=Limits(deadline_ms=question.deadline_ms),
            decoding=choice.for_case(slots),
            client="bench",
            document=case.id,
            path=case.path,
            language=case.language,
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
            length_policy=choice.policy(result.length_policy),
            device=result.device,
            others=tuple(fills[0].text if fills else "" for fills in result.others),
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


def measured(case: Case, text: str) -> str:
    """`text` as its length is measured: with a line end where the truth ends with one and the answer does not."""
    return text + "\n" if text and case.middle.endswith("\n") and not text.endswith("\n") else text


def _judge(run: Run, cases: Sequence[Case], answers: Sequence[Answer], sandbox: Sandbox | None) -> Iterator[Row]:
    executable = [
        case.program(completed(case, text)) for case, answer in zip(cases, answers, strict=True) if case.test for text in _texts(answer)
    ]
    verdicts = sandbox.run_many(executable, run.workers) if sandbox else iter(())
    for case, answer in zip(cases, answers, strict=True):
        found = [next(verdicts) for _ in _texts(answer)] if case.test else []
        verdict = found[0] if found else None
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
            text_tokens=run.count(measured(case, answer.text)) if run.count else None,
            true_tokens=run.count(case.middle) if run.count else None,
            any_exact=any(metrics.exact_match(text, case.middle) for text in _texts(answer)),
            any_passed=any(v.passed for v in found) if found else None,
        )


def _texts(answer: Answer) -> list[str]:
    """The different answers to a case, the first one first."""
    return list(dict.fromkeys((answer.text, *answer.others)))


def _syntax(case: Case, text: str, exact: bool) -> tuple[bool | None, bool]:
    """Whether the filled file parses (None where that says nothing), and whether it is the true program."""
    true_tree = metrics.parse(case.prefix + case.middle + case.suffix) if case.language == "python" else None
    if true_tree is None:
        return None, exact
    tree = metrics.parse(case.prefix + completed(case, text) + case.suffix)
    same = exact or (tree is not None and metrics.same_tree(tree, true_tree))
    telling = metrics.parse(case.prefix + case.suffix) is None
    return (tree is not None) if telling else None, same
