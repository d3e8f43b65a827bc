"""The self-test against networks that have learned a few lines, under the right and under the wrong convention."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch
import torch.nn.functional as F

from engine.models import checkpoint, self_test, transformer
from engine.models.attention import attend, block_causal_mask
from engine.models.config import ModelConfig
from engine.models.transformer import Transformer
from family_checkpoints import RECIPES, write

MASK = 29
LINES = [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [11, 3, 12, 5, 13, 7, 14, 9], [15, 16, 2, 17, 18, 4, 19, 20, 6, 21, 22]]


def learned(shift: int, attention: str = "full") -> Transformer:
    """A network that fills any masks in LINES, its head read with the given shift."""
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=30, hidden_size=32, intermediate_size=64, num_layers=2, num_heads=4, num_kv_heads=4, head_dim=8, attention=attention,
        block_length=4 if attention == "block_causal" else 0, logit_shift=shift,
    )  # type: ignore[arg-type]  # fmt: skip
    network = Transformer(config)
    for parameter in network.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.08)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    longest = max(map(len, LINES))
    tokens = torch.tensor([[*line, *[0] * (longest - len(line))] for line in LINES])
    positions = torch.arange(longest).expand(len(LINES), -1)
    valid = positions < torch.tensor([len(line) for line in LINES])[:, None]
    mask = block_causal_mask(positions, 4, valid) if attention == "block_causal" else valid[:, None, None, :]
    for _ in range(150):
        hidden = valid & (torch.rand(tokens.shape) < 0.3) & (positions > 0)
        scores = network.logits(network(torch.where(hidden, MASK, tokens), positions, mask=mask))
        scores = torch.cat((scores[:, :1], scores[:, :-1]), dim=1) if shift else scores
        optimizer.zero_grad()
        F.cross_entropy(scores[hidden], tokens[hidden]).backward()
        optimizer.step()
    return network.eval().requires_grad_(False)


def reread(network: Transformer, shift: int) -> Transformer:
    """The same weights under another convention."""
    network.config = msgspec.structs.replace(network.config, logit_shift=shift)
    return network


@pytest.mark.parametrize(("shift", "attention"), [(0, "full"), (1, "full"), (0, "block_causal")])
def test_a_network_that_knows_its_lines(shift: int, attention: str) -> None:
    network = learned(shift, attention)
    right = self_test.self_test(network, LINES, MASK)
    assert right.samples >= 12
    assert not right.wrong
    assert right.message == ""
    assert right.configured > -0.7 > right.other
    wrong = self_test.self_test(reread(network, 1 - shift), LINES, MASK)
    assert wrong.wrong
    assert wrong.wrong_shift
    assert (wrong.configured, wrong.other) == (right.other, right.configured)
    assert "one place off" in wrong.message


def test_causal_attention_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    network = learned(0)
    assert self_test.self_test(network, LINES, MASK).suffix_effect > 0.01

    def causal(q, k, v, mask=None, causal=False):  # type: ignore[no-untyped-def]
        return attend(q, k, v, None, causal=True)

    monkeypatch.setattr(transformer, "attend", causal)
    found = self_test.self_test(network, LINES, MASK)
    assert found.one_sided
    assert found.wrong
    assert found.suffix_effect == 0
    assert "behind a hole" in found.message


@pytest.mark.parametrize("family", list(RECIPES))
def test_a_random_network_gives_no_evidence(family: str, tmp_path: Path) -> None:
    """Every family's own format, blocks and experts too: nothing is known, so nothing is wrong."""
    read = checkpoint.read(write(family, tmp_path / family))
    network = Transformer(read.config)
    checkpoint.load_weights(network, read)
    tokenizer = checkpoint.tokenizer_of(read)
    lines = [tokenizer.encode(text).ids for text in self_test.TRIVIAL]
    mask = read.token_ids(tokenizer.special_id).mask
    for shift in (0, 1):
        found = self_test.self_test(reread(network.eval(), shift), lines, mask)
        assert found.samples == 24
        assert not found.wrong, found


def test_lines_that_cannot_tell_are_left_out() -> None:
    network = learned(0)
    assert self_test.self_test(network, [[1, 1, 1, 1], [5], []], MASK).samples == 0


def test_the_split_layout_is_not_examined() -> None:
    config = ModelConfig(
        vocab_size=30,
        hidden_size=16,
        intermediate_size=16,
        num_layers=1,
        num_heads=2,
        num_kv_heads=2,
        head_dim=8,
        attention="split",
        num_roles=4,
    )
    found = self_test.self_test(Transformer(config), LINES, MASK)
    assert found.samples == 0
    assert not found.wrong
