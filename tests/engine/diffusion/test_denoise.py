"""The loop on hand-written logits: commits, forced starts, line ends, several holes and drafts, noise."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
import torch

from engine.diffusion.canvas import Canvas
from engine.diffusion.denoise import Draft, Plan, Region, branches, commit_first, denoise, self_confidence
from engine.diffusion.length import EndToken, Exact, ExpandDelete, cut_lines
from engine.diffusion.remask import Remask
from engine.diffusion.sampler import Rules, Sampler, Vocabulary, Wanted
from engine.diffusion.schedule import Schedule

MASK, END, NEWLINE, A, B, C, EXPAND = range(7)
TOKENS = {NEWLINE: b"\n", A: b"a", B: b"ab", C: b"c"}
Rows = list[dict[int, float]]


class Bytes:
    """The constraint over the small vocabulary above."""

    def allowed(self, forced: bytes) -> list[int]:
        return [i for i, piece in TOKENS.items() if piece.startswith(forced) or forced.startswith(piece)]

    def covering(self, forced: bytes) -> list[int]:
        return [i for i, piece in TOKENS.items() if piece.startswith(forced)]

    def rest(self, forced: bytes, token: int) -> bytes:
        piece = TOKENS[token]
        return forced[len(piece) :] if forced.startswith(piece) else b""


def sampler(wanted: Wanted | None = None, **options: float) -> Sampler:
    return Sampler(Vocabulary([MASK], [NEWLINE], END, expand=EXPAND), wanted or Wanted(), **options)  # type: ignore[arg-type]


def logits(*rows: dict[int, float]) -> torch.Tensor:
    out = torch.full((len(rows), 7), -20.0)
    for index, row in enumerate(rows):
        for token, probability in row.items():
            out[index, token] = torch.tensor(probability).log()
    return out


def run(rows: Rows, *, threshold: float = 0.9, left_bias: float = 0.0, **facts: object) -> tuple[Canvas, list[tuple[int, ...]]]:
    region = Region(Canvas(len(rows), MASK, END), EndToken(END), **facts)  # type: ignore[arg-type]
    plan = Plan(Schedule("threshold", threshold, left_bias))
    steps = denoise(lambda drafts: [[logits(*rows)]], [Draft([region], sampler())], plan, Bytes())
    return region.canvas, [step.committed[0][0] for step in steps]


def test_sure_slots_are_committed_together() -> None:
    canvas, steps = run([{A: 0.95, B: 0.05}, {B: 0.99, A: 0.01}, {END: 1.0}, {END: 1.0}])
    assert canvas.content() == [A, B]
    assert steps == [(0, 1, 2)]


def test_an_unsure_canvas_goes_left_to_right_one_a_step() -> None:
    canvas, steps = run([{A: 0.6, B: 0.4}, {B: 0.7, C: 0.3}, {END: 0.8, C: 0.2}, {C: 0.6, END: 0.4}])
    assert steps == [(0,), (1,), (2,)]
    assert canvas.content() == [A, B]
    assert canvas.confidence[:3] == pytest.approx([0.6, 0.7, 0.8], abs=1e-3)
    assert math.exp(canvas.logprob()) == pytest.approx(0.6 * 0.7 * 0.8, abs=1e-3)


def test_plain_confidence_order_takes_the_surest_slot_first() -> None:
    _, steps = run([{A: 0.6, B: 0.4}, {B: 0.8, C: 0.2}, {C: 0.7, A: 0.3}], left_bias=1.0)
    assert steps == [(1,), (2,), (0,)]


def test_a_sure_end_far_right_narrows_the_canvas_at_once() -> None:
    canvas, steps = run([{A: 0.6, B: 0.4}, {B: 0.5, END: 0.5}, {C: 0.6, END: 0.4}, {END: 0.95, A: 0.05}])
    assert steps[0] == (0, 3)
    assert canvas.end in (1, 2, 3)


def test_text_behind_a_sure_end_waits() -> None:
    canvas, steps = run([{A: 0.6, B: 0.4}, {END: 0.95, B: 0.05}, {C: 0.99, A: 0.01}])
    assert steps[0] == (0, 1)
    assert canvas.content() == [A]


def test_the_end_never_cuts_committed_text() -> None:
    # Slot 2 is committed first; then slot 0 wants to end the hole, and must not.
    canvas, _ = run([{END: 0.6, A: 0.4}, {END: 0.6, B: 0.4}, {C: 0.99, A: 0.01}])
    assert canvas.content() == [A, B, C]


def test_an_empty_hole_is_reachable() -> None:
    canvas, steps = run([{END: 0.7, A: 0.3}, {END: 0.8, A: 0.2}])
    assert canvas.content() == []
    assert len(steps) == 1


def test_forced_bytes_come_first_and_one_at_a_time() -> None:
    canvas, steps = run([{C: 0.9, B: 0.06, A: 0.04}, {C: 0.97, A: 0.03}, {END: 1.0}], forced=b"abc")
    assert canvas.content() == [B, C]
    assert steps[:2] == [(0,), (1,)]


def test_a_forced_start_cannot_be_skipped_by_an_end() -> None:
    canvas, _ = run([{END: 0.99, A: 0.01}, {END: 1.0}], forced=b"a")
    assert canvas.content() == [A]


@pytest.mark.parametrize("rule", [Exact(), ExpandDelete(EXPAND, END, 8)])
def test_a_forced_start_that_needs_more_slots_gets_them(rule) -> None:
    region = Region(Canvas(1, MASK, END), rule, forced=b"aac", elastic=True)
    forward = lambda drafts: [[logits(*[{A: 0.7, B: 0.1, C: 0.05}] * len(drafts[0][0]))]]  # noqa: E731
    list(denoise(forward, [Draft([region], sampler())], Plan(), Bytes()))
    assert b"".join(TOKENS[t] for t in region.canvas.content()).startswith(b"aac")


def test_a_line_end_ends_a_one_line_hole() -> None:
    canvas, _ = run([{A: 1.0}, {NEWLINE: 0.6, B: 0.4}, {B: 0.8, C: 0.2}], one_line=True)
    assert canvas.content() == [A]


def test_a_forced_line_end_is_kept_and_the_next_one_ends_the_hole() -> None:
    canvas, _ = run([{NEWLINE: 0.5, A: 0.5}, {NEWLINE: 0.8, A: 0.2}, {B: 0.7, C: 0.3}], forced=b"\n", one_line=True)
    assert canvas.content() == [NEWLINE]


def test_line_end_probability_is_added_to_the_end() -> None:
    proposal = sampler().propose(logits({NEWLINE: 0.4, END: 0.3, A: 0.3}), Rules(one_line_from=0, fold_from=0))
    assert proposal.tokens == [END]
    assert proposal.confidence == pytest.approx([0.7], abs=1e-3)


def test_a_one_line_hole_of_fixed_size_never_holds_a_line_end() -> None:
    region = Region(Canvas(2, MASK, END), Exact(), one_line=True)
    rows = [{NEWLINE: 0.9, A: 0.06, END: 0.04}, {END: 0.9, C: 0.1}]
    list(denoise(lambda drafts: [[logits(*rows)]], [Draft([region], sampler())], Plan(), Bytes()))
    assert region.canvas.content() == [A, C]


def test_a_canvas_without_an_end_grows_to_its_limit() -> None:
    region = Region(Canvas(2, MASK, END), EndToken(END, grow=2, max_slots=5))
    forward = lambda drafts: [[logits(*[{A: 0.99}] * len(drafts[0][0]))]]  # noqa: E731
    list(denoise(forward, [Draft([region], sampler())], Plan(), Bytes()))
    assert region.canvas.content() == [A] * 5


def test_holes_of_a_draft_are_denoised_together_each_by_its_own_rule() -> None:
    seen: list[list[list[int]]] = []

    def forward(drafts: Sequence[Sequence[Sequence[int]]]) -> list[list[torch.Tensor]]:
        seen.append([list(hole) for hole in drafts[0]])
        first, second = drafts[0]
        known = B if second[0] == C else A  # the first hole depends on what stands in the second
        return [[logits(*[{known: 0.8, C: 0.1}] * len(first)), logits({C: 0.95}, *[{END: 0.97}] * (len(second) - 1))]]

    holes = [Region(Canvas(1, MASK, END), Exact()), Region(Canvas(3, MASK, END), ExpandDelete(EXPAND, END, 4))]
    steps = list(denoise(forward, [Draft(holes, sampler())], Plan(Schedule(level=0.9)), Bytes()))
    assert [h.canvas.content() for h in holes] == [[A], [C]]
    assert steps[0].committed == (((0,), (0, 1)),)
    assert seen[0] == [[MASK], [MASK] * 3]


def test_drafts_share_every_pass_until_they_are_done() -> None:
    sizes = []

    def forward(drafts: Sequence[Sequence[Sequence[int]]]) -> list[list[torch.Tensor]]:
        sizes.append(len(drafts))
        return [[logits(*[{A: 0.5, B: 0.3}] * len(draft[0]))] for draft in drafts]

    drafts = [Draft([Region(Canvas(n, MASK, END), Exact())], sampler()) for n in (1, 3, 2)]
    list(denoise(forward, drafts, Plan(), Bytes()))
    assert sizes == [3, 2, 1]
    assert [d.regions[0].canvas.content() for d in drafts] == [[A], [A] * 3, [A] * 2]


def test_branches_begin_with_the_runners_up() -> None:
    draft = Draft([Region(Canvas(2, MASK, END), EndToken(END))], sampler())
    forward = lambda drafts: [[logits({A: 0.5, B: 0.3, C: 0.2}, {END: 1.0})]]  # noqa: E731
    assert [token for token, _ in branches(forward, draft, 3, Bytes())[0]] == [A, B, C]
    commit_first(draft.regions[0], B, 0.3, Bytes())
    assert draft.regions[0].canvas.content() == [B]


def test_early_commit_finishes_a_clear_hole_in_one_step() -> None:
    rows = [{A: 0.99999, B: 0.00001}, {B: 0.85, C: 0.15}, {C: 0.99999, A: 0.00001}]
    plain, early = (
        [
            step.committed[0][0]
            for step in denoise(
                lambda drafts: [[logits(*rows)]],
                [Draft([Region(Canvas(3, MASK, END), Exact())], sampler(Wanted(gap=True)))],
                Plan(Schedule(level=1.0), early_commit=early),
                Bytes(),
            )
        ]
        for early in (False, True)
    )
    assert len(plain) == 3
    assert early == [(0, 1, 2)]


def test_a_slot_must_keep_still_before_it_counts_as_sure() -> None:
    region = Region(Canvas(3, MASK, END), Exact())
    rows = [{A: 0.95}, {B: 0.95}, {C: 0.95}]
    plan = Plan(Schedule(level=0.9, left_bias=0.0), stability=0.01)
    steps = denoise(lambda drafts: [[logits(*rows)]], [Draft([region], sampler(Wanted(logprobs=True)))], plan, Bytes())
    assert [step.committed[0][0] for step in steps] == [(0,), (1,), (2,)]  # the third step would be the first with two quiet ones


def test_a_doubted_token_is_written_again() -> None:
    region = Region(Canvas(3, MASK, END), Exact())

    def forward(drafts: Sequence[Sequence[Sequence[int]]]) -> list[list[torch.Tensor]]:
        second = drafts[0][0][1]
        first = {A: 0.6, B: 0.4} if second == MASK else {B: 0.98, A: 0.01}
        return [[logits(first, {C: 0.5, A: 0.3, B: 0.2}, {B: 0.5, C: 0.3, A: 0.2})]]

    plan = Plan(Schedule(level=0.99, left_bias=0.0), remask=Remask("confidence"))
    steps = denoise(forward, [Draft([region], sampler(Wanted(held=True)))], plan, Bytes())
    # A, then C; once C stands, the step that commits the last slot opens the first one again, and B is written there.
    assert [step.committed[0][0] for step in steps] == [(0,), (1,), (2,), (0,)]
    assert region.canvas.tokens == [B, C, B]


def test_tokens_are_scored_without_seeing_themselves() -> None:
    def forward(drafts: Sequence[Sequence[Sequence[int]]]) -> list[list[torch.Tensor]]:
        assert drafts == [[[MASK, B, MASK, A], [MASK]], [[A, MASK, C, MASK], [MASK]]]
        rows = [
            logits({A: 0.9, B: 0.1}, {A: 0.9, B: 0.1}, {A: 1.0}, {A: 1.0}),
            logits({A: 0.2, B: 0.8}, {B: 0.2, A: 0.8}, {C: 1.0}, {A: 0.7, B: 0.3}),
        ]
        return [[r, logits({A: 1.0})] for r in rows]

    first, second = self_confidence(forward, [[A, B, C, A], [MASK]], [True, False], MASK)
    assert first == pytest.approx([0.9, 0.2, 0.0, 0.7], abs=1e-3)
    assert second == []


def test_a_token_that_must_hold_all_that_is_forced_does() -> None:
    region = Region(Canvas(0, MASK, END, [MASK, C]), Exact(), forced=b"a", at_once=True)
    list(denoise(lambda drafts: [[logits({C: 0.9, B: 0.06, A: 0.04}, {C: 1.0})]], [Draft([region], sampler())], Plan(), Bytes()))
    assert region.canvas.content() == [B, C]


def test_the_probability_is_the_models_own_whatever_is_drawn() -> None:
    found = sampler(Wanted(gap=True, entropy=True), temperature=0.2, top_p=0.3).propose(logits({A: 0.6, B: 0.3, C: 0.1}), Rules())
    assert found.tokens == [A]
    assert found.confidence == pytest.approx([0.6], abs=1e-3)
    assert found.gap == pytest.approx([math.log(2)], abs=1e-3)
    assert found.score == pytest.approx([1.0])


def test_the_same_seed_gives_the_same_draws() -> None:
    rows = logits(*[{A: 0.4, B: 0.3, C: 0.3}] * 20)
    one, two, other = (sampler(temperature=1.0, seed=seed).propose(rows, Rules()).tokens for seed in (1, 1, 2))
    assert one == two != other
    assert len(set(one)) == 3


@pytest.mark.parametrize("seed", range(20))
def test_random_logits_always_end(seed: int) -> None:
    """Every rule, schedule and remask rule together: the loop ends, limits hold, locked starts stay."""
    rng = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    rule = rng.choice([EndToken(END, 3, 9), ExpandDelete(EXPAND, END, 9), Exact()])
    kind = rng.choice(["threshold", "factor", "entropy-bound", "fixed"])
    plan = Plan(
        Schedule(kind, {"fixed": 2.0}.get(kind, rng.random()), rng.choice([0.0, 0.7, 1.0])),  # type: ignore[arg-type]
        Remask(rng.choice(["none", "confidence", "remdm"])),  # type: ignore[arg-type]
        rng.random() < 0.3,
        rng.choice([0.0, 0.5]),
    )
    wanted = Wanted(rng.choice(["confidence", "margin", "entropy"]), True, True, True, True)  # type: ignore[arg-type]
    forced = rng.choice([b"", b"a", b"aac", b"\n"])
    region = Region(Canvas(rng.randint(1, 6), MASK, END), rule, forced, rng.random() < 0.5, elastic=not isinstance(rule, EndToken))
    forward = lambda drafts: [[2 * torch.randn(len(h), 7, generator=generator) for h in d] for d in drafts]  # noqa: E731
    drawn = sampler(wanted, temperature=rng.choice([0.0, 1.0]), seed=seed)
    for step in denoise(forward, [Draft([region], drawn)], plan, Bytes()):
        assert step.number < 80
    text = b"".join(TOKENS[t] for t in region.canvas.content())
    assert text.startswith(forced)
    assert region.canvas.size <= 9 + len(forced)
    if region.one_line:
        assert text.count(b"\n") <= forced.count(b"\n")


@pytest.mark.parametrize(
    ("text", "lines", "expected"),
    [
        ("a\nb\nc", 0, ("a\nb\nc", False)),
        ("a\nb\nc", 2, ("a\nb", True)),
        ("a", 1, ("a", False)),
        ("a\n", 1, ("a", True)),
        ("", 1, ("", False)),
    ],
)
def test_cut_lines(text: str, lines: int, expected: tuple[str, bool]) -> None:
    assert cut_lines(text, lines) == expected
