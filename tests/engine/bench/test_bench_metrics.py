"""Figures against values worked out elsewhere, and against slow reference implementations."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.bench import metrics


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Wilson's own formula evaluated by hand and by R's prop.test(correct = FALSE).
        (0, 10, 0.0, 0.27754),
        (10, 10, 0.72246, 1.0),
        (5, 10, 0.23659, 0.76341),
        (27, 1033, 0.01803, 0.03775),
        (517, 1033, 0.47003, 0.53092),
    ],
)
def test_wilson_known_values(successes: int, n: int, low: float, high: float) -> None:
    assert metrics.wilson(successes, n) == pytest.approx((low, high), abs=2e-5)


def test_wilson_of_nothing_excludes_nothing() -> None:
    assert metrics.wilson(0, 0) == (0.0, 1.0)


@given(st.integers(0, 200), st.integers(1, 200))
@settings(deadline=None)
def test_wilson_holds_the_share(successes: int, n: int) -> None:
    successes = min(successes, n)
    low, high = metrics.wilson(successes, n)
    assert 0 <= low <= successes / n + 1e-12
    assert successes / n - 1e-12 <= high <= 1


@pytest.mark.parametrize(("q", "value"), [(0, 1), (50, 2.5), (95, 3.85), (100, 4)])
def test_percentile_interpolates(q: float, value: float) -> None:
    assert metrics.percentile([4, 1, 3, 2], q) == pytest.approx(value)


def test_percentile_of_little() -> None:
    assert metrics.percentile([], 50) == 0.0
    assert metrics.percentile([7], 95) == 7


def indel_distance(a: str, b: str) -> int:
    """Levenshtein distance with substitutions at two, by the table of the textbook."""
    previous = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (0 if x == y else 2)))
        previous = row
    return previous[-1]


@given(st.text("abcé( ", max_size=40), st.text("abcé( ", max_size=40))
@settings(max_examples=150, deadline=None)
def test_edit_similarity_is_the_levenshtein_ratio(a: str, b: str) -> None:
    total = len(a) + len(b)
    expected = 1.0 if total == 0 else (total - indel_distance(a, b)) / total
    assert metrics.edit_similarity(a, b) == pytest.approx(expected)


def test_edit_similarity_known_values() -> None:
    assert metrics.edit_similarity("kitten", "sitting") == pytest.approx(8 / 13)
    assert metrics.edit_similarity("", "x") == 0.0
    assert metrics.edit_similarity("x" * 300, "x" * 300) == 1.0


@pytest.mark.parametrize(
    ("answer", "truth", "equal"),
    [
        ("    return x\n", "return x", True),
        ("return x\nreturn y\n", "return x\n", True),  # a one-line truth is compared with the first line
        ("a = 1\nb = 3", "a = 1\nb = 2\n", False),
        ("a = 1\nb = 2\n\n", "a = 1\nb = 2", True),
        ("\n\n  x", "x", True),
        ("x = 1", "x = 2", False),
        ("", "x", False),
        ("", "", True),
    ],
)
def test_exact_match(answer: str, truth: str, equal: bool) -> None:
    assert metrics.exact_match(answer, truth) is equal


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("x = 'a'", 'x  =  "a"', True),
        ("f(1, )", "f(1)", True),
        ("x = 1", "x = 1.0", False),
        ("x = 1", "x = True", False),
        ("x = 1", "y = 1", False),
        ("f(a, b)", "f(a)", False),
        ("x = b'a'", "x = 'a'", False),
    ],
)
def test_same_tree(a: str, b: str, same: bool) -> None:
    assert metrics.same_tree(metrics.parse(a), metrics.parse(b)) is same


@pytest.mark.parametrize("program", ["def f(:", "x = '\0'", "(" * 500, "-" * 200_000 + "1"])
def test_parse_survives_what_models_write(program: str) -> None:
    assert metrics.parse(program) is None
