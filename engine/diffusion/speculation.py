"""Self-speculation: the canvas is drafted and the draft checked left to right by the same network.

A draft is how the text around went on from the same tokens; where it has none of them, one diffusion pass writes it. A checking
pass reads it causally, each slot scored from the tokens before it. What agrees with it stands, the first slot that does not gets
the checker's own token, and what the text around says behind that, or else the checker, is the next draft (Jacobi decoding, arXiv
2305.10427). Greedy or sampled, the answer is exactly the one that reading alone gives, a token a pass (speculative decoding,
arXiv 2211.17192, with draft and target in one network); only the number of passes depends on the drafts. It knows no network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.diffusion.denoise import Constraint, Draft, Forward, Region, Step, settle
from engine.diffusion.length import EndToken
from engine.diffusion.lookup import Lookup


@dataclass(frozen=True, slots=True)
class Readings:
    """The ways to read the canvases of one hole. `forward` sees them from both sides; `verify` gives logits [N, V] for the first N
    tokens of every draft, row n scoring slot n from what stands before it; `lookup` has the text around."""

    forward: Forward
    verify: Forward
    lookup: Lookup


def can_speculate(draft: Draft) -> bool:
    """Whether left to right is how this draft goes on: one hole, open from its frontier to its end, that ends where the model says.

    A draft with open slots between fixed ones, and a hole whose length is given, are better read from both sides.
    """
    if len(draft.regions) != 1:
        return False
    region = draft.regions[0]
    canvas = region.canvas
    open_tail = all(token == canvas.mask_id for token in canvas.tokens[canvas.frontier :])
    return isinstance(region.length, EndToken) and open_tail and not region.at_once


def speculate(readings: Readings, drafts: Sequence[Draft], constraint: Constraint) -> Iterator[Step]:
    """Finish all drafts in place, a checking pass a step. All must be ones that `can_speculate` accepts."""
    guesses: dict[int, list[int]] = {}
    """By the number of a draft: what its open slots may hold, from the first one on."""
    number = 0
    while active := [index for index, draft in enumerate(drafts) if not draft.done]:
        number += 1
        # What stands behind forced bytes depends on how they are spelled: those are checked alone.
        free = [index for index in active if not drafts[index].regions[0].forced]
        found = {index: _looked_up(drafts[index].regions[0], readings.lookup) for index in free}
        guesses |= {index: guess for index, guess in found.items() if guess}
        blank = [index for index in free if index not in guesses]
        if blank:
            for index, (rows,) in zip(blank, readings.forward([drafts[index].tokens() for index in blank]), strict=True):
                region = drafts[index].regions[0]
                proposal = drafts[index].sampler.propose(rows, region.rules(constraint))
                guesses[index] = proposal.tokens[region.canvas.frontier :]
        asked = [_asked(drafts[index].regions[0], guesses.get(index, [])) for index in active]
        longest = max(map(len, asked))
        scores = readings.verify([[tokens + tokens[-1:] * (longest - len(tokens))] for tokens in asked])
        committed: list[tuple[tuple[int, ...], ...]] = [((),)] * len(drafts)
        for index, tokens, (rows,) in zip(active, asked, scores, strict=True):
            region = drafts[index].regions[0]
            proposal = drafts[index].sampler.propose(rows[: len(tokens)], region.rules(constraint))
            first, behind = region.canvas.frontier, _decided(region, tokens, proposal.tokens)
            settle(
                region,
                [(slot, proposal.tokens[slot], proposal.confidence[slot]) for slot in range(first, behind)],
                proposal.tokens[first],
                constraint,
            )
            if index in guesses:
                guesses[index] = proposal.tokens[behind:]
            committed[index] = (tuple(range(first, behind)),)
        yield Step(number, tuple(committed))


def _looked_up(region: Region, lookup: Lookup) -> list[int]:
    canvas = region.canvas
    return lookup.after(canvas.tokens[: canvas.frontier], canvas.size - canvas.frontier)


def _asked(region: Region, guess: Sequence[int]) -> list[int]:
    """What a checking pass reads: what is committed and the guess up to its end; without one, as far as the first open slot."""
    canvas = region.canvas
    done = canvas.tokens[: canvas.frontier]
    if region.forced or not guess:
        return [*done, canvas.mask_id]
    if canvas.end_id in guess:
        guess = guess[: guess.index(canvas.end_id) + 1]
    return [*done, *guess]


def _decided(region: Region, guess: Sequence[int], checked: Sequence[int]) -> int:
    """The slot behind the last one that a checking pass decides: the first that ends the hole or differs from the guess, which
    all others behind it were scored on."""
    canvas = region.canvas
    first = canvas.frontier
    if region.forced:
        return first + 1
    for slot in range(first, len(guess)):
        if checked[slot] == canvas.end_id or checked[slot] != guess[slot]:
            return slot + 1
    return len(guess)
