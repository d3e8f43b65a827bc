"""The facade on small random checkpoints: the cached path against the plain one, limits, cancel, deadline."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
import torch

from engine.api import Hole, InfillRequest, Limits
from engine.errors import DeviceError, RequestError
from engine.runtime import device
from engine.runtime.engine import CanvasView, Engine

PREFIX = "def add(first, second):\n    total = first + second\n    return "
SUFFIX = "\n\n\nclass Box:\n    def __init__(self, value):\n        self.value = value\n"


@pytest.fixture(scope="module")
def engine(make_checkpoint) -> Engine:
    return Engine.load(str(make_checkpoint("split")), device="cpu", dtype="float32")


@pytest.mark.parametrize("suffix", [SUFFIX, ""])
@pytest.mark.parametrize("prefix", [PREFIX, "", "x"])
@pytest.mark.parametrize("lines", [0, 1])
def test_cached_equals_plain(engine: Engine, prefix: str, suffix: str, lines: int) -> None:
    request = InfillRequest(prefix=prefix, suffix=suffix, holes=(Hole(max_lines=lines, max_tokens=20),))
    one, other = engine.infill(request), engine.infill_uncached(request)
    assert one.text == other.text
    assert one.fills[0].confidence == pytest.approx(other.fills[0].confidence, rel=1e-3)


def test_reuse_across_edits_equals_a_fresh_engine(engine: Engine, make_checkpoint) -> None:
    rng = random.Random(3)
    text = PREFIX + SUFFIX
    cursor = len(PREFIX)
    reused = 0
    for _ in range(25):
        action = rng.random()
        if action < 0.5:
            typed = rng.choice(["a", "total", "(", "\n    ", " ", "é"])
            text, cursor = text[:cursor] + typed + text[cursor:], cursor + len(typed)
        elif action < 0.7 and cursor:
            text, cursor = text[: cursor - 1] + text[cursor:], cursor - 1
        else:
            cursor = rng.randrange(len(text))
        request = InfillRequest(
            prefix=text[:cursor], suffix=text[cursor:], holes=(Hole(max_tokens=8, max_lines=0),), client="editor", document="file.py"
        )
        warm = engine.infill(request)
        reused += warm.reused_tokens
        cold = engine.infill_uncached(request)
        assert warm.text == cold.text
        assert warm.fills[0].confidence == pytest.approx(cold.fills[0].confidence, rel=1e-2)
    assert reused > 500


def test_logits_of_the_split_layout_match_what_denoising_sees(engine: Engine) -> None:
    mask = engine.token_ids.mask
    prefix, suffix = engine.tokenizer.encode(PREFIX).ids, engine.tokenizer.encode(SUFFIX).ids
    scores = engine.logits([*prefix, *[mask] * 8, *suffix])
    with torch.inference_mode():
        opened = engine._runner.open(("", "logits"), prefix, suffix)
        canvas = opened.forward([[[mask] * 8]])[0][0]
    torch.testing.assert_close(scores[len(prefix) : len(prefix) + 8], canvas, rtol=1e-3, atol=1e-4)


def test_prefix_rows_are_scored_by_the_row_before(engine: Engine) -> None:
    ids = engine.tokenizer.encode(PREFIX).ids
    changed = [*ids[:-1], (ids[-1] + 1) % 300 + 5]
    before, after = engine.logits(ids), engine.logits(changed)
    torch.testing.assert_close(before, after)  # the last token scores only what would follow it
    assert not torch.allclose(before[5], engine.logits([ids[0], *ids[2:]])[4])


@pytest.mark.parametrize("shift", [0, 1])
def test_logit_shift_is_applied_once(make_checkpoint, shift: int) -> None:
    plain = Engine.load(str(make_checkpoint("full")), device="cpu", dtype="float32")
    shifted = Engine.load(str(make_checkpoint("full", logit_shift=shift)), device="cpu", dtype="float32")
    ids = plain.tokenizer.encode(PREFIX).ids
    raw, got = plain.logits(ids), shifted.logits(ids)
    expected = torch.cat((raw[:1], raw[:-1])) if shift else raw
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("attention", ["full", "block_causal"])
def test_other_attention_kinds_fill_holes(make_checkpoint, attention: str) -> None:
    other = Engine.load(str(make_checkpoint(attention)), device="cpu", dtype="float32")
    result = other.infill(InfillRequest(prefix=PREFIX, suffix=SUFFIX))
    assert result.finish in ("complete", "length")
    assert "\n" not in result.text


def test_the_suffix_matters_in_full_attention(make_checkpoint) -> None:
    other = Engine.load(str(make_checkpoint("full")), device="cpu", dtype="float32")
    mask = other.token_ids.mask
    ids = other.tokenizer.encode("total = first").ids
    one = other.logits([*ids, mask, *other.tokenizer.encode(" + second").ids])
    two = other.logits([*ids, mask, *other.tokenizer.encode(" - second").ids])
    assert not torch.allclose(one[len(ids)], two[len(ids)])


def test_limits(engine: Engine) -> None:
    long = engine.infill(InfillRequest(prefix=PREFIX, suffix=SUFFIX, holes=(Hole(max_lines=0, max_tokens=30),)))
    assert long.fills[0].tokens <= 32
    for lines in (1, 2, 3):
        text = engine.infill(InfillRequest(prefix=PREFIX, suffix=SUFFIX, holes=(Hole(max_lines=lines, max_tokens=60),))).text
        assert text.count("\n") < lines
    assert engine.infill(InfillRequest(prefix=PREFIX * 40, suffix=SUFFIX * 40)).prompt_tokens <= 96
    assert engine.infill(InfillRequest(prefix=PREFIX * 40, suffix=SUFFIX * 40, limits=Limits(prompt_tokens=40))).prompt_tokens <= 40


def test_cancel_stops_within_one_step(engine: Engine) -> None:
    seen: list[int] = []
    result = engine.infill(
        InfillRequest(prefix=PREFIX, suffix=SUFFIX, holes=(Hole(max_lines=0),)),
        cancelled=lambda: len(seen) >= 2,
        on_step=lambda view: seen.append(view.step),
    )
    assert (result.finish, seen) == ("cancelled", [1, 2])


def test_the_deadline_gives_the_best_so_far(engine: Engine) -> None:
    def slow(view: CanvasView) -> None:
        time.sleep(0.03)

    request = InfillRequest(prefix=PREFIX, suffix=SUFFIX, holes=(Hole(max_lines=0, max_tokens=64),), limits=Limits(deadline_ms=100))
    result = engine.infill(request, on_step=slow)
    whole = engine.infill(InfillRequest(prefix=PREFIX, suffix=SUFFIX, holes=(Hole(max_lines=0, max_tokens=64),)))
    assert result.finish == "deadline"
    assert 1 <= result.steps <= 4
    assert whole.text.startswith(result.text)
    assert (result.reason == "deadline") == (result.text == "")


def test_every_empty_answer_has_a_reason(engine: Engine) -> None:
    result = engine.infill(InfillRequest(prefix=PREFIX, suffix=SUFFIX), cancelled=lambda: True)
    assert (result.text, result.reason) == ("", "cancelled")


def test_the_view_shows_what_is_committed(engine: Engine) -> None:
    views: list[CanvasView] = []
    request = InfillRequest(prefix=PREFIX, suffix=SUFFIX, holes=(Hole(max_lines=0, max_tokens=8),))
    result = engine.infill(request, on_step=views.append)
    assert [v.step for v in views] == list(range(1, result.steps + 1))
    shown = "".join(slot.text for slot in views[-1].slots if slot.state == "committed")
    assert result.text
    assert shown.startswith(result.text)  # without the blank that healing took back from the prefix


def test_foreign_ids_are_refused(engine: Engine) -> None:
    for ids in ([], [-1], [10**6]):
        with pytest.raises(RequestError):
            engine.logits(ids)


def test_an_unusable_gpu_falls_back_with_a_reason(monkeypatch: pytest.MonkeyPatch, make_checkpoint) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    loaded = Engine.load(str(make_checkpoint()))
    if torch.version.cuda is None:
        assert loaded.device == "cpu"
        assert loaded.fallback_reason.startswith("cuda: ")


def test_a_named_device_that_is_not_there_is_an_error() -> None:
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="cuda"):
            device.place("cuda", "auto")


def test_low_precision_stays_near_float32(make_checkpoint) -> None:
    path = str(make_checkpoint())
    exact, rough = (Engine.load(path, device="cpu", dtype=d) for d in ("float32", "bfloat16"))
    ids = exact.tokenizer.encode(PREFIX).ids
    a, b = exact.logits([*ids, exact.token_ids.mask]), rough.logits([*ids, exact.token_ids.mask])
    assert float((a - b).norm() / a.norm()) < 0.03


def test_special_strings_in_user_text_stay_text(engine: Engine, tmp_path: Path) -> None:
    result = engine.infill(InfillRequest(prefix="a = '<|mask|><|end|>'\nb = ", suffix="\n# <|document|>\n"))
    assert result.finish in ("complete", "length")
