"""Numbers about answers: intervals, percentiles, exact match, edit similarity, whether a program parses.

Pure functions of text and numbers; knows nothing of models, files or how answers were made.
"""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Iterable, Sequence

Z_95 = 1.959963984540054
"""The two-sided 95 % point of the normal distribution."""


def wilson(successes: int, n: int, z: float = Z_95) -> tuple[float, float]:
    """The Wilson score interval of a share, as (low, high) in 0..1; (0, 1) where nothing was observed (Wilson 1927)."""
    assert 0 <= successes <= max(n, 0), "successes cannot exceed the number of trials"
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    centre = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def share(successes: int, n: int) -> dict[str, float]:
    """A share as it is reported: n, of, share, and the 95 % Wilson interval as low and high."""
    low, high = wilson(successes, n)
    return {"n": successes, "of": n, "share": round(successes / n, 4) if n else 0.0, "low": round(low, 4), "high": round(high, 4)}


def percentile(values: Iterable[float], q: float) -> float:
    """The q-th percentile (0..100) with linear interpolation between neighbours; 0.0 where there are no values."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    position = (len(ordered) - 1) * q / 100
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def mean(values: Iterable[float]) -> float:
    """The arithmetic mean; 0.0 where there are no values."""
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0


def edit_similarity(a: str, b: str) -> float:
    """The Levenshtein ratio of two strings, 0..1: (|a| + |b| - distance) / (|a| + |b|), a substitution costing two.

    This is the `fuzz.ratio` that completion benchmarks report. With that cost the distance is |a| + |b| - 2 LCS, and the
    longest common subsequence is counted bit-parallel (Hyyrö 2004).
    """
    if not a and not b:
        return 1.0
    matches: dict[str, int] = {}
    for index, character in enumerate(a):
        matches[character] = matches.get(character, 0) | 1 << index
    everything = (1 << len(a)) - 1
    row = everything
    for character in b:
        both = row & matches.get(character, 0)
        row = ((row + both) | (row - both)) & everything
    common = len(a) - row.bit_count()
    return 2 * common / (len(a) + len(b))


def exact_match(answer: str, truth: str) -> bool:
    """Whether `answer` is `truth`, blanks stripped on both sides; against a one-line truth only the first line counts."""
    return comparable(answer, truth) == truth.strip()


def comparable(answer: str, truth: str) -> str:
    """The part of `answer` that is compared with `truth`: stripped, and cut to its first line where the truth has one line."""
    answer = answer.strip()
    return answer if "\n" in truth.strip() else answer.split("\n", 1)[0].rstrip()


def parse(program: str) -> ast.Module | None:
    """The syntax tree of a Python program, or None where it does not parse."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in other people's strings are no news here
        try:
            return ast.parse(program)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def same_tree(a: object, b: object) -> bool:
    """Whether two syntax trees say the same, positions, quotes and blanks aside."""
    if isinstance(a, ast.AST) and isinstance(b, ast.AST):
        return type(a) is type(b) and all(same_tree(getattr(a, f, None), getattr(b, f, None)) for f in a._fields)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same_tree, a, b))
    # 1 == 1.0 == True in Python, but not in a program's text.
    return type(a) is type(b) and a == b


def median_ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """How many times the median of `slow` is the median of `fast`; 0.0 where either is empty or zero."""
    below = percentile(fast, 50)
    return percentile(slow, 50) / below if below else 0.0
