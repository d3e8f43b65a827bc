"""A published model of each family, to be pulled by name, with its size: what a list shows to somebody who has none yet.

Plain data, which imports nothing. docs/models.md says more about each, and how the figures are computed.
"""

from __future__ import annotations

from typing import NamedTuple


class Example(NamedTuple):
    """A model: its name on the hub, parameters in 10^9, and the memory in GB that it needs as bfloat16 and as int4.

    A figure that nobody has computed is 0.
    """

    id: str
    parameters: float
    bfloat16: float = 0.0
    int4: float = 0.0


EXAMPLES: dict[str, Example] = {
    "dreamon": Example("Dream-org/DreamOn-v0-7B", 7.62, 16.1, 6.0),
    "diffucoder": Example("apple/DiffuCoder-7B-cpGRPO", 7.62, 17.9, 7.8),
    "dream": Example("Dream-org/Dream-Coder-v0-Instruct-7B", 7.62, 17.9, 7.8),
    "dream-reasoner": Example("Dream-org/DreamReasoner-8B", 8.2),
    "open-dcoder": Example("fredzzp/open-dcoder-0.5B", 0.49, 2.0, 1.6),
    "a2d-qwen2": Example("dllm-hub/Qwen2.5-Coder-0.5B-Instruct-diffusion-mdlm-v0.1", 0.63, 2.3, 1.6),
    "a2d-qwen3": Example("dllm-hub/Qwen3-0.6B-diffusion-mdlm-v0.1", 0.75, 2.6, 1.9),
    "llada": Example("GSAI-ML/LLaDA-8B-Base", 8.02, 18.9, 8.2),
    "illada": Example("GSAI-ML/iLLaDA-8B-Base", 7.62, 17.8, 7.7),
    "llada-moe": Example("inclusionAI/LLaDA-MoE-7B-A1B-Base", 7.36, 16.6, 6.4),
    "coda": Example("Salesforce/CoDA-v0-Base", 1.72, 5.0, 3.0),
    "rnd1": Example("radicalnumerics/RND1-Base-0910", 30.53, 62.7, 18.5),
    "stable-diffcoder": Example("ByteDance-Seed/Stable-DiffCoder-8B-Base", 8.25, 19.0, 8.2),
    "sdar": Example("JetLM/SDAR-1.7B-Chat", 1.7),
    "sdar-moe": Example("JetLM/SDAR-30B-A3B-Chat-b32", 30.5),
    "fast-dllm": Example("Efficient-Large-Model/Fast_dLLM_v2_1.5B", 1.5),
    "llada2": Example("inclusionAI/LLaDA2.0-mini", 16.26, 33.9, 10.7),
}
"""By family; none is published of a2d-llama, and that of dlsp is built in."""
