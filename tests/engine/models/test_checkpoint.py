"""Reading checkpoints: what is right loads exactly, what is wrong is named by file and tensor."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import CheckpointError, UnknownFamilyError
from engine.models import checkpoint as checkpoints
from engine.models.transformer import Transformer
from engine.runtime.engine import Engine


@pytest.fixture
def folder(make_checkpoint, tmp_path: Path) -> Path:
    return Path(shutil.copytree(make_checkpoint(shard_bytes=20_000), tmp_path / "model"))


def _load(folder: Path) -> Transformer:
    checkpoint = checkpoints.read(checkpoints.find(str(folder)))
    network = Transformer(checkpoint.config)
    checkpoints.load_weights(network, checkpoint)
    return network


def test_sharded_and_single_files_give_the_same_network(folder: Path, make_checkpoint) -> None:
    assert len(list(folder.glob("*.safetensors"))) > 3
    one, other = _load(folder), _load(make_checkpoint())
    for (name, a), (_, b) in zip(one.named_parameters(), other.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_files_without_an_index_load_too(folder: Path) -> None:
    expected = _load(folder).state_dict()
    (folder / checkpoints.INDEX).unlink()
    for name, tensor in _load(folder).state_dict().items():
        assert torch.equal(tensor, expected[name])


def _break_missing_shard(folder: Path) -> None:
    next(folder.glob("model-00002*")).unlink()


def _break_truncated(folder: Path) -> None:
    path = next(folder.glob("model-00002*"))
    path.write_bytes(path.read_bytes()[:-100])


def _break_extra(folder: Path) -> None:
    path = next(folder.glob("model-00001*"))
    save_file(load_file(path) | {"model.surprise": torch.zeros(2)}, path)
    (folder / checkpoints.INDEX).unlink()


def _break_shape(folder: Path) -> None:
    path = next(folder.glob("model-00001*"))
    tensors = load_file(path)
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"][:-1].contiguous()
    save_file(tensors, path)


def _break_index(folder: Path) -> None:
    index = json.loads((folder / checkpoints.INDEX).read_text())
    name = "model.layers.2.mlp.down_proj.weight"
    index["weight_map"][name] = next(folder.glob("model-00001*")).name
    (folder / checkpoints.INDEX).write_text(json.dumps(index))


def _break_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def _break_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


def _break_mask(folder: Path) -> None:
    raw = json.loads((folder / "config.json").read_text())
    raw["tokens"]["mask"] = "<|missing|>"
    (folder / "config.json").write_text(json.dumps(raw))


def _break_pickle(folder: Path) -> None:
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"x")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_break_missing_shard, "model-00002"),
        (_break_truncated, "model-00002"),
        (_break_extra, "model.surprise"),
        (_break_shape, "model.embed_tokens.weight"),
        (_break_index, "model.layers.2.mlp.down_proj.weight"),
        (_break_config, "config.json"),
        (_break_tokenizer, "tokenizer.json"),
        (_break_mask, "<|missing|>"),
        (_break_pickle, "pickle"),
    ],
)
def test_damage_is_named(folder: Path, damage, said: str) -> None:
    damage(folder)
    with pytest.raises(CheckpointError, match=said.replace("|", r"\|").replace(".", r"\.")):
        Engine.load(str(folder), device="cpu")


def test_an_unknown_family_is_refused_with_its_facts(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"architectures": ["SomethingElse"], "model_type": "else"}))
    with pytest.raises(UnknownFamilyError, match=r"SomethingElse.*else"):
        checkpoints.read(folder)


def test_a_name_that_is_no_model() -> None:
    with pytest.raises(CheckpointError, match="no model 'nanoo'"):
        checkpoints.find("nanoo")
