"""Finds holes in source of any language, by its lines alone: for files that no parser at hand can read.

Lines of comments are left out where their language is known; docstrings and block comments may slip through. Knows nothing of models.
"""

from __future__ import annotations

import random
import re

from engine.train.adapt_files import source_language

_EDGE = re.compile(r"\b")
SHORTEST = 4
"""Characters of a line that is worth a hole."""


def spans(path: str, text: str, kind: str, seed: int) -> list[tuple[int, int]]:
    """Holes of a file as character spans [start, end), at most one a line, in random order.

    `whole_line` begins behind the indent; `rest_of_line` begins at the edge of a word half of the time, else anywhere. Both end where the
    line's text does.
    """
    language = source_language(path)
    comment = tuple(mark for mark in (language.comment if language else ("#",)) if mark)
    rng = random.Random(f"{seed}:{kind}:{path}".encode("utf-8", "surrogateescape"))  # a file's name need not be valid UTF-8
    found: list[tuple[int, int]] = []
    at = 0
    for line in text.split("\n"):
        content = line.strip()
        begin = at + len(line) - len(line.lstrip())
        end = at + len(line.rstrip())
        at += len(line) + 1
        if len(content) < SHORTEST or content.startswith(comment) or not any(c.isalnum() for c in content):
            continue
        if kind == "whole_line":
            found.append((begin, end))
            continue
        edges = [begin + match.start() for match in _EDGE.finditer(content) if begin + match.start() < end]
        found.append((rng.choice(edges) if edges and rng.random() < 0.5 else rng.randrange(begin, end), end))
    rng.shuffle(found)
    return found
