"""Tokenizers of foreign checkpoints: identical ids, text that stays text, ids with holes, files of several kinds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, models, pre_tokenizers, trainers

from engine.errors import CheckpointError
from engine.text.tokenizer import QWEN2_WORDS, Tokenizer, lookup
from family_checkpoints import RECIPES, write
from tiny_models import SAMPLE

TRICKY = (
    "",
    " ",
    "def f(x):\n    return x+1\n",
    "a\r\nb\r\r\n\n\n  c\t\td   \n",
    "I'M we'Ll don't 'S can'T he'd x'y",
    "x=1234567890;y=٣٤٥;z=½²Ⅷ",
    "café cafe\u0301 Å A\u030a ﬁ 한글 한글 नमस्ते Привет 你好世界",
    "👩‍👩‍👧 🇩🇪 é\u200d\u00a0\u2028\u3000|",
    "  leading  and trailing  ",
    "__init__ $var @dec #!/bin/sh <!-- --> ==> ->>",
    "\x00\x01\x7f\ufeff\ufffd\U0010ffff",
    "(((\n)))\n\n\n;;;\r\n###   \n",
)


@pytest.fixture(scope="session")
def qwen_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as Dream's repositories have it: vocab.json, merges.txt, added tokens in two further files, no tokenizer.json."""
    folder = tmp_path_factory.mktemp("qwen")
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(QWEN2_WORDS), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=700, initial_alphabet=alphabet, show_progress=False, min_frequency=1)
    inner.train_from_iterator([SAMPLE, *TRICKY] * 4, trainer)
    inner.model.save(str(folder))
    size = inner.get_vocab_size()
    marks = {"<|endoftext|>": True, "<|fim_prefix|>": False, "<tool_call>": False, "<|mask|>": True}
    decoder = {str(size + i): {"content": token, "special": special} for i, (token, special) in enumerate(marks.items())}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "DreamTokenizer", "added_tokens_decoder": decoder}))
    (folder / "added_tokens.json").write_text(json.dumps({"<M>": size + 9}))
    return folder


@pytest.fixture(scope="session")
def qwen(qwen_folder: Path) -> Tokenizer:
    return Tokenizer.from_folder(qwen_folder)


@pytest.fixture(scope="session")
def theirs(qwen_folder: Path):
    from transformers import Qwen2Tokenizer

    vocab = json.loads((qwen_folder / "vocab.json").read_text())
    merges = [tuple(line.split(" ")) for line in (qwen_folder / "merges.txt").read_text().splitlines() if not line.startswith("#version")]
    return Qwen2Tokenizer(vocab=vocab, merges=merges)


@pytest.mark.parametrize("text", TRICKY)
def test_vocabulary_and_merges_give_the_ids_of_transformers(qwen: Tokenizer, theirs, text: str) -> None:
    assert qwen.encode(text).ids == theirs.encode(text, add_special_tokens=False)


@given(st.text(max_size=40))
@settings(max_examples=150, deadline=None)
def test_any_text_gives_the_ids_of_transformers(qwen: Tokenizer, theirs, text: str) -> None:
    assert qwen.encode(text).ids == theirs.encode(text, add_special_tokens=False)


def test_the_pattern_is_the_one_of_transformers() -> None:
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    assert QWEN2_WORDS == PRETOKENIZE_REGEX


def test_a_vocabulary_whose_words_are_cut_in_an_unknown_way_is_refused(qwen_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(qwen_folder, tmp_path / "gpt2"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer"}))
    with pytest.raises(CheckpointError, match="does not say how a GPT2Tokenizer cuts words"):
        Tokenizer.from_folder(folder)


def test_added_tokens_of_every_file_are_found_and_holes_in_ids_are_nothing(qwen: Tokenizer, qwen_folder: Path) -> None:
    size = len(json.loads((qwen_folder / "vocab.json").read_text()))
    find = lookup(qwen_folder)
    for token, index in {"<|endoftext|>": size, "<tool_call>": size + 2, "<|mask|>": size + 3, "<M>": size + 9, "<none>": None}.items():
        assert qwen.special_id(token) == index
        assert find(token) == index
    assert qwen.vocab_size == size + 10
    assert len(qwen.token_bytes) == qwen.vocab_size
    assert set(qwen.token_bytes[size:]) == {b""}


def test_an_id_that_is_taken_is_not_given_twice(qwen_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(qwen_folder, tmp_path / "taken"))
    (folder / "added_tokens.json").write_text(json.dumps({"<M>": 5}))
    assert Tokenizer.from_folder(folder).special_id("<M>") is None
    assert lookup(folder)("<M>") is None


@pytest.mark.parametrize("family", RECIPES)
def test_token_strings_of_every_family_stay_text(family: str, tmp_path: Path) -> None:
    folder = write(family, tmp_path / family)
    tokenizer = Tokenizer.from_folder(folder)
    find = lookup(folder)
    for token in RECIPES[family].tokens:
        index = tokenizer.special_id(token)
        assert index is not None
        assert find(token) == index
        for text in (token, f"x = '{token}'\n", f" {token} ", token * 2, f"{token}\n{token}"):
            ids = tokenizer.encode(text).ids
            assert index not in ids
            assert tokenizer.encode_many([text])[0].ids == ids
            assert tokenizer.decode(ids) == text
        assert tokenizer.decode([index]) == ""


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("strip", [True, False])
def test_added_tokens_never_come_from_text_however_they_are_marked(
    tokenizer_file: Path, tmp_path: Path, special: bool, normalized: bool, strip: bool
) -> None:
    inner = tokenizers.Tokenizer.from_file(str(tokenizer_file))
    tokens = ["<|fim_prefix|>", "<M>", "|<MASK>|", "<tool_call>", "<[fim-suffix]>", "MASK"]
    added = [AddedToken(t, special=special, normalized=normalized, lstrip=strip, rstrip=strip) for t in tokens]
    inner.add_tokens(added)
    inner.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.from_folder(tmp_path)
    for token in tokens:
        text = f"a = {token} + b"
        assert tokenizer.special_id(token) not in tokenizer.encode(text).ids
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_added_tokens_of_white_space_are_text(tokenizer_file: Path, tmp_path: Path) -> None:
    inner = tokenizers.Tokenizer.from_file(str(tokenizer_file))
    inner.add_tokens([AddedToken(" " * 24, special=False, normalized=False)])
    inner.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.from_folder(tmp_path)
    index = tokenizer.special_id(" " * 24)
    assert index in tokenizer.encode("x\n" + " " * 24 + "y").ids
    assert tokenizer.decode([index]) == " " * 24


def test_spans_and_words_cover_the_text(qwen: Tokenizer) -> None:
    text = "x = <|mask|> + naïve_name\n\n"
    encoding = qwen.encode(text)
    assert encoding.spans[0][0] == 0
    assert encoding.spans[-1][1] == len(text)
    assert encoding.words == sorted(encoding.words)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0]]}}, "is a Unigram tokenizer"),
        ({"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}, "is a WordLevel tokenizer"),
        ({"model": {"type": "BPE", "vocab": {"a": 0, "<0x0A>": 1}, "merges": [], "byte_fallback": True}}, "byte fallback"),
        ({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}}, "no byte-level BPE"),
    ],
)
def test_tokenizers_of_another_kind_are_refused(tmp_path: Path, content: dict, said: str) -> None:
    base = {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None}
    (tmp_path / "tokenizer.json").write_text(json.dumps(base | content))
    with pytest.raises(CheckpointError, match=said) as caught:
        Tokenizer.from_folder(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert caught.value.action


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no tokenizer\.json"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="SentencePiece"):
        lookup(tmp_path)("<|mask|>")


@pytest.mark.parametrize("name", ["vocab.json", "added_tokens.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", ["{", "[]", '{"a": "b", "added_tokens_decoder": 3}'])
def test_broken_files_are_named(qwen_folder: Path, tmp_path: Path, name: str, content: str) -> None:
    folder = Path(shutil.copytree(qwen_folder, tmp_path / "broken"))
    (folder / name).write_text(content)
    with pytest.raises(CheckpointError, match=name):
        Tokenizer.from_folder(folder)
    with pytest.raises(CheckpointError, match=name):
        lookup(folder)("<M>")


def test_merges_must_be_there(qwen_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(qwen_folder, tmp_path / "broken"))
    (folder / "merges.txt").unlink()
    with pytest.raises(CheckpointError, match=r"merges\.txt"):
        Tokenizer.from_folder(folder)
