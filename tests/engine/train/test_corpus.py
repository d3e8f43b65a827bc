"""Building a corpus from small packages made here: splits, caps, licences, pins, benchmarks, and the same bytes every time."""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from dlsp.cli.train import train_app
from engine.errors import ConfigError, DlspError
from engine.train import corpus, corpus_sources
from engine.train.corpus import Job, Limits, Plan
from engine.train.corpus_sources import Package

LIMITS = Limits(
    python_bytes=20_000,
    language_bytes=20_000,
    data_bytes=2_000,
    tests_share=0.25,
    repeated_share=0.4,
    same_shape_share=0.7,
    held_out_share=0.1,
)


def source(seed: str, functions: int = 6) -> str:
    """Python unlike that of another seed, in its lines and in its shape."""
    rng = random.Random(seed)
    parts = [f'"""Module {seed}."""', ""]
    for i in range(functions):
        parts.append(f"def {seed}_{i}({', '.join('abcd'[: rng.randint(1, 4)])}):")
        for _ in range(rng.randint(3, 8)):
            operands = ["".join(rng.choices("abcdefgh", k=6)) for _ in range(rng.randint(1, 5))]
            parts.append("    total = " + rng.choice([" + ", " * ", ".", ", ", " or "]).join(operands))
        parts += ["    return total", ""]
    return "\n".join(parts)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_wheel(folder: Path, name: str, files: dict[str, str], licence: str = "MIT") -> Package:
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.4\nName: {name}\nLicense-Expression: {licence}\n")
        for inner, text in files.items():
            archive.writestr(inner, text)
    return Package(name=name, kind="wheel", version="1.0", licence=licence, files={path.name: sha256(path)})


def make_tar(path: Path, files: dict[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for inner, text in files.items():
            member = tarfile.TarInfo(inner)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def make_npm(folder: Path, name: str, files: dict[str, str], licence: str = "MIT") -> Package:
    manifest = json.dumps({"name": name, "version": "1.0.0", "license": licence})
    path = make_tar(
        folder / f"{name}-1.0.0.tgz", {"package/package.json": manifest, **{f"package/{inner}": text for inner, text in files.items()}}
    )
    return Package(name=name, kind="npm", version="1.0.0", licence=licence, files={path.name: sha256(path)})


class Workshop:
    """A folder with downloads and a destination, and a build over the packages given."""

    def __init__(self, root: Path) -> None:
        self.root, self.downloads = root, root / "downloads"
        self.downloads.mkdir()
        self.reports: list[str] = []

    def build(self, *packages: Package, held_out: dict[str, str] | None = None, to: str = "corpus", **options: object) -> dict:
        plan = Plan(packages, held_out or {}, LIMITS)
        return corpus.build(Job(self.root / to, self.downloads, report=self.reports.append, **options), plan)  # type: ignore[arg-type]

    def rows(self, name: str = "train", to: str = "corpus") -> list[dict]:
        return list(corpus.read(self.root / to / f"{name}.jsonl"))


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def dropped(manifest: dict) -> dict[str, int]:
    return {reason: files for reason, (files, _) in manifest["dropped"].items()}


def test_files_are_kept_with_their_language_and_counted_by_it(workshop: Workshop) -> None:
    script = "export function add(a, b) {\n  return a + b;\n}\n" * 2 + "".join(
        f"const part{i} = add({i}, other{i});\nuse(part{i});\n" for i in range(9)
    )
    manifest = workshop.build(
        make_wheel(workshop.downloads, "alpha", {"alpha/core.py": source("core"), "alpha/logo.png": "x" * 500}),
        make_npm(workshop.downloads, "beta", {"src/index.js": script}),
    )
    assert [(r["package"], r["path"], r["language"], r["split"]) for r in workshop.rows()] == [
        ("alpha", "alpha/core.py", "python", "train"),
        ("npm:beta", "src/index.js", "javascript", "train"),
    ]
    assert {name: count["files"] for name, count in manifest["languages"].items()} == {"python": 1, "javascript": 1}
    alpha = manifest["packages"][0]
    assert (alpha["licence"], alpha["licence_evidence"], alpha["kind"]) == ("MIT", "MIT", "wheel")
    assert manifest["train_bytes"] == sum(len(r["text"].encode()) for r in workshop.rows())
    assert json.loads((workshop.root / "corpus" / "manifest.json").read_text()) == manifest


def test_the_weight_of_a_package_goes_with_its_files(workshop: Workshop) -> None:
    often = msgspec.structs.replace(make_wheel(workshop.downloads, "alpha", {"alpha/a.py": source("one")}), weight=9.0)
    manifest = workshop.build(often, make_wheel(workshop.downloads, "beta", {"beta/b.py": source("two")}))
    assert [(r["package"], r.get("weight")) for r in workshop.rows()] == [("alpha", 9.0), ("beta", None)]
    assert [p["weight"] for p in manifest["packages"]] == [9.0, 1.0]


def test_the_same_packages_give_the_same_bytes(workshop: Workshop) -> None:
    packages = [make_wheel(workshop.downloads, n, {f"{n}/{i}.py": source(f"{n}{i}", 9) for i in range(60)}) for n in ("alpha", "beta")]
    first = workshop.build(*packages)
    second = workshop.build(*packages, to="again")
    assert first["sha256"] == second["sha256"]
    assert first["sha256"]["train.jsonl"] == sha256(workshop.root / "corpus" / "train.jsonl")
    assert dropped(first)["over the cap"] > 0, "the cap has to choose among files for this to say anything"


def test_a_package_gives_no_more_than_its_cap_and_its_share_of_tests(workshop: Workshop) -> None:
    files = {f"alpha/m{i}.py": source(f"m{i}") for i in range(6)} | {f"alpha/tests/test_m{i}.py": source(f"t{i}", 2) for i in range(30)}
    manifest = workshop.build(make_wheel(workshop.downloads, "alpha", files))
    rows = workshop.rows()
    tests = sum(len(r["text"]) for r in rows if "tests/" in r["path"])
    assert sum(len(r["text"]) for r in rows) <= LIMITS.python_bytes
    assert 0 < tests <= 0.25 * (sum(len(r["text"]) for r in rows))
    assert dropped(manifest)["tests over their share"] > 0


def test_held_out_packages_go_to_their_own_file_and_what_repeats_them_is_dropped(workshop: Workshop) -> None:
    secret = source("secret", 30)
    borrowed = secret[: len(secret) // 3] + source("unlike", 30)
    manifest = workshop.build(
        make_wheel(workshop.downloads, "held", {"held/a.py": secret, "held/README.md": "Words about it, none of them code. " * 9}),
        make_wheel(workshop.downloads, "copier", {"copier/a.py": borrowed, "copier/b.py": source("honest")}),
        held_out={"held": "test"},
    )
    assert [(r["path"], r["split"]) for r in workshop.rows("held_out")] == [("held/README.md", "other"), ("held/a.py", "test")]
    assert [r["path"] for r in workshop.rows()] == ["copier/b.py"]
    assert dropped(manifest) == {"held out": 1}


def test_held_out_text_is_left_as_it_was_written(workshop: Workshop) -> None:
    text = "# Copyright (c) A. Person <a.person@somewhere.org>\n" + source("written")
    workshop.build(
        make_wheel(workshop.downloads, "held", {"held/a.py": text}),
        make_wheel(workshop.downloads, "other", {"other/a.py": "# Copyright (c) A. Person\n" + source("other")}),
        held_out={"held": "test"},
    )
    assert workshop.rows("held_out")[0]["text"] == text
    assert "Copyright" not in workshop.rows()[0]["text"]


def test_a_package_under_copyleft_is_refused_by_name(workshop: Workshop) -> None:
    package = make_wheel(workshop.downloads, "bound", {"bound/a.py": source("bound")}, licence="GPL-3.0-only")
    with pytest.raises(ConfigError, match=r"bound 1\.0 says its licence is 'GPL-3.0-only'.*Take it out"):
        workshop.build(package)
    assert not (workshop.root / "corpus" / "train.jsonl").exists()


def test_debian_sources_are_judged_file_by_file(workshop: Workshop) -> None:
    code = "".join(f"int function_{i}(int a) {{\n    return a + {i};\n}}\n" for i in range(12))
    orig = make_tar(
        workshop.downloads / "lib_1.orig.tar.gz", {"lib-1/src/free.c": code, "lib-1/contrib/bound.c": code.replace("function", "other")}
    )
    packaging = make_tar(
        workshop.downloads / "lib_1-1.debian.tar.gz",
        {"debian/copyright": "Format: x\n\nFiles: *\nLicense: Expat\n\nFiles: contrib/*\n b/*\nLicense: GPL-2+\n text\n"},
    )
    pins = {orig.name: sha256(orig), packaging.name: sha256(packaging)}
    manifest = workshop.build(Package(name="lib", kind="debian", version="1-1", licence="MIT", files=pins))
    assert [r["path"] for r in workshop.rows()] == ["src/free.c"]
    assert dropped(manifest) == {"licence": 1}


def test_a_download_that_is_not_what_was_pinned_is_refused(workshop: Workshop) -> None:
    package = make_wheel(workshop.downloads, "alpha", {"alpha/a.py": source("a")})
    next(workshop.downloads.glob("*.whl")).write_bytes(b"another release")
    with pytest.raises(DlspError, match="is not the file that corpus.toml pins"):
        workshop.build(package)


def test_only_what_is_absent_is_fetched(workshop: Workshop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    here = make_wheel(workshop.downloads, "here", {"here/a.py": source("here")})
    (tmp_path / "elsewhere").mkdir()
    away = make_wheel(tmp_path / "elsewhere", "away", {"away/a.py": source("away")})
    asked: list[str] = []

    def client(package: Package, downloads: Path) -> None:
        asked.append(package.name)
        for name in package.files:
            (tmp_path / "elsewhere" / name).rename(downloads / name)

    monkeypatch.setitem(corpus_sources.CLIENTS, "wheel", client)
    workshop.build(here, away)
    workshop.build(here, away)
    assert asked == ["away"]
    assert {r["package"] for r in workshop.rows()} == {"here", "away"}


def test_a_package_that_cannot_be_fetched_stops_the_build_unless_it_may_be_missing(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def client(package: Package, downloads: Path) -> None:
        raise DlspError(f"pip could not fetch {package.name}: no route", "Check the network.")

    monkeypatch.setitem(corpus_sources.CLIENTS, "wheel", client)
    here = make_wheel(workshop.downloads, "here", {"here/a.py": source("here")})
    gone = Package(name="gone", kind="wheel", version="1", licence="MIT", files={"gone-1.whl": "0" * 64})
    with pytest.raises(DlspError, match="could not fetch gone"):
        workshop.build(here, gone)
    manifest = workshop.build(here, gone, allow_missing=True)
    assert manifest["missing"] == ["gone"]
    assert any("left out" in line for line in workshop.reports)
    with pytest.raises(DlspError, match="could not fetch gone"):
        workshop.build(here, gone, allow_missing=True, held_out={"gone": "test"})


def test_a_client_that_is_not_installed_is_named(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DlspError, match="fetched with npm, which is not installed"):
        workshop.build(Package(name="gone", kind="npm", version="1", licence="MIT", files={"gone-1.tgz": "0" * 64}))


def test_files_that_hold_a_benchmark_are_dropped(workshop: Workshop, tmp_path: Path) -> None:
    data = tmp_path / "bench"
    data.mkdir()
    task = {
        "prompt": "def separate(groups):\n    open_brackets = closing = first_seen = None\n",
        "canonical_solution": "    return [' '.join(sorted(part, key=lambda item: item.rank)) for part in groups if part]\n",
        "suffix": "",
    }
    (data / "tasks.jsonl").write_text(json.dumps(task) + "\n")
    long_line = source("one") + "\n" + task["canonical_solution"]
    reflowed = (
        source("two") + "\ndef separate(groups): open_brackets = closing = (\n    first_seen) = None"
        "; return [' '.join(\n    sorted(part, key\n=lambda item: 0"
    )
    files = {"alpha/line.py": long_line, "alpha/gram.py": reflowed + ")) for part in []]\n", "alpha/clean.py": source("three")}
    manifest = workshop.build(make_wheel(workshop.downloads, "alpha", files), bench_data=data)
    assert [r["path"] for r in workshop.rows()] == ["alpha/clean.py"]
    assert dropped(manifest) == {"benchmark line": 1, "benchmark 13-gram": 1}
    assert manifest["benchmarks"]["files"] == ["tasks.jsonl"]


def test_the_shipped_list_is_sound() -> None:
    plan = Plan.read()
    labels = [p.label for p in plan.packages]
    assert len(labels) == len(set(labels)) >= 60
    assert {"requests", "flask", "click", "rich"} == {n for n, split in plan.held_out.items() if split == "test"}
    assert len([n for n, split in plan.held_out.items() if split == "adapt"]) == 3
    first_training = next(i for i, p in enumerate(plan.packages) if p.label not in plan.held_out)
    assert first_training == len(plan.held_out), "what is held out is read before what is learned"
    for package in plan.packages:
        assert package.files, package.name
        assert all(len(pin) == 64 for pin in package.files.values()), package.name


def test_a_list_that_holds_out_what_it_does_not_name_is_refused(tmp_path: Path) -> None:
    text = corpus.PLAN.read_text(encoding="utf-8").replace('"beets", "sqlfluff"', '"beets", "nowhere", "sqlfluff"')
    (tmp_path / "corpus.toml").write_text(text)
    with pytest.raises(ConfigError, match="does not list: nowhere"):
        Plan.read(tmp_path / "corpus.toml")


def test_an_entry_with_an_unknown_field_is_refused() -> None:
    with pytest.raises(ConfigError, match="alpha in corpus.toml is wrong.*sha"):
        Package.parse("alpha", "wheel", {"version": "1", "licence": "MIT", "files": {}, "sha": "0"})


def test_downloads_may_be_named_by_a_relative_path(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `--work` is by default. The clients run inside the folder that they fetch into."""
    package = make_wheel(workshop.root, "alpha", {"alpha/a.py": source("a")})
    (wheel,) = workshop.root.glob("*.whl")

    def run(command: list[str], cwd: Path, **options: object) -> subprocess.CompletedProcess[str]:
        shutil.copy(wheel, Path(cwd, command[command.index("-d") + 1]))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(corpus_sources.subprocess, "run", run)
    monkeypatch.chdir(workshop.root)
    assert corpus_sources.fetch(package, Path("work/downloads"), print) == [workshop.root / "work" / "downloads" / wheel.name]


def test_a_folder_without_benchmarks_is_refused(workshop: Workshop) -> None:
    """Else a slip in DLSP_BENCH_DATA would build a corpus that was checked against nothing."""
    package = make_wheel(workshop.downloads, "alpha", {"alpha/a.py": source("a")})
    (workshop.root / "empty").mkdir()
    for folder in ("empty", "missing"):
        with pytest.raises(ConfigError, match=f"no benchmark file .*{folder}.*DLSP_BENCH_DATA"):
            workshop.build(package, bench_data=workshop.root / folder)


def test_the_command_says_what_was_kept_what_was_dropped_and_the_hash(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    package = make_wheel(workshop.downloads, "alpha", {"alpha/a.py": source("a"), "alpha/b.py": "# @generated\n" + source("b")})
    monkeypatch.setattr(Plan, "read", staticmethod(lambda: Plan((package,), {}, LIMITS)))
    monkeypatch.delenv("DLSP_BENCH_DATA", raising=False)
    result = CliRunner().invoke(train_app, ["corpus", "--work", str(workshop.root / "work"), "--downloads", str(workshop.downloads)])
    assert result.exit_code == 0, result.output
    assert "not checked against any benchmark" in result.output
    assert "[1/1] alpha 1.0: 1 files" in result.output
    assert "dropped: generated" in result.output
    assert sha256(workshop.root / "work" / "corpus" / "train.jsonl") in result.output
