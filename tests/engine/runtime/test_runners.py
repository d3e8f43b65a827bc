"""Every fast path against the plain one: padded batches, kept blocks, the shift across a block's edge."""

from __future__ import annotations

import random

import msgspec
import pytest
import torch

from engine.api import Decoding, Hole, InfillRequest
from engine.errors import RequestError
from engine.models.families import TokenIds
from engine.runtime import runner as runners
from engine.runtime.runner import BlockRunner, InPlaceRunner, PlainRunner, SplitRunner, arrange, full_logits

PREFIX = "def add(first, second):\n    total = first + second\n    return "
SUFFIX = "\n\n\nclass Box:\n    def __init__(self, value):\n        self.value = value\n"
FULL = ["dreamon", "dream", "open-dcoder", "a2d-qwen3", "llada", "llada-moe", "rnd1"]
BLOCKS = ["stable-diffcoder", "sdar", "sdar-moe", "fast-dllm", "dream-reasoner", "llada2", "a2d-qwen2-bd3lm"]


@pytest.mark.parametrize("family", FULL)
def test_a_padded_batch_gives_every_draft_what_it_gets_alone(load, family: str) -> None:
    engine = load(family)
    runner = InPlaceRunner(engine.network, engine.token_ids)
    mask = engine.token_ids.mask
    texts = [engine.tokenizer.encode(text).ids for text in (PREFIX, "\ntotal = ", SUFFIX)]
    drafts = [[[mask] * a, [mask] * b] for a, b in ((3, 5), (1, 1), (8, 2), (4, 0))]
    with torch.inference_mode():
        together = runner.open(texts)(drafts)
        for draft, scores in zip(drafts, together, strict=True):
            alone = runner.open(texts)([draft])[0]
            for one, other, hole in zip(scores, alone, draft, strict=True):
                assert one.shape[0] == len(hole)
                torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_many_drafts_are_scored_in_several_passes_with_the_same_result(load, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = load("dream")
    runner = InPlaceRunner(engine.network, engine.token_ids)
    texts = [engine.tokenizer.encode(text).ids for text in (PREFIX, SUFFIX)]
    drafts = [[[engine.token_ids.mask] * n] for n in (3, 5, 1, 8, 2)]
    passes: list[int] = []
    with torch.inference_mode():
        once = runner.open(texts, lambda: passes.append(1))(drafts)
        assert len(passes) == 1
        monkeypatch.setattr(runners, "PASS_ROWS", 2 * (sum(map(len, texts)) + 10))
        several = runner.open(texts, lambda: passes.append(1))(drafts)
    assert len(passes) == 4
    for one, other in zip(once, several, strict=True):
        torch.testing.assert_close(one[0], other[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", FULL)
def test_logits_stand_at_the_slots_with_the_shift_applied(load, family: str) -> None:
    engine = load(family)
    ids = engine.token_ids
    before, behind = engine.tokenizer.encode(PREFIX).ids, engine.tokenizer.encode(SUFFIX).ids
    with torch.inference_mode():
        scores = InPlaceRunner(engine.network, ids).open([before, behind])([[[ids.mask] * 4]])[0][0]
    front = [] if ids.bos is None else [ids.bos]
    row = [*front, *before, *[ids.mask] * 4, *behind, *([] if ids.eos is None else [ids.eos])]
    start = len(front) + len(before)
    torch.testing.assert_close(scores, engine.logits(row)[start : start + 4], rtol=1e-3, atol=1e-4)


def test_the_suffix_is_scored_with_its_tokens_hidden(load) -> None:
    engine = load("dreamon")
    ids = engine.token_ids
    before, behind = engine.tokenizer.encode(PREFIX).ids, engine.tokenizer.encode(SUFFIX).ids
    middle = engine.tokenizer.encode("total").ids
    with torch.inference_mode():
        found = InPlaceRunner(engine.network, ids).suffix_logprobs([before, behind], [[middle], [[]]])
    assert found is not None
    row = [ids.bos, *before, *middle, *[ids.mask] * 8, *behind[8:], ids.eos]
    start = 1 + len(before) + len(middle)
    expected = engine.logits(row)[start : start + 8].log_softmax(-1)[range(8), behind[:8]].mean()  # type: ignore[arg-type]
    assert found[0] == pytest.approx(float(expected), abs=1e-4)
    assert found[0] != pytest.approx(found[1], abs=1e-3)


@pytest.mark.parametrize("family", BLOCKS)
@pytest.mark.parametrize("prefix_length", [3, 8, 9, 30])
def test_kept_blocks_equal_a_full_pass(load, family: str, prefix_length: int) -> None:
    engine = load(family)
    ids = engine.token_ids
    before = (engine.tokenizer.encode(PREFIX).ids * 2)[:prefix_length]
    behind = engine.tokenizer.encode(SUFFIX).ids if ids.fim else []
    fast, plain = BlockRunner(engine.network, ids), PlainRunner(engine.network, ids, 0)
    with torch.inference_mode():
        one, other = fast.open(("", ""), before, behind), plain.open(("", ""), before, behind)
        assert one.slots == other.slots
        filled = [ids.mask] * one.slots
        filled[0] = before[0]
        drafts = [[[ids.mask] * one.slots], [filled]]
        for a, b in zip(one.forward(drafts), other.forward(drafts), strict=True):
            torch.testing.assert_close(a[0], b[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", ["sdar", "fast-dllm", "llada2"])
def test_blocks_reused_across_edits_equal_a_fresh_engine(load, family: str) -> None:
    engine = load(family)
    rng = random.Random(5)
    prefix, reused = PREFIX, 0
    for _ in range(12):
        prefix = prefix[: rng.randint(len(prefix) // 2, len(prefix))] + rng.choice(["total", "\n    x", " + first"])
        request = InfillRequest(
            prefix=prefix, suffix=SUFFIX, holes=(Hole(max_tokens=10, max_lines=0),), client="editor", document="file.py"
        )
        warm, cold = engine.infill(request), engine.infill_uncached(request)
        assert warm.text == cold.text
        assert warm.fills[0].confidence == pytest.approx(cold.fills[0].confidence, rel=1e-2)
        reused += warm.reused_tokens
    assert reused > 30


def test_the_suffix_stands_in_front_between_fim_tokens(load) -> None:
    ids = load("stable-diffcoder").token_ids
    assert isinstance(ids, TokenIds)
    assert ids.fim is not None
    row = arrange(ids, [1, 2], [3, 4])
    start = [] if ids.bos is None else [ids.bos]
    assert row == [*start, ids.fim.suffix, 3, 4, ids.fim.prefix, 1, 2, ids.fim.middle]
    assert arrange(ids, [1, 2], []) == [*start, 1, 2]


def test_a_shifted_block_model_scores_a_blocks_first_slot_from_the_block_before(load) -> None:
    engine = load("fast-dllm")
    block = engine.network.config.block_length
    assert engine.network.config.logit_shift == 1
    prompt = (engine.tokenizer.encode(PREFIX).ids * 2)[:block]
    mask = engine.token_ids.mask
    with torch.inference_mode():
        whole = full_logits(engine.network, [*prompt, *[mask] * block], (0, 0))
        alone = full_logits(engine.network, prompt, (0, 0))
        last = engine.network.logits(engine.network(torch.tensor([prompt]), torch.arange(block)[None]))[0, -1]
    torch.testing.assert_close(whole[block], last, rtol=1e-3, atol=1e-4)
    assert alone.shape[0] == block


def test_a_kept_context_is_read_left_to_right_as_a_full_pass_does(load) -> None:
    engine = load("nano")
    ids, slots = engine.token_ids, engine.defaults.canvas
    fast, plain = SplitRunner(engine.network, ids, slots), PlainRunner(engine.network, ids, slots)
    before, behind = engine.tokenizer.encode(PREFIX).ids, engine.tokenizer.encode(SUFFIX).ids
    canvas = engine.tokenizer.encode("first * second + total").ids
    with torch.inference_mode():
        for prefix, suffix in ((before, behind), (before, []), ([], behind), ([], [])):
            one, other = fast.open(("", ""), prefix, suffix), plain.open(("", ""), prefix, suffix)
            assert one.verify is not None
            assert other.verify is not None
            one.forward([[[ids.mask] * slots]])  # a drafting pass leaves its own rows in the same buffer
            for read in (canvas[:1], canvas[:4], [*canvas, *[ids.mask] * (slots - len(canvas))]):
                drafts = [[read], [[*read[:-1], ids.mask]]]
                for a, b in zip(one.verify(drafts), other.verify(drafts), strict=True):
                    assert a[0].shape[0] == len(read)
                    torch.testing.assert_close(a[0], b[0], rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("lines", [1, 6])
def test_speculation_gives_the_same_with_and_without_kept_rows(load, lines: int) -> None:
    engine = load("nano")
    rng = random.Random(2)
    for cut in (PREFIX + "fir", "", "import os\nimport sy"):
        request = InfillRequest(
            prefix=cut, suffix=rng.choice([SUFFIX, "", ")\n"]), holes=(Hole(max_tokens=20, max_lines=lines),),
            decoding=Decoding(schedule="speculative"),
        )  # fmt: skip
        one, other = engine.infill(request), engine.infill_uncached(request)
        assert one.text == other.text
        assert one.fills[0].confidence == pytest.approx(other.fills[0].confidence, rel=1e-2)


def test_speculation_needs_a_causal_reading_and_leaves_drafts_to_diffusion(load) -> None:
    ask = InfillRequest(prefix=PREFIX, suffix=SUFFIX, decoding=Decoding(schedule="speculative"))
    with pytest.raises(RequestError, match="left to right"):
        load("dream").infill(ask)
    engine = load("nano")
    for hole, decoding in (
        (Hole(draft="first + second", noise=0.5), ask.decoding),
        (Hole(max_tokens=6), Decoding(schedule="speculative", length="fixed", slots=4)),
    ):
        request = msgspec.structs.replace(ask, holes=(hole,), decoding=decoding)
        plain = msgspec.structs.replace(request, decoding=msgspec.structs.replace(decoding, schedule="threshold"))
        assert engine.infill(request).text == engine.infill(plain).text


def test_several_alternatives_share_the_batches(load) -> None:
    engine = load("dreamon")
    request = InfillRequest(prefix=PREFIX, suffix=SUFFIX, decoding=Decoding(slots=4))
    one = engine.infill(request)
    several = engine.infill(InfillRequest(prefix=PREFIX, suffix=SUFFIX, decoding=Decoding(slots=4, alternatives=3)))
    assert several.fills == one.fills or several.text == one.text
    assert several.forwards <= 3 * max(one.forwards, 6)
