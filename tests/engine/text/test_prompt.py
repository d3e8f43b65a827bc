"""The prompt: budgets, anchors, snippets."""

from __future__ import annotations

import itertools

from engine.api import Snippet
from engine.text.prompt import Layout, build
from engine.text.tokenizer import Tokenizer

LINES = [f"def function_{n}(value_{n}):\n    return value_{n} + {n}\n" for n in range(80)]


def _layout(tokenizer: Tokenizer, prefix: int = 200, suffix: int = 100) -> Layout:
    return Layout(tokenizer.special_id("<|document|>"), prefix, suffix)


def test_a_short_document_is_kept_whole(tokenizer: Tokenizer) -> None:
    prompt = build("x = 1\ny = ", "\nz = 3\n", (), _layout(tokenizer), tokenizer)
    assert prompt.prefix_ids[0] == tokenizer.special_id("<|document|>")
    assert tokenizer.decode(prompt.prefix_ids) + prompt.forced.decode() == "x = 1\ny = "
    assert tokenizer.decode(prompt.suffix_ids) == "\nz = 3\n"


def test_a_long_document_keeps_the_text_nearest_the_hole(tokenizer: Tokenizer) -> None:
    before, after = "".join(LINES), "\n" + "".join(LINES)
    prompt = build(before, after, (), _layout(tokenizer), tokenizer)
    assert 100 <= len(prompt.prefix_ids) <= 200
    assert 50 <= len(prompt.suffix_ids) <= 100
    assert before.endswith(tokenizer.decode(prompt.prefix_ids) + prompt.forced.decode())
    assert after.startswith(tokenizer.decode(prompt.suffix_ids))


def test_typing_seldom_moves_the_cut(tokenizer: Tokenizer) -> None:
    before = "".join(LINES)
    typed = "result = function_one(alpha, beta)\nother = function_two(result)\n" * 3
    starts = []
    for end in range(len(typed)):
        ids = build(before + typed[:end], "", (), _layout(tokenizer), tokenizer).prefix_ids
        starts.append(tuple(ids[:12]))
    moves = sum(a != b for a, b in itertools.pairwise(starts))
    assert moves <= len(typed) // 20


def test_carriage_returns_do_not_reach_the_model(tokenizer: Tokenizer) -> None:
    prompt = build("a = 1\r\nb = ", "\r\nc = 2\r\n", (), _layout(tokenizer), tokenizer)
    assert b"\r" not in tokenizer.decode_bytes(prompt.prefix_ids + prompt.suffix_ids)


def test_snippets_fill_what_the_prefix_leaves_free(tokenizer: Tokenizer) -> None:
    snippets = (
        Snippet(path="near.py", text="near = 1\n"),
        Snippet(path="far.py", text="far = 2\n"),
        Snippet(path="big.py", text="".join(LINES)),
    )
    prompt = build("x = ", "\n", snippets, _layout(tokenizer), tokenizer)
    assert tokenizer.decode(prompt.prefix_ids) == "far = 2\nnear = 1\nx ="
    assert prompt.prefix_ids.count(tokenizer.special_id("<|document|>")) == 3


def test_one_endless_line_is_cut_to_the_budget(tokenizer: Tokenizer) -> None:
    prompt = build("x = [" + "1, " * 5000, "2, " * 5000, (), _layout(tokenizer), tokenizer)
    assert len(prompt.prefix_ids) <= 200
    assert len(prompt.suffix_ids) <= 100
