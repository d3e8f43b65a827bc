"""Guesses how tokens go on from how they went on before: code repeats itself, and a guess that is checked costs nothing.

Prompt lookup (github.com/apoorvumang/prompt-lookup-decoding; "Inference with Reference", arXiv 2304.04487), which here sees the
text on both sides of the hole. It knows tokens only, and whoever asks must check what it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

MATCHED = 4
"""Tokens before a place that are compared; longer ones changed nothing (docs/log.md)."""


class Lookup:
    """The text around one canvas: the tokens `before` and `behind` it, in document order."""

    def __init__(self, before: Sequence[int], behind: Sequence[int]) -> None:
        self._before, self._behind = list(before), list(behind)

    def after(self, filled: Sequence[int], limit: int) -> list[int]:
        """At most `limit` tokens that may follow `filled`, the canvas so far; none where its last token is new.

        Of all places where the text reads the same, the one that does so for the most tokens, up to `MATCHED`; of those the
        nearest before the hole, then the nearest behind it.
        """
        text = [*self._before, *filled]
        if not text:
            return []
        ending = text[: -MATCHED - 1 : -1]
        best, found = 0, (text, 0)
        upwards = ((text, place) for place in range(len(text) - 2, -1, -1))
        downwards = ((self._behind, place) for place in range(len(self._behind) - 1))
        for tokens, place in chain(upwards, downwards):
            if tokens[place] != text[-1]:
                continue
            alike = next((n for n, token in enumerate(ending) if n > place or tokens[place - n] != token), len(ending))
            if alike > best:
                best, found = alike, (tokens, place + 1)
                if best == MATCHED:
                    break
        tokens, start = found
        return tokens[start : start + limit] if best else []
