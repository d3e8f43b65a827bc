"""Source text stays text: no string that a user can type becomes a token with a meaning of its own."""

from __future__ import annotations

import json

import pytest

from engine.text.tokenizer import Tokenizer
from lsp_stdio import WEIGHTS


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(WEIGHTS / "tokenizer.json")


SPECIAL = [token["content"] for token in json.loads((WEIGHTS / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]]


def test_there_are_special_tokens() -> None:
    assert len(SPECIAL) >= 3


@pytest.mark.parametrize("text", [*SPECIAL, *(f"x = '{token}'\n" for token in SPECIAL), "<|endoftext|>", "<|fim_middle|>"])
def test_special_strings_in_source_stay_characters(tokenizer: Tokenizer, text: str) -> None:
    special = {tokenizer.special_id(token) for token in SPECIAL}
    encoding = tokenizer.encode(text)
    assert not special & set(encoding.ids)
    assert tokenizer.decode(encoding.ids) == text
    assert tokenizer.encode_many([text])[0].ids == encoding.ids


def test_special_tokens_never_turn_into_text(tokenizer: Tokenizer) -> None:
    for token in SPECIAL:
        index = tokenizer.special_id(token)
        assert index is not None
        assert tokenizer.decode([index]) == ""
