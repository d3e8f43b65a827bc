"""Token healing and the forced start."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.text.healing import ForcedStart, heal
from engine.text.tokenizer import Tokenizer


@pytest.mark.parametrize(
    ("prefix", "forced"),
    [
        ("    return to", " to"),
        ("self.", "."),
        ("add(", "("),
        ("total = ", " "),
        ("def f():\n    ", "\n    "),
        ("def f():\n", "\n"),
        ("", ""),
        ("x", "x"),
    ],
)
def test_the_last_word_goes_back_into_the_hole(tokenizer: Tokenizer, prefix: str, forced: str) -> None:
    cut = heal(prefix, "\n", tokenizer)
    assert cut.forced.decode() == forced
    assert tokenizer.decode(cut.prefix_ids) + forced == prefix
    assert cut.closing == ""


@pytest.mark.parametrize(
    ("prefix", "suffix", "healed", "closing"),
    [
        ("def f():\n", "    return 1\n", "\n    return 1\n", "\n"),
        ("", "import os\n", "\nimport os\n", "\n"),
        ("def f():\n", "\n", "\n", ""),
        ("def f():\n", "", "", ""),
        ("foo(", ")\n", ")\n", ""),
    ],
)
def test_a_cursor_before_a_line_asks_for_whole_lines(tokenizer: Tokenizer, prefix: str, suffix: str, healed: str, closing: str) -> None:
    cut = heal(prefix, suffix, tokenizer)
    assert (cut.suffix, cut.closing) == (healed, closing)


@given(st.text(alphabet="ab_ .(\n\té\U0001d6fc1", max_size=30))
@settings(max_examples=200, deadline=None)
def test_healing_loses_no_byte(tokenizer: Tokenizer, prefix: str) -> None:
    cut = heal(prefix, "", tokenizer)
    assert tokenizer.decode_bytes(cut.prefix_ids) + cut.forced == prefix.encode()


def test_allowed_tokens_agree_with_the_forced_bytes(tokenizer: Tokenizer) -> None:
    forced = ForcedStart(tokenizer)
    for text in (b" to", b"\n    ", b"se", "é".encode(), b"\xf0\x9d"):
        allowed = set(forced.allowed(text))
        expected = {i for i, piece in enumerate(tokenizer.token_bytes) if piece and (piece.startswith(text) or text.startswith(piece))}
        assert allowed == expected
        assert allowed


def test_rest_is_consumed_token_by_token(tokenizer: Tokenizer) -> None:
    forced = ForcedStart(tokenizer)
    by_bytes = {piece: i for i, piece in enumerate(tokenizer.token_bytes)}
    assert forced.rest(b"\n    x", by_bytes[b"\n    "]) == b"x"
    assert forced.rest(b"\n", by_bytes[b"\n    "]) == b""


def test_source_that_looks_like_special_tokens_stays_text(tokenizer: Tokenizer) -> None:
    text = "a = '<|mask|>' + '<|end|><|document|>'"
    ids = tokenizer.encode(text).ids
    special = {tokenizer.special_id(s) for s in ("<|mask|>", "<|end|>", "<|document|>", "<|pad|>")}
    assert None not in special
    assert not special & set(ids)
    assert tokenizer.decode(ids) == text


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_survives_the_round_trip(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode_bytes(tokenizer.encode(text).ids) == text.encode()
