"""Reading checkpoints: what is right loads exactly, what is wrong is named by file and tensor."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import family_checkpoints
from engine.errors import CheckpointError
from engine.models import checkpoint as checkpoints
from engine.models import shards, store
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


def _rewrite(path: Path, **changes: torch.Tensor) -> None:
    save_file(load_file(path) | changes, path)


def _index(folder: Path, change) -> None:
    path = folder / checkpoints.INDEX
    index = json.loads(path.read_text())
    change(index["weight_map"])
    path.write_text(json.dumps(index))


DOWN = "model.layers.2.mlp.down_proj.weight"


def _break_missing_shard(folder: Path) -> None:
    next(folder.glob("model-00002*")).unlink()


def _break_truncated(folder: Path) -> None:
    path = next(folder.glob("model-00002*"))
    path.write_bytes(path.read_bytes()[:-100])


def _break_header(folder: Path) -> None:
    path = next(folder.glob("model-00002*"))
    path.write_bytes(path.read_bytes()[:50])


def _break_foreign(folder: Path) -> None:
    next(folder.glob("model-00002*")).write_bytes(b"<html>404 not found</html>" * 10)


def _break_offsets(folder: Path) -> None:
    path = next(folder.glob("model-00002*"))
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    next(facts for name, facts in header.items() if name != "__metadata__")["shape"][0] += 1
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])


def _break_extra(folder: Path) -> None:
    _rewrite(next(folder.glob("model-00001*")), **{"model.surprise": torch.zeros(2)})
    (folder / checkpoints.INDEX).unlink()


def _break_twice(folder: Path) -> None:
    _rewrite(next(folder.glob("model-00001*")), **{DOWN: load_file(_shard_of(folder, DOWN))[DOWN]})
    (folder / checkpoints.INDEX).unlink()


def _break_shape(folder: Path) -> None:
    path = _shard_of(folder, "model.embed_tokens.weight")
    _rewrite(path, **{"model.embed_tokens.weight": load_file(path)["model.embed_tokens.weight"][:-1].contiguous()})


def _break_fused_shape(folder: Path) -> None:
    name = "model.layers.1.self_attn.k_proj.weight"
    path = _shard_of(folder, name)
    _rewrite(path, **{name: load_file(path)[name][:-1].contiguous()})


def _break_float8(folder: Path) -> None:
    path = _shard_of(folder, DOWN)
    _rewrite(path, **{DOWN: load_file(path)[DOWN].to(torch.float8_e4m3fn)})


def _break_integers(folder: Path) -> None:
    path = _shard_of(folder, DOWN)
    _rewrite(path, **{DOWN: load_file(path)[DOWN].to(torch.int8)})


def _break_index(folder: Path) -> None:
    _index(folder, lambda files: files.update({DOWN: next(folder.glob("model-00001*")).name}))


def _break_index_file(folder: Path) -> None:
    _index(folder, lambda files: files.update({DOWN: "model-00099-of-00099.safetensors"}))


def _break_index_escape(folder: Path) -> None:
    _index(folder, lambda files: files.update({DOWN: "../elsewhere/model.safetensors"}))


def _break_index_json(folder: Path) -> None:
    (folder / checkpoints.INDEX).write_text('{"weight_map": []}')


def _break_missing_tensor(folder: Path) -> None:
    path = _shard_of(folder, DOWN)
    save_file({name: tensor for name, tensor in load_file(path).items() if name != DOWN}, path)
    _index(folder, lambda files: files.pop(DOWN))


def _break_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def _break_config_kind(folder: Path) -> None:
    (folder / "config.json").write_text("[]")


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


def _break_nothing_left(folder: Path) -> None:
    for path in folder.glob("*.safetensors*"):
        path.unlink()


def _shard_of(folder: Path, name: str) -> Path:
    return folder / json.loads((folder / checkpoints.INDEX).read_text())["weight_map"][name]


DAMAGE = [
    (_break_missing_shard, "model-00002", "is missing"),
    (_break_truncated, "model-00002", "100 bytes are missing"),
    (_break_header, "model-00002", "inside its header"),
    (_break_foreign, "model-00002", "not a whole safetensors file"),
    (_break_offsets, "model-00002", "wrong about the bytes of the tensor"),
    (_break_extra, "model-00001", "does not ask for: model.surprise"),
    (_break_twice, DOWN, "both hold"),
    (_break_shape, "model.embed_tokens.weight", "x32 but config.json asks for"),
    (_break_fused_shape, "model.layers.1.self_attn.k_proj.weight", "63 rows together, layers.1.qkv_proj.weight needs 64"),
    (_break_float8, DOWN, "stored as F8_E4M3"),
    (_break_integers, DOWN, "stored as I8"),
    (_break_index, DOWN, "it is in model-000"),
    (_break_index_file, "model-00099-of-00099.safetensors", "which model.safetensors.index.json names, is missing"),
    (_break_index_escape, DOWN, "not the name of a safetensors file in this folder"),
    (_break_index_json, "model.safetensors.index.json", "not a valid shard index"),
    (_break_missing_tensor, DOWN, "has no tensor"),
    (_break_config, "config.json", "not a valid model config"),
    (_break_config_kind, "config.json", "not a JSON object"),
    (_break_tokenizer, "tokenizer.json", "not a readable tokenizer"),
    (_break_mask, "<|missing|>", "mask token"),
    (_break_pickle, "pytorch_model.bin", "pickle"),
    (_break_nothing_left, "model", "no safetensors file"),
]


@pytest.mark.parametrize(("damage", "thing", "said"), DAMAGE, ids=[damage.__name__.removeprefix("_break_") for damage, _, _ in DAMAGE])
def test_damage_is_named(folder: Path, damage, thing: str, said: str) -> None:
    damage(folder)
    with pytest.raises(CheckpointError) as caught:
        Engine.load(str(folder), device="cpu")
    assert thing in str(caught.value)
    assert said in str(caught.value)
    assert str(folder) in str(caught.value)
    assert caught.value.action


@pytest.mark.parametrize(("damage", "thing", "said"), DAMAGE, ids=[damage.__name__.removeprefix("_break_") for damage, _, _ in DAMAGE])
def test_verify_finds_the_same_damage_and_goes_on(folder: Path, damage, thing: str, said: str) -> None:
    damage(folder)
    failed = [check for check in checkpoints.verify(folder) if check.state == "failed"]
    assert any(said in check.detail and thing in check.detail for check in failed)


def test_verify_reports_each_thing_that_is_right(folder: Path) -> None:
    checks = list(checkpoints.verify(folder))
    assert all(check.state == "ok" for check in checks)
    shards = sorted(path.name for path in folder.glob("*.safetensors"))
    assert [check.name for check in checks] == ["config.json", "tokenizer", "tensors", "shapes", *shards]
    assert "family dlsp" in checks[0].detail
    assert "mask 3" in checks[1].detail


@pytest.mark.parametrize(("damage", "thing", "said"), DAMAGE, ids=[damage.__name__.removeprefix("_break_") for damage, _, _ in DAMAGE])
def test_verify_tells_no_damage_twice_and_sends_nobody_to_verify(folder: Path, damage, thing: str, said: str) -> None:
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    damage(folder)
    failed = [check for check in checkpoints.verify(folder, hashes) if check.state == "failed"]
    assert sum(said in check.detail for check in failed) == 1
    for check in failed:
        assert check.action
        assert "models verify" not in check.detail + check.action
    if damage in (_break_truncated, _break_header, _break_foreign, _break_config, _break_index_json, _break_missing_shard):
        assert len(failed) == 1


def test_what_to_do_depends_on_where_the_folder_came_from(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _break_truncated(folder)
    with pytest.raises(CheckpointError, match=r"Copy model-00002-of-\d+\.safetensors again from where its folder came from\."):
        checkpoints.read(folder) and _load(folder)
    commit = "c" * 40
    store.write(folder, store.Manifest(id="Org/Name", revision="main", commit=commit, files=(), pulled=1.0))
    with pytest.raises(CheckpointError, match=rf"`dlsp models pull Org/Name@{commit[:12]}` mends it"):
        _load(folder)
    (folder / "tokenizer.json").write_text("{}")
    assert next(check for check in checkpoints.verify(folder) if check.name == "tokenizer").action.startswith("`dlsp models pull Org/Name@")
    monkeypatch.setattr(store, "BUILT_IN", folder.parent)
    with pytest.raises(CheckpointError, match="Install dlsp again"):
        _load(folder)


def test_verify_compares_recorded_hashes_of_weights_and_of_other_files(folder: Path) -> None:
    shard = next(folder.glob("model-00001*"))
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (shard, folder / "config.json")}
    assert all(check.state == "ok" for check in checkpoints.verify(folder, hashes))
    name = next(iter(load_file(shard)))
    _rewrite(shard, **{name: load_file(shard)[name] + 1})
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    wrong = [check.name for check in checkpoints.verify(folder, hashes) if check.state == "failed"]
    assert wrong == [shard.name, "config.json"]


def test_verify_finds_values_that_no_weight_has(folder: Path) -> None:
    path = _shard_of(folder, DOWN)
    tensor = load_file(path)[DOWN]
    tensor[-1, -1] = float("nan")
    _rewrite(path, **{DOWN: tensor})
    failed = [check for check in checkpoints.verify(folder) if check.state == "failed"]
    assert len(failed) == 1
    assert DOWN in failed[0].detail
    assert "not finite" in failed[0].detail


def test_nothing_is_read_before_everything_fits(folder: Path) -> None:
    path = next(folder.glob("model-00001*"))
    _rewrite(path, **{"model.surprise": torch.zeros(2)})
    (folder / checkpoints.INDEX).unlink()
    checkpoint = checkpoints.read(folder)
    network = Transformer(checkpoint.config)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(CheckpointError):
        checkpoints.load_weights(network, checkpoint)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_file_that_shrinks_while_it_is_read_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _shard_of(folder, DOWN)
    whole = shards.locate

    def locate_then_cut(directory: Path):
        found = whole(directory)
        path.write_bytes(path.read_bytes()[:-100])
        return found

    monkeypatch.setattr(shards, "locate", locate_then_cut)
    with pytest.raises(CheckpointError, match="became shorter while it was read"):
        _load(folder)


def test_one_shard_is_open_at_a_time_and_progress_grows_to_one(folder: Path) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("this system does not list open files")
    checkpoint = checkpoints.read(folder)
    seen: list[float] = []
    most: list[int] = []

    def report(share: float) -> None:
        seen.append(share)
        targets = [os.readlink(entry) for entry in descriptors.iterdir() if entry.is_symlink() and os.path.lexists(entry)]
        most.append(sum(target.endswith(".safetensors") for target in targets))

    checkpoints.load_weights(Transformer(checkpoint.config), checkpoint, report)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert max(most) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_every_number_format_of_file_and_network_loads(folder: Path, dtype: torch.dtype) -> None:
    expected = _load(folder).state_dict()
    for path in folder.glob("*.safetensors"):
        save_file({name: tensor.to(dtype) for name, tensor in load_file(path).items()}, path)
    tolerance = 1e-2 if dtype == torch.bfloat16 else 0.0
    checkpoint = checkpoints.read(folder)
    for target in (torch.float32, torch.bfloat16):
        network = Transformer(checkpoint.config).to(target)
        checkpoints.load_weights(network, checkpoint)
        for name, tensor in network.state_dict().items():
            torch.testing.assert_close(tensor, expected[name].to(dtype).to(target), rtol=tolerance, atol=tolerance)


def test_blocks_of_any_size_give_the_same_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = checkpoints.read(folder)
    expected = Transformer(checkpoint.config).to(torch.bfloat16)
    checkpoints.load_weights(expected, checkpoint)
    stream = shards.stream
    monkeypatch.setattr(shards, "stream", lambda reads, report, pinned: stream(reads, report, block_bytes=300))
    found = Transformer(checkpoint.config).to(torch.bfloat16)
    checkpoints.load_weights(found, checkpoint)
    assert all(torch.equal(tensor, found.state_dict()[name]) for name, tensor in expected.state_dict().items())


def test_a_shared_output_head_may_be_in_the_file_or_not(tmp_path: Path) -> None:
    folder = family_checkpoints.write("open-dcoder", tmp_path / "model")
    plain = checkpoints.read(folder)
    network = Transformer(plain.config)
    checkpoints.load_weights(network, plain)
    path = folder / "model.safetensors"
    _rewrite(path, **{"lm_head.weight": load_file(path)["model.embed_tokens.weight"].clone()})
    again = Transformer(plain.config)
    checkpoints.load_weights(again, checkpoints.read(folder))
    assert network.lm_head.weight is network.embed_tokens.weight
    assert torch.equal(again.lm_head.weight, network.lm_head.weight)


def test_an_output_head_of_its_own_must_be_there(tmp_path: Path) -> None:
    folder = family_checkpoints.write("dream", tmp_path / "model")
    path = folder / "model.safetensors"
    save_file({name: tensor for name, tensor in load_file(path).items() if name != "lm_head.weight"}, path)
    with pytest.raises(CheckpointError, match=r"has no tensor lm_head\.weight"):
        _load(folder)


def test_tensors_that_are_nobodys_are_no_reason_to_refuse(tmp_path: Path) -> None:
    folder = family_checkpoints.write("dream", tmp_path / "model")
    _rewrite(folder / "model.safetensors", **{"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)})
    _load(folder)


def test_a_single_file_is_used_alone_although_others_lie_beside_it(tmp_path: Path) -> None:
    folder = family_checkpoints.write("dream", tmp_path / "model")
    save_file({"something.lora_A.weight": torch.ones(2)}, folder / "adapter_model.safetensors")
    _load(folder)


def test_pickles_are_named_even_where_only_tensors_would_tell_the_family(tmp_path: Path) -> None:
    folder = family_checkpoints.write("dream-reasoner", tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | {"architectures": ["Nobody"], "auto_map": {}}))
    with pytest.raises(CheckpointError, match="pickle"):
        checkpoints.read(folder)


def test_an_embedding_larger_than_the_tokenizer_is_fine_and_a_smaller_one_is_not(tmp_path: Path) -> None:
    folder = family_checkpoints.write("dream", tmp_path / "model")
    checkpoint = checkpoints.read(folder)
    tokenizer = checkpoints.tokenizer_of(checkpoint)
    assert tokenizer.vocab_size < checkpoint.config.vocab_size
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | {"vocab_size": tokenizer.vocab_size - 1}))
    with pytest.raises(CheckpointError, match="embed_tokens.weight is .* but config.json asks for"):
        checkpoints.read(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=f"has {tokenizer.vocab_size} tokens, the model only {tokenizer.vocab_size - 1}"):
        checkpoints.tokenizer_of(checkpoints.read(folder))


@pytest.mark.parametrize(
    ("card", "family", "licence", "noticed"),
    [
        ("", "dream", "Apache-2.0", ""),
        ("---\nlicense: mit\ntags: [code]\n---\n# A model\n", "dream", "mit", ""),
        ("---\nlicense: other\nlicense_name: apple-amlr\n---\n", "dream", "apple-amlr", "apple-amlr"),
        ("---\nlicense: cc-by-nc-4.0\n---\n", "dream", "cc-by-nc-4.0", "cc-by-nc-4.0"),
        ("---\nlicense: mit\n---\n", "coda", "mit", "non-commercial"),
        ("# No front matter\nlicense: gpl-3.0\n", "dream", "Apache-2.0", ""),
    ],
)
def test_the_licence_is_what_the_model_card_says(tmp_path: Path, card: str, family: str, licence: str, noticed: str) -> None:
    folder = family_checkpoints.write(family, tmp_path / "model")
    if card:
        (folder / "README.md").write_text(card)
    checkpoint = checkpoints.read(folder)
    assert checkpoint.licence == licence
    assert noticed in checkpoint.notice
    assert bool(noticed) == bool(checkpoint.notice)


def test_a_pulled_model_is_found_by_its_name_and_a_missing_one_can_be_pulled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "locate", lambda name: folder if name == "Org/Name@main" else None)
    assert checkpoints.find("Org/Name@main") == folder
    with pytest.raises(CheckpointError, match=r"dlsp models pull Org/Other"):
        checkpoints.find("Org/Other")
