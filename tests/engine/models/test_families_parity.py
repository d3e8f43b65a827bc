"""Every family's tiny checkpoint, loaded from its own format, gives the logits of an independent network.

The references stand in `tests/engine/reference_networks.py`. A family that is not listed here does not pass.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import reference_networks
from engine.models import checkpoint
from engine.models.attention import block_causal_mask
from engine.models.families import FAMILIES
from engine.models.transformer import Transformer
from engine.runtime.runner import full_logits
from family_checkpoints import RECIPES, write

TOLERANCE = 1e-4
FACTS = {  # logit shift and block length that each family must come out with; 0 is full attention
    "dreamon": (1, 0), "dream": (1, 0), "diffucoder": (1, 0), "open-dcoder": (1, 0), "a2d-qwen2": (0, 0), "a2d-qwen2-bd3lm": (0, 8),
    "a2d-qwen3": (0, 0), "a2d-llama": (0, 0), "llada": (0, 0), "illada": (0, 0), "llada-moe": (0, 0), "coda": (1, 0), "rnd1": (1, 0),
    "stable-diffcoder": (0, 4), "sdar": (0, 4), "sdar-moe": (0, 4), "fast-dllm": (1, 8), "dream-reasoner": (0, 8), "llada2": (0, 8),
}  # fmt: skip


@pytest.fixture(scope="module", params=list(RECIPES))
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Transformer]:
    name: str = request.param
    folder = write(name, tmp_path_factory.mktemp("families") / name)
    return name, folder, load(folder)


def load(folder: Path) -> Transformer:
    read = checkpoint.read(folder)
    network = Transformer(read.config)
    checkpoint.load_weights(network, read)
    return network.eval().requires_grad_(False)


def reference(name: str, folder: Path, tokens: Tensor, positions: Tensor, visible: Tensor) -> Tensor:
    layout = RECIPES[name].layout
    compute = reference_networks.transformers_logits if layout in reference_networks.CLASSES else reference_networks.plain_logits
    return compute(layout, folder, tokens, positions, visible)


def relative(got: Tensor, expected: Tensor) -> float:
    return float((got.double() - expected.double()).norm() / expected.double().norm())


def visible(positions: Tensor, block: int, valid: Tensor | None = None) -> Tensor:
    """Who sees whom, by definition: [B, S, S]."""
    rows = positions.shape[1]
    valid = torch.ones_like(positions, dtype=torch.bool) if valid is None else valid
    seen = torch.zeros(len(positions), rows, rows, dtype=torch.bool)
    for b, at in enumerate(positions.tolist()):
        for query in range(rows):
            for key in range(rows):
                allowed = block == 0 or at[key] // block <= at[query] // block
                seen[b, query, key] = allowed and bool(valid[b, key])
    return seen


def test_every_family_has_a_checkpoint_and_facts() -> None:
    assert {f.name for f in FAMILIES} - {"dlsp"} <= RECIPES.keys()
    assert RECIPES.keys() == FACTS.keys()


def test_conventions(family: tuple[str, Path, Transformer]) -> None:
    name, folder, network = family
    config = network.config
    assert (config.logit_shift, config.block_length if config.attention == "block_causal" else 0) == FACTS[name]
    assert checkpoint.read(folder).family.name == name.removesuffix("-bd3lm")


@pytest.mark.parametrize("kind", ["full", "block_causal"])
def test_logits_equal_the_reference(family: tuple[str, Path, Transformer], kind: str) -> None:
    """Both masks for every family: the network must not care which one its family uses."""
    name, folder, network = family
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(0, network.config.vocab_size, (2, 19), generator=generator)
    positions = torch.arange(19).expand(2, -1)
    block = 0 if kind == "full" else network.config.block_length or 4
    mask = None if kind == "full" else block_causal_mask(positions, block)
    got = network.logits(network(tokens, positions, mask=mask))
    assert relative(got, reference(name, folder, tokens, positions, visible(positions, block))) < TOLERANCE


def test_padding_of_a_batch_changes_nothing(family: tuple[str, Path, Transformer]) -> None:
    name, folder, network = family
    block = FACTS[name][1]
    tokens = torch.randint(0, network.config.vocab_size, (2, 17), generator=torch.Generator().manual_seed(4))
    positions = torch.arange(17).expand(2, -1)
    valid = torch.arange(17)[None] < torch.tensor([[17], [11]])
    mask = block_causal_mask(positions, block, valid) if block else valid[:, None, None, :]
    together = network.logits(network(tokens, positions, mask=mask))
    expected = reference(name, folder, tokens, positions, visible(positions, block, valid))
    assert relative(together[valid], expected[valid]) < TOLERANCE
    short = positions[1:, :11]
    alone = network.logits(network(tokens[1:, :11], short, mask=block_causal_mask(short, block) if block else None))
    assert relative(together[1:, :11], alone) < TOLERANCE


def test_row_i_scores_the_token_at_i(family: tuple[str, Path, Transformer]) -> None:
    """`full_logits` undoes the shift: a model that was autoregressive scores the token at i in row i - 1."""
    name, folder, network = family
    shift, block = FACTS[name]
    tokens = torch.randint(0, network.config.vocab_size, (1, 13), generator=torch.Generator().manual_seed(5))
    positions = torch.arange(13)[None]
    raw = reference(name, folder, tokens, positions, visible(positions, block))[0]
    expected = torch.cat((raw[:1], raw[:-1])) if shift else raw
    assert relative(full_logits(network, tokens[0].tolist(), (4, 8)), expected) < TOLERANCE


def test_suffix_reaches_the_mask_unless_blocks_forbid_it(family: tuple[str, Path, Transformer]) -> None:
    name, _, network = family
    block = FACTS[name][1]
    tokens = torch.randint(0, network.config.vocab_size, (24,), generator=torch.Generator().manual_seed(6)).tolist()
    other = [*tokens[:-1], (tokens[-1] + 1) % network.config.vocab_size]
    first, second = (full_logits(network, ids, (8, 12))[8:12] for ids in (tokens, other))
    assert torch.equal(first, second) if block else (first - second).abs().min() > 0


def test_a_wrong_choice_of_experts_is_noticed(tmp_path: Path) -> None:
    """The comparison itself can fail: without the learned bias some rows go to other experts."""
    folder = write("llada2", tmp_path / "llada2")
    network = load(folder)
    tokens = torch.randint(0, network.config.vocab_size, (1, 13), generator=torch.Generator().manual_seed(7))
    positions = torch.arange(13)[None]
    expected = reference("llada2", folder, tokens, positions, visible(positions, 0))
    biases = [parameter for name, parameter in network.named_parameters() if name.endswith("choice_bias")]
    assert len(biases) == 1
    biases[0].data.zero_()
    assert relative(network.logits(network(tokens, positions)), expected) > 100 * TOLERANCE
