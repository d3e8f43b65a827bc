"""Which place in the text around a hole is taken for a guess."""

from __future__ import annotations

import random

import pytest

from engine.diffusion.lookup import MATCHED, Lookup


@pytest.mark.parametrize(
    ("before", "behind", "filled", "guess"),
    [
        ([], [], [], []),
        ([], [7, 8, 9], [], []),
        ([5], [], [], []),
        ([1, 2, 3, 1], [], [], [2, 3, 1]),
        ([1, 2, 3], [], [1], [2, 3, 1]),
        ([1, 2, 9, 1, 3], [], [1], [3, 1]),
        ([4, 1, 2, 9, 1, 3, 4], [], [1], [2, 9, 1]),
        ([1, 2, 3, 4, 8, 8, 3, 4, 6], [], [1, 2, 3, 4], [8, 8, 3]),
        ([9], [1, 2, 3], [1], [2, 3]),
        ([9], [5, 1, 7, 9, 1, 2, 3], [1], [2, 3]),
        ([1, 6], [1, 2, 3], [1], [6, 1]),
        ([7], [2, 1], [1], []),
    ],
    ids=[
        "nothing", "nothing before", "one token", "the last token", "a token of the canvas", "the nearest", "the longest match",
        "a long match far away", "behind", "the longest behind", "before comes first", "nothing follows",
    ],
)  # fmt: skip
def test_the_guess_is_what_followed_the_same_tokens(before: list[int], behind: list[int], filled: list[int], guess: list[int]) -> None:
    assert Lookup(before, behind).after(filled, 3) == guess


def test_it_agrees_with_a_plain_search() -> None:
    """Every place of random texts compared with every other, without order or early end."""
    for seed in range(300):
        draw = random.Random(seed)
        before, behind, filled = ([draw.randrange(4) for _ in range(draw.randrange(12))] for _ in range(3))
        text, limit = before + filled, draw.randrange(1, 6)
        places = [(text, place, 1) for place in range(1, len(text))] + [(behind, place, 0) for place in range(1, len(behind))]

        def alike(tokens: list[int], place: int, text: list[int] = text) -> int:
            return max(n for n in range(min(place, len(text), MATCHED) + 1) if n == 0 or tokens[place - n : place] == text[-n:])

        ranked = max(((alike(tokens, place), side, place if side else -place) for tokens, place, side in places), default=(0, 0, 0))
        start = abs(ranked[2])
        expected = (text if ranked[1] else behind)[start : start + limit] if ranked[0] else []
        assert Lookup(before, behind).after(filled, limit) == expected, seed
