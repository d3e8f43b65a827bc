"""What people install: a source distribution, the wheel made of it, and that wheel in an environment of its own, away from this tree.

Needs no network: the environment borrows our dependencies, not our `dlsp` and `engine`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from watched_python import hostile_folder

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "engine" / "weights" / "nano"
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"

pytest.importorskip("setuptools", reason="setuptools builds the packages")


def build(kind: str, source: Path, target: Path) -> Path:
    """A package of the tree at `source`."""
    target.mkdir(exist_ok=True)
    done = subprocess.run([sys.executable, "-c", BUILD, kind, str(target)], cwd=source, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return target / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source distribution of this tree, and the wheel that is made of nothing else."""
    folder = tmp_path_factory.mktemp("packages")
    tree = folder / "tree"
    tree.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    for name in ("dlsp", "engine"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    source = build("build_sdist", tree, folder / "dist")
    with tarfile.open(source) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return source, build("build_wheel", unpacked, folder / "dist")


def test_both_packages_hold_the_embedded_model_and_what_the_commands_read(packages: tuple[Path, Path]) -> None:
    source, wheel = packages
    with tarfile.open(source) as archive:
        in_source = {name.partition("/")[2] for name in archive.getnames()}
    in_wheel = set(zipfile.ZipFile(wheel).namelist())
    needed = {f"engine/weights/nano/{file.name}" for file in WEIGHTS.iterdir()}
    needed |= {str(file.relative_to(ROOT)) for top in ("dlsp", "engine") for file in (ROOT / top).rglob("*.py")}
    needed |= {"dlsp/settings.schema.json", "engine/train/corpus.toml"}
    assert any(name.endswith(".safetensors") for name in needed)
    assert needed <= in_source
    assert needed <= in_wheel
    assert not {name for name in in_wheel if name.split("/")[0] not in ("dlsp", "engine") and ".dist-info/" not in name}


def test_the_installed_wheel_fills_a_hole_beside_a_hostile_engine_folder(packages: tuple[Path, Path], tmp_path: Path) -> None:
    home = tmp_path / "environment"
    venv.create(home, symlinks=True)
    places = sysconfig.get_paths(vars={"base": str(home), "platbase": str(home)}, scheme="venv")
    site = Path(places["purelib"])
    # A path in a .pth file brings packages, but not the .pth files in it, and so not an editable install of this tree.
    (site / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    python = Path(places["scripts"]) / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index", "--ignore-installed"]
    subprocess.run([*install, str(packages[1])], check=True, timeout=120)

    project = hostile_folder(tmp_path / "project")
    (project / "shop.py").write_text("import logging\n\nlog = logging.getLogger(\n", encoding="utf-8")
    command = [str(Path(places["scripts"]) / "dlsp"), "infill", "shop.py:3:25", "--model", "nano", "--json"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["model"] == "nano"
    where = subprocess.run(
        [str(python), "-P", "-c", "import dlsp, engine; print(dlsp.__file__); print(engine.__file__)"],
        cwd=project, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert all(line.startswith(str(site)) for line in where.stdout.split())
