"""The network against transformers' own Qwen3 and Qwen2 classes, and its masks against their definition."""

from __future__ import annotations

import pytest
import torch
import transformers

from engine.errors import ConfigError
from engine.models.attention import block_causal_mask, rotary_phases, rotate, split_mask
from engine.models.config import ModelConfig
from engine.models.families import standard_sources
from engine.models.kv_cache import ContextKV, KVStack
from engine.models.transformer import Transformer

SHAPE = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 40, "num_heads": 4, "num_kv_heads": 2, "head_dim": 8, "num_layers": 2}


def _reference(kind: str, tied: bool) -> tuple[torch.nn.Module, ModelConfig]:
    torch.manual_seed(1)
    common = {
        "vocab_size": 97, "hidden_size": 32, "intermediate_size": 40, "num_attention_heads": 4, "num_key_value_heads": 2,
        "num_hidden_layers": 2,
        "head_dim": 8, "rope_theta": 1e4, "tie_word_embeddings": tied, "max_position_embeddings": 64, "attn_implementation": "eager",
    }  # fmt: skip
    if kind == "qwen3":
        reference = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**common))
        config = ModelConfig(**SHAPE, qk_norm=True, tie_word_embeddings=tied)
    else:
        reference = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**common))
        config = ModelConfig(**SHAPE, qkv_bias=True, tie_word_embeddings=tied)
    for parameter in reference.parameters():
        parameter.data = torch.randn_like(parameter) * 0.3
    return reference.eval(), config


def _ours(reference: torch.nn.Module, config: ModelConfig) -> Transformer:
    network = Transformer(config)
    tensors = reference.state_dict()
    for name, parameter in network.named_parameters():
        parameter.data = torch.cat([tensors[source] for source in standard_sources(name)])
    return network.eval()


@pytest.mark.parametrize("kind", ["qwen2", "qwen3"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("attention", ["full", "block_causal"])
def test_logits_equal_an_independent_implementation(kind: str, tied: bool, attention: str) -> None:
    reference, config = _reference(kind, tied)
    network = _ours(reference, config)
    tokens = torch.randint(0, 97, (2, 13))
    positions = torch.arange(13).expand(2, -1)
    visible = torch.ones(2, 1, 13, 13, dtype=torch.bool) if attention == "full" else block_causal_mask(positions, 4)
    bias = torch.where(visible, 0.0, -torch.inf)
    with torch.no_grad():
        expected = reference(input_ids=tokens, attention_mask=bias, position_ids=positions).logits
        got = network.logits(network(tokens, positions, mask=None if attention == "full" else visible))
    assert (got - expected).norm() / expected.norm() < 1e-5


def test_padding_changes_nothing_for_the_valid_rows() -> None:
    reference, config = _reference("qwen3", True)
    network = _ours(reference, config)
    tokens = torch.randint(0, 97, (1, 9))
    padded = torch.cat((tokens, torch.randint(0, 97, (1, 4))), dim=1)
    valid = torch.arange(13)[None] < 9
    with torch.no_grad():
        alone = network(tokens, torch.arange(9)[None])
        together = network(padded, torch.arange(13)[None], mask=valid[:, None, None, :].expand(-1, 1, 13, -1))
    torch.testing.assert_close(together[:, :9], alone, rtol=1e-4, atol=1e-5)


def test_block_causal_mask_by_hand() -> None:
    mask = block_causal_mask(torch.arange(5)[None], 2)[0, 0].int().tolist()
    assert mask == [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]


def test_phases_narrower_than_the_head_leave_the_rest_alone() -> None:
    x = torch.randn(1, 1, 3, 8)
    turned = rotate(x, rotary_phases(torch.arange(3)[None], 4, 1e4))
    assert torch.equal(turned[..., 4:], x[..., 4:])
    assert torch.equal(turned[..., :4], rotate(x[..., :4], rotary_phases(torch.arange(3)[None], 4, 1e4)))
    assert not torch.equal(turned[..., 1:, :4], x[..., 1:, :4])


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"rotary_fraction": 0.0}, "RoPE cannot turn 0.0 of 8"),
        ({"rotary_fraction": 0.4}, "RoPE cannot turn 0.4 of 8"),
        ({"rotary_fraction": 0.5, "attention": "split", "num_roles": 4}, "needs rotary_fraction 1"),
    ],
)
def test_rotations_that_cannot_be_are_refused(facts: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ModelConfig(**SHAPE, **facts)  # type: ignore[arg-type]


def test_split_mask_by_hand() -> None:
    mask = split_mask(2, 2, 2)[0, 0].int().tolist()
    assert mask == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1, 1],
        [0, 0, 0, 0, 1, 1],
        [0, 0, 0, 0, 0, 1],
    ]


@pytest.mark.parametrize("first", [0, 1, 5])
@pytest.mark.parametrize("direction", [1, -1])
def test_a_stack_grown_in_pieces_equals_one_encoded_at_once(first: int, direction: int) -> None:
    torch.manual_seed(2)
    network = Transformer(ModelConfig(**SHAPE, qk_norm=True, attention="split", num_roles=4)).eval()
    tokens = torch.randint(0, 97, (1, 11))
    roles = torch.zeros_like(tokens)
    with torch.no_grad():
        whole = network.encode(tokens, direction, None, roles)
        past = network.encode(tokens[:, :first], direction, None, roles[:, :first]) if first else None
        grown = network.encode(tokens[:, first:], direction, past, roles[:, first:])
    for one, other in zip(whole.keys + whole.values, grown.keys + grown.values, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_assembled_context_leaves_room_for_the_canvas() -> None:
    config = ModelConfig(**SHAPE)
    stack = KVStack([torch.randn(1, 2, 3, 8)], [torch.randn(1, 2, 3, 8)])
    context = ContextKV.assemble([(stack, torch.arange(3)), (KVStack([], []), torch.arange(0))], 4, config)
    k, v = context.with_canvas(0, torch.ones(1, 2, 4, 8), torch.zeros(1, 2, 4, 8))
    assert k.shape == (1, 2, 7, 8)
    assert torch.equal(v[:, :, :3], stack.values[0])
    assert torch.equal(k[:, :, 3:], torch.ones(1, 2, 4, 8))
