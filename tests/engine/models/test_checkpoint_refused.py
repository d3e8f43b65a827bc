"""What is no checkpoint for dlsp: configs of another size than the files, families that are not known, names that mean nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import family_checkpoints
from engine.errors import CheckpointError, UnknownFamilyError
from engine.models import checkpoint as checkpoints
from engine.runtime.engine import Engine


@pytest.fixture
def folder(make_checkpoint, tmp_path: Path) -> Path:
    return Path(shutil.copytree(make_checkpoint(shard_bytes=20_000), tmp_path / "model"))


def test_a_config_that_is_refused_is_no_damage(tmp_path: Path) -> None:
    folder = family_checkpoints.write("dream", tmp_path / "model", rope_scaling={"type": "yarn", "factor": 4.0})
    with pytest.raises(CheckpointError, match="rope_scaling") as caught:
        checkpoints.read(folder)
    assert caught.value.action.startswith("Use another model")


@pytest.mark.parametrize(
    ("family", "change", "said"),
    [
        ("dream", {"num_hidden_layers": 10**9}, "config.json asks for 1000000000 layers, the files hold 2."),
        ("llada", {"n_layers": 10**9}, "config.json asks for 1000000000 layers, the files hold 2."),
        ("dream", {"num_hidden_layers": 1}, "config.json asks for 1 layers, the files hold 2."),
        ("dream", {"hidden_size": 10**9}, "is 352x32 but config.json asks for 352x1000000000"),
        ("dream", {"vocab_size": 10**9}, "but config.json asks for 1000000000x32"),
        ("rnd1", {"num_experts": 10**9}, "config.json asks for 1000000000 experts, the files hold 8."),
        ("dream", {"intermediate_size": 10**18}, "width 1,000,000,000,000,000,000, which no network has"),
        ("dream", {"head_dim": 10**18}, "which no network has"),
    ],
)
def test_absurd_sizes_are_refused_before_anything_is_built(
    tmp_path: Path, family: str, change: dict[str, int], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "outline", lambda config: pytest.fail("built"))
    folder = family_checkpoints.write(family, tmp_path / "model", **change)
    with pytest.raises(CheckpointError) as caught:
        Engine.load(str(folder), device="cpu")
    assert said.replace("352x", "") in str(caught.value).replace("352x", "")
    assert [check.name for check in checkpoints.verify(folder) if check.state == "failed"] == ["config.json"]


def test_an_unknown_family_is_refused_with_its_facts(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"architectures": ["SomethingElse"], "model_type": "else"}))
    with pytest.raises(UnknownFamilyError, match=r"SomethingElse.*else"):
        checkpoints.read(folder)


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        checkpoints.read(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} has no config.json, so it is not a checkpoint. "
        "Give the folder that holds config.json and the weights; if this is it, copy it again."
    )


@pytest.mark.parametrize("name", [".", "..", "./"])
def test_a_dot_is_the_working_directory_and_not_our_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert checkpoints.find(name) == Path(name)
    assert checkpoints.find("nano").parent == checkpoints.BUILT_IN


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ("x", "Expected `object`, got `str`"),
        ({"mask": 1.5}, "Expected `str`, got `float`"),
        ({"mask": ["a"]}, "Expected `str`, got `array`"),
        ({}, "missing required field `mask`"),
        (None, "'tokens' is missing"),
    ],
)
def test_wrong_tokens_of_our_own_format_are_a_fault_of_the_config(folder: Path, tokens: object, said: str) -> None:
    path = folder / "config.json"
    raw = json.loads(path.read_text())
    del raw["tokens"]
    path.write_text(json.dumps(raw if tokens is None else raw | {"tokens": tokens}))
    with pytest.raises(CheckpointError) as caught:
        Engine.load(str(folder), device="cpu")
    assert f"{path} is not a valid model config (" in str(caught.value)
    assert said in str(caught.value)
    assert [check.name for check in checkpoints.verify(folder) if check.state == "failed"] == ["tokenizer"]


def test_a_name_that_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").mkdir()
    (tmp_path / "file").write_bytes(b"")
    for name, said in {
        "nanoo": "no model 'nanoo', and no such folder in the working directory",
        "m/nope": "no such folder in the working directory.*need an absolute path",
        "a/b/c": "no such folder in the working directory.*need an absolute path",
        "./m": "",
        "/no/such/folder": "no model '/no/such/folder': there is no such folder",
        "file": "this is a file.*folder that holds config.json",
        "o/nope": "`dlsp models pull o/nope`.*absolute path",
        "": "no model ''",
    }.items():
        if not said:
            assert checkpoints.find(name) == Path(name)
            continue
        with pytest.raises(CheckpointError, match=said) as caught:
            checkpoints.find(name)
        assert ("models pull" in str(caught.value)) == (name == "o/nope")
