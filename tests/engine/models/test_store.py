"""Where pulled models lie: names, which revision a name means, removal, and that nothing incomplete is ever found."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.errors import CheckpointError, HostError, RequestError
from engine.models import store
from engine.models.store import MANIFEST, STAGING, Manifest, StoredFile

A, B = "a" * 40, "a" * 8 + "b" * 32


def put(root: Path, model: str = "Org/Name", commit: str = A, revision: str = "main", pulled: float | None = None) -> Path:
    folder = store.place(model, commit, root)
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(b"{}")
    manifest = Manifest(
        id=model,
        revision=revision,
        commit=commit,
        files=(StoredFile(name="config.json", size=2, sha256="44136f"),),
        pulled=time.time() if pulled is None else pulled,
    )
    store.write(folder, manifest)
    return folder


@pytest.mark.parametrize(
    ("name", "model", "revision"),
    [
        ("Org/Name", "Org/Name", ""),
        (" Org/Name-7B.v1 ", "Org/Name-7B.v1", ""),
        ("Org/Name@main", "Org/Name", "main"),
        ("Org/Name@refs/pr/1", "Org/Name", "refs/pr/1"),
        (f"o/n@{A}", "o/n", A),
    ],
)
def test_names_are_taken_apart(name: str, model: str, revision: str) -> None:
    parsed = store.parse(name)
    assert (parsed.id, parsed.revision) == (model, revision)
    assert str(parsed) == name.strip()
    assert store.is_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "nano", "gpt2", "a/b/c", "/Org/Name", "Org/", "../Name", "Org/..", "Org/a..b", "Org--x/Name", "Org/Name@", "Org/Name@../x"),
        *("Org/N me", "Org\\Name", "C:/models", "Org/Name@a@b", "./Name", "~/models", "Org/Name@/etc"),
    ],
)
def test_what_is_no_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="Org/Name@revision"):
        store.parse(name)
    assert not store.is_name(name)
    assert store.locate(name, tmp_path) is None


def test_a_name_means_the_model_that_was_pulled_last(tmp_path: Path) -> None:
    assert store.installed(tmp_path / "none") == []
    old = put(tmp_path, commit=A, revision="v1", pulled=1.0)
    new = put(tmp_path, commit=B, pulled=2.0)
    other = put(tmp_path, "Org/Name-2", pulled=3.0)
    assert [model.folder for model in store.installed(tmp_path)] == [other, new, old]
    assert store.locate("Org/Name", tmp_path) == new
    assert store.locate("org/NAME", tmp_path) == new
    assert store.locate("Org/Name@v1", tmp_path) == old
    assert store.locate(f"Org/Name@{A}", tmp_path) == old
    assert store.locate(f"Org/Name@{A[:12]}", tmp_path) == old
    assert store.locate(f"Org/Name@{A[:8]}", tmp_path) == new  # both begin so; the later one is meant
    assert store.locate(f"Org/Name@{A[:6]}", tmp_path) is None  # too short to be a commit
    assert store.locate("Org/Name@v2", tmp_path) is None
    assert store.locate("Org/Nam", tmp_path) is None


def test_what_is_not_complete_is_not_found(tmp_path: Path) -> None:
    folder = put(tmp_path)
    staging = store.staging_place("Org/Other", B, tmp_path)
    put(tmp_path, "Org/Third").rename(store.place("Org/Third", B, tmp_path).with_name("moved"))
    (store.place("Org/Third", "moved", tmp_path) / MANIFEST).write_bytes(b'{"id": "Org/Th')
    staging.mkdir(parents=True)
    (staging / "model.safetensors.part").write_bytes(b"123")
    (tmp_path / "a file").write_bytes(b"")
    assert [model.folder for model in store.installed(tmp_path)] == [folder]
    assert store.locate("Org/Other", tmp_path) is None
    assert [(p.id, p.commit, p.size) for p in store.interrupted(tmp_path)] == [("Org/Other", B, 3)]


def test_damage_shows_without_reading_files(tmp_path: Path) -> None:
    folder = put(tmp_path)
    model = store.read(folder)
    assert model
    assert (model.name, model.size, model.hashes(), model.damaged()) == ("Org/Name@" + A[:12], 2, {"config.json": "44136f"}, [])
    (folder / "config.json").write_bytes(b"{} ")
    assert model.damaged() == ["config.json"]
    (folder / "config.json").unlink()
    assert model.damaged() == ["config.json"]


def test_remove_one_revision_or_all_of_them(tmp_path: Path) -> None:
    old, new, other = put(tmp_path, commit=A, pulled=1.0), put(tmp_path, commit=B, pulled=2.0), put(tmp_path, "Org/Other")
    size = sum(path.stat().st_size for path in old.iterdir())
    assert store.remove(f"Org/Name@{A[:12]}", tmp_path) == size
    assert not old.exists()
    assert new.exists()
    begun = store.staging_place("Org/Name", "c" * 40, tmp_path)
    begun.mkdir(parents=True)
    (begun / "x.part").write_bytes(b"12345")
    assert store.remove("org/name", tmp_path) == size + 5
    assert other.exists()
    assert not begun.exists()
    assert not new.parent.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["Org--Other"]
    with pytest.raises(CheckpointError, match="There is no model 'Org/Name' here"):
        store.remove("Org/Name", tmp_path)
    with pytest.raises(RequestError, match="is not the name of a model"):
        store.remove("../..", tmp_path)


def test_removal_finishes_what_an_interrupted_one_left(tmp_path: Path) -> None:
    left = tmp_path / STAGING / "removed-0123"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"1")
    put(tmp_path)
    store.remove("Org/Name", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_download_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    staging = store.staging_place("Org/Name", A, tmp_path)
    with store.held(staging):
        staging.mkdir()
        with pytest.raises(HostError, match="Another process is pulling Org/Name"), store.held(staging):
            pytest.fail("held twice")
        with pytest.raises(HostError, match="Another process"):
            store.remove("Org/Name", tmp_path)
        assert staging.exists()
    with store.held(staging):
        pass


def test_a_manifest_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = put(tmp_path)
    model = store.read(folder)
    assert model

    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        store.write(folder, model.manifest)
    assert store.read(folder) == model
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", MANIFEST]


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (12_345_678, "12.3 MB"), (456_789_000, "457 MB"), (15_200_000_000, "15.2 GB")],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert store.size_text(size) == text


def test_looking_at_the_store_imports_nothing_slow() -> None:
    code = "import sys, engine.models.store as s; s.installed(); print(*(sys.modules.keys() & {'torch', 'huggingface_hub', 'tokenizers'}))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "\n"
