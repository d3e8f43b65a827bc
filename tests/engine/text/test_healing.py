"""Token healing and the forced start."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.text.healing import MOST_TAKEN, ForcedStart, heal, heal_draft
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
    cut = heal(prefix, tokenizer)
    assert cut.forced.decode() == forced
    assert tokenizer.decode(cut.prefix_ids) + forced == prefix


def test_a_long_run_without_blanks_is_taken_back_only_in_part(tokenizer: Tokenizer) -> None:
    for word in ("x" * 300, "\u51fd\u6570" * 60):
        cut = heal(f"# {word}", tokenizer)
        assert 0 < len(cut.taken) <= MOST_TAKEN
        assert cut.forced.decode()
        assert tokenizer.decode_bytes(cut.prefix_ids) + cut.forced == f"# {word}".encode()


@given(st.text(alphabet="ab_ .(\n\t\u00e9\U0001d6fc1", max_size=12), st.text(alphabet="ab_ .(\n\t\u00e91", min_size=1, max_size=12))
@settings(max_examples=200, deadline=None)
def test_a_draft_stands_behind_what_was_taken_back(tokenizer: Tokenizer, prefix: str, draft: str) -> None:
    cut = heal(prefix, tokenizer)
    found = heal_draft(cut, draft, tokenizer)
    assert found.exact
    assert tokenizer.decode_bytes(found.ids) == cut.forced + draft.encode()
    assert tokenizer.decode_bytes(found.ids[: found.kept]) + found.straddled == cut.forced
    if found.straddled:
        assert tokenizer.token_bytes[found.ids[found.kept]].startswith(found.straddled)


@given(st.text(alphabet="ab_ .(\n\té\U0001d6fc1", max_size=30))
@settings(max_examples=200, deadline=None)
def test_healing_loses_no_byte(tokenizer: Tokenizer, prefix: str) -> None:
    cut = heal(prefix, tokenizer)
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
