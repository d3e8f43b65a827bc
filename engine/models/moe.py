"""Mixture-of-experts feed-forward layers: a router in float32, experts as small modules of their own, an optional shared expert.

Knows the routing rules of `MoEConfig` and no family. How many rows an expert gets is read back from the device, so a pass through
these layers cannot be captured as a CUDA graph.

Shape suffixes: N rows, M model width, E experts, G groups, K experts a row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.models.config import MoEConfig


class MoE(nn.Module):
    """The feed-forward half of a layer, where each row goes through a few of many experts."""

    def __init__(self, config: MoEConfig, width: int) -> None:
        super().__init__()
        self.router = Router(config, width)
        self.experts = nn.ModuleList(Expert(width, config.expert_size) for _ in range(config.num_experts))
        self.shared = Expert(width, config.shared_size) if config.shared_size else None

    def forward(self, x_BSM: Tensor) -> Tensor:
        """The weighted sum of the chosen experts' outputs, plus the shared expert's: [B, S, M]."""
        x_NM = x_BSM.reshape(-1, x_BSM.shape[-1])
        weights_NK, chosen_NK = self.router(x_NM)
        # Rows are sorted by expert, so that each expert works once on a contiguous batch.
        order = chosen_NK.flatten().argsort(stable=True)
        counts = chosen_NK.flatten().bincount(minlength=len(self.experts)).tolist()
        weight = weights_NK.flatten()[order, None]
        row = order // chosen_NK.shape[1]
        out_NM = torch.zeros_like(x_NM, dtype=torch.float32)
        end = 0
        for expert, count in zip(self.experts, counts, strict=True):
            if count:
                start, end = end, end + count
                mine = row[start:end]
                out_NM.index_add_(0, mine, expert(x_NM[mine]).float() * weight[start:end])
        out_BSM = out_NM.to(x_BSM.dtype).view_as(x_BSM)
        return out_BSM if self.shared is None else out_BSM + self.shared(x_BSM)


class Expert(nn.Module):
    """SwiGLU of a given inner size."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_up_proj = nn.Linear(width, 2 * inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        return cast(Tensor, self.down_proj(F.silu(gate) * up))


class Router(nn.Module):
    """Chooses experts for a row and says how much each counts.

    Its parameters stay float32 whatever the network's dtype: rounding a score or a choice bias changes which experts are chosen.
    """

    def __init__(self, config: MoEConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(0.02 * torch.randn(config.num_experts, width, dtype=torch.float32))
        self.choice_bias = nn.Parameter(torch.zeros(config.num_experts, dtype=torch.float32)) if config.choice_bias else None

    def forward(self, x_NM: Tensor) -> tuple[Tensor, Tensor]:
        """Weights [N, K] in float32 and indices [N, K] of the chosen experts."""
        config = self.config
        logits_NE = F.linear(x_NM.float(), self.weight)
        scores_NE = logits_NE.sigmoid() if config.scoring == "sigmoid" else logits_NE.softmax(dim=-1)
        wanted_NE = scores_NE if self.choice_bias is None else scores_NE + self.choice_bias
        if config.num_groups > 1:
            wanted_NE = self._within_best_groups(wanted_NE)
        chosen_NK = wanted_NE.topk(config.experts_per_token, dim=-1).indices
        weights_NK = scores_NE.gather(1, chosen_NK)
        if config.normalize:
            weights_NK = weights_NK / (weights_NK.sum(dim=-1, keepdim=True) + 1e-20)
        return weights_NK * config.scale, chosen_NK

    def _within_best_groups(self, wanted_NE: Tensor) -> Tensor:
        """Only experts of the best groups stay eligible; a group is as good as its two best experts together (arXiv 2412.19437)."""
        config = self.config
        grouped_NGE = wanted_NE.unflatten(1, (config.num_groups, -1))
        group_NG = grouped_NGE.topk(min(2, grouped_NGE.shape[-1]), dim=-1).values.sum(dim=-1)
        best = group_NG.topk(config.groups_per_token, dim=-1).indices
        excluded_NG = torch.ones_like(group_NG, dtype=torch.bool).scatter_(1, best, False)
        return grouped_NGE.masked_fill(excluded_NG[..., None], -torch.inf).flatten(1)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Router:
        super()._apply(fn, recurse)
        for parameter in self.parameters(recurse=False):
            parameter.data = parameter.data.float()
        return self
