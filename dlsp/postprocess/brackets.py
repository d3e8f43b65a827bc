"""Brackets in text, counted as far as that can be done without a grammar. Knows one-line strings, not comments."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import TypeVar

OPENERS = "([{"
CLOSERS = ")]}"
PAIRS = dict(zip(OPENERS, CLOSERS, strict=True))
Place = TypeVar("Place", int, tuple[int, int])
# A quote that opens no string: of a lifetime (`&'a`), within a number (`1'000`) or a word (`don't`; `rb'` is no word).
_TOKEN = re.compile(r"""\\.|(?<=[&<])'[a-z_]\w*(?![\w'])|(?<=\d)'\d|(?<=\w{3})'\w|["'`\n]|[()\[\]{}]""", re.DOTALL)


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
    """Where closers stand that nothing opens, and openers that nothing closes, each in order.

    A closer closes the nearest opener of its kind; what was opened between the two stays open.
    """
    closers: list[Place] = []
    lost: list[Place] = []
    opened: list[tuple[Place, str]] = []
    due: Counter[str] = Counter()
    for place, bracket in found:
        if closer := PAIRS.get(bracket):
            opened.append((place, closer))
            due[closer] += 1
            continue
        if not due[bracket]:
            closers.append(place)
            continue
        while opened[-1][1] != bracket:
            due[opened[-1][1]] -= 1
            lost.append(opened.pop()[0])
        due[bracket] -= 1
        opened.pop()
    lost.extend(place for place, _ in opened)
    return closers, sorted(lost)


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
