"""Which family a checkpoint is of, what is refused and in which words, special ids, budgets, notices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.errors import CheckpointError, UnknownFamilyError
from engine.models import checkpoint
from engine.models.families import FAMILIES, Facts, Family, recognise
from engine.text.tokenizer import lookup
from family_checkpoints import RECIPES, write

ROWS = {family.name: family for family in FAMILIES}
QWEN = {
    "vocab_size": 99, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "rms_norm_eps": 1e-6,
    "rope_theta": 1e4,
}  # fmt: skip
QK_NORM = frozenset({"model.layers.0.self_attn.q_norm.weight"})
PLAIN = frozenset({"model.layers.0.self_attn.q_proj.weight"})


def facts(architecture: str, *tokens: str, tensors: frozenset[str] = frozenset(), **raw: Any) -> Facts:
    ids = {token: index for index, token in enumerate(tokens, 10)}
    return Facts({"architectures": [architecture], **raw}, ids.get, tensors)


@pytest.fixture(params=list(RECIPES))
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    return request.param, write(request.param, tmp_path / request.param)


# Recognition.


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (facts("DreamModel", "<|mask|>", "<|expand|>", tensors=PLAIN), "dreamon"),
        (facts("DreamModel", "<|mask|>", "<|dlm_pad|>", tensors=PLAIN), "diffucoder"),
        (facts("DreamModel", "<|mask|>", tensors=PLAIN), "dream"),
        (facts("DreamModel", "<|mask|>", tensors=QK_NORM, model_type="Dream"), "dream-reasoner"),
        (facts("DreamForCausalLM", "<|MASK|>", tensors=QK_NORM, model_type="Dream"), "dream-reasoner"),
        (facts("DreamForCausalLM", "<|MASK|>", model_type="Dream"), "dream-reasoner"),
        (facts("Qwen2ForCausalLM", "<M>", model_type="qwen2"), "open-dcoder"),
        (facts("StableDiffcoderForCausalLM", model_type="llama"), "stable-diffcoder"),
        (facts("LLaDAModelLM", "<|mdm_mask|>"), "llada"),
        (facts("LLaDAModelLM"), "illada"),
    ],
)
def test_same_names_different_models(found: Facts, expected: str) -> None:
    """`Dream`, `llama`, `qwen2` and `llada` each name several things; class names, tokens and tensors decide."""
    assert recognise(found).name == expected


def test_auto_map_counts_where_architectures_are_missing() -> None:
    raw = {"auto_map": {"AutoModel": "modeling_llada.LLaDAModelLM"}, "model_type": "llada"}
    assert recognise(Facts(raw, {"<|mdm_mask|>": 5}.get)).name == "llada"


def test_a_model_type_alone_is_no_evidence() -> None:
    with pytest.raises(UnknownFamilyError) as caught:
        recognise(Facts({"model_type": "Dream"}, lambda token: None))
    assert "architectures none" in str(caught.value)
    assert "model_type Dream" in str(caught.value)


def test_an_ordinary_autoregressive_model_is_called_that() -> None:
    with pytest.raises(UnknownFamilyError) as caught:
        recognise(facts("Qwen2ForCausalLM", tensors=PLAIN, model_type="qwen2"))
    assert "ordinary autoregressive model" in str(caught.value)
    assert "Qwen2ForCausalLM without the token <M>" in str(caught.value)
    with pytest.raises(UnknownFamilyError, match="ordinary autoregressive model"):
        recognise(facts("LlamaForCausalLM", "<|mask|>"))


def test_missing_facts_are_named() -> None:
    with pytest.raises(UnknownFamilyError) as caught:
        recognise(facts("DreamForCausalLM", "<|mask|>", tensors=PLAIN))
    assert "dream-reasoner needs norms of queries and keys" in str(caught.value)
    assert "tokens <|mask|>" in str(caught.value)


@pytest.mark.parametrize(
    ("architecture", "why"),
    [
        ("WeDLMForCausalLM", "reorders tokens"),
        ("DiffusionGemmaForBlockDiffusion", "random tokens instead of masks"),
        ("NemotronLabsDiffusion", "not published"),
    ],
)
def test_known_but_unsupported_models_are_refused_with_the_reason(architecture: str, why: str) -> None:
    with pytest.raises(UnknownFamilyError, match=why):
        recognise(facts(architecture, "<|mask|>"))


def test_an_unknown_architecture_is_said_in_a_sentence() -> None:
    with pytest.raises(UnknownFamilyError) as caught:
        recognise(facts("MarvelModel"))
    assert "architectures MarvelModel" in str(caught.value)
    assert str(caught.value).endswith("docs/models.md lists what dlsp can load.")
    assert len(str(caught.value)) < 300


def test_refused_models_are_looked_at_first() -> None:
    raw = {"architectures": ["WeDLMForCausalLM"], "auto_map": {"AutoModel": "modeling_dream.DreamModel"}}
    with pytest.raises(UnknownFamilyError, match="reorders tokens"):
        recognise(Facts(raw, {"<|mask|>": 5}.get))


@pytest.mark.parametrize("stated", [["DreamModel"], ["Qwen2ForCausalLM"], "DreamModel"])
def test_architectures_and_auto_map_must_agree(stated: Any) -> None:
    raw = {"architectures": stated, "auto_map": {"AutoModel": "modeling_llada.LLaDAModelLM"}}
    with pytest.raises(UnknownFamilyError, match="contradicts itself: .*(DreamModel|Qwen2ForCausalLM).*LLaDAModelLM"):
        recognise(Facts(raw, {"<|mask|>": 5, "<M>": 6, "<|mdm_mask|>": 7}.get))
    raw["auto_map"] = {"AutoConfig": "configuration_x.SomeConfig"}
    assert recognise(Facts(raw, {"<|mask|>": 5, "<M>": 6}.get)).name in ("dream", "open-dcoder")


# Configs.


def config(name: str, **changes: Any) -> Any:
    return ROWS[name].config(QWEN | changes)


@pytest.mark.parametrize(
    ("name", "key", "change"),
    [
        ("dream", "hidden_act", {"hidden_act": "gelu"}),
        ("dream", "rope_scaling", {"rope_scaling": {"type": "yarn", "factor": 4.0}}),
        ("dream", "rope_parameters", {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}),
        ("dream", "sliding_window", {"use_sliding_window": True, "sliding_window": 1024, "max_window_layers": 1}),
        ("a2d-qwen3", "sliding_window", {"layer_types": ["sliding_attention", "full_attention"]}),
        ("a2d-qwen3", "attention_bias", {"attention_bias": True}),
        ("stable-diffcoder", "mlp_bias", {"mlp_bias": True}),
        ("rnd1", "mlp_only_layers", {"mlp_only_layers": [0]}),
    ],
)
def test_what_the_network_cannot_do_is_refused_by_name(name: str, key: str, change: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=f"config.json has {key} = .*does not implement"):
        config(name, **change)


@pytest.mark.parametrize(
    ("family", "change"),
    [
        ("llada", {"block_type": "sequential"}),
        ("llada", {"alibi": True}),
        ("llada", {"include_qkv_bias": True}),
        ("llada", {"attention_layer_norm": True}),
        ("llada-moe", {"clip_qkv": 8.0}),
        ("llada-moe", {"moe_router_score_function": "sigmoid"}),
        ("llada-moe", {"moe_layer_freq": [1, 0]}),
        ("llada-moe", {"shared_expert_intermediate_size": 16}),
        ("llada2", {"use_bias": True}),
        ("llada2", {"norm_head": True}),
    ],
)
def test_other_variants_of_llada_are_refused_by_name(family: str, change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"config.json: config.json has {next(iter(change))} = "):
        checkpoint.read(write(family, tmp_path / family, **change))


def test_a_window_that_no_layer_uses_is_no_window() -> None:
    assert config("dream", use_sliding_window=True, sliding_window=4096, max_window_layers=28).num_layers == 2


def test_a_key_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="'rms_norm_eps' is missing"):
        checkpoint.read(write("dream", tmp_path / "dream", rms_norm_eps=None))


@pytest.mark.parametrize(
    ("family", "key", "value"),
    [
        ("dream", "num_hidden_layers", "two"),
        ("dream", "hidden_size", "32"),
        ("dream", "hidden_size", 32.0),
        ("dream", "vocab_size", True),
        ("dream", "num_attention_heads", 0),
        ("llada", "n_heads", 0),
        ("llada", "d_model", [32]),
        ("rnd1", "num_experts", "8"),
        ("sdar", "block_size", 0),
        ("sdar", "block_size", -4),
        ("fast-dllm", "bd_size", 0),
        ("llada2", "first_k_dense_replace", "1"),
    ],
)
def test_sizes_are_whole_numbers(family: str, key: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        checkpoint.read(write(family, tmp_path / "model", **{key: value}))
    assert f"config.json has {key} = {value!r}, but {key} must be a whole number" in str(caught.value)


def test_scaling_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="rope_scaling = True"):
        checkpoint.read(write("dream", tmp_path / "dream", rope_scaling=True))


def test_the_maximum_of_the_config_is_not_the_trained_context() -> None:
    assert config("dream", max_position_embeddings=131072).context_length == 2048


def test_bd3lm_is_told_by_block_size_or_by_name() -> None:
    assert config("a2d-qwen3").attention == "full"
    assert config("a2d-qwen3", block_size=16).block_length == 16
    named = config("a2d-qwen3", _name_or_path="dllm-hub/Qwen3-0.6B-diffusion-bd3lm-v0.1")
    assert (named.attention, named.block_length) == ("block_causal", 32)


@pytest.mark.parametrize(("shipped", "tied"), [(True, False), (False, True)])
def test_a2d_has_a_head_of_its_own_where_it_ships_one(shipped: bool, tied: bool) -> None:
    tensors = PLAIN | ({"lm_head.weight"} if shipped else set())
    family = recognise(facts("A2DQwen2LMHeadModel", "<|mask|>", tensors=tensors))
    assert family.config({**QWEN, "tie_word_embeddings": True}).tie_word_embeddings is tied


# Tokens.


def test_ids_come_from_the_tokenizer(made: tuple[str, Path]) -> None:
    name, folder = made
    read = checkpoint.read(folder)
    tokenizer = checkpoint.tokenizer_of(read)
    ids = read.token_ids(tokenizer.special_id)
    special = {tokenizer.special_id(token) for token in RECIPES[name].tokens}
    assert {ids.mask, ids.end, *ids.stops} <= special
    assert ids.mask not in (ids.end, *ids.stops)
    if read.infill.layout == "suffix_first":
        assert ids.fim is not None
        assert len({ids.fim.prefix, ids.fim.suffix, ids.fim.middle} & special) == 3


def test_special_tokens_in_a_document_stay_text(made: tuple[str, Path]) -> None:
    name, folder = made
    read = checkpoint.read(folder)
    tokenizer = checkpoint.tokenizer_of(read)
    text = f"x = '{''.join(RECIPES[name].tokens)}'\n"
    encoded = tokenizer.encode(text).ids
    assert not {tokenizer.special_id(token) for token in RECIPES[name].tokens} & set(encoded)
    assert tokenizer.decode(encoded) == text


def test_dreamon_expands_deletes_and_stands_between_marks(tmp_path: Path) -> None:
    read = checkpoint.read(write("dreamon", tmp_path / "dreamon"))
    find = checkpoint.tokenizer_of(read).special_id
    ids = read.token_ids(find)
    assert (ids.expand, ids.bos, ids.eos, ids.end) == tuple(
        find(t) for t in ("<|expand|>", "<|beginoftext|>", "<|endoftext|>", "<|endoftext|>")
    )
    assert (read.infill.length, read.infill.canvas, read.infill.layout) == ("expand-delete", 64, "in_place")


def test_a_tokenizer_without_mask_token_is_a_clear_error(tmp_path: Path) -> None:
    folder = write("a2d-qwen3", tmp_path / "a2d")
    _without(folder, "<|mask|>")
    read = checkpoint.read(folder)
    with pytest.raises(CheckpointError, match=r"no mask token \(there is no <\|mask\|> or <\|MASK\|>\)"):
        read.token_ids(checkpoint.tokenizer_of(read).special_id)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask_token_id": 3}, r"the mask token is \d+ in the tokenizer but 3 in config.json"),
        ({"eos_token_id": 7}, "text ends with .* in the tokenizer but with .7. in config.json"),
        ({"vocab_size": 300}, r"the mask token \d+ has no embedding"),
    ],
)
def test_tokenizer_and_config_must_agree(change: dict[str, int], message: str, tmp_path: Path) -> None:
    folder = write("dream", tmp_path / "dream", **change)
    (folder / "model.safetensors").unlink()  # which would not fit
    with pytest.raises(CheckpointError, match=message):
        checkpoint.read(folder).token_ids(lookup(folder))


@pytest.mark.parametrize("family", ["rnd1", "illada"])
def test_a_mask_known_by_its_id_alone(family: str, tmp_path: Path) -> None:
    read = checkpoint.read(write(family, tmp_path / family))
    assert read.token_ids(checkpoint.tokenizer_of(read).special_id).mask == read.raw["mask_token_id"]


@pytest.mark.parametrize("family", ["dreamon", "diffucoder", "coda", "llada2"])
def test_a_bare_number_is_no_mask_where_the_mask_has_a_name(family: str, tmp_path: Path) -> None:
    folder = write(family, tmp_path / family)
    _without(folder, "<|mask|>")
    with pytest.raises(CheckpointError, match=r"says that \d+ is the mask token, but the tokenizer does not have it .*<\|mask\|>"):
        checkpoint.read(folder).token_ids(lookup(folder))


# Decoding and licences.


def test_prompt_and_hole_fit_the_trained_context(made: tuple[str, Path]) -> None:
    _, folder = made
    read = checkpoint.read(folder)
    infill = read.infill
    assert infill.prefix_tokens + infill.suffix_tokens + max(infill.canvas, 64) <= read.config.context_length
    assert infill.schedule != "fixed"
    assert infill.canvas % (read.config.block_length or 1) == 0
    if read.config.attention == "full":
        assert infill.layout == "in_place"
        assert infill.suffix_tokens > 0
    else:
        assert infill.layout != "in_place"


def test_a_block_model_without_fim_tokens_gets_no_suffix(tmp_path: Path) -> None:
    infill = checkpoint.read(write("llada2", tmp_path / "llada2")).infill
    assert (infill.layout, infill.suffix_tokens) == ("prefix_only", 0)


@pytest.mark.parametrize("name", ["diffucoder", "coda", "a2d-llama"])
def test_restricted_weights_say_so_in_one_sentence(name: str) -> None:
    family: Family = ROWS[name]
    assert family.notice.endswith(".")
    assert family.notice.count(". ") == 0
    assert family.licence not in ("Apache-2.0", "MIT")


def test_free_weights_say_nothing() -> None:
    assert all(f.licence and (f.notice or f.licence in ("Apache-2.0", "MIT")) for f in FAMILIES)


def test_our_own_format_comes_first_and_keeps_its_word() -> None:
    own = FAMILIES[0]
    assert own.name == "dlsp"
    raw = {"architectures": ["DlspInfiller"], "infill": {"canvas": 24}}
    assert recognise(Facts(raw, lambda token: None)) is own
    assert own.infill(Facts(raw, lambda token: None)).canvas == 24


def _without(folder: Path, token: str) -> None:
    path = folder / "tokenizer.json"
    raw = json.loads(path.read_text())
    raw["added_tokens"] = [t for t in raw["added_tokens"] if t["content"] != token]
    path.write_text(json.dumps(raw))
