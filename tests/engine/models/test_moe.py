"""Routing by hand, and what the experts' modules promise: float32 routing, plain linear layers, no dependence on the batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from engine.errors import ConfigError
from engine.models.config import ModelConfig, MoEConfig
from engine.models.moe import MoE, Router
from engine.models.transformer import Transformer


def router(scores: list[float], bias: list[float] | None = None, **facts: Any) -> tuple[list[float], list[int]]:
    """Weights and experts for one row whose logits are `scores`."""
    config = MoEConfig(num_experts=len(scores), expert_size=4, choice_bias=bias is not None, **facts)
    made = Router(config, len(scores))
    made.weight.data = torch.eye(len(scores))
    if made.choice_bias is not None and bias is not None:
        made.choice_bias.data = torch.tensor(bias)
    weights, chosen = made(torch.tensor([scores]))
    order = chosen[0].argsort()
    return [round(w, 4) for w in weights[0][order].tolist()], chosen[0][order].tolist()


def test_softmax_shares_are_kept_or_normalised() -> None:
    scores = [0.0, 1.0, 2.0, 3.0]  # shares 0.0321, 0.0871, 0.2369, 0.6439
    assert router(scores, experts_per_token=2, normalize=False) == ([0.2369, 0.6439], [2, 3])
    assert router(scores, experts_per_token=2, normalize=True) == ([0.2689, 0.7311], [2, 3])
    assert router(scores, experts_per_token=2, normalize=False, scale=2.0) == ([0.4738, 1.2878], [2, 3])


def test_the_bias_chooses_but_does_not_weigh() -> None:
    weights, chosen = router([0.0, 1.0, 2.0, 3.0], [9.0, 0.0, 0.0, 0.0], experts_per_token=2, scoring="sigmoid")
    assert chosen == [0, 3]
    assert weights == [round(0.5 / (0.5 + 0.9526), 4), round(0.9526 / (0.5 + 0.9526), 4)]


def test_only_experts_of_the_best_groups_are_eligible() -> None:
    """Expert 0 is the best of all, but its group's two best together are worse than those of groups 1 and 2."""
    scores = [4.0, -9.0, 2.0, 2.5, 3.0, 1.0]
    facts: dict[str, Any] = {"experts_per_token": 3, "scoring": "sigmoid", "num_groups": 3}
    assert router(scores, groups_per_token=2, **facts)[1] == [2, 3, 4]
    assert router(scores, groups_per_token=3, **facts)[1] == [0, 3, 4]


def test_a_row_is_computed_alike_in_any_batch() -> None:
    torch.manual_seed(0)
    moe = MoE(MoEConfig(num_experts=6, experts_per_token=2, expert_size=8, shared_size=8), 16)
    rows = torch.randn(3, 5, 16)
    together = moe(rows)
    assert together.shape == rows.shape
    for b in range(3):
        for s in range(5):
            torch.testing.assert_close(moe(rows[b : b + 1, s : s + 1])[0, 0], together[b, s])


def test_routing_stays_in_float32_when_the_network_does_not() -> None:
    config = ModelConfig(
        vocab_size=20, hidden_size=16, intermediate_size=8, num_layers=2, num_heads=2, num_kv_heads=2, head_dim=8,
        moe=MoEConfig(num_experts=4, experts_per_token=2, expert_size=8, scoring="sigmoid", choice_bias=True, dense_layers=1),
    )  # fmt: skip
    network = Transformer(config).to(torch.bfloat16)
    moe = network.blocks()[1].moe
    assert network.blocks()[0].moe is None
    assert moe is not None
    assert {p.dtype for p in moe.router.parameters()} == {torch.float32}
    assert {p.dtype for p in moe.experts.parameters()} == {torch.bfloat16}
    assert network(torch.zeros(1, 3, dtype=torch.long), torch.arange(3)[None]).dtype == torch.bfloat16


def test_experts_are_linear_layers_that_can_be_swapped() -> None:
    moe = MoE(MoEConfig(num_experts=3, experts_per_token=1, expert_size=8), 16)
    assert sorted(name for name, module in moe.named_modules() if isinstance(module, nn.Linear)) == sorted(
        f"experts.{e}.{kind}_proj" for e in range(3) for kind in ("gate_up", "down")
    )


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"experts_per_token": 9}, "9 experts a token are asked for, but only 8 are eligible"),
        ({"experts_per_token": 0}, "experts_per_token must be positive"),
        ({"num_groups": 3}, "8 experts cannot form 3 groups"),
        ({"num_groups": 4, "groups_per_token": 5}, "of which 5 count"),
        ({"num_groups": 4, "groups_per_token": 1, "experts_per_token": 3}, "only 2 are eligible"),
    ],
)
def test_impossible_routings_are_refused(facts: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MoEConfig(**({"num_experts": 8, "experts_per_token": 2, "expert_size": 4} | facts))
