"""Self-speculation against the reading it must agree with: the same network left to right, a token a pass."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from engine.diffusion.canvas import Canvas
from engine.diffusion.denoise import Draft, Region
from engine.diffusion.length import EndToken, Exact
from engine.diffusion.lookup import Lookup
from engine.diffusion.sampler import Sampler, Vocabulary, Wanted
from engine.diffusion.speculation import Readings, can_speculate, speculate

MASK, END, NEWLINE, FIRST_WORD = range(4)
WORDS, SIZE = 8, 6
TOKENS = FIRST_WORD + WORDS
NOTHING = Lookup([], [])


class Anything:
    """Nothing is forced but a first word."""

    def allowed(self, forced: bytes) -> list[int]:
        return [FIRST_WORD, FIRST_WORD + 1]

    covering = allowed

    def rest(self, forced: bytes, token: int) -> bytes:
        return forced[1:]


class Reader:
    """A causal model: the scores of a slot are a fixed random function of the tokens before it. Counts its passes."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._rows: dict[tuple[int, ...], Tensor] = {}
        self.passes = 0

    def row(self, before: tuple[int, ...]) -> Tensor:
        if before not in self._rows:
            draw = random.Random(f"{self._seed}{before}")
            self._rows[before] = torch.tensor([draw.gauss(0, 2) - (2 if token == END else 0) for token in range(TOKENS)])
        return self._rows[before]

    def __call__(self, drafts: Sequence[Sequence[Sequence[int]]]) -> list[list[Tensor]]:
        self.passes += 1
        assert len({len(holes[0]) for holes in drafts}) == 1, "one shape for the whole batch"
        return [[torch.stack([self.row(tuple(holes[0][:slot])) for slot in range(len(holes[0]))])] for holes in drafts]


def drafter(tokens: Callable[[], int]) -> Callable[[Sequence[Sequence[Sequence[int]]]], list[list[Tensor]]]:
    """A diffusion pass that proposes what `tokens` says."""

    def forward(drafts: Sequence[Sequence[Sequence[int]]]) -> list[list[Tensor]]:
        rows = []
        for holes in drafts:
            scores = torch.zeros(len(holes[0]), TOKENS)
            for slot in range(len(holes[0])):
                scores[slot, tokens()] = 9.0
            rows.append([scores])
        return rows

    return forward


def begun(forced: bytes = b"", seed: int = 0, temperature: float = 0.0) -> Draft:
    vocabulary = Vocabulary([MASK], [NEWLINE], END)
    sampler = Sampler(vocabulary, Wanted(), temperature=temperature, seed=seed)
    return Draft([Region(Canvas(SIZE, MASK, END), EndToken(END), forced, one_line=True)], sampler)


def left_to_right(reader: Reader, draft: Draft) -> list[int]:
    """The same sampler under the same rules, one slot a pass."""
    region, canvas, found = draft.regions[0], Canvas(SIZE, MASK, END), []
    shadow = Region(canvas, EndToken(END), region.forced, one_line=True)
    while not shadow.done:
        row = reader.row(tuple(found))
        scores = torch.stack([row] * (len(found) + 1))
        token = draft.sampler.propose(scores, shadow.rules(Anything())).tokens[-1]
        canvas.commit(len(found), token, 1.0)
        found.append(token)
        if shadow.forced:
            shadow.forced = Anything().rest(shadow.forced, token)
    return [token for token in found if token != END]


@pytest.mark.parametrize("forced", [b"", b"x", b"xy"])
@pytest.mark.parametrize("seed", range(12))
def test_any_draft_leads_to_what_reading_alone_says(seed: int, forced: bytes) -> None:
    reader, draw = Reader(seed), random.Random(seed)
    expected = left_to_right(reader, begun(forced))
    draft = begun(forced)
    steps = list(speculate(Readings(drafter(lambda: draw.randrange(END, TOKENS)), reader, NOTHING), [draft], Anything()))
    assert draft.regions[0].canvas.content() == expected
    assert [s for step in steps for s in step.committed[0][0]] == list(range(min(len(expected) + 1, SIZE)))
    assert all(len(step.committed[0][0]) >= 1 for step in steps)
    assert reader.passes == len(steps) <= len(expected) + 1


@pytest.mark.parametrize("seed", range(12))
def test_any_text_around_leads_to_what_reading_alone_says(seed: int) -> None:
    reader, draw = Reader(seed), random.Random(seed)
    expected = left_to_right(reader, begun())
    around = [[draw.randrange(END, TOKENS) for _ in range(60)] for _ in range(2)]
    draft = begun()
    steps = list(speculate(Readings(drafter(lambda: FIRST_WORD), reader, Lookup(*around)), [draft], Anything()))
    assert draft.regions[0].canvas.content() == expected
    assert reader.passes == len(steps) <= len(expected) + 1


def test_what_stood_before_is_the_draft_and_takes_one_check() -> None:
    reader = Reader(4)
    expected = left_to_right(reader, begun())
    draft, asked = begun(), []

    def forward(drafts: Sequence[Sequence[Sequence[int]]]) -> list[list[Tensor]]:
        asked.append(drafts)
        return drafter(lambda: FIRST_WORD)(drafts)

    around = Lookup([NEWLINE, FIRST_WORD, *expected, END, NEWLINE, FIRST_WORD], [])
    steps = list(speculate(Readings(forward, reader, around), [draft], Anything()))
    assert (len(steps), asked) == (1, []), "no diffusion pass where the text around has a draft"
    assert draft.regions[0].canvas.content() == expected


def test_the_text_around_is_asked_again_after_every_check() -> None:
    reader = Reader(4)
    expected = left_to_right(reader, begun())
    assert len(expected) > 2
    wrong = next(token for token in range(FIRST_WORD, TOKENS) if token not in expected)
    around = Lookup([*expected, END, MASK, wrong, wrong, MASK], [])
    draft = begun()
    steps = list(speculate(Readings(drafter(lambda: wrong), reader, around), [draft], Anything()))
    assert len(steps) == 2, "the first word from a check, the rest from where it stood before"
    assert draft.regions[0].canvas.content() == expected


def test_a_right_draft_takes_one_check() -> None:
    reader = Reader(4)
    expected = left_to_right(reader, begun())
    assert len(expected) > 1
    words = itertools.chain(expected, itertools.repeat(END))
    draft = begun()
    steps = list(speculate(Readings(drafter(lambda: next(words)), reader, NOTHING), [draft], Anything()))
    assert len(steps) == 1
    assert draft.regions[0].canvas.content() == expected


def test_confidence_is_the_checkers() -> None:
    reader = Reader(3)
    draft = begun()
    list(speculate(Readings(drafter(lambda: FIRST_WORD), reader, NOTHING), [draft], Anything()))
    canvas = draft.regions[0].canvas
    sampler = begun().sampler
    for slot in range(len(canvas.content())):
        shadow = begun().regions[0]
        for before in range(slot):
            shadow.canvas.commit(before, canvas.tokens[before], 1.0)
        scores = torch.stack([reader.row(tuple(canvas.tokens[:slot]))] * (slot + 1))
        assert sampler.propose(scores, shadow.rules(Anything())).confidence[-1] == pytest.approx(canvas.confidence[slot], rel=1e-5)


def test_several_drafts_at_once_end_as_each_would_alone() -> None:
    reader = Reader(5)
    alone = []
    for forced in (b"", b"x", b"xy"):
        draft = begun(forced)
        list(speculate(Readings(drafter(lambda: FIRST_WORD), reader, NOTHING), [draft], Anything()))
        alone.append(draft.regions[0].canvas.content())
    together = [begun(forced) for forced in (b"", b"x", b"xy")]
    list(speculate(Readings(drafter(lambda: FIRST_WORD), reader, NOTHING), together, Anything()))
    assert [draft.regions[0].canvas.content() for draft in together] == alone


def test_sampled_answers_have_the_readers_distribution() -> None:
    """Of 1,000 first two tokens, drafted at random, each pair appears as often as the reading alone makes it."""
    reader, draw = Reader(8), random.Random(1)
    counts: dict[tuple[int, ...], int] = {}
    trials = 1000
    for trial in range(trials):
        draft = begun(seed=trial, temperature=1.0)
        list(speculate(Readings(drafter(lambda: draw.randrange(END, TOKENS)), reader, NOTHING), [draft], Anything()))
        pair = tuple(draft.regions[0].canvas.content()[:2])
        counts[pair] = counts.get(pair, 0) + 1

    sampler, off = begun().sampler, 0.0
    first = sampler.constrain(reader.row(())[None], begun().regions[0].rules(Anything()))[0].softmax(-1)
    for token in range(FIRST_WORD, TOKENS):
        second_rules = begun().regions[0]
        second_rules.canvas.commit(0, token, 1.0)
        scores = torch.stack([reader.row(()), reader.row((token,))])
        second = sampler.constrain(scores, second_rules.rules(Anything()))[1].softmax(-1)
        for other in [END, *range(FIRST_WORD, TOKENS)]:
            pair = (token,) if other == END else (token, other)
            off += abs(counts.get(pair, 0) / trials - float(first[token] * second[other]))
    off += abs(counts.get((), 0) / trials - float(first[END]))
    assert off / 2 < 0.1, f"total variation {off / 2:.3f}"


def test_what_must_be_read_from_both_sides_is_not_speculated_on() -> None:
    assert can_speculate(begun())
    given = begun()
    given.regions[0].length = Exact()
    assert not can_speculate(given)
    between = Draft([Region(Canvas(4, MASK, END, [FIRST_WORD, MASK, FIRST_WORD, END]), EndToken(END))], begun().sampler)
    assert not can_speculate(between)
    two = Draft([*begun().regions, *begun().regions], begun().sampler)
    assert not can_speculate(two)
