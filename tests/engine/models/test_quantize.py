"""Weights in 8 and 4 bits: how far they are off, that layers compute with exactly those weights, and what they weigh."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from engine.models import checkpoint as checkpoints
from engine.models import quantize as quantization
from engine.models.config import ModelConfig, MoEConfig
from engine.models.outline import materialise, outline
from engine.models.quantize import (
    Int4Linear,
    Int8Linear,
    Precision,
    QuantizedLinear,
    Work,
    attach_scratch,
    memory_needed,
    parameter_count,
    quantize,
    weight_bytes,
)
from engine.models.transformer import Transformer
from engine.runtime.device import Placement, place
from engine.runtime.loading import fill_network
from engine.runtime.runner import full_logits
from family_checkpoints import RECIPES, write

LOGITS_ERROR = {"int8": 0.1, "int4": 0.6}
"""Largest relative error of logits (norm of the difference over norm) of the tiny random checkpoints, whose two layers turn
errors of weights into errors of logits that are several times as large; a network with other weights is off by 1.4."""

DREAM = ModelConfig(
    vocab_size=152064,
    hidden_size=3584,
    intermediate_size=18944,
    num_layers=28,
    num_heads=28,
    num_kv_heads=4,
    head_dim=128,
    qkv_bias=True,
    tie_word_embeddings=False,
)


def layer(kind: type[QuantizedLinear], linear: nn.Linear, scratch: int = 1 << 16) -> QuantizedLinear:
    made = Int8Linear(linear) if kind is Int8Linear else Int4Linear(linear, 64)
    made.scratch = torch.empty(scratch, dtype=linear.weight.dtype)
    made.store(0, linear.weight.data)
    return made.requires_grad_(False)


def linear(inner: int = 256, outer: int = 96, dtype: torch.dtype = torch.float32, bias: bool = True) -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(inner, outer, bias=bias, dtype=dtype).requires_grad_(False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_eight_bits_are_off_by_half_a_level_at_most(dtype: torch.dtype) -> None:
    plain = linear(dtype=dtype)
    made = layer(Int8Linear, plain)
    weight = plain.weight.float()
    level = weight.abs().amax(dim=1, keepdim=True) / 127
    rounding = weight.abs() * torch.finfo(dtype).eps
    assert torch.all((made.weights().float() - weight).abs() <= level * (0.5 + 127 * torch.finfo(dtype).eps) + rounding)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_four_bits_are_off_by_half_a_level_of_their_group_at_most(dtype: torch.dtype) -> None:
    plain = linear(dtype=dtype)
    made = layer(Int4Linear, plain)
    grouped = plain.weight.float().view(96, -1, 64)
    level = (grouped.amax(dim=2, keepdim=True) - grouped.amin(dim=2, keepdim=True)) / 15
    slack = 20 * torch.finfo(dtype).eps  # the offset, the scale and the sum are rounded to the format, too
    assert torch.all((made.weights().float().view_as(grouped) - grouped).abs() <= level * (0.5 + slack))


@pytest.mark.parametrize("kind", [Int8Linear, Int4Linear])
@pytest.mark.parametrize("scratch", [256, 1000, 1 << 16])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_computes_what_a_plain_one_with_its_weights_does(kind: type[QuantizedLinear], scratch: int, bias: bool) -> None:
    plain = linear(bias=bias)
    made = layer(kind, plain, scratch)
    x = torch.randn(2, 5, 256)
    torch.testing.assert_close(made(x), F.linear(x, made.weights(), plain.bias), rtol=1e-5, atol=1e-6)
    assert made(x).shape == (2, 5, 96)


@pytest.mark.parametrize("kind", [Int8Linear, Int4Linear])
def test_the_size_of_blocks_changes_nothing(kind: type[QuantizedLinear], monkeypatch: pytest.MonkeyPatch) -> None:
    plain = linear()
    expected = layer(kind, plain)
    monkeypatch.setattr(quantization, "STORE_BLOCK", 700)
    made = layer(kind, plain)
    x = torch.randn(3, 256)
    assert torch.equal(made.weights(), expected.weights())
    torch.testing.assert_close(made(x), expected(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", [Int8Linear, Int4Linear])
def test_weights_without_spread_are_kept_exactly(kind: type[QuantizedLinear]) -> None:
    plain = linear()
    plain.weight.data[0] = 0.0
    assert torch.all(layer(kind, plain).weights()[0] == 0.0)
    if kind is Int4Linear:
        plain.weight.data[1] = 0.25
        assert torch.all(layer(kind, plain).weights()[1] == 0.25)


@pytest.mark.parametrize("kind", [Int8Linear, Int4Linear])
def test_storing_leaves_what_is_stored_alone(kind: type[QuantizedLinear]) -> None:
    plain = linear()
    before = plain.weight.clone()
    layer(kind, plain)
    assert torch.equal(plain.weight, before)


def test_the_extremes_are_kept() -> None:
    plain = linear()
    made = layer(Int4Linear, plain).weights()
    torch.testing.assert_close(made.amax(), plain.weight.amax())
    torch.testing.assert_close(made.amin(), plain.weight.amin())


def test_what_is_quantized_and_what_is_not() -> None:
    moe = MoEConfig(num_experts=4, experts_per_token=2, expert_size=32, choice_bias=True, shared_size=32)
    network = outline(_small(tie_word_embeddings=False, moe=moe))
    quantize(network, "int4")
    kinds = {name: type(module) for name, module in network.named_modules()}
    assert (
        kinds["layers.0.qkv_proj"] is kinds["layers.1.moe.experts.3.down_proj"] is kinds["layers.0.moe.shared.gate_up_proj"] is Int4Linear
    )
    assert kinds["lm_head"] is Int8Linear
    assert kinds["embed_tokens"] is nn.Embedding
    assert network.layers[0].moe.router.weight.dtype == torch.float32
    assert not any(isinstance(module, nn.Linear) for module in network.modules())


def test_a_head_that_is_the_embedding_stays_the_embedding() -> None:
    network = outline(_small()).to(torch.bfloat16)
    quantize(network, "int8")
    materialise(network, torch.device("cpu"))
    assert network.lm_head.weight is network.embed_tokens.weight
    assert network.lm_head.weight.dtype == torch.bfloat16


@pytest.mark.parametrize(("width", "group"), [(256, 128), (192, 64), (96, 32), (48, 16)])
def test_the_group_is_the_largest_that_divides_the_width(width: int, group: int) -> None:
    network = outline(_small(hidden_size=width))
    quantize(network, "int4")
    assert network.layers[0].qkv_proj.group == group


def test_a_width_that_no_group_divides_stays_as_it_is() -> None:
    network = outline(_small(hidden_size=40))
    quantize(network, "int4")
    assert type(network.layers[0].qkv_proj) is nn.Linear
    assert type(network.layers[0].down_proj) is Int4Linear


@pytest.mark.parametrize("family", RECIPES)
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_logits_of_every_family_stay_near(family: str, precision: Precision, tmp_path: Path) -> None:
    checkpoint = checkpoints.read(write(family, tmp_path / family))
    tokens = torch.randint(0, checkpoint.config.vocab_size, (40,), generator=torch.Generator().manual_seed(0)).tolist()
    full = Placement(torch.device("cpu"), torch.float32)
    with torch.inference_mode():
        exact = full_logits(fill_network(checkpoint, full), tokens, (10, 20))
        quantized = fill_network(checkpoint, replace(full, quantize=precision))
        near = full_logits(quantized, tokens, (10, 20))
        dequantized = full_logits(_dequantized(quantized, checkpoint.config), tokens, (10, 20))
    error = float((near - exact).norm() / exact.norm())
    assert 0.0 < error < LOGITS_ERROR[precision]
    torch.testing.assert_close(near, dequantized, rtol=1e-4, atol=1e-4)


def test_quantizing_while_loading_is_quantizing_afterwards(make_checkpoint) -> None:
    checkpoint = checkpoints.read(make_checkpoint("full", shard_bytes=20_000))
    plain = fill_network(checkpoint, place("cpu", "float32"))
    loaded = fill_network(checkpoint, Placement(torch.device("cpu"), torch.float32, quantize="int4"))
    for name, module in loaded.named_modules():
        if isinstance(module, QuantizedLinear):
            whole = type(module)(plain.get_submodule(name), module.group) if isinstance(module, Int4Linear) else Int8Linear(plain.lm_head)
            whole.scratch = module.scratch
            whole.store(0, plain.get_submodule(name).weight.data)
            assert torch.equal(module.weights(), whole.weights()), name


def test_figures_of_a_seven_billion_model() -> None:
    assert parameter_count(DREAM) == 7_615_616_512  # as published
    assert weight_bytes(DREAM, "bfloat16") == weight_bytes(DREAM, "float16") == 2 * 7_615_616_512
    assert weight_bytes(DREAM, "float32") == 4 * 7_615_616_512
    assert 8.1e9 < weight_bytes(DREAM, "int8") < 8.3e9
    assert 4.9e9 < weight_bytes(DREAM, "int4") < 5.2e9


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8", "int4"])
def test_the_figure_is_what_is_allocated(precision: Precision, make_checkpoint) -> None:
    checkpoint = checkpoints.read(make_checkpoint("full", tie_word_embeddings=False))
    placement = place("cpu", precision)
    network = fill_network(checkpoint, placement)
    held = sum(t.nbytes for t in (*network.parameters(), *network.buffers()))
    assert held == weight_bytes(checkpoint.config, precision, placement.dtype)


def test_memory_grows_with_the_work_and_shrinks_with_the_bits() -> None:
    needed = {p: memory_needed(DREAM, p) for p in ("float32", "bfloat16", "int8", "int4")}
    totals = [needed[p].total for p in ("float32", "bfloat16", "int8", "int4")]
    assert totals == sorted(totals, reverse=True)
    assert needed["bfloat16"].weights == weight_bytes(DREAM, "bfloat16")
    one, two, more = (
        memory_needed(DREAM, "bfloat16", work).workspace
        for work in (Work(rows=2048), Work(rows=2048, batch=2), Work(rows=2048, scored=512, sampled=256))
    )
    assert one < two < 2 * one
    assert more - one == DREAM.vocab_size * (384 * 2 + 128 * 16)
    assert 0.3e9 < one < 1.5e9


def _small(**facts: object) -> ModelConfig:
    base = {
        "vocab_size": 64,
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_layers": 2,
        "num_heads": 2,
        "num_kv_heads": 1,
        "head_dim": 16,
    }
    return ModelConfig(**(base | facts))  # type: ignore[arg-type]


def _dequantized(network: Transformer, config: ModelConfig) -> Transformer:
    """A plain network that holds exactly the weights of a quantized one."""
    plain = outline(config)
    materialise(plain, torch.device("cpu"))
    attach_scratch(plain)
    for name, parameter in plain.named_parameters():
        module, _, kind = name.rpartition(".")
        source = network.get_submodule(module)
        value = source.weights() if isinstance(source, QuantizedLinear) and kind == "weight" else getattr(source, kind)
        parameter.data.copy_(value)
    return plain.eval()
