"""Answers without a model: the floors that a model has to clear, run through the same scoring.

Each is a pure function of the text around a hole; none sees the true content.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.bench.data import Case


def empty(case: Case) -> str:
    """Nothing at all."""
    return ""


def only_pass(case: Case) -> str:
    """`pass` at the indent that the lines above ask for; nothing more than the word where the cursor stands behind text."""
    typed = _typed(case)
    if typed.strip():
        return "pass"
    above = _line_above(case)
    indent = above[: len(above) - len(above.lstrip())] + ("    " if above.rstrip().endswith(":") else "")
    return indent[len(typed) :] + "pass" + _line_end(case)


def copy_previous_line(case: Case) -> str:
    """The nearest line above that holds text, from the cursor's column on where it does not begin with what is typed."""
    return _copy(case, _line_above(case))


def copy_matching_line(case: Case) -> str:
    """The rest of the nearest line above that begins with what is typed; without one, what `copy_previous_line` says."""
    start = _typed(case).strip()
    for line in reversed(case.prefix.split("\n")[:-1]):
        if start and line.strip().startswith(start) and line.strip() != start:
            return _copy(case, line)
    return copy_previous_line(case)


BASELINES: dict[str, Callable[[Case], str]] = {
    "empty": empty,
    "pass": only_pass,
    "copy-previous-line": copy_previous_line,
    "copy-matching-line": copy_matching_line,
}
"""The floors by the names the command line knows."""


def _copy(case: Case, line: str) -> str:
    """What `line` has where the hole is: behind the typed text, and in front of what follows the hole on its line."""
    typed, following = _typed(case), case.suffix.split("\n", 1)[0]
    if not typed.strip():
        # At a line start the copy brings its own indent; behind an indent it must not bring it twice.
        text = line if not typed else line.lstrip()
    elif line.lstrip().startswith(typed.lstrip()):
        text = line.lstrip()[len(typed.lstrip()) :]
    else:
        text = line[len(typed) :]
    whole_line = not typed and case.prefix.endswith("\n") and following
    if following.strip() and not whole_line:
        shared = next((n for n in range(min(len(text), len(following)), 0, -1) if text.endswith(following[-n:])), 0)
        text = text[: len(text) - shared]
    return text + _line_end(case) if text else ""


def _typed(case: Case) -> str:
    """What stands before the cursor on its line."""
    return case.prefix.rsplit("\n", 1)[-1]


def _line_above(case: Case) -> str:
    return next((line for line in reversed(case.prefix.split("\n")[:-1]) if line.strip()), "")


def _line_end(case: Case) -> str:
    """A line end where the hole is a whole line with its line end, as in HumanEval-Infilling."""
    return "\n" if not _typed(case) and not case.suffix.startswith("\n") else ""
