"""The training loss of the packed split layout: canvases, plus next-token and previous-token losses on the two streams.

Shape suffixes: B windows, L window tokens, R canvas rows, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.models.transformer import Transformer
from engine.train.packed import PackedBatch, packed_forward

PREFIX_WEIGHT = 0.5
SUFFIX_WEIGHT = 0.15
SUFFIX_STRIDE = 4
"""Every n-th row of the suffix stream is scored: it only has to encode, and scoring costs a head each."""


def packed_loss(model: Transformer, batch: PackedBatch) -> tuple[Tensor, Tensor]:
    """The scalar to minimise, and its detached parts [4]: prefix stream, suffix stream, masked canvases, verify canvases."""
    prefix, suffix, canvas = packed_forward(model, batch)
    length = batch.tokens_BL.shape[1]
    rows = torch.cat((prefix[:, :-1].flatten(0, 1), suffix[:, 3::SUFFIX_STRIDE].flatten(0, 1), canvas.flatten(0, 1)))
    targets = torch.cat(
        (batch.tokens_BL[:, 1:].flatten(), batch.tokens_BL[:, 2 : length - 1 : SUFFIX_STRIDE].flatten(), batch.target_BR.flatten())
    )
    losses = F.cross_entropy(model.logits(rows).float(), targets, reduction="none")
    cut = prefix[:, :-1].shape[0] * (length - 1)
    second = cut + suffix[:, 3::SUFFIX_STRIDE].shape[0] * suffix[:, 3::SUFFIX_STRIDE].shape[1]
    weights = batch.weight_BR.flatten()
    on_canvas = losses[second:] * weights
    verify = batch.verify_BN.repeat_interleave(batch.canvas_BR.shape[1] // batch.verify_BN.shape[1], dim=1).flatten().float()
    prefix_loss, suffix_loss = losses[:cut].mean(), losses[cut:second].mean()
    total = on_canvas.sum() / weights.sum() + PREFIX_WEIGHT * prefix_loss + SUFFIX_WEIGHT * suffix_loss
    masked_loss = (on_canvas * (1 - verify)).sum() / (weights * (1 - verify)).sum().clamp(min=1e-6)
    verify_loss = (on_canvas * verify).sum() / (weights * verify).sum().clamp(min=1e-6)
    return total, torch.stack((prefix_loss, suffix_loss, masked_loss, verify_loss)).detach()
