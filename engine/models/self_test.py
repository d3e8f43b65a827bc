"""A load-time self-test: does the network, as it was configured, put known tokens back where they were masked?

It notices a wrong logit shift and attention that sees only one side. It knows token ids, not text, and says nothing about quality.

Whoever loads a model calls it once, after the weights are in place:

    found = self_test(network, [tokenizer.encode(text).ids for text in TRIVIAL], tokens.mask)
    if found.wrong:
        raise CheckpointError(f"{directory}: {found.message}")

It costs one pass over a few hundred tokens.

Shape suffixes: N masked copies of lines, S rows, M model width, V vocabulary.
"""

from __future__ import annotations

import msgspec
import torch
from torch import Tensor

from engine.models.attention import block_causal_mask
from engine.models.transformer import Transformer

TRIVIAL = (
    "for i in range(10):\n    print(i)\n",
    "import os\nimport sys\n\nif __name__ == '__main__':\n    main()\n",
    "def add(a, b):\n    return a + b\n\n\ndef sub(a, b):\n    return a - b\n",
)
"""Lines that every code model completes without effort."""

_POSITIONS = 8
"""Tokens masked in a line, one at a time: enough to tell chance from a convention, few enough to be quick on a CPU."""

_MARGIN = 2.0
"""Nats by which the other convention must win on average. The right one wins by 5 and more in models that know the lines."""

_AGREEMENT = 0.75
"""Share of the masked tokens for which it must win."""


class SelfTest(msgspec.Struct, frozen=True, kw_only=True):
    """What the test saw.

    `configured` and `other` are mean log probabilities (nats) of the masked tokens under the configured logit shift and under
    the other one, `agreement` is the share of tokens for which the other one did better, `samples` their number. `suffix_effect`
    is how far the scores of a masked token moved, relatively, when what stands behind it changed. A network that knows nothing,
    such as a random one, gives no evidence and is not wrong.
    """

    configured: float
    other: float
    agreement: float
    samples: int
    suffix_effect: float
    wrong_shift: bool
    one_sided: bool

    @property
    def wrong(self) -> bool:
        """Whether the evidence is clear that the network does not do what its family says."""
        return self.wrong_shift or self.one_sided

    @property
    def message(self) -> str:
        """One sentence on what is wrong; empty where nothing is."""
        if self.wrong_shift:
            return (
                f"the model scores tokens one place off: masked tokens have a mean log probability of {self.configured:.1f} as its family "
                f"says, but {self.other:.1f} with the other logit shift."
            )
        if self.one_sided:
            return "the model cannot see what stands behind a hole: other text there changes nothing."
        return ""


@torch.inference_mode()
def self_test(network: Transformer, lines: list[list[int]], mask: int) -> SelfTest:
    """Mask single tokens of `lines` (token ids of a few trivial texts) and see under which convention they come back.

    The split layout, which reads prefix and suffix one-sidedly by design, is not examined: the result has no samples.
    """
    config = network.config
    cases = [(line, at) for line in lines for at in _telling(line)] if config.attention != "split" else []
    if not cases:
        return SelfTest(configured=0.0, other=0.0, agreement=0.0, samples=0, suffix_effect=1.0, wrong_shift=False, one_sided=False)
    truth = torch.tensor([line[at] for line, at in cases], device=network.embed_tokens.weight.device)
    hidden = _hidden(network, [[*line[:at], mask, *line[at + 1 :]] for line, at in cases])
    rows = torch.arange(len(cases), device=truth.device)
    places = torch.tensor([at for _, at in cases], device=truth.device)
    here, before = (_log_probability(network, hidden[rows, places - shift], truth) for shift in (0, 1))
    configured, other = (before, here) if config.logit_shift else (here, before)
    agreement = float((other > configured).float().mean())
    chance = -float(torch.tensor(float(config.vocab_size)).log())
    knows = float(other.mean()) > chance / 2
    effect = _suffix_effect(network, max(lines, key=len), mask)
    return SelfTest(
        configured=float(configured.mean()),
        other=float(other.mean()),
        agreement=agreement,
        samples=len(cases),
        suffix_effect=effect,
        wrong_shift=knows and agreement >= _AGREEMENT and float((other - configured).mean()) > _MARGIN,
        one_sided=effect == 0.0,
    )


def _telling(line: list[int]) -> list[int]:
    """Positions, spread over the line, whose token differs from both neighbours: equal ones look the same under both conventions."""
    good = [at for at in range(1, len(line) - 1) if line[at] not in (line[at - 1], line[at + 1])]
    step = max(1, len(good) // _POSITIONS)
    return good[::step][:_POSITIONS]


def _hidden(network: Transformer, sequences: list[list[int]]) -> Tensor:
    """Hidden states [N, S, M] of sequences of different lengths, padded on the right; padding is seen by no valid row."""
    device, config = network.embed_tokens.weight.device, network.config
    longest = max(map(len, sequences))
    tokens = torch.tensor([[*s, *[0] * (longest - len(s))] for s in sequences], device=device)
    positions = torch.arange(longest, device=device).expand(len(sequences), -1)
    valid = positions < torch.tensor([len(s) for s in sequences], device=device)[:, None]
    if config.attention == "block_causal":
        return network(tokens, positions, mask=block_causal_mask(positions, config.block_length, valid))
    return network(tokens, positions, mask=valid[:, None, None, :].expand(-1, 1, longest, -1))


def _log_probability(network: Transformer, hidden_NM: Tensor, truth_N: Tensor) -> Tensor:
    scores_NV = network.logits(hidden_NM).float()
    return scores_NV.log_softmax(-1).gather(1, truth_N[:, None])[:, 0]


def _suffix_effect(network: Transformer, line: list[int], mask: int) -> float:
    """Relative change of a masked token's scores when the last token that it may see becomes another; 1 where none follows it."""
    config = network.config
    end = min(len(line), config.block_length) if config.attention == "block_causal" else len(line)
    if end < 3:
        return 1.0
    first = [line[0], mask, *line[2:end]]
    second = [*first[:-1], next(token for token in (*line, (first[-1] + 1) % config.vocab_size) if token not in (first[-1], mask))]
    one, two = network.logits(_hidden(network, [first, second])[:, 1 - config.logit_shift]).float()
    return float((one - two).norm() / one.norm())
