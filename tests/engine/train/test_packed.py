"""Training computes what inference computes, and its data is what it says."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import msgspec
import pytest
import torch

from engine.models.attention import ROLES
from engine.runtime.engine import Engine
from engine.runtime.runner import full_logits, verify_logits
from engine.text.tokenizer import Tokenizer
from engine.train.cuts import Cutter
from engine.train.export import export
from engine.train.noise import corrupt
from engine.train.packed import PackedBatch, packed_forward
from engine.train.trainer import TrainConfig, Trainer, batches, make_batch
from tiny_models import SAMPLE, tiny_config, tiny_network


def test_a_packed_canvas_equals_the_inference_pass(tokenizer: Tokenizer) -> None:
    network = tiny_network(tiny_config(tokenizer))
    torch.manual_seed(0)
    length, slots = 24, 4
    holes = [(5, 7), (10, 10), (3, 9), (20, length)]
    tokens = torch.randint(5, 300, (1, length))
    canvas = torch.randint(5, 300, (1, slots * len(holes)))
    batch = PackedBatch(
        tokens, canvas, canvas, torch.ones_like(canvas, dtype=torch.float), torch.tensor([[a for a, _ in holes]]),
        torch.tensor([[b for _, b in holes]]), torch.zeros(1, len(holes), dtype=torch.bool),
    )  # fmt: skip
    prefix, suffix, hidden = packed_forward(network, batch)
    scores = network.logits(hidden)[0].view(len(holes), slots, -1)
    window = tokens[0].tolist()
    for index, (a, b) in enumerate(holes):
        row = [*window[:a], *canvas[0, index * slots : (index + 1) * slots].tolist(), *window[b:]]
        expected = full_logits(network, row, (a, a + slots))
        torch.testing.assert_close(scores[index], expected[a : a + slots], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(network.logits(prefix[0, : a - 1]), expected[1:a], rtol=1e-3, atol=1e-4)
        if b < length - 1:
            torch.testing.assert_close(network.logits(suffix[0, b + 1 :]), expected[a + slots : -1], rtol=1e-3, atol=1e-4)


def test_a_verify_canvas_sees_nothing_to_its_right(tokenizer: Tokenizer) -> None:
    network = tiny_network(tiny_config(tokenizer))
    tokens = torch.randint(5, 300, (1, 16))
    canvas = torch.randint(5, 300, (1, 4))

    def run(inputs: torch.Tensor) -> torch.Tensor:
        batch = PackedBatch(
            tokens, inputs, inputs, torch.ones(1, 4), torch.tensor([[6]]), torch.tensor([[9]]), torch.ones(1, 1, dtype=torch.bool)
        )
        return packed_forward(network, batch)[2]

    changed = canvas.clone()
    changed[0, 2] += 1
    one, other = run(canvas), run(changed)
    torch.testing.assert_close(one[:, :2], other[:, :2])
    assert not torch.allclose(one[:, 2], other[:, 2])
    assert ROLES["verify"] != ROLES["canvas"]


def test_a_verify_canvas_equals_the_inference_pass(tokenizer: Tokenizer) -> None:
    network = tiny_network(tiny_config(tokenizer))
    torch.manual_seed(1)
    tokens, canvas = torch.randint(5, 300, (1, 20)), torch.randint(5, 300, (1, 12))
    holes = [(5, 9), (12, 12), (4, 20)]
    batch = PackedBatch(
        tokens, canvas, canvas, torch.ones(1, 12), torch.tensor([[a for a, _ in holes]]), torch.tensor([[b for _, b in holes]]),
        torch.ones(1, 3, dtype=torch.bool),
    )  # fmt: skip
    scores = network.logits(packed_forward(network, batch)[2])[0].view(3, 4, -1)
    window = tokens[0].tolist()
    for index, (a, b) in enumerate(holes):
        expected = verify_logits(network, window[:a], canvas[0, 4 * index : 4 * index + 4].tolist(), window[b:], 4)
        torch.testing.assert_close(scores[index], expected, rtol=1e-3, atol=1e-4)


def test_corrupt_masks_and_weighs_slots_not_targets() -> None:
    rng = random.Random(0)
    for _ in range(500):
        hole = [rng.randrange(10, 99) for _ in range(rng.randrange(0, 12))]
        example = corrupt(hole, 8, mask_id=1, end_id=2, rng=rng)
        assert example.targets == (hole + [2] * 8)[:8]
        if example.verify:
            assert example.inputs == [1, *example.targets[:-1]]
            assert sum(example.weights) == min(len(hole) + 1, 8)
        else:
            shown = [i for i in range(8) if example.inputs[i] != 1]
            assert all(example.inputs[i] == example.targets[i] and example.weights[i] == 0 for i in shown)
            assert len(shown) < 8
            weights = [w for w in example.weights if w]
            assert weights == sorted(weights, reverse=True)


@pytest.fixture
def corpus_file(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    rows = [{"package": p, "split": "train", "path": f"{n}.py", "text": SAMPLE * 6} for p in "ab" for n in range(3)]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def _config(tokenizer: Tokenizer, **changes: object) -> TrainConfig:
    facts: dict = {
        "mask_id": 3,
        "end_id": 2,
        "document_id": 1,
        "window": 64,
        "holes": 12,
        "canvas": 8,
        "batch": 2,
        "steps": 6,
        "compile": False,
    }
    return TrainConfig(model=tiny_config(tokenizer), warmup_steps=2, **(facts | changes))


def test_complementary_canvases_predict_every_token_of_their_hole_once(tokenizer: Tokenizer, corpus_file: Path) -> None:
    config = TrainConfig(
        model=tiny_config(tokenizer),
        mask_id=3,
        end_id=2,
        document_id=1,
        window=64,
        holes=24,
        canvas=8,
        verify_share=0.0,
        complementary=True,
    )
    windows = [Cutter(corpus_file, tokenizer, 1, 64, 24).draw(random.Random(seed)) for seed in range(8)]
    batch = make_batch(windows, config, random.Random(5))
    hidden = (batch.weight_BR > 0).view(8, 24, 8)
    pairs = 0
    for window in range(8):
        for hole in range(23):
            if bool((hidden[window, hole] ^ hidden[window, hole + 1]).all()):
                pairs += 1
                assert batch.start_BN[window, hole] == batch.start_BN[window, hole + 1]
    assert pairs > 20, "a quarter of the canvases, each followed by its complement"


def test_windows_hold_real_text_and_sensible_holes(corpus_file: Path, tokenizer: Tokenizer) -> None:
    config = _config(tokenizer)
    cutter = Cutter(corpus_file, tokenizer, 1, config.window, config.holes)
    rng = random.Random(1)
    for _ in range(50):
        window = cutter.draw(rng)
        assert len(window.tokens) == config.window
        assert len(window.holes) == config.holes
        assert all(0 <= a <= b <= config.window for a, b in window.holes)
        for piece in tokenizer.decode_bytes(window.tokens).split(b"\n")[1:-1]:
            assert piece.decode(errors="replace").strip()[:6] in SAMPLE


@pytest.mark.parametrize("layout", ["split", "full", "suffix-first", "causal"])
def test_a_step_draws_the_same_batch_in_a_thread_and_in_workers(corpus_file: Path, tokenizer: Tokenizer, layout: str) -> None:
    plain = _config(tokenizer, layout=layout, fim_ids=(4, 5, 6))
    cutter = Cutter(corpus_file, tokenizer, 1, plain.window, plain.holes)
    in_thread = itertools.islice(batches(cutter, plain, 3), 4)
    in_workers = itertools.islice(batches(cutter, msgspec.structs.replace(plain, workers=2), 3), 4)
    for one, other in zip(in_thread, in_workers, strict=True):
        assert all(torch.equal(getattr(one, name), getattr(other, name)) for name in one.__slots__)


@pytest.mark.parametrize(("layout", "ema"), [("split", 0.0), ("split", 0.9), ("causal", 0.0)])
def test_a_run_cut_off_and_resumed_equals_one_that_was_not(
    corpus_file: Path, tokenizer: Tokenizer, tmp_path: Path, layout: str, ema: float
) -> None:
    def trainer(directory: str) -> Trainer:
        model = tiny_config(tokenizer) if layout == "split" else tiny_config(tokenizer, "block_causal", block_length=1, logit_shift=1)
        config = msgspec.structs.replace(_config(tokenizer, layout=layout, ema=ema, fim_ids=(4, 5, 6)), model=model)
        return Trainer(config, Cutter(corpus_file, tokenizer, 1, config.window, config.holes), tmp_path / directory)

    whole = trainer("whole")
    whole.run()
    part = trainer("part")
    part.run(until_step=3)
    resumed = trainer("part")
    assert resumed.step == 3
    resumed.run()
    for (name, a), (_, b) in zip(whole.model.named_parameters(), resumed.model.named_parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=name)
    for name, average in whole.average.items():
        torch.testing.assert_close(average, resumed.average[name], rtol=1e-4, atol=1e-5, msg=name)
    assert bool(whole.average) == bool(ema)
    assert resumed.step == whole.step == 6


def test_the_average_is_what_is_exported(corpus_file: Path, tokenizer: Tokenizer, tokenizer_file: Path, tmp_path: Path) -> None:
    config = _config(tokenizer, ema=0.9)
    trainer = Trainer(config, Cutter(corpus_file, tokenizer, 1, config.window, config.holes), tmp_path / "run")
    trainer.run()
    export([trainer.state_path], tokenizer_file, tmp_path / "model", "averaged")
    engine = Engine.load(str(tmp_path / "model"), device="cpu", dtype="float32")
    assert engine.defaults.schedule == "speculative"
    held = dict(engine.network.named_parameters())
    name = "layers.0.qkv_proj.weight"
    torch.testing.assert_close(held[name], trainer.average[name], rtol=1e-2, atol=1e-2)
    assert (held[name] - dict(trainer.model.named_parameters())[name]).norm() > (held[name] - trainer.average[name]).norm()


@pytest.mark.parametrize(("layout", "verify_share"), [("split", 0.0), ("causal", 0.3)])
def test_only_what_learned_to_check_its_drafts_is_told_to(
    corpus_file: Path, tokenizer: Tokenizer, tokenizer_file: Path, tmp_path: Path, layout: str, verify_share: float
) -> None:
    model = tiny_config(tokenizer) if layout == "split" else tiny_config(tokenizer, "block_causal", block_length=1, logit_shift=1)
    config = msgspec.structs.replace(_config(tokenizer, layout=layout, verify_share=verify_share, fim_ids=(4, 5, 6)), model=model)
    trainer = Trainer(config, Cutter(corpus_file, tokenizer, 1, config.window, config.holes), tmp_path / "run")
    trainer.save()
    export([trainer.state_path], tokenizer_file, tmp_path / "model", "toy")
    assert json.loads((tmp_path / "model" / "config.json").read_text())["infill"]["schedule"] == "threshold"
