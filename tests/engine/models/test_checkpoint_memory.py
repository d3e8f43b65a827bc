"""Loading holds no second copy of the weights: what a fresh process takes beyond them at its peak."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.models import checkpoint as checkpoints
from engine.models.config import ModelConfig
from engine.models.families import InfillDefaults, own_config_json


@pytest.mark.parametrize("precision", ["bfloat16", "float32", "int4"])
def test_memory_beyond_the_weights_stays_below_the_largest_shard(big: Path, precision: str) -> None:
    used = _peak(LOADING.format(folder=big, precision=precision))
    assert used["extra"] <= 1.2 * max(path.stat().st_size for path in big.glob("*.safetensors"))


def test_the_memory_test_notices_a_loader_that_reads_everything_first(big: Path) -> None:
    used = _peak(NAIVE.format(folder=big))
    assert used["extra"] > 1.2 * max(path.stat().st_size for path in big.glob("*.safetensors"))


LOADING = """
from pathlib import Path
from engine.models import checkpoint as checkpoints
from engine.runtime.device import place
from engine.runtime.loading import fill_network
checkpoint, placement = checkpoints.read(Path("{folder}")), place("cpu", {precision!r})
fill_network(checkpoints.read(checkpoints.find("nano")), placement)
def load():
    network = fill_network(checkpoint, placement)
    return network, sum(t.nbytes for t in (*network.parameters(), *network.buffers()))
"""
NAIVE = """
from pathlib import Path
from safetensors.torch import load_file
def load():
    found = {{}}
    for path in sorted(Path("{folder}").glob("*.safetensors")):
        found.update({{name: tensor + 0 for name, tensor in load_file(path).items()}})
    copy = [tensor.clone() for tensor in found.values()]
    return copy, sum(tensor.nbytes for tensor in copy)
"""
MEASURE = """
import json, re
def resident(field):
    return 1024 * int(re.search(rf"^{field}:\\s+(\\d+) kB", open("/proc/self/status").read(), re.M).group(1))
before = resident("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
kept, weights = load()
print(json.dumps({"extra": resident("VmHWM") - before - weights}))
"""


def _peak(code: str) -> dict[str, int]:
    """What a fresh process holds at most beyond its weights: anonymous, shared and mapped pages of files alike."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("this system does not tell the peak")
    environment = os.environ | {"PYTHONPATH": str(Path(checkpoints.__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code + MEASURE], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 150 MB of zeros in seven shards, the sources of fused parameters spread over them. The files are sparse, memory is not."""
    folder = tmp_path_factory.mktemp("big")
    config = ModelConfig(
        vocab_size=4096, hidden_size=1024, intermediate_size=4096, num_layers=4, num_heads=16, num_kv_heads=16, head_dim=64
    )
    raw = own_config_json(config, {"mask": "<|mask|>", "end": "<|end|>"}, InfillDefaults(), "big")
    (folder / "config.json").write_text(json.dumps(raw))
    width, inner = config.hidden_size, config.intermediate_size
    shapes: dict[str, list[int]] = {"model.embed_tokens.weight": [config.vocab_size, width], "model.norm.weight": [width]}
    for layer in range(config.num_layers):
        at = f"model.layers.{layer}."
        shapes |= {f"{at}{norm}.weight": [width] for norm in ("input_layernorm", "post_attention_layernorm")}
        shapes |= {f"{at}self_attn.{x}_proj.weight": [width, width] for x in "qkvo"}
        shapes |= {f"{at}mlp.{x}_proj.weight": [inner, width] for x in ("gate", "up")} | {f"{at}mlp.down_proj.weight": [width, inner]}
    for shard in range(7):
        header, end = {}, 0
        for name, shape in list(shapes.items())[shard::7]:
            size = 2 * math.prod(shape)
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
            end += size
        text = json.dumps(header).encode()
        with (folder / f"model-{shard + 1:05d}-of-00007.safetensors").open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(8 + len(text) + end)
    return folder
