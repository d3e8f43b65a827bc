"""The prompt: budgets, anchors, snippets."""

from __future__ import annotations

import itertools

import pytest

from engine.api import Decoding, Hole, InfillRequest, Snippet
from engine.errors import RequestError
from engine.text import prompt as prompts
from engine.text.prompt import Layout, Prompt
from engine.text.regions import split
from engine.text.tokenizer import Tokenizer

LINES = [f"def function_{n}(value_{n}):\n    return value_{n} + {n}\n" for n in range(80)]


def _layout(tokenizer: Tokenizer, prefix: int = 200, suffix: int = 100) -> Layout:
    return Layout(tokenizer.special_id("<|document|>"), prefix, suffix)


def build(prefix: str, suffix: str, snippets: tuple[Snippet, ...], layout: Layout, tokenizer: Tokenizer) -> Prompt:
    return prompts.build(split(InfillRequest(prefix=prefix, suffix=suffix)), snippets, layout, tokenizer)


def test_a_short_document_is_kept_whole(tokenizer: Tokenizer) -> None:
    prompt = build("x = 1\ny = ", "\nz = 3\n", (), _layout(tokenizer), tokenizer)
    assert prompt.texts[0][0] == tokenizer.special_id("<|document|>")
    assert tokenizer.decode(prompt.texts[0]) + prompt.spots[0].forced.decode() == "x = 1\ny = "
    assert tokenizer.decode(prompt.texts[-1]) == "\nz = 3\n"


def test_a_long_document_keeps_the_text_nearest_the_hole(tokenizer: Tokenizer) -> None:
    before, after = "".join(LINES), "\n" + "".join(LINES)
    prompt = build(before, after, (), _layout(tokenizer), tokenizer)
    assert 100 <= len(prompt.texts[0]) <= 200
    assert 50 <= len(prompt.texts[-1]) <= 100
    assert before.endswith(tokenizer.decode(prompt.texts[0]) + prompt.spots[0].forced.decode())
    assert after.startswith(tokenizer.decode(prompt.texts[-1]))


def test_typing_seldom_moves_the_cut(tokenizer: Tokenizer) -> None:
    before = "".join(LINES)
    typed = "result = function_one(alpha, beta)\nother = function_two(result)\n" * 3
    starts = []
    for end in range(len(typed)):
        ids = build(before + typed[:end], "", (), _layout(tokenizer), tokenizer).texts[0]
        starts.append(tuple(ids[:12]))
    moves = sum(a != b for a, b in itertools.pairwise(starts))
    assert moves <= len(typed) // 20


def test_carriage_returns_do_not_reach_the_model(tokenizer: Tokenizer) -> None:
    prompt = build("a = 1\r\nb = ", "\r\nc = 2\r\n", (), _layout(tokenizer), tokenizer)
    assert b"\r" not in tokenizer.decode_bytes(prompt.texts[0] + prompt.texts[-1])


def test_snippets_fill_what_the_prefix_leaves_free(tokenizer: Tokenizer) -> None:
    snippets = (
        Snippet(path="near.py", text="near = 1\n"),
        Snippet(path="far.py", text="far = 2\n"),
        Snippet(path="big.py", text="".join(LINES)),
    )
    prompt = build("x = ", "\n", snippets, _layout(tokenizer), tokenizer)
    assert tokenizer.decode(prompt.texts[0]) == "far = 2\nnear = 1\nx ="
    assert prompt.texts[0].count(tokenizer.special_id("<|document|>")) == 3


def test_one_endless_line_is_cut_to_the_budget(tokenizer: Tokenizer) -> None:
    prompt = build("x = [" + "1, " * 5000, "2, " * 5000, (), _layout(tokenizer), tokenizer)
    assert len(prompt.texts[0]) <= 200
    assert len(prompt.texts[-1]) <= 100


def _several(tokenizer: Tokenizer, *between: str, prefix: str = "x = ", suffix: str = "\n", layout: Layout | None = None) -> Prompt:
    holes = (*(Hole(after=text) for text in between), Hole())
    regions = split(InfillRequest(prefix=prefix, suffix=suffix, holes=holes))
    return prompts.build(regions, (), layout or _layout(tokenizer), tokenizer)


def test_text_between_holes_is_kept_whole_and_healed_at_both_ends(tokenizer: Tokenizer) -> None:
    prompt = _several(tokenizer, "\ny = total", "\n\nz = ")
    assert len(prompt.texts) == 4
    assert tokenizer.decode(prompt.texts[1]) + prompt.spots[1].forced.decode() == "\ny = total"
    assert tokenizer.decode(prompt.texts[2]) + prompt.spots[2].forced.decode() == "\n\nz = "
    assert prompt.spots[1].forced == b" total"


def test_text_between_holes_takes_its_share_of_the_budget(tokenizer: Tokenizer) -> None:
    around = "".join(LINES)
    between = "\n" + "".join(LINES[:8])
    alone = _several(tokenizer, prefix=around, suffix="\n" + around)
    shared = _several(tokenizer, between, prefix=around, suffix="\n" + around)
    assert len(shared.texts[1]) > 60
    assert shared.tokens <= 300
    assert len(shared.texts[0]) < len(alone.texts[0])


def test_holes_too_far_apart_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(RequestError, match=r"tokens apart, and this model reads 300 at a time. Send them in several requests"):
        _several(tokenizer, "\n" + "".join(LINES))


def test_without_healing_the_prompt_is_cut_where_the_cursor_stands(tokenizer: Tokenizer) -> None:
    request = InfillRequest(prefix="def f():\n    ret", suffix="    return 1\n", decoding=Decoding(healing=False))
    prompt = prompts.build(split(request), (), _layout(tokenizer), tokenizer)
    assert tokenizer.decode(prompt.texts[0]) == request.prefix
    assert tokenizer.decode(prompt.texts[1]) == request.suffix
    assert (prompt.spots[0].forced, prompt.spots[0].taken, prompt.spots[0].gap.closing) == (b"", [], "")
