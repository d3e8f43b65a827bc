"""Models of published size with random weights on a CUDA GPU: they load, fill holes, and stay within the memory that is stated.

Each test prints its figures (`pytest tests/gpu -s`). Skipped where there is no usable GPU, or too little memory or disk.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import family_checkpoints
from engine.api import Hole, InfillRequest
from engine.models import checkpoint as checkpoints
from engine.models.outline import outline
from engine.runtime.device import place
from engine.runtime.engine import Engine
from engine.runtime.loading import footprint

GIGABYTE = 10**9
QWEN_7B = {
    "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
    "num_key_value_heads": 4,
}  # fmt: skip
QWEN_HALF_B = {
    "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
    "num_key_value_heads": 2,
}  # fmt: skip
LINES = [f"def function_{n}(value_{n}):\n    return value_{n} + {n}\n\n\n" for n in range(400)]
REQUEST = InfillRequest(prefix="".join(LINES) + "def add(first, second):\n    return ", suffix="\n\n" + "".join(LINES), holes=(Hole(),))


def write(family: str, folder: Path, shape: dict[str, Any], shard_bytes: int = 4 * GIGABYTE) -> Path:
    """A checkpoint of `family` with random bfloat16 weights of another shape, in shards of at most `shard_bytes`."""
    family_checkpoints.write(family, folder, **shape)
    checkpoint = checkpoints.read(folder)
    names = [source for name, _ in outline(checkpoint.config).named_parameters() for source in checkpoint.family.sources(name)]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    heads, shared = (checkpoint.config.head_dim * n for n in (checkpoint.config.num_heads, checkpoint.config.num_kv_heads))
    rows = {"q_proj": heads, "k_proj": shared, "v_proj": shared, "gate_proj": shape["intermediate_size"]}
    rows["up_proj"] = rows["gate_proj"]
    sizes = {
        source: list(p.shape) for name, p in outline(checkpoint.config).named_parameters() for source in checkpoint.family.sources(name)
    }
    (folder / "model.safetensors").unlink()
    part: dict[str, torch.Tensor] = {}
    size = number = 0
    for index, name in enumerate(names):
        dims = sizes[name]
        dims[0] = next((count for piece, count in rows.items() if f".{piece}." in name), dims[0])
        spread = 1.0 if len(dims) == 1 else 0.02
        part[name] = (spread * torch.randn(dims, device=device, dtype=torch.bfloat16)).cpu()
        size += part[name].nbytes
        if size > shard_bytes or index == len(names) - 1:
            number += 1
            save_file(part, folder / f"model-{number:05d}.safetensors", metadata={"format": "pt"})
            part, size = {}, 0
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU on this machine")
    made: dict[str, Path] = {}

    def get(family: str, shape: dict[str, Any]) -> Path:
        if family not in made:
            room = tmp_path_factory.getbasetemp()
            if shutil.disk_usage(room).free < 20 * GIGABYTE:
                pytest.skip("less than 20 GB of disk are free")
            made[family] = write(family, tmp_path_factory.mktemp(family), shape)
        return made[family]

    yield get
    for folder in made.values():
        shutil.rmtree(folder)


@pytest.mark.parametrize("dtype", ["bfloat16", "int8", "int4"])
@pytest.mark.parametrize(("family", "shape"), [("dreamon", QWEN_7B), ("open-dcoder", QWEN_HALF_B)], ids=["dreamon-7b", "open-dcoder-0.5b"])
def test_memory_stays_within_what_is_stated(folders, family: str, shape: dict[str, Any], dtype: str) -> None:
    checkpoint = checkpoints.read(folders(family, shape))
    placement = place("cuda", dtype)
    stated = footprint(checkpoint, placement.precision, placement.dtype)
    if torch.cuda.mem_get_info()[0] < stated.total + GIGABYTE:
        pytest.skip(f"{stated.total / GIGABYTE:.0f} GB of GPU memory are needed")
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    engine = Engine.load(str(checkpoint.directory), device="cuda", dtype=dtype)
    loaded = time.perf_counter() - began
    result = engine.infill(REQUEST)
    again = engine.infill(REQUEST)
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() - before
    print(
        f"\n{family} {dtype}: load {loaded:.1f} s, peak {peak / GIGABYTE:.2f} of {stated.total / GIGABYTE:.2f} GB stated, "
        f"{result.prompt_tokens} prompt tokens, {again.forwards} forwards in {again.timings.denoise_ms:.0f} ms"
    )
    assert again.text == result.text
    assert result.finish in ("complete", "length")
    assert result.prompt_tokens > 1000
    assert peak <= stated.total
    del engine
