"""Lines that only say again what stands just above or below are not shown. Knows lines, not languages."""

from __future__ import annotations

import re

from dlsp.postprocess.draft import Draft

_SINGLE_WORD = re.compile(r"\w+[;,)\]}]*|</[\w.:-]+>")
_LEAST_LINES = 3
_LEAST_SIMILAR = 20
"""Shorter lines are the same only if they are equal."""


def echo(draft: Draft) -> Draft:
    """Drops with `duplicate` a text whose first line is the nearest line above or below with anything in it, and cuts it where
    three lines or more come in a row as they stand nearby.

    Lines without letters and digits, such as closing brackets, repeat for good reason.
    """
    rows = draft.text.split("\n")
    number = next((index for index, row in enumerate(rows) if row.strip()), 0)
    # Text that begins with line ends leaves the cursor's line as it is.
    above = (draft.head, *draft.above) if number else draft.above
    line = "" if number else draft.head
    line += rows[number] + (draft.behind if number + 1 == len(rows) else "")
    if rows[number].strip() and any(character.isalnum() for character in line):
        neighbours = [next((row for row in side if row.strip()), "") for side in (above, draft.below)]
        if any(_equal(line, neighbour) for neighbour in neighbours):
            return draft.dropped("duplicate")
    start = _repeated_from(draft, rows)
    if start is None:
        return draft
    kept = "\n".join(rows[:start]).rstrip()
    return draft.with_text(kept) if kept.strip() else draft.dropped("duplicate")


def _equal(line: str, neighbour: str) -> bool:
    """A single word such as `end`, and a closing tag, say something else where they are indented otherwise."""
    if _SINGLE_WORD.fullmatch(line.strip()):
        return line.rstrip() == neighbour.rstrip()
    return line.strip() == neighbour.strip()


def _repeated_from(draft: Draft, rows: list[str]) -> int | None:
    """The first line of the first run of at least three, closers not counted, that stands above or below in the same order."""
    said = [row.strip() for row in [draft.head + rows[0], *rows[1:]]]
    for nearby in ([line.strip() for line in reversed(draft.above)], [line.strip() for line in draft.below]):
        for start in range(len(said) - _LEAST_LINES + 1):
            for place in range(len(nearby) - _LEAST_LINES + 1):
                if _alike(said[start:], nearby[place:]):
                    return start
    return None


def _alike(said: list[str], there: list[str]) -> bool:
    """Whether both begin with the same three lines; one of them may be merely similar, as rows of a table all are for good reason.

    Lines of closers do not count: `if err != nil {`, `return err`, `}` is what one writes again and again.
    """
    same = different = 0
    for line, other in zip(said, there, strict=False):
        if line != other:
            different += 1
            if different > 1 or not _similar(line, other):
                return False
        if any(map(str.isalnum, line)):
            same += 1
        elif not same:
            return False
        if same == _LEAST_LINES:
            return True
    return False


def _similar(line: str, other: str) -> bool:
    """Equal, or a long line that differs in one place by a tenth at most."""
    if line == other:
        return True
    longer = max(len(line), len(other))
    if min(len(line), len(other)) < _LEAST_SIMILAR:
        return False
    before = _common(line, other)
    behind = _common(line[before:][::-1], other[before:][::-1])
    return longer - before - behind <= longer // 10


def _common(line: str, other: str) -> int:
    """How many characters two lines begin with alike."""
    return next((i for i, (a, b) in enumerate(zip(line, other, strict=False)) if a != b), min(len(line), len(other)))
