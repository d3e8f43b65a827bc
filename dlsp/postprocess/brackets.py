"""Brackets in text, counted as far as that can be done without a grammar. Knows one-line strings, not comments."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeVar

OPENERS = "([{"
CLOSERS = ")]}"
PAIRS = dict(zip(OPENERS, CLOSERS, strict=True))
Place = TypeVar("Place")
_TOKEN = re.compile(r"""\\.|["'`\n]|[()\[\]{}]""", re.DOTALL)


def brackets(text: str) -> list[tuple[int, str]]:
    """The brackets of a text with their positions; those inside strings, which end with their line at the latest, are left out."""
    found, quote = [], ""
    for match in _TOKEN.finditer(text):
        token = match[0]
        if quote:
            if token in (quote, "\n"):
                quote = ""
        elif token in "\"'`":
            quote = token
        elif token in OPENERS or token in CLOSERS:
            found.append((match.start(), token))
    return found


def unmatched(found: Iterable[tuple[Place, str]]) -> tuple[list[Place], list[Place]]:
    """Where closers stand that nothing opens, and openers that nothing closes. Kinds are not told apart."""
    closers: list[Place] = []
    openers: list[Place] = []
    for place, bracket in found:
        if bracket in OPENERS:
            openers.append(place)
        elif openers:
            openers.pop()
        else:
            closers.append(place)
    return closers, openers


def balance(text: str) -> int:
    """Brackets opened and not closed, negative when more are closed than opened."""
    return sum(1 if bracket in OPENERS else -1 for _, bracket in brackets(text))


def closing(text: str) -> str:
    """The closers of what a text leaves open, innermost first."""
    stack: list[str] = []
    for _, bracket in brackets(text):
        if bracket in OPENERS:
            stack.append(PAIRS[bracket])
        elif stack:
            stack.pop()
    return "".join(reversed(stack))
