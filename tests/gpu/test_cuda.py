"""The engine on a CUDA GPU: the cached path against the plain one, and against the CPU. Skipped where there is no usable GPU."""

from __future__ import annotations

import pytest
import torch

from engine.api import Hole, InfillRequest
from engine.runtime.engine import Engine

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU on this machine")

PREFIX = "import os\n\n\nclass Box:\n    def __init__(self, name, value):\n        self.name = name\n        self."
SUFFIX = "\n\n    def get(self):\n        return self.value\n"
REQUEST = InfillRequest(prefix=PREFIX, suffix=SUFFIX, holes=(Hole(max_lines=2, max_tokens=32),))


def test_auto_takes_the_gpu() -> None:
    engine = Engine.load("nano")
    assert engine.device.startswith("cuda")
    assert engine.fallback_reason == ""


def test_cached_equals_plain_on_the_gpu() -> None:
    engine = Engine.load("nano", device="cuda", dtype="float32")
    one, other = engine.infill(REQUEST), engine.infill_uncached(REQUEST)
    assert one.text == other.text
    assert one.fills[0].confidence == pytest.approx(other.fills[0].confidence, rel=1e-2)


def test_the_gpu_scores_like_the_cpu() -> None:
    on_gpu, on_cpu = (Engine.load("nano", device=d, dtype="float32") for d in ("cuda", "cpu"))
    ids = [*on_cpu.tokenizer.encode(PREFIX).ids, *[on_cpu.token_ids.mask] * 16, *on_cpu.tokenizer.encode(SUFFIX).ids]
    a, b = on_gpu.logits(ids).cpu(), on_cpu.logits(ids)
    assert float((a - b).norm() / b.norm()) < 1e-3
