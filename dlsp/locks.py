"""What of a draft stays exactly as it is while the rest is filled: names, literals, the skeleton, or spans.

Goes by the grammar where there is one, else by what words look like. Knows nothing of models and requests.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Literal

from dlsp import syntax
from dlsp.documents import Point, Snapshot, Span

Lock = Literal["names", "literals", "skeleton"]
"""Identifiers; strings, numbers and comments; headers of blocks, keywords and closing brackets."""
LOCKS: tuple[Lock, ...] = ("names", "literals", "skeleton")

_WORDS = re.compile(
    r"""(?P<literal>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`|\b\d[\w.]*)|(?P<name>[^\W\d]\w*)|(?P<other>[^\w\s])"""
)
_KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        """
        and as assert async await break case catch class const continue def default defer del do elif else elseif end enum
        except export extends False finally fn for from func function global go if impl implements import in interface is
        lambda let local loop match mod module mut namespace new nil None nonlocal not null or package pass private protected
        pub public raise return select static struct super switch then this throw throws trait True true false try type typeof
        unless until use using var void where while with yield
        """,
    )
)
_CLOSERS = frozenset(")]}")


def locked(snapshot: Snapshot, span: Span, what: Sequence[Lock | Span]) -> tuple[tuple[int, int], ...]:
    """What is locked of the text in a span, as offsets (start, end) in it with "\\n" line ends: sorted, apart from each other.

    White space between two locked words is locked with them: there is nothing to decide.
    """
    rows = [snapshot.line(number) for number in range(span.start.line, span.end.line + 1)]
    starts = [0, *accumulate(len(row) + 1 for row in rows)]
    text = "\n".join(rows)[span.start.column : starts[len(rows) - 1] + span.end.column]

    def offset(point: Point) -> int:
        return starts[point.line - span.start.line] + point.column - span.start.column

    found = []
    for each in what:
        if isinstance(each, Span):
            start, end = max(each.start, span.start), min(each.end, span.end)
            if start < end:
                found.append((offset(start), offset(end)))
    kinds = {each for each in what if not isinstance(each, Span)}
    if kinds:
        words: list[tuple[str, int, int]] = [(leaf.kind, offset(leaf.start), offset(leaf.end)) for leaf in syntax.leaves(snapshot, span)]
        words = words or list(_plain(text))
        found += _of_kinds(text, words, kinds)
    return _joined(text, found)


def _of_kinds(text: str, words: Sequence[tuple[str, int, int]], kinds: set[Lock]) -> Iterator[tuple[int, int]]:
    for kind, start, end in words:
        word = text[start:end]
        keyword = kind == "other" and (word in _KEYWORDS or word in _CLOSERS)
        if (
            ("names" in kinds and kind == "name")
            or ("literals" in kinds and kind in ("literal", "comment"))
            or ("skeleton" in kinds and keyword)
        ):
            yield start, end
    if "skeleton" in kinds:
        yield from _headers(text, words)


def _headers(text: str, words: Sequence[tuple[str, int, int]]) -> Iterator[tuple[int, int]]:
    """Lines that end with a colon or an opening brace which is no part of a string or a comment."""
    quoted = [(start, end) for kind, start, end in words if kind in ("literal", "comment")]
    begins = [start for start, _ in quoted]
    position = 0
    for line in text.split("\n"):
        bare = line.rstrip()
        last = position + len(bare) - 1
        index = bisect_right(begins, last) - 1
        if bare.endswith((":", "{")) and not (index >= 0 and last < quoted[index][1]):
            yield position + len(bare) - len(bare.lstrip()), last + 1
        position += len(line) + 1


def _plain(text: str) -> Iterator[tuple[str, int, int]]:
    """Words by their looks, for languages without a grammar."""
    for match in _WORDS.finditer(text):
        kind = match.lastgroup or "other"
        if kind == "name" and match.group() in _KEYWORDS:
            kind = "other"
        yield kind, match.start(), match.end()


def _joined(text: str, spans: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    out: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if start >= end:
            continue
        if out and not text[out[-1][1] : start].strip():  # nothing at all, where they overlap
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return tuple(out)
