"""The layouts that `nano` was compared with, decoded as well as the one that ships: engines for `rows.py`'s checkpoints.

*Suffix-first*: keys and values of suffix and prefix are kept, a step costs the canvas. *Causal*: the autoregressive peer, one token a
pass with a growing cache, greedy, from the same forced start and with the same end-of-line rule. Knows no corpus and no score.

Shape suffixes: S rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from engine.diffusion.canvas import log_of
from engine.diffusion.sampler import Rules
from engine.models.attention import ROLES
from engine.models.kv_cache import ContextKV, KVStack
from engine.models.transformer import Transformer
from engine.runtime.engine import Engine
from engine.runtime.fill import Attempt, Filled, Job, Stopped, Tools
from engine.runtime.reuse import BlockStore
from engine.runtime.rolling import RollingFiller
from engine.runtime.runner import Opened


def load(folder: Path, threads: int = 0) -> Engine:
    """The engine for a checkpoint of any layout."""
    engine = Engine.load(str(folder), device="cpu", threads=threads)
    config = engine.network.config
    if config.attention == "block_causal" and config.num_roles:
        engine._filler = RollingFiller(SuffixFirstRunner(engine.network, engine.defaults.canvas, engine._tools), engine._tools)
    elif config.attention == "block_causal":
        engine._filler = CausalFiller(engine.network, engine._tools)
    return engine


class SuffixFirstRunner:
    """Opens canvases behind suffix and prefix, of which the prefix sees the suffix and neither sees the canvas."""

    def __init__(self, model: Transformer, slots: int, tools: Tools) -> None:
        self._model, self.slots, self._tools = model, slots, tools
        self._known: dict[tuple[str, str], tuple[list[int], list[int], KVStack]] = {}

    def open(self, document: tuple[str, str], prefix_ids: list[int], suffix_ids: list[int]) -> Opened:
        """Prepare a canvas; rows that the document's last prompt shares with this one are kept."""
        model, slots, device = self._model, self.slots, self._model.embed_tokens.weight.device
        fim = self._tools.ids.fim
        assert fim is not None, "this layout marks suffix and prefix"
        head = [fim.suffix, *suffix_ids, fim.prefix]
        ids = [*head, *prefix_ids]
        roles = [ROLES["suffix"]] * len(head) + [ROLES["prefix"]] * len(prefix_ids)
        before, before_roles, stack = self._known.get(document, ([], [], KVStack([], [])))
        pairs = zip(zip(before, before_roles, strict=True), zip(ids, roles, strict=True), strict=False)
        shared = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(before), len(ids)))
        past = stack.crop(shared) if shared else None
        forwards = 0
        if shared < len(ids):
            rows, kinds = (torch.tensor([values[shared:]], device=device) for values in (ids, roles))
            stack = model.encode(rows, 1, past, kinds)
            forwards = 1
        else:
            stack = stack.crop(shared)
        self._known = {document: (ids, roles, stack)}
        positions = torch.arange(len(ids), len(ids) + slots, device=device)[None]
        kept = [(stack, torch.arange(len(ids), device=device))]

        def forward(drafts: Sequence[Sequence[Sequence[int]]]) -> list[list[Tensor]]:
            batch = len(drafts)
            context = ContextKV.assemble(kept, slots, model.config, batch)
            tokens_BC = torch.tensor([list(holes[0]) for holes in drafts], device=device)
            roles_BC = torch.full_like(tokens_BC, ROLES["canvas"])
            scores = model.logits(model(tokens_BC, positions.expand(batch, -1), roles_BS=roles_BC, context=context))
            return [[row] for row in scores]

        return Opened(forward, slots, shared, forwards)


class CausalFiller:
    """Writes one gap from left to right, a token a pass; keys and values stay where they are."""

    def __init__(self, model: Transformer, tools: Tools) -> None:
        self._model, self._tools = model, tools
        self._store = BlockStore(model)

    def fill(self, job: Job) -> list[Attempt]:
        """The greedy answer; of one gap without a draft."""
        (spot,) = job.prompt.spots
        ids, model = self._tools.ids, self._model
        fim = ids.fim
        assert fim is not None, "this layout marks suffix, prefix and middle"
        device = model.embed_tokens.weight.device
        prompt = [fim.suffix, *job.prompt.texts[1], fim.prefix, *job.prompt.texts[0]]
        tokens: list[int] = []
        logprob, forced, last = 0.0, spot.forced, fim.middle
        sampler = self._tools.sampler(job.options)
        try:
            job.watch.passing()
            stack, job.watch.reused, _ = self._store.context(job.document, prompt)
            context = ContextKV.assemble([(stack, torch.arange(len(prompt), device=device))], spot.room + 1, model.config)
            while len(tokens) < spot.room:
                job.watch.passing()
                job.watch.steps += 1
                position = torch.tensor([[len(prompt) + len(tokens)]], device=device)
                scores = model.logits(model(torch.tensor([[last]], device=device), position, context=context))[0]
                context.context_rows += 1
                free = not forced
                rules = Rules(
                    one_line_from=0 if spot.one_line and free else 1,
                    fold_from=0 if spot.one_line and free else 1,
                    end_from=0 if free else 1,
                    only=None if free else (0, self._tools.constraint.allowed(forced)),
                )
                proposal = sampler.propose(scores, rules)
                last = proposal.tokens[0]
                logprob += log_of(proposal.confidence[0])
                if last == ids.end:
                    return [[Filled(tokens, logprob, "complete")]]
                tokens.append(last)
                forced = self._tools.constraint.rest(forced, last) if forced else b""
        except Stopped as stopped:
            return [[Filled(tokens, logprob, stopped.finish)]]
        return [[Filled(tokens, logprob, "length")]]
