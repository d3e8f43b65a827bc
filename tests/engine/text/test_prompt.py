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


def _layout(tokenizer: Tokenizer, prefix: int = 200, suffix: int = 100, share: float = 0.0) -> Layout:
    return Layout(tokenizer.special_id("<|document|>"), prefix, suffix, share)


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


NEAR, FAR = Snippet(path="near.py", text="near = 1\n"), Snippet(path="far.py", text="far = 2\n")
BIG = Snippet(path="big.py", text="".join(LINES))


def test_a_snippet_that_does_not_fit_does_not_keep_out_the_next_one(tokenizer: Tokenizer) -> None:
    prompt = build("x = ", "\n", (BIG, NEAR), _layout(tokenizer), tokenizer)
    assert tokenizer.decode(prompt.texts[0]) == "near = 1\nx ="


def test_snippets_have_a_share_of_a_prompt_that_the_prefix_would_fill(tokenizer: Tokenizer) -> None:
    before = "".join(LINES)
    assert "near" not in tokenizer.decode(build(before, "", (NEAR, FAR), _layout(tokenizer), tokenizer).texts[0])

    prompt = build(before, "", (NEAR, BIG, FAR), _layout(tokenizer, share=0.25), tokenizer)
    mark = tokenizer.special_id("<|document|>")
    assert len(prompt.texts[0]) <= 200
    assert prompt.texts[0].count(mark) == 3
    text = tokenizer.decode(prompt.texts[0])
    assert text.startswith("far = 2\nnear = 1\n")
    # What comes last is the text itself, behind a mark of its own.
    own = prompt.texts[0][len(prompt.texts[0]) - prompt.texts[0][::-1].index(mark) :]
    assert before.endswith(tokenizer.decode(own) + prompt.spots[0].forced.decode())


def test_what_snippets_leave_of_their_share_goes_back_to_the_prefix(tokenizer: Tokenizer) -> None:
    before = "".join(LINES)
    none = build(before, "", (), _layout(tokenizer), tokenizer)
    unused = build(before, "", (BIG,), _layout(tokenizer, share=0.25), tokenizer)
    assert unused.texts == none.texts


def test_a_whole_text_gives_way_only_to_snippets_that_are_there(tokenizer: Tokenizer) -> None:
    mark = tokenizer.special_id("<|document|>")
    before = "".join(LINES[:7])
    size = len(build(before, "", (), _layout(tokenizer), tokenizer).texts[0])
    exact = _layout(tokenizer, prefix=size, share=0.25)
    assert build(before, "", (), exact, tokenizer).texts[0][0] == mark
    prompt = build(before, "", (NEAR,), exact, tokenizer)
    assert len(prompt.texts[0]) <= size
    assert prompt.texts[0].count(mark) == 2


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.8])
def test_no_share_exceeds_the_budget(tokenizer: Tokenizer, share: float) -> None:
    many = tuple(Snippet(path=f"{n}.py", text="".join(LINES[n : n + n % 5])) for n in range(1, 30))
    for count in (0, 1, 5, 9, 40):
        prompt = build("".join(LINES[:count]) + "x = ", "\n", many, _layout(tokenizer, share=share), tokenizer)
        assert len(prompt.texts[0]) <= 200
        assert tokenizer.decode(prompt.texts[0]).endswith("x =")


def test_a_model_without_the_mark_reads_no_snippets(tokenizer: Tokenizer) -> None:
    prompt = build("x = ", "\n", (NEAR,), Layout(None, 200, 100, 0.5), tokenizer)
    assert tokenizer.decode(prompt.texts[0]) == "x ="


def test_typing_seldom_moves_the_cut_behind_snippets(tokenizer: Tokenizer) -> None:
    before = "".join(LINES)
    typed = "result = function_one(alpha, beta)\nother = function_two(result)\n" * 3
    layout = _layout(tokenizer, share=0.25)
    starts = [tuple(build(before + typed[:end], "", (NEAR, FAR), layout, tokenizer).texts[0][:40]) for end in range(len(typed))]
    assert sum(a != b for a, b in itertools.pairwise(starts)) <= len(typed) // 20


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
