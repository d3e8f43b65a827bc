"""What a request can ask for, on tiny checkpoints of every family and on nano: length policies, several holes, locks, noise,
alternatives. Random weights say nonsense; what is tested is that every promise about it holds."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import family_checkpoints
from engine.api import Decoding, Hole, InfillRequest, Limits
from engine.errors import DeviceError, RequestError
from engine.runtime.engine import Engine

PREFIX = "def add(first, second):\n    total = first + second\n    return "
SUFFIX = "\n\n\nclass Box:\n    def __init__(self, value):\n        self.value = value\n"
FAMILIES = tuple(family_checkpoints.RECIPES)
IN_PLACE = ("dreamon", "dream", "open-dcoder", "llada", "rnd1")
ROLLING = ("nano", "stable-diffcoder", "fast-dllm")


def ask(**facts: Any) -> InfillRequest:
    return InfillRequest(**({"prefix": PREFIX, "suffix": SUFFIX} | facts))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("prefix", [PREFIX, "", "class Box:\n"])
def test_every_family_fills_a_line(load, family: str, prefix: str) -> None:
    engine = load(family)
    result = engine.infill(ask(prefix=prefix, holes=(Hole(max_tokens=12),)))
    assert result.finish in ("complete", "length")
    assert result.length_policy == engine.defaults.length
    assert result.text.rstrip("\n").count("\n") == 0
    assert result.forwards >= 1
    assert (result.reason == "empty_output") == (result.text == "")


@pytest.mark.parametrize("family", FAMILIES)
def test_special_token_strings_in_user_text_stay_text(load, family: str) -> None:
    engine = load(family)
    ids = engine.token_ids
    special = [i for i in (ids.mask, ids.end, ids.expand, ids.bos, ids.eos, ids.pad, *ids.stops) if i is not None]
    special += [ids.fim.prefix, ids.fim.middle, ids.fim.suffix] if ids.fim else []
    strings = "".join(family_checkpoints.RECIPES[family].tokens)
    assert not set(special) & set(engine.tokenizer.encode(f"a = '{strings}'").ids)
    result = engine.infill(ask(prefix=f"a = '{strings}'\nb = ", suffix=f"\n# {strings}\n", holes=(Hole(max_tokens=6),)))
    for token in family_checkpoints.RECIPES[family].tokens:
        assert token not in result.text


@pytest.mark.parametrize("family", IN_PLACE)
@pytest.mark.parametrize("policy", ["hypotheses", "calibrated", "entropy-fit", "end-token", "fixed"])
def test_length_policies_respect_the_budget(load, family: str, policy: str) -> None:
    engine = load(family)
    result = engine.infill(ask(holes=(Hole(max_tokens=10, max_lines=0),), decoding=Decoding(length=policy, slots=6)))
    assert result.length_policy == ("fixed:6" if policy == "fixed" else policy)
    assert result.fills[0].tokens <= 10
    if policy == "fixed":
        assert result.fills[0].tokens == 6


def test_hypotheses_cost_one_probe_and_one_vote(load) -> None:
    engine = load("dream")
    fixed = engine.infill(ask(holes=(Hole(max_tokens=16),), decoding=Decoding(length="calibrated")))
    several = engine.infill(ask(holes=(Hole(max_tokens=16),), decoding=Decoding(length="hypotheses", alternatives=3)))
    assert fixed.forwards == fixed.steps + 1
    assert several.forwards == several.steps + 3  # the probe, the first tokens of alternatives, the vote of the suffix
    assert len({several.text, *(fills[0].text for fills in several.others)}) == 1 + len(several.others)


def test_dreamon_may_leave_a_hole_empty_and_never_outgrows_it(load) -> None:
    engine = load("dreamon")
    assert engine.defaults.length == "expand-delete"
    assert 32 <= engine.defaults.canvas <= 64
    delete, expand = engine.token_ids.end, engine.token_ids.expand
    head = engine.network.lm_head.weight
    before = head.clone()
    try:
        head.mul_(0.01)
        head[delete] += 100 * engine.network.norm.weight  # the network always says: delete
        assert engine.infill(ask(prefix="", suffix=" + 1\n")).reason == "empty_output"
        head.copy_(0.01 * before)
        head[expand] += 100 * engine.network.norm.weight  # ... and now: expand
        result = engine.infill(ask(holes=(Hole(max_tokens=20, max_lines=0),), decoding=Decoding(slots=4)))
        assert result.fills[0].tokens <= 20
        assert result.finish in ("complete", "length")
    finally:
        head.copy_(before)


@pytest.mark.parametrize("name", [*IN_PLACE, *ROLLING])
def test_several_holes_in_one_document(load, name: str) -> None:
    engine = load(name)
    holes = (Hole(after="\n    total = ", max_tokens=9), Hole(after="\n    return ", max_tokens=12), Hole(max_tokens=9))
    result = engine.infill(ask(prefix="def add(first, second):\n    other = ", holes=holes))
    assert len(result.fills) == 3
    for fill, hole in zip(result.fills, holes, strict=True):
        assert "\n" not in fill.text
        assert fill.tokens <= hole.max_tokens
        assert 0 <= fill.confidence <= 1


def test_joint_holes_see_each_other_in_place(load) -> None:
    """What is locked in the second hole must change what the first one gets, on a network that sees both sides."""
    engine = load("dreamon")

    def first(draft: str) -> float:
        holes = (Hole(after="\n    total = ", max_tokens=8), Hole(draft=draft, noise=0.0))
        return engine.infill(ask(prefix="def add(first, second):\n    other = ", holes=holes)).fills[0].confidence

    assert first("first + second") != pytest.approx(first("self.value"), rel=1e-3)


@pytest.mark.parametrize("name", [*IN_PLACE, *ROLLING])
@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_locked_text_stays(load, name: str, noise: float) -> None:
    draft = "helper(first, second)"
    hole = Hole(draft=draft, locked=((6, 7), (12, 13), (20, 21)), noise=noise, max_tokens=20)
    text = load(name).infill(ask(holes=(hole,))).text
    assert text.endswith(")")
    assert "," in text.partition("(")[2]


@pytest.mark.parametrize("name", [*IN_PLACE, *ROLLING])
def test_noise_zero_keeps_a_draft_and_a_wholly_locked_hole_asks_nothing(load, name: str) -> None:
    engine = load(name)
    kept = engine.infill(ask(holes=(Hole(draft="first - second", noise=0.0),)))
    assert (kept.text, kept.steps) == ("first - second", 0)
    locked = engine.infill(ask(holes=(Hole(draft="first", locked=((0, 5),)),)))
    assert (locked.text, locked.forwards, locked.finish) == ("first", 0, "complete")


@pytest.mark.parametrize("name", [*IN_PLACE, *ROLLING])
@pytest.mark.parametrize("prefix", [PREFIX, PREFIX + "fi", "def f():\n    "])
@pytest.mark.parametrize("draft", ["first + second", "rst + self.value * total - first + second + third + fourth + fifth"])
def test_noise_changes_a_draft_and_never_the_text_before_it(load, name: str, prefix: str, draft: str) -> None:
    engine = load(name)
    result = engine.infill(ask(prefix=prefix, holes=(Hole(draft=draft, noise=0.4, max_lines=0),)))
    assert result.finish in ("complete", "length")
    tokens = engine.tokenizer.encode(draft).ids
    if engine.defaults.length == "fixed" or name in ("dream", "llada"):
        assert abs(result.fills[0].tokens - len(tokens)) <= 2  # no rule here changes the number of tokens


@pytest.mark.parametrize("name", [*IN_PLACE, *ROLLING])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_alternatives_differ_and_the_first_answer_stays(load, name: str, temperature: float) -> None:
    engine = load(name)
    decoding = Decoding(temperature=temperature, seed=7, slots=6)
    plain = engine.infill(ask(holes=(Hole(max_tokens=6),), decoding=decoding))
    several = engine.infill(ask(holes=(Hole(max_tokens=6),), decoding=Decoding(temperature=temperature, seed=7, slots=6, alternatives=4)))
    texts = [several.text, *(fills[0].text for fills in several.others)]
    assert len(set(texts)) == len(texts) <= 4
    if temperature == 0 and plain.length_policy != "hypotheses":
        assert several.text == plain.text
        assert len(texts) > 1
    likelihoods = [fills[0].confidence for fills in several.others]
    assert likelihoods == sorted(likelihoods, reverse=True) or plain.length_policy == "hypotheses"


@pytest.mark.parametrize("name", ["dreamon", "dream", "nano"])
def test_the_seed_decides_what_is_drawn(load, name: str) -> None:
    draws = [
        load(name).infill(ask(holes=(Hole(max_tokens=12),), decoding=Decoding(temperature=1.5, top_p=0.95, seed=seed, slots=8))).text
        for seed in (1, 1, 2, 3)
    ]
    assert draws[0] == draws[1]
    assert len(set(draws)) > 1


@pytest.mark.parametrize("name", ["dreamon", "dream", "stable-diffcoder"])
def test_the_deadline_is_kept_in_every_filler(load, name: str) -> None:
    request = ask(holes=(Hole(max_tokens=48, max_lines=0),), limits=Limits(deadline_ms=60))
    result = load(name).infill(request, on_step=lambda view: time.sleep(0.03))
    assert result.finish in ("deadline", "complete")
    assert result.steps <= 4


@pytest.mark.parametrize(
    ("decoding", "message"),
    [
        (Decoding(length="expand-delete"), "no expand token"),
        (Decoding(slots=1000), "slots must be from 0 to 512; it is 1000"),
        (Decoding(schedule="threshold", level=2.0), "probability; it is 2"),
        (Decoding(schedule="fixed", level=0.5), "number of tokens; it is 0.5"),
        (Decoding(level=-1.0), "level"),
        (Decoding(temperature=-1.0), "temperature"),
        (Decoding(top_p=0.0), "top_p"),
        (Decoding(alternatives=0), "alternatives must be from 1 to 8; it is 0"),
        (Decoding(stability=-0.1), "stability"),
        (Decoding(seed=-1), "seed"),
    ],
)
def test_decoding_out_of_range_is_refused(load, decoding: Decoding, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        load("dream").infill(ask(decoding=decoding))


@pytest.mark.parametrize("policy", ["hypotheses", "expand-delete"])
def test_policies_that_need_both_sides_are_refused_by_models_that_see_one(load, policy: str) -> None:
    with pytest.raises(RequestError, match=r"expand token|both sides.*Use end-token or fixed"):
        load("nano").infill(ask(decoding=Decoding(length=policy)))  # type: ignore[arg-type]


def test_a_model_that_cannot_see_the_suffix_does_not_pay_for_it(load) -> None:
    engine = load("llada2")
    assert engine.token_ids.fim is None
    result = engine.infill(ask(holes=(Hole(max_tokens=4),)))
    assert result.prompt_tokens == engine.infill(ask(suffix="", holes=(Hole(max_tokens=4),))).prompt_tokens


def test_a_mask_in_the_vocabulary_is_never_an_answer(load) -> None:
    """Whatever the seed, no special token reaches the text."""
    for name in ("dreamon", "llada", "stable-diffcoder"):
        engine = load(name)
        for seed in range(3):
            text = engine.infill(ask(holes=(Hole(max_tokens=8, max_lines=0),), decoding=Decoding(temperature=5.0, seed=seed))).text
            assert "<|" not in text
            assert "<[" not in text


@pytest.mark.parametrize("name", ["dreamon", "llada", "sdar"])
def test_values_that_are_not_numbers_are_an_error_not_a_loop(tmp_path, name: str) -> None:
    folder = family_checkpoints.write(name, tmp_path / name)
    weights = load_file(folder / "model.safetensors")
    broken = next(key for key in weights if "norm" in key or "ln_f" in key)
    save_file(weights | {broken: torch.full_like(weights[broken], torch.nan)}, folder / "model.safetensors")
    with pytest.raises(DeviceError, match=r"not numbers.*dtype bfloat16 or float32"):
        Engine.load(str(folder), device="cpu", dtype="float32")


def test_a_text_that_goes_in_circles_ends_before_the_limit() -> None:
    prefix = "class Account:\n    def deposit(self, amount):\n        self.balance += amount\n        self.history.append("
    result = Engine.load("nano").infill(ask(prefix=prefix, suffix="\n", holes=(Hole(max_tokens=256, max_lines=1),)))
    assert result.finish in ("complete", "length")
    assert result.fills[0].tokens <= 64
