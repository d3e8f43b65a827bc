"""Two runs against each other: hand-counted pairs, the interval, and files that cannot be compared."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from engine.bench.compare import compare, paired
from engine.bench.data import Case, CaseSet
from engine.bench.holes import Run, score
from engine.bench.rows import Answer, Heading, Row
from engine.errors import DlspError


def write(path: Path, outcomes: str, name: str = "s", **changes: object) -> Path:
    """A row file with a case for each letter: "+" passes, "-" does not, "." is not executed; forwards 4."""
    settings = {"set": name, "cases": "x", "decoding": {"length": "fixed", "slots": 8}} | changes
    lines = [msgspec.json.encode(Heading(answerer="m", settings=settings))]
    for index, outcome in enumerate(outcomes):
        row = Row(
            answerer="m",
            id=str(index),
            truth=f"truth {index}",
            answer=Answer(text="", forwards=4, latency_ms=10.0),
            exact=outcome == "+",
            same_program=False,
            similarity=0.0,
            passed=None if outcome == "." else outcome == "+",
        )
        lines.append(msgspec.json.encode(row))
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def outcomes(both: int, gained: int, lost: int, neither: int) -> list[tuple[bool, bool]]:
    return [(True, True)] * both + [(False, True)] * gained + [(True, False)] * lost + [(False, False)] * neither


def test_paired_by_hand() -> None:
    result = paired(outcomes(50, 10, 2, 38))
    assert (result["first"]["n"], result["second"]["n"], result["discordant"]) == (52, 60, 12)
    assert result["difference"] == 0.08
    # (11 - 3) / 102 -+ 1.96 sqrt((14 / 102 - (8 / 102)^2) / 102)
    assert (result["low"], result["high"]) == pytest.approx((0.0082, 0.1487), abs=2e-4)
    # 2 (1 + 12 + 66) / 2^12
    assert result["p"] == pytest.approx(158 / 4096)


@pytest.mark.parametrize(("gained", "lost", "p"), [(0, 0, 1.0), (1, 0, 1.0), (3, 3, 1.0), (0, 6, 2 / 64), (1, 7, 18 / 256)])
def test_mcnemar_is_exact(gained: int, lost: int, p: float) -> None:
    assert paired(outcomes(1, gained, lost, 1))["p"] == pytest.approx(p)


def test_the_interval_turns_with_the_order_and_stays_within_one() -> None:
    there, back = paired(outcomes(3, 5, 1, 4)), paired(outcomes(3, 1, 5, 4))
    assert (there["low"], there["high"]) == (-back["high"], -back["low"])
    assert paired(outcomes(0, 3, 0, 0))["high"] <= 1.0


def test_thousands_of_discordant_pairs_do_not_overflow() -> None:
    assert paired(outcomes(0, 3000, 2500, 0))["p"] < 1e-10


def test_files_are_compared_case_by_case(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", "++--+")
    second = write(tmp_path / "b.jsonl", "+-++", decoding={"length": "fixed", "slots": 16})
    report = compare(first, second)
    assert (report.data["n"], report.data["left_out"]) == (4, 1)
    pass_at_1 = report.data["pass_at_1"]
    assert (pass_at_1["gained"], pass_at_1["lost"], pass_at_1["difference"]) == (2, 1, 0.25)
    table = dict(report.rows)
    assert table["pass@1"][:2] == ["50.0 %", "75.0 %"]
    assert table["forwards"] == ["4.0", "4.0", "+0.0"]
    assert any("left out: 1." in note for note in report.notes)
    assert any(note == "decoding.slots: 8 against 16" for note in report.notes)


def test_what_is_not_executed_is_compared_by_its_text(tmp_path: Path) -> None:
    report = compare(write(tmp_path / "a.jsonl", ".."), write(tmp_path / "b.jsonl", ".."))
    assert "pass_at_1" not in report.data
    assert report.data["exact_match"]["n"] == 2


def test_only_runs_on_the_same_cases_are_compared(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", "+")
    with pytest.raises(DlspError, match=r"about the set 's', .* about 't'\. Compare two runs"):
        compare(first, write(tmp_path / "b.jsonl", "+", name="t"))
    with pytest.raises(DlspError, match="no case in common"):
        compare(first, write(tmp_path / "b.jsonl", ""))
    other = write(tmp_path / "b.jsonl", "+")
    other.write_bytes(other.read_bytes().replace(b"truth 0", b"truth 9"))
    with pytest.raises(DlspError, match="different truths"):
        compare(first, other)
    with pytest.raises(DlspError, match="cannot be read"):
        compare(first, tmp_path / "absent.jsonl")
    other.write_bytes(b'{"id": 3}\n')
    with pytest.raises(DlspError, match="is no row file"):
        compare(first, other)


def test_what_a_run_writes_can_be_compared(tmp_path: Path) -> None:
    cases = CaseSet(name="s", cases=tuple(Case(id=str(i), prefix="x = ", suffix="\n", middle=str(i)) for i in range(3)))
    paths = []
    for name in ("0", "1"):
        paths.append(tmp_path / name)
        score(cases, Run(name=name, answer=lambda case, n=name: Answer(text=n), settings={"n": name}, out=paths[-1]))
    report = compare(*paths)
    assert (report.data["exact_match"]["gained"], report.data["exact_match"]["lost"]) == (1, 1)
    # A last line that was cut off is no row.
    paths[0].write_bytes(paths[0].read_bytes()[:-9])
    assert compare(*paths).data["n"] == 2
