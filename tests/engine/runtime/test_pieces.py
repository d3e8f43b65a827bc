"""Pieces: joined they are the text of a fill, whichever path decided it, and none is surer than the fill allows."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api import Decoding, Fill, Hole, InfillRequest, Limits, Piece, Snippet
from engine.runtime.pieces import cut, pieces_of

PREFIX = "def add(first, second):\n    total = first + second\n    return "
SUFFIX = "\n\n\nclass Box:\n    def __init__(self, value):\n        self.value = value\n"


def ask(**facts: Any) -> InfillRequest:
    return InfillRequest(**({"prefix": PREFIX, "suffix": SUFFIX} | facts))


def joined(fill: Fill) -> str:
    return "".join(piece.text for piece in fill.pieces)


def test_tokens_become_pieces_behind_what_is_there_already() -> None:
    assert pieces_of([b"re", b"turn", b" x"], [0.5, 0.6, 0.7], 3) == (
        Piece(text="urn", confidence=0.6),
        Piece(text=" x", confidence=0.7),
    )
    assert pieces_of([b"return"], [0.5], 6) == ()


def test_tokens_that_share_a_character_are_one_piece() -> None:
    face = "😀".encode()
    pieces = pieces_of([b"a", face[:2], face[2:3], face[3:] + b"b"], [0.9, 0.5, 0.5, 0.5], 0)
    assert [(piece.text, piece.confidence) for piece in pieces] == [("a", 0.9), ("😀b", 0.125)]


@given(st.lists(st.binary(min_size=1, max_size=3), max_size=12), st.integers(0, 6))
def test_joined_pieces_are_the_decoded_bytes(tokens: list[bytes], skip: int) -> None:
    pieces = pieces_of(tokens, [0.5] * len(tokens), skip)
    assert "".join(piece.text for piece in pieces) == b"".join(tokens)[skip:].decode("utf-8", errors="ignore")
    assert all(piece.text for piece in pieces)


def test_cutting_splits_the_piece_at_the_cut() -> None:
    pieces = (Piece(text="abc", confidence=0.5), Piece(text="de", confidence=0.4))
    assert cut(pieces, 4) == (pieces[0], Piece(text="d", confidence=0.4))
    assert cut(pieces, 3) == pieces[:1]
    assert cut(pieces, 0) == ()


@pytest.mark.parametrize("name", ["nano", "dreamon", "dream", "llada", "stable-diffcoder", "sdar"])
@pytest.mark.parametrize("prefix", [PREFIX, PREFIX + "fir", "# é好"])
@pytest.mark.parametrize("lines", [1, 3])
def test_pieces_of_every_layout_join_to_the_text(load, name: str, prefix: str, lines: int) -> None:
    request = ask(prefix=prefix, holes=(Hole(max_tokens=10, max_lines=lines),), decoding=Decoding(alternatives=2))
    result = load(name).infill(request)
    for fills in (result.fills, *result.others):
        (fill,) = fills
        assert joined(fill) == fill.text
        assert all(0 <= piece.confidence <= 1 for piece in fill.pieces)


def test_pieces_come_from_speculation_too(load) -> None:
    engine = load("nano")
    (fill,) = engine.infill(ask(decoding=Decoding(schedule="speculative"))).fills
    assert fill.text
    assert joined(fill) == fill.text
    assert len(fill.pieces) > 1
    assert any(piece.confidence < 1 for piece in fill.pieces)


@pytest.mark.parametrize("schedule", ["threshold", "speculative"])
def test_a_fill_without_calibration_is_no_surer_than_its_pieces(load, monkeypatch: pytest.MonkeyPatch, schedule: str) -> None:
    engine = load("nano")
    monkeypatch.setattr(engine, "calibration", None)
    (fill,) = engine.infill(ask(decoding=Decoding(schedule=schedule))).fills
    # The end of the line is decided too, and is no piece.
    assert fill.confidence <= math.prod(piece.confidence for piece in fill.pieces) + 1e-6


def test_locked_text_and_kept_drafts_are_certain(load) -> None:
    hole = Hole(draft="compute(a)", locked=((0, 8), (9, 10)), max_tokens=4)
    (fill,) = load("nano").infill(ask(prefix="a = 1\nb = ", suffix="\n", holes=(hole,))).fills
    assert joined(fill) == fill.text
    assert fill.pieces[0] == Piece(text="compute(", confidence=1.0)
    assert fill.pieces[-1] == Piece(text=")", confidence=1.0)
    (kept,) = load("nano").infill(ask(holes=(Hole(draft="first", noise=0.0),))).fills
    assert kept.pieces == (Piece(text="first", confidence=1.0),)


def test_a_line_before_a_line_has_its_end_among_the_pieces(load) -> None:
    (fill,) = load("nano").infill(ask(prefix="class Box:\n", suffix="    y = 2\n", holes=(Hole(max_tokens=12),))).fills
    assert joined(fill) == fill.text
    if fill.text:
        assert fill.pieces[-1] == Piece(text="\n", confidence=1.0)


def test_the_share_of_snippets_reaches_the_prompt(load) -> None:
    engine = load("nano")
    long = "value = compute(value)\n" * 400
    snippet = (Snippet(path="other.py", text="def compute(value):\n    return value\n"),)
    asked = [ask(prefix=long, snippets=snippet, limits=Limits(snippet_share=share)) for share in (0.0, 0.25)]
    documents = [engine._budget(request.limits).snippet_share for request in asked]
    assert documents == [0.0, 0.25]
    assert engine._budget(Limits(snippet_share=7.0, prompt_tokens=engine.prompt_tokens // 2)).snippet_share == 1.0
    without, with_share = (engine.infill(request).prompt_tokens for request in asked)
    assert without <= engine.prompt_tokens
    assert with_share <= engine.prompt_tokens


def test_a_model_that_does_not_read_snippets_gets_none(load) -> None:
    engine = load("nano")
    snippet = (Snippet(path="other.py", text="def compute(value):\n    return value\n"),)
    without, given = ask(prefix="value = "), ask(prefix="value = ", snippets=snippet)
    assert not engine.reads_snippets, "its configuration says so"
    assert engine.infill(given).prompt_tokens == engine.infill(without).prompt_tokens
    engine.reads_snippets = True
    assert engine.infill(given).prompt_tokens > engine.infill(without).prompt_tokens
    engine.reads_snippets = False
