"""Scoring with engines made up for the purpose: what counts as what, and going on after an interruption."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.api import Decoding, Fill, Hole, InfillRequest, InfillResult
from engine.bench import holes, summary
from engine.bench.data import Case, CaseSet
from engine.bench.decoding import choose
from engine.bench.holes import Question, Run, ask_floor, ask_model, completed, measured, score
from engine.bench.rows import Answer
from engine.bench.summary import summarize
from engine.errors import DlspError

TEST = "def check(f):\n    assert f(1, 2) == 3\n"


def case(name: str, middle: str = "    return a + b\n", **changes: Any) -> Case:
    facts = {"prefix": "def add(a, b):\n", "suffix": "", "entry_point": "add", "test": TEST}
    return Case(id=name, middle=middle, **(facts | changes))


class Oracle:
    """An engine that knows answers by document (further ones behind a "|"), and remembers what it is asked."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers, self.asked = answers, list[InfillRequest]()

    def infill(self, request: InfillRequest) -> InfillResult:
        self.asked.append(request)
        text, *others = self.answers.get(request.document, "").split("|")
        if not text:
            return InfillResult(fills=(), finish="complete", reason="empty_output", forwards=2, steps=1)
        fill = Fill(text=text, confidence=0.9 if "+" in text else 0.2, tokens=6)
        more = tuple((Fill(text=other, confidence=0.1, tokens=9),) for other in others)
        policy = request.decoding.length or "end-token"
        return InfillResult(fills=(fill,), finish="complete", steps=3, forwards=4, length_policy=policy, others=more)


def words(text: str) -> int:
    """A tokenizer to count by hand: a token for each word, and one for a line end."""
    return len(text.replace("\n", " \\n ").split())


def run(engine: Oracle, **changes: Any) -> Run:
    facts: dict[str, Any] = {"name": "m", "answer": ask_model(engine, Question(Hole(max_tokens=9), 50)), "settings": {"model": "m"}}
    return Run(**(facts | changes))


def test_what_counts_as_what() -> None:
    cases = CaseSet(name="s", cases=(case("right"), case("spaced"), case("wrong"), case("broken"), case("silent")))
    engine = Oracle(
        {"right": "    return a + b\n", "spaced": "    return a+b\n", "wrong": "    return a - b\n", "broken": "    return a +\n"}
    )
    rows = {row.id: row for row in score(cases, run(engine))}
    facts = {name: (row.passed, row.exact, row.same_program, row.parses) for name, row in rows.items()}
    assert facts == {
        "right": (True, True, True, True),
        "spaced": (True, False, True, True),
        "wrong": (False, False, False, True),
        "broken": (False, False, False, False),
        "silent": (False, False, False, False),
    }
    assert rows["wrong"].verdict == "failed AssertionError"
    assert rows["right"].similarity == 1.0
    assert 0.5 < rows["spaced"].similarity < 1.0

    figures = summarize(list(rows.values()), [0.5])
    assert (figures["pass_at_1"]["n"], figures["pass_at_1"]["of"]) == (2, 5)
    assert figures["exact_match"]["share"] == 0.2
    assert figures["empty"]["n"] == 1
    assert figures["forwards"] == pytest.approx((4 * 4 + 2) / 5)
    assert figures["tokens_per_forward"] == pytest.approx(24 / 18, abs=1e-3)
    assert figures["length_policy"] == "end-token"
    assert figures["any_of"] is None
    assert figures["lengths"] is None, "nothing counted tokens"
    # right, spaced and broken have confidence: "broken" is shown and wrong.
    assert figures["shown"][0]["coverage"]["n"] == 3
    assert figures["shown"][0]["precision"]["n"] == 2


def test_every_case_is_a_document_of_its_own_with_the_limits_asked_for() -> None:
    engine = Oracle({})
    score(CaseSet(name="s", cases=(case("a"), case("b"))), run(engine))
    assert [r.document for r in engine.asked] == ["a", "b"]
    assert engine.asked[0].limits.deadline_ms == 50
    assert engine.asked[0].holes == (Hole(max_tokens=9),)


def test_parsing_is_not_judged_where_it_says_nothing() -> None:
    already = case("already", middle="x = 1\n", prefix="y = 2\n", suffix="z = 3\n", test="", entry_point="")
    never = case("never", middle="x = 1\n", prefix="def (\n", suffix="", test="", entry_point="")
    rows = score(CaseSet(name="s", cases=(already, never)), Run(name="f", answer=ask_floor(lambda c: "(("), settings={}))
    assert [row.parses for row in rows] == [None, None]
    assert [row.passed for row in rows] == [None, None]
    figures = summarize(rows, [0.1])
    assert figures["pass_at_1"] is None
    assert figures["parses"] is None
    assert figures["shown"][0]["coverage"]["n"] == 0


@pytest.mark.parametrize(
    ("prefix", "suffix", "text", "expected"),
    [
        ("a\n", "b\n", "x", "x\n"),
        ("a\n", "b\n", "x\n", "x\n"),
        ("a\n", "\nb\n", "x", "x"),  # a blank line follows: its line end is the answer's
        ("a = ", "\n", "1", "1"),
        ("a\n", "", "x", "x\n"),
        ("a\n", "b\n", "", ""),
        ("", "b\n", "x", "x\n"),
    ],
)
def test_whole_lines_get_their_line_end(prefix: str, suffix: str, text: str, expected: str) -> None:
    assert completed(Case(id="", prefix=prefix, suffix=suffix, middle=""), text) == expected


def many(n: int) -> CaseSet:
    return CaseSet(name="s", cases=tuple(Case(id=str(i), prefix="x = ", suffix="\n", middle=str(i)) for i in range(n)))


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "rows.jsonl"
    cases = many(50)
    truth = {str(i): str(i) for i in range(50)}

    class Interrupted(Oracle):
        def infill(self, request: InfillRequest) -> InfillResult:
            if len(self.asked) == 40:
                raise KeyboardInterrupt
            return super().infill(request)

    first = Interrupted(truth)
    with pytest.raises(KeyboardInterrupt):
        score(cases, run(first, out=out))
    kept = out.read_bytes().splitlines()
    assert len(kept) == 1 + holes.CHUNK
    # Killed in the middle of a line.
    out.write_bytes(b"\n".join(kept) + b"\n" + kept[-1][:20])

    second = Oracle(truth)
    seen: list[tuple[int, int]] = []
    rows = score(cases, run(second, out=out, on_progress=lambda done, total: seen.append((done, total))))
    assert len(second.asked) == 50 - holes.CHUNK
    assert seen[0] == (holes.CHUNK, 50)
    assert seen[-1] == (50, 50)
    assert [row.id for row in rows] == [case.id for case in cases.cases]
    assert all(row.exact for row in rows)
    lines = out.read_text().splitlines()
    assert len(lines) == 51
    assert all(json.loads(line) for line in lines)

    third = Oracle({})
    assert score(cases, run(third, out=out)) == rows
    assert not third.asked


@pytest.mark.parametrize("change", [{"settings": {"model": "other"}}, {"name": "n"}])
def test_rows_of_another_run_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    out = tmp_path / "rows.jsonl"
    score(many(3), run(Oracle({}), out=out))
    before = out.read_bytes()
    with pytest.raises(DlspError, match="holds the rows of another run"):
        score(many(3), run(Oracle({}), out=out, **change))
    with pytest.raises(DlspError, match="holds the rows of another run"):
        score(many(4), run(Oracle({}), out=out))
    assert out.read_bytes() == before


def test_damaged_and_unusable_row_files_are_one_sentence(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    score(many(2), run(Oracle({}), out=out))
    out.write_bytes(out.read_bytes().replace(b'"exact":', b'"exakt":', 1))
    with pytest.raises(DlspError, match=r"is damaged .* Choose another --out"):
        score(many(2), run(Oracle({}), out=out))
    with pytest.raises(DlspError, match="cannot be used for the rows"):
        score(many(2), run(Oracle({}), out=tmp_path))


def test_report_puts_answerers_side_by_side() -> None:
    cases = many(4)
    model = summarize(score(cases, run(Oracle({"1": "1", "2": "2+"}))), [0.5])
    floor = summarize(score(cases, Run(name="f", answer=lambda c: Answer(text=""), settings={})), [0.5])
    report = summary.report(cases, {"m": model, "f": floor}, {"seed": 3})
    table = dict(report.rows)
    assert report.columns == ["m", "f"]
    assert table["exact match"][0].startswith("25.0 %")
    assert table["tokens per forward"][1] == "-"
    assert "pass@1" not in table, "nothing was executed"
    assert table["shown at confidence >= 0.5: precision"] == ["0.0 % (0.0 to 79.3)", "none shown"]
    assert (report.data["seed"], report.data["n"]) == (3, 4)
    assert "length policy: end-token" in report.notes[0]


def test_a_changed_data_file_is_said_aloud() -> None:
    cases = CaseSet(name="s", cases=many(1).cases, origin={"as_published": False})
    figures = summarize(score(cases, run(Oracle({}))), [])
    assert any("not the published one" in note for note in summary.report(cases, {"m": figures}, {}).notes)


def test_the_oracle_asks_for_the_true_number_of_tokens() -> None:
    cases = CaseSet(name="s", cases=(case("plain"), case("long", middle="    return a + b + 0 + 0 + 0\n"), case("none", middle="")))
    engine = Oracle({"plain": "    return a + b\n"})
    asked = Question(Hole(max_tokens=7), 0, choose("oracle", Decoding(score="margin", seed=3)), lambda c: 1 + words(c.middle))
    rows = score(cases, run(engine, answer=ask_model(engine, asked), count=words))
    # return a + b, the line end, and a slot for what this engine takes back; an empty truth is no question.
    assert [(r.document, r.decoding) for r in engine.asked] == [
        ("plain", Decoding(length="fixed", slots=6, score="margin", seed=3)),
        ("long", Decoding(length="fixed", slots=12, score="margin", seed=3)),
    ]
    assert [r.holes[0].max_tokens for r in engine.asked] == [7, 12], "a hole has room for its true content"
    assert [row.answer.length_policy for row in rows] == ["oracle", "oracle", "oracle"]
    assert [row.true_tokens for row in rows] == [5, 11, 0], "the length that is reported is that of the text alone"
    assert (rows[2].exact, rows[2].answer.forwards) == (True, 0)
    assert summarize(rows, [])["length_policy"] == "oracle"


def test_without_the_oracle_the_decoding_goes_out_as_it_is() -> None:
    engine = Oracle({"a": "x"})
    wanted = choose("fixed:12", Decoding(temperature=0.5, alternatives=2))
    (row,) = score(CaseSet(name="s", cases=(case("a", test=""),)), run(engine, answer=ask_model(engine, Question(Hole(), 0, wanted))))
    assert engine.asked[0].decoding == Decoding(length="fixed", slots=12, temperature=0.5, alternatives=2)
    assert row.answer.length_policy == "fixed:12"
    assert (row.text_tokens, row.true_tokens) == (None, None)


def test_any_of_the_alternatives_may_be_right() -> None:
    right, wrong = "    return a + b\n", "    return a - b\n"
    cases = CaseSet(name="s", cases=(case("first"), case("second"), case("never"), case("single")))
    engine = Oracle({"first": f"{right}|{wrong}", "second": f"{wrong}|{wrong}|    return b + a", "never": f"{wrong}|x", "single": right})
    rows = {row.id: row for row in score(cases, run(engine))}
    facts = {name: (row.passed, row.any_passed, row.exact, row.any_exact) for name, row in rows.items()}
    assert facts == {
        "first": (True, True, True, True),
        "second": (False, True, False, False),
        "never": (False, False, False, False),
        "single": (True, True, True, True),
    }
    figures = summarize(list(rows.values()), [])
    assert (figures["pass_at_1"]["n"], figures["any_of"]["pass"]["n"], figures["any_of"]["exact_match"]["n"]) == (2, 3, 2)
    assert figures["any_of"]["answers"] == 3
    # A pass over a batch is one forward, and only the first answer's tokens count.
    assert (figures["forwards"], figures["tokens_per_forward"]) == (4.0, 1.5)
    table = dict(summary.report(cases, {"m": figures}, {}).rows)
    assert table["any of 3: pass"][0].startswith("75.0 %")


def test_lengths_are_those_of_texts_on_their_own() -> None:
    one_line = case("a", middle="x = 1\n")
    assert measured(one_line, "x = 1") == "x = 1\n"
    assert measured(one_line, "x = 1\n") == "x = 1\n"
    assert measured(one_line, "") == ""
    assert measured(case("b", middle="x = 1"), "x = 1") == "x = 1"


def test_buckets_of_true_lengths() -> None:
    def of(name: str, length: int) -> Case:
        return Case(id=name, prefix="", suffix="\n", middle=" ".join(["w"] * length))

    lengths = {"zero": 0, "one": 1, "four": 4, "five": 5, "eight": 8, "nine": 9, "sixteen": 16, "seventeen": 17, "last": 32, "long": 90}
    cases = CaseSet(name="s", cases=tuple(of(name, length) for name, length in lengths.items()))
    answers = {name: " ".join(["w"] * length) for name, length in lengths.items()}
    answers |= {"four": "w w w", "five": "w w w w w w", "long": " ".join(["w"] * 40)}
    engine = Oracle(answers)
    rows = score(cases, run(engine, count=words))
    assert [(row.text_tokens, row.true_tokens) for row in rows if row.id in ("four", "long")] == [(3, 4), (40, 90)]
    figures = summarize(rows, [])["lengths"]
    assert [(b["true_tokens"], b["n"], b["exact_match"]["n"], b["error_mean"]) for b in figures["buckets"]] == [
        ("0", 1, 1, 0.0),
        ("1-4", 2, 1, -0.5),
        ("5-8", 2, 1, 0.5),
        ("9-16", 2, 2, 0.0),
        ("17-32", 2, 2, 0.0),
        ("33+", 1, 0, -50.0),
    ]
    assert (figures["absolute_error_p50"], figures["absolute_error_mean"], figures["error_mean"]) == (0, 5.2, -5.0)
    assert (figures["right"]["n"], figures["within_1"]["n"], figures["n"]) == (7, 9, 10)
    table = dict(summary.report(cases, {"m": summarize(rows, [])}, {}).rows)
    assert table["true length 1-4: pass, exact"] == ["-, 50.0 % of 2"]
    assert table["    error: median, mean, bias"] == ["0, 5.2, -5.0"]
    assert table["    exactly right, within 1"] == ["70.0 %, 90.0 %"]


def test_rows_of_another_decoding_are_refused_and_the_difference_is_named(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"

    def settings(length: str, **changes: Any) -> dict[str, Any]:
        return {"model": {"name": "m"}, "decoding": choose(length, Decoding(**changes)).facts()}

    score(many(2), run(Oracle({}), out=out, settings=settings("fixed:8")))
    again = Oracle({})
    score(many(2), run(again, out=out, settings=settings("fixed", slots=8)))
    assert not again.asked, "the same decoding in other words"
    for other, named in (
        (settings("fixed:16"), r"decoding\.slots: 8 there, 16 here"),
        (settings("oracle"), r"decoding\.length: 'fixed' there, 'oracle' here"),
        (settings("fixed:8", score="margin"), r"decoding\.score: '' there, 'margin' here"),
        (settings("fixed:8", seed=1), r"decoding\.seed: 0 there, 1 here"),
        (settings("fixed:8", early_commit=False), r"decoding\.early_commit: None there, False here"),
    ):
        with pytest.raises(DlspError, match=named):
            score(many(2), run(Oracle({}), out=out, settings=other))


def test_other_languages_are_compared_as_text_only() -> None:
    java = Case(id="j", prefix="int x = ", suffix=";\n", middle="1", language="java")
    engine = Oracle({"j": "1"})
    (row,) = score(CaseSet(name="s", cases=(java,)), run(engine))
    assert (row.exact, row.parses, row.passed) == (True, None, None)
    assert engine.asked[0].language == "java"
