"""A small random network and the text its tokenizer is trained on."""

from __future__ import annotations

import torch

from engine.models.config import ModelConfig
from engine.models.transformer import Transformer
from engine.text.tokenizer import Tokenizer
from engine.train.trainer import initialise

SAMPLE = """\
def add(first, second):
    total = first + second
    return total


class Box:
    def __init__(self, value):
        self.value = value
"""


def tiny_config(tokenizer: Tokenizer, attention: str = "split", **facts: object) -> ModelConfig:
    base = {
        "vocab_size": tokenizer.vocab_size,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_layers": 3,
        "num_heads": 4,
        "num_kv_heads": 2,
        "head_dim": 8,
        "qk_norm": True,
        "attention": attention,
        "block_length": 4 if attention == "block_causal" else 0,
        "num_roles": 4 if attention == "split" else 0,
    }
    return ModelConfig(**(base | facts))  # type: ignore[arg-type]


def tiny_network(config: ModelConfig, seed: int = 0) -> Transformer:
    """Random weights, biased away from the zero projections that training starts with, so that every path matters."""
    torch.manual_seed(seed)
    network = Transformer(config)
    initialise(network)
    for parameter in network.parameters():
        parameter.data += 0.15 * torch.randn_like(parameter)
    return network.eval().requires_grad_(False)
