"""DreamOn's published loop, written down a second time, against the engine: same texts in the same number of steps.

And random requests over families: whatever is asked, promises about text hold and nothing but RequestError is raised.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
import torch

from engine.api import Decoding, Hole, InfillRequest, Limits
from engine.errors import RequestError
from engine.runtime.engine import Engine

PREFIX = "def add(first, second):\n    total = first + second\n    return "
SUFFIX = "\n\n\nclass Box:\n    def __init__(self, value):\n        self.value = value\n"


@pytest.fixture(scope="module")
def dreamon(load: Callable[[str], Engine]) -> Engine:
    return load("dreamon")


@pytest.fixture
def biased(dreamon: Engine, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """The engine with the expand and delete tokens made more likely, so that lengths really change."""
    expand, delete = request.param
    plain = type(dreamon.network).logits

    def logits(hidden: torch.Tensor) -> torch.Tensor:
        scores = plain(dreamon.network, hidden).clone()
        scores[..., dreamon.token_ids.expand] += expand
        scores[..., dreamon.token_ids.end] += delete
        return scores

    dreamon.network.logits = logits  # type: ignore[method-assign]
    yield dreamon
    del dreamon.network.logits


def published_loop(engine: Engine, prefix: str, slots: int, most: int) -> tuple[str, int]:
    """One token a step, the least uncertain slot first; `expand` becomes two masks, a deletion takes the masks behind along."""
    ids, size = engine.token_ids, len(engine.tokenizer.token_bytes)
    speechless = [i for i in range(engine.network.config.vocab_size) if i >= size or not engine.tokenizer.token_bytes[i]]
    before, behind = engine.tokenizer.encode(prefix).ids, engine.tokenizer.encode(SUFFIX).ids
    canvas, budget, steps = [ids.mask] * slots, most, 0
    while ids.mask in canvas:
        steps += 1
        scores = engine.logits([ids.bos, *before, *canvas, *behind, ids.eos])[1 + len(before) :][: len(canvas)].double()  # type: ignore[list-item]
        scores[:, [i for i in speechless if i not in (ids.end, ids.expand)]] = -torch.inf
        if len(canvas) >= most or budget == 0:
            scores[:, ids.expand] = -1e9
        logprobs = scores.log_softmax(-1)
        certainty = (logprobs.exp() * logprobs.clamp_min(-1e4)).sum(-1)
        best = max((i for i, token in enumerate(canvas) if token == ids.mask), key=lambda i: (float(certainty[i]), -i))
        token = int(logprobs[best].argmax())
        if token == ids.end:
            canvas = [t for i, t in enumerate(canvas) if i < best or t != ids.mask]
        elif token == ids.expand:
            canvas[best : best + 1] = [ids.mask] * 2
            budget -= 1
        else:
            canvas[best] = token
    return engine.tokenizer.decode_bytes(canvas).decode("utf-8", "ignore"), steps


@pytest.mark.parametrize("biased", [(0, 0), (8, 3), (7, 7), (0, 6)], indirect=True)
@pytest.mark.parametrize("prefix", [PREFIX, "# a\n"])
@pytest.mark.parametrize(("slots", "most"), [(1, 9), (9, 9), (4, 16)])
def test_dreamon_decodes_as_published(biased: Engine, prefix: str, slots: int, most: int) -> None:
    decoding = Decoding(length="expand-delete", slots=slots, schedule="fixed", level=1.0, healing=False)
    holes = (Hole(max_tokens=most, max_lines=0),)
    result = biased.infill(InfillRequest(prefix=prefix, suffix=SUFFIX, holes=holes, decoding=decoding))
    assert (result.text, result.steps) == published_loop(biased, prefix, slots, most)


PIECES = [
    *("a", "foo", " ", "\n", "\r\n", "\r", "    ", "(", ")", "\t", "x = 1", "\x00", "'", "def f():\n    return "),
    *("\u00e9", "e\u0301", "\u0301", "\U0001f600", "\U0001f469\u200d\U0001f4bb", "\u4e2d\u6587", "\ufeff", "\u2028", "\ufb01"),
    *("<|mask|>", "<|endoftext|>"),
]


@pytest.mark.parametrize("name", ["dreamon", "dreamon+NFC", "dream", "sdar", "fast-dllm"])
def test_promises_hold_for_whatever_is_asked(load: Callable[[str], Engine], name: str) -> None:
    engine = load(name)
    rng = random.Random(f"{name} 1")
    answered = 0
    for _ in range(60):
        request = _anything(rng, engine)
        try:
            result = engine.infill(request)
        except RequestError:
            continue
        answered += 1
        assert bool(result.reason) != any(fill.text for fill in result.fills)
        for fills in (result.fills, *result.others):
            for fill, hole in zip(fills, request.holes, strict=True):
                _check(fill.text, hole)
                assert 0 <= fill.confidence <= 1 + 1e-6
    assert answered > 20


def _anything(rng: random.Random, engine: Engine) -> InfillRequest:
    def text(most: int) -> str:
        return "".join(rng.choice(PIECES) for _ in range(rng.randint(0, most)))

    holes = []
    count = rng.choice([1, 1, 2, 3])
    for number in range(count):
        draft = text(8) if rng.random() < 0.6 else ""
        cuts = sorted(rng.sample(range(len(draft) + 1), k=min(len(draft) + 1, rng.choice([0, 0, 2, 4])))) if draft else []
        holes.append(
            Hole(
                max_tokens=rng.choice([1, 2, 5, 10]),
                max_lines=rng.choice([0, 1, 1, 2]),
                after="" if number == count - 1 else text(4) or "=",
                draft=draft,
                noise=rng.choice([0, 0.1, 0.5, 0.9, 1.0]),
                locked=tuple(zip(cuts[::2], cuts[1::2], strict=False)),
            )
        )
    both_sides = engine.network.config.attention == "full"
    decoding = Decoding(
        length=rng.choice(["", "end-token", "fixed", *(["hypotheses", "calibrated", "entropy-fit"] if both_sides else [])]),
        slots=rng.choice([0, 1, 3, 8, 20]),
        score=rng.choice(["", "confidence", "margin", "entropy"]),
        schedule=rng.choice(["", "threshold", "factor", "entropy-bound", "fixed"]),
        level=rng.choice([0, 0, 0.5, 1.0]),
        early_commit=rng.choice([None, True, False]),
        stability=rng.choice([0, 0, 0.01]),
        remask=rng.choice(["", "none", "confidence", "remdm"]),
        temperature=rng.choice([0, 0, 0.8]),
        top_p=rng.choice([1, 0.9, 0.3]),
        seed=rng.choice([0, 1]),
        alternatives=rng.choice([1, 1, 3]),
        healing=rng.choice([True, True, False]),
    )
    limits = Limits(prompt_tokens=rng.choice([0, 0, 40]))
    return InfillRequest(prefix=text(10), suffix=text(8), holes=tuple(holes), decoding=decoding, limits=limits)


def _check(text: str, hole: Hole) -> None:
    position = 0
    for start, end in hole.locked:  # every lock, byte for byte and in order
        found = text.find(hole.draft[start:end], position)
        assert found >= 0
        position = found + end - start
    assert "\ufffd" not in text
    if hole.noise == 0 and hole.draft and not hole.locked:
        assert text == hole.draft.replace("\r\n", "\n")
    if not hole.draft and hole.max_lines == 1:
        assert "\n" not in text[:-1]
        assert "\r" not in text
