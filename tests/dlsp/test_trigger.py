from __future__ import annotations

import pytest

from dlsp.documents import Point, opened
from dlsp.settings import Settings
from dlsp.trigger import Decision, decide, gate

SETTINGS = Settings(max_lines=7)


def at_bar(text: str):
    """The document without the bar, and where it was."""
    before, _, after = text.partition("|")
    return opened("file:///a.py", 1, "python", before + after), Point(before.count("\n"), len(before.rpartition("\n")[2]))


def test_gate() -> None:
    assert gate(SETTINGS, "python", False) == ""
    assert gate(SETTINGS, "python", True) == "excluded_file"
    assert gate(SETTINGS, "markdown", True) == "disabled_language"
    assert gate(Settings(enabled=False), "markdown", True) == "disabled"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = |", ""),
        ("f(|)", ""),
        ("f(a[|]);  ", ""),
        ('print("|")', ""),
        ("x = | + 1", "mid_line"),
        ("re|turn", "mid_line"),
        ("|", "empty_document"),
        ("\n  |\n\n", "empty_document"),
        ("|\nx = 1\n", ""),
    ],
)
def test_where_it_is_asked_without_being_invoked(text: str, reason: str) -> None:
    snapshot, at = at_bar(text)
    assert decide(snapshot, at, SETTINGS, invoked=False) == Decision(reason=reason)


@pytest.mark.parametrize("text", ["x = | + 1", "|", "re|turn"])
def test_somebody_who_invokes_is_refused_nothing(text: str) -> None:
    snapshot, at = at_bar(text)
    assert decide(snapshot, at, SETTINGS, invoked=True, took_back=True) == Decision(max_lines=1 if text != "|" else 7)


def test_not_after_an_undo() -> None:
    snapshot, at = at_bar("x = |")
    assert decide(snapshot, at, SETTINGS, invoked=False, took_back=True).reason == "undo"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("def f():\n    |\n", 7),
        ("def f():|\n\nx = 1\n", 7),
        ("def f():|", 7),
        ("def f():|\n    return 1\n", 1),
        ("  if (a) {|}\n", 7),
        ("x = |\n", 1),
        ("    |  # note\n", 1),
        ("x = {'a': |\n", 1),
    ],
)
def test_a_block_is_asked_for_where_one_is_missing(text: str, lines: int) -> None:
    snapshot, at = at_bar(text)
    assert decide(snapshot, at, SETTINGS, invoked=True).max_lines == lines
    assert decide(snapshot, at, SETTINGS, invoked=False).max_lines == 1


def test_tokens_grow_with_lines_but_not_without_end() -> None:
    tokens = [Decision(max_lines=lines).max_tokens for lines in (1, 2, 10, 200)]
    assert tokens == sorted(tokens)
    assert tokens[0] < tokens[1]
    assert tokens[-1] <= 512
