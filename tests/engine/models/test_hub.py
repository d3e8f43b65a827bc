"""Pulling from a hub on this machine: what is taken and checked, how it goes on after every kind of trouble, and what it says."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import family_checkpoints
from engine.errors import CheckpointError, HostError, UnknownFamilyError
from engine.models import checkpoint, hub, store, transfer
from engine.models.hub import Plan
from engine.models.store import MANIFEST, STAGING, Installed
from fake_hub import Hub, files_of

WEIGHTS = "model.safetensors"


def everything(root: Path) -> list[str]:
    """Files below the models' folder."""
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_a_model_is_pulled_pinned_and_found(fake: Hub, pull: Callable[..., Installed], coda: dict[str, bytes], tmp_path: Path) -> None:
    card = b"---\nlicense: cc-by-nc-4.0\n---\nA model.\n"
    others = {"modeling_coda.py": b"raise SystemExit", "pytorch_model.bin": b"cos\nsystem", "onnx/model.onnx": b"1", ".gitattributes": b""}
    repository = fake.add("Org/Coda", coda | others | {"README.md": card, "LICENSE": b"Terms", "merges.txt": b"#version: 0.2"})
    plans: list[Plan] = []
    progress: list[tuple[int, int]] = []
    model = pull("Org/Coda", on_plan=plans.append, on_progress=lambda done, total: progress.append((done, total)))

    commit = repository.refs["main"]
    assert model.folder == tmp_path / "models" / "Org--Coda" / commit
    taken = {*coda, "README.md", "LICENSE", "merges.txt"}
    assert {path.name for path in model.folder.iterdir()} == taken | {MANIFEST}
    assert {asked.file for asked in fake.asked} == taken
    facts = model.manifest
    assert (facts.id, facts.revision, facts.commit, facts.family) == ("Org/Coda", "main", commit, "coda")
    assert facts.licence == "cc-by-nc-4.0"
    assert "non-commercial" in facts.notice
    assert facts.needed == {}
    assert {f.name: (f.size, f.sha256) for f in facts.files} == {
        name: (len(content), hashlib.sha256(content).hexdigest())
        for name, content in {**coda, **repository.commits[commit]}.items()
        if name in taken
    }
    assert set(facts.memory) == {"float32", "bfloat16", "int8", "int4"}
    assert facts.memory["float32"] == 2 * facts.memory["bfloat16"] > 0
    assert store.read(model.folder) == model
    assert store.installed(tmp_path / "models") == [model]
    assert store.interrupted(tmp_path / "models") == []

    (plan,) = plans
    assert (plan.family, plan.resumed, plan.total) == ("coda", 0, model.size)
    assert plan.missing == len(coda[WEIGHTS])
    assert progress[-1] == (model.size, model.size)
    assert [done for done, _ in progress] == sorted(done for done, _ in progress)


def test_a_pulled_model_is_what_its_name_means(
    fake: Hub, pull: Callable[..., Installed], sharded: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.runtime.engine import Engine

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    with pytest.raises(CheckpointError, match="`dlsp models pull Org/Tiny`"):
        checkpoint.find("Org/Tiny")
    fake.add("Org/Tiny", sharded)
    model = pull("Org/Tiny", root=store.default_root())
    assert checkpoint.find("Org/Tiny") == model.folder
    assert checkpoint.find(model.name) == model.folder
    assert len([name for name in sharded if name.endswith(".safetensors")]) > 1
    engine = Engine.load("Org/Tiny", device="cpu", dtype="float32")
    engine.close()


def test_a_branch_is_pinned_to_the_commit_it_meant(
    fake: Hub, pull: Callable[..., Installed], coda: dict[str, bytes], tmp_path: Path
) -> None:
    repository = fake.add("Org/Coda", coda)
    first = pull("Org/Coda@main")
    repository.commit(coda | {"README.md": b"changed"})
    tagged = repository.commit(coda | {"README.md": b"tagged"}, "v1")
    assert checkpoint.read(first.folder).family.name == "coda"
    second = pull("Org/Coda")
    third = pull("Org/Coda@v1")
    assert (third.manifest.commit, third.manifest.revision) == (tagged, "v1")
    by_commit = pull(first.name)  # the short form, which a hub does not know
    assert by_commit.folder == first.folder
    assert len({first.folder, second.folder, third.folder}) == 3
    assert (second.folder / "README.md").read_bytes() == b"changed"
    # The first has been asked for last.
    assert store.locate("Org/Coda", tmp_path / "models") == first.folder
    assert all(asked.sent for asked in fake.asked)


@pytest.mark.parametrize(("variant", "attention"), [("mdlm", "full"), ("bd3lm", "block_causal")])
def test_a_variant_that_only_its_name_tells_is_told_by_it(
    fake: Hub, pull: Callable[..., Installed], tmp_path: Path, variant: str, attention: str
) -> None:
    name = f"Org/Qwen-diffusion-{variant}-v0.1"
    fake.add(name, files_of(family_checkpoints.write("a2d-qwen2", tmp_path / "made")))
    assert checkpoint.read(pull(name).folder).config.attention == attention


def test_the_hub_has_the_last_word_on_the_spelling(fake: Hub, pull: Callable[..., Installed], coda: dict[str, bytes]) -> None:
    fake.add("Org/Coda", coda)
    assert pull("org/coda").manifest.id == "Org/Coda"


@pytest.mark.parametrize("patient", [True, False], ids=["in one go", "by the next command"])
def test_a_cut_connection_goes_on_where_it_was_cut(
    fake: Hub, pull: Callable[..., Installed], coda: dict[str, bytes], tmp_path: Path, patient: bool
) -> None:
    fake.add("Org/Coda", coda)
    fake.cut[WEIGHTS] = [20_000, 0] if patient else [20_000, 0, 0]
    plans: list[Plan] = []
    if patient:
        model = pull("Org/Coda", waits=(0.0,))
    else:
        with pytest.raises(HostError, match="goes on from there"):
            pull("Org/Coda", waits=(0.0,))
        assert store.locate("Org/Coda", tmp_path / "models") is None
        (partial,) = store.interrupted(tmp_path / "models")
        assert partial.id == "Org/Coda"
        assert partial.size >= 20_000
        model = pull("Org/Coda", on_plan=plans.append)
        assert (plans[0].resumed, plans[0].missing) == (20_000, len(coda[WEIGHTS]) - 20_000)
    asked = fake.sent_for(WEIGHTS)
    assert [one.start for one in asked] == [0, *[20_000] * (len(asked) - 1)]
    assert asked[-1].sent == len(coda[WEIGHTS]) - 20_000
    assert (model.folder / WEIGHTS).read_bytes() == coda[WEIGHTS]
    assert store.interrupted(tmp_path / "models") == []


def test_a_server_that_cannot_go_on_sends_all_again(fake: Hub, pull: Callable[..., Installed], coda: dict[str, bytes]) -> None:
    fake.add("Org/Coda", coda)
    fake.ignore_range = True
    fake.cut[WEIGHTS] = [20_000]
    progress: list[int] = []
    model = pull("Org/Coda", waits=(0.0,), on_progress=lambda done, total: progress.append(done))
    assert [(one.start, one.sent) for one in fake.sent_for(WEIGHTS)] == [(0, 20_000), (0, len(coda[WEIGHTS]))]
    assert (model.folder / WEIGHTS).read_bytes() == coda[WEIGHTS]
    assert progress[-1] == model.size == max(progress)


def test_what_another_program_has_downloaded_is_used(
    fake: Hub, pull: Callable[..., Installed], coda: dict[str, bytes], tmp_path: Path
) -> None:
    repository = fake.add("Org/Coda", coda)
    cached = tmp_path / "cache" / "models--Org--Coda" / "snapshots" / repository.refs["main"]
    cached.mkdir(parents=True)
    (cached / WEIGHTS).write_bytes(coda[WEIGHTS])
    (cached / "config.json").write_bytes(coda["config.json"][:-1] + b" ")  # as long as the right one
    model = pull("Org/Coda")
    assert fake.sent_for(WEIGHTS) == []
    assert len(fake.sent_for("config.json")) == 1
    assert (model.folder / "config.json").read_bytes() == coda["config.json"]
    assert (cached / WEIGHTS).read_bytes() == coda[WEIGHTS]


def test_pulling_again_checks_and_mends(fake: Hub, pull: Callable[..., Installed], coda: dict[str, bytes], tmp_path: Path) -> None:
    fake.add("Org/Coda", coda | {"README.md": b"Hello"})
    model = pull("Org/Coda")
    fake.asked.clear()
    progress: list[int] = []
    again = pull("Org/Coda", on_check=lambda done, total: progress.append(done), on_progress=lambda done, total: pytest.fail("downloading"))
    assert again.folder == model.folder
    assert fake.asked == []
    assert progress[-1] == model.size

    path = model.folder / WEIGHTS
    path.write_bytes(coda[WEIGHTS][:-1] + b"\0")  # the size stays
    (model.folder / "README.md").unlink()
    mended = pull(model.name)
    assert mended.folder == model.folder
    assert mended.manifest.revision == "main"
    assert files_of(model.folder).keys() - {MANIFEST} == {*coda, "README.md"}
    assert path.read_bytes() == coda[WEIGHTS]
    assert {asked.file for asked in fake.asked} == {WEIGHTS, "README.md"}
    assert everything(tmp_path / "models" / STAGING) == []


def test_only_bytes_that_were_checked_count_as_here(
    fake: Hub, pull: Callable[..., Installed], sharded: dict[str, bytes], tmp_path: Path
) -> None:
    fake.add("Org/Tiny", sharded)
    model = pull("Org/Tiny")
    shards = sorted(name for name in sharded if name.endswith(".safetensors"))
    wrong = model.folder / shards[0]
    wrong.write_bytes(sharded[shards[0]][:-1] + b"\0\0"[:1])  # as long as the right one
    assert wrong.read_bytes() != sharded[shards[0]]
    plans: list[Plan] = []
    checked: list[tuple[int, int]] = []
    loaded: list[tuple[int, int]] = []
    fake.asked.clear()
    how = {"on_plan": plans.append, "on_check": lambda *at: checked.append(at), "on_progress": lambda *at: loaded.append(at)}
    pull("Org/Tiny", **how)
    whole = sum(len(sharded[name]) for name in shards[1:])
    assert (plans[0].resumed, plans[0].missing) == (whole, len(sharded[shards[0]]))
    assert [asked.file for asked in fake.asked] == [shards[0]]
    assert checked[-1][0] == checked[-1][1]
    assert loaded[0][0] < plans[0].total - len(sharded[shards[0]]) + (1 << 20)
    assert loaded[-1] == (plans[0].total, plans[0].total)
    assert loaded[0][0] <= plans[0].total - plans[0].missing
    assert all(check.state == "ok" for check in checkpoint.verify(model.folder, model.hashes()))


def test_the_memory_that_is_needed_is_recorded_where_somebody_knows_it(
    fake: Hub, pull: Callable[..., Installed], coda: dict[str, bytes]
) -> None:
    fake.add("Org/Coda", coda)
    model = pull("Org/Coda", needed=lambda read, precision: len(precision) + read.config.num_layers)
    assert model.manifest.needed == {"float32": 9, "bfloat16": 10, "int8": 6, "int4": 6}


def test_absurd_sizes_are_found_before_the_weights_are_downloaded(
    fake: Hub, pull: Callable[..., Installed], sharded: dict[str, bytes]
) -> None:
    config = json.loads(sharded["config.json"])
    config["model"]["num_layers"] = 10**9
    fake.add("Org/Tiny", sharded | {"config.json": json.dumps(config).encode()})
    with pytest.raises(
        CheckpointError, match=r"^Org/Tiny/config.json: .*asks for 1000000000 layers, the files hold \d.*as they were published"
    ):
        pull("Org/Tiny")
    assert not any(asked.file.endswith(".safetensors") for asked in fake.asked)


def test_a_file_that_is_not_what_the_hub_promised_is_thrown_away(
    fake: Hub, pull: Callable[..., Installed], coda: dict[str, bytes], tmp_path: Path
) -> None:
    fake.add("Org/Coda", coda)
    fake.corrupt = {WEIGHTS}
    with pytest.raises(CheckpointError, match=r"Org/Coda: model\.safetensors has the SHA-256 .* thrown away"):
        pull("Org/Coda")
    assert store.installed(tmp_path / "models") == []
    fake.corrupt = {"config.json"}  # not a large file: the hub names its git id
    with pytest.raises(CheckpointError, match=r"config\.json has the git id"):
        pull("Org/Coda")
    fake.corrupt = set()
    assert pull("Org/Coda").size


def test_only_pickles(fake: Hub, pull: Callable[..., Installed], tmp_path: Path) -> None:
    fake.add("Org/Old", {"config.json": b"{}", "pytorch_model-00001-of-00002.bin": b"1", "pytorch_model.bin.index.json": b"{}"})
    with pytest.raises(CheckpointError, match=r"only as pickle.*pytorch_model-00001-of-00002\.bin.*`dlsp models use PATH`"):
        pull("Org/Old")
    assert fake.asked == []
    assert everything(tmp_path) == []


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config.json": b"{}", "m.Q4.gguf": b"1"}, r"no safetensors files, only m\.Q4\.gguf"),
        ({"README.md": b"hello"}, "no weights"),
        ({"config.json": b"{}", "unet/model.safetensors": b"1"}, "no weights"),
        ({"adapter_model.safetensors": b"1"}, r"no config\.json.*adapter"),
    ],
)
def test_what_is_no_model_is_refused_before_anything_is_downloaded(
    fake: Hub, pull: Callable[..., Installed], tmp_path: Path, files: dict[str, bytes], message: str
) -> None:
    fake.add("Org/Odd", files)
    with pytest.raises(CheckpointError, match=message):
        pull("Org/Odd")
    assert fake.asked == []
    assert everything(tmp_path) == []


def changed(files: dict[str, bytes], **facts: Any) -> dict[str, bytes]:
    config = json.loads(files["config.json"]) | facts
    return files | {"config.json": json.dumps(config).encode()}


def test_an_unknown_family_is_refused_before_its_weights_are_downloaded(
    fake: Hub, pull: Callable[..., Installed], coda: dict[str, bytes], tmp_path: Path
) -> None:
    fake.add("Org/Gpt", changed(coda, architectures=["GPT2LMHeadModel"], auto_map={}, model_type="gpt2"))
    with pytest.raises(UnknownFamilyError, match=r"^Org/Gpt.*GPT2LMHeadModel.*`dlsp models`") as raised:
        pull("Org/Gpt")
    assert STAGING not in str(raised.value)
    assert fake.sent_for(WEIGHTS) == []
    assert everything(tmp_path) == []


def test_a_tokenizer_without_mask_is_refused_before_the_weights_are_downloaded(
    fake: Hub, pull: Callable[..., Installed], coda: dict[str, bytes], tmp_path: Path
) -> None:
    tokenizer = coda["tokenizer.json"].replace(b"<|mask|>", b"<|musk|>")
    fake.add("Org/Coda", changed(coda, mask_token_id=None) | {"tokenizer.json": tokenizer})
    with pytest.raises(CheckpointError, match="Org/Coda.*mask"):
        pull("Org/Coda")
    assert fake.sent_for(WEIGHTS) == []
    assert everything(tmp_path) == []


def test_weights_that_do_not_fit_the_config_are_not_installed(
    fake: Hub, pull: Callable[..., Installed], coda: dict[str, bytes], tmp_path: Path
) -> None:
    fake.add("Org/Coda", changed(coda, intermediate_size=64))
    with pytest.raises(CheckpointError, match=r"Org/Coda.*gate_proj.*as they were published.*`dlsp models remove Org/Coda`") as raised:
        pull("Org/Coda")
    assert STAGING not in str(raised.value)
    assert "Fetch" not in str(raised.value)
    assert store.installed(tmp_path / "models") == []
    # The bytes are right, so they are kept; a repository that is mended has another commit.
    (partial,) = store.interrupted(tmp_path / "models")
    assert partial.size > len(coda[WEIGHTS])


def test_a_shard_that_the_repository_lacks(fake: Hub, pull: Callable[..., Installed], sharded: dict[str, bytes], tmp_path: Path) -> None:
    lost = sorted(name for name in sharded if name.endswith(".safetensors"))[1]
    fake.add("Org/Tiny", {name: content for name, content in sharded.items() if name != lost})
    with pytest.raises(CheckpointError, match=f"not complete: .* names {lost}"):
        pull("Org/Tiny")
    assert everything(tmp_path) == []
    fake.add("Org/Tiny", sharded | {"consolidated.safetensors": b"x", "model.safetensors.index.json": b'{"weight_map": 3}'})
    with pytest.raises(CheckpointError, match="is not a valid shard index"):
        pull("Org/Tiny")


def test_only_the_shards_of_the_index_are_downloaded(fake: Hub, pull: Callable[..., Installed], sharded: dict[str, bytes]) -> None:
    fake.add("Org/Tiny", sharded | {"consolidated.safetensors": b"x" * 1000, MANIFEST: b"{}"})
    model = pull("Org/Tiny")
    assert not (model.folder / "consolidated.safetensors").exists()
    assert model.manifest.id == "Org/Tiny"


def test_a_disk_that_is_too_small_is_noticed_before_the_weights_are_downloaded(
    fake: Hub, pull: Callable[..., Installed], coda: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.add("Org/Coda", coda)
    usage = namedtuple("usage", "total used free")
    free = hub.RESERVE_BYTES + len(coda[WEIGHTS]) - 1
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda path: usage(10**12, 0, free))
    with pytest.raises(HostError) as raised:
        pull("Org/Coda")
    said = str(raised.value)
    assert f"needs {store.size_text(len(coda[WEIGHTS]))} more" in said
    assert f"{store.size_text(free)} are free" in said
    assert "`dlsp models remove`" in said
    assert str(tmp_path / "models") in said
    assert fake.sent_for(WEIGHTS) == []
    assert everything(tmp_path) == []
    free += 1
    assert pull("Org/Coda").size


def test_a_disk_that_fills_up_keeps_what_it_has(
    fake: Hub, pull: Callable[..., Installed], coda: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.add("Org/Coda", coda)
    real = transfer._Download._write

    def full(download: Any, chunk: bytes) -> None:
        if download._file.name == WEIGHTS and download.have > 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(download, chunk[:10_000] if download._file.name == WEIGHTS else chunk)

    monkeypatch.setattr(transfer._Download, "_write", full)
    with pytest.raises(HostError, match=r"The disk is full: .* the same command goes on from there.*`dlsp models remove`"):
        pull("Org/Coda")
    assert store.installed(tmp_path / "models") == []
    monkeypatch.undo()
    assert pull("Org/Coda").damaged() == []
    assert fake.sent_for(WEIGHTS)[-1].start == 10_000


def test_a_folder_that_cannot_be_written_is_named(
    fake: Hub, pull: Callable[..., Installed], coda: dict[str, bytes], tmp_path: Path
) -> None:
    fake.add("Org/Coda", coda)
    (tmp_path / "models").write_bytes(b"a file is in the way")
    with pytest.raises(HostError, match=f"{tmp_path}/models.* cannot be written"):
        pull("Org/Coda")


def test_an_interrupted_rename_is_no_trouble(fake: Hub, pull: Callable[..., Installed], coda: dict[str, bytes], tmp_path: Path) -> None:
    """A folder without a manifest, as an older or a broken installation leaves it, is filled and checked."""
    repository = fake.add("Org/Coda", coda)
    place = store.place("Org/Coda", repository.refs["main"], tmp_path / "models")
    place.mkdir(parents=True)
    (place / WEIGHTS).write_bytes(coda[WEIGHTS])
    assert pull("Org/Coda").folder == place
    assert fake.sent_for(WEIGHTS) == []


def test_two_at_a_time(fake: Hub, pull: Callable[..., Installed], coda: dict[str, bytes], tmp_path: Path) -> None:
    repository = fake.add("Org/Coda", coda)
    with (
        store.held(store.staging_place("Org/Coda", repository.refs["main"], tmp_path / "models")),
        pytest.raises(HostError, match="Another process is pulling Org/Coda"),
    ):
        pull("Org/Coda")


def test_a_token_is_used_and_does_not_follow_to_another_host(fake: Hub, pull: Callable[..., Installed], coda: dict[str, bytes]) -> None:
    fake.add("Org/Private", coda, token="secret")
    pull("Org/Private", token="secret")
    assert {part for part, token in fake.tokens if token == "Bearer secret"} == {"api", "Org"}
    assert {token for part, token in fake.tokens if part == "storage"} == {""}


def test_names_from_outside_are_never_paths(fake: Hub, pull: Callable[..., Installed], coda: dict[str, bytes], tmp_path: Path) -> None:
    hostile = {"../../evil.json": b"{}", "..\\evil.json": b"{}", "sub/evil.json": b"{}", "/evil.json": b"{}"}
    fake.add("Org/Coda", coda | hostile)
    model = pull("Org/Coda")
    assert set(everything(tmp_path)) == {f"models/Org--Coda/{model.manifest.commit}/{name}" for name in (*coda, MANIFEST)}
    index = json.dumps({"weight_map": {"lm_head.weight": "../../../model.safetensors"}}).encode()
    fake.add("Org/Evil", coda | {"model.safetensors.index.json": index})
    with pytest.raises(CheckpointError, match="is not complete"):
        pull("Org/Evil")


def test_the_weights_of_nano_could_be_pulled(fake: Hub, pull: Callable[..., Installed], tmp_path: Path) -> None:
    """Our own format needs nothing special."""
    nano = checkpoint.find("nano")
    fake.add("Org/Nano", files_of(nano))
    model = pull("Org/Nano")
    assert all(check.state == "ok" for check in checkpoint.verify(model.folder, model.hashes()))
    shutil.rmtree(model.folder)
