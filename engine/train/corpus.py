"""Builds the training corpus: pinned releases of permissively licensed packages, filtered, deduplicated, with a manifest.

It knows files and licences, not tokens. Output is two JSON-lines files (`train.jsonl`, `held_out.jsonl`; one file of
source a line, with what `read` names) and `manifest.json`. The same list gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from engine.errors import ConfigError, DlspError
from engine.train import filters
from engine.train.corpus_benchmarks import Benchmarks
from engine.train.corpus_sources import Archive, Entry, Package, fetch, open_package
from engine.train.dedup import Seen
from engine.train.languages import DATA_LANGUAGES

PLAN = Path(__file__).with_name("corpus.toml")
KINDS = ("wheel", "npm", "debian", "deb")


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps in bytes of one package after filtering, by language; shares are of what is compared."""

    python_bytes: int
    language_bytes: int
    data_bytes: int
    tests_share: float
    repeated_share: float
    same_shape_share: float
    held_out_share: float

    def of(self, package: Package, language: str) -> float:
        """How many bytes of a language one package may give."""
        if language in DATA_LANGUAGES:
            return self.data_bytes
        if package.megabytes is not None:
            return package.megabytes * 1e6
        return self.python_bytes if language == "python" else self.language_bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """`corpus.toml`: what is fetched, what is held out and why, and the caps. `held_out` maps the label of a package to its split."""

    packages: tuple[Package, ...]
    held_out: dict[str, str]
    limits: Limits

    @staticmethod
    def read(path: Path = PLAN) -> Plan:
        """Raises ConfigError where the file contradicts itself."""
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        packages = [Package.parse(name, kind, entry) for kind in KINDS for name, entry in raw.get(kind, {}).items()]
        held_out = {name: split for split, names in raw["held_out"].items() for name in names}
        if missing := set(held_out) - {p.label for p in packages}:
            raise ConfigError(
                f"corpus.toml holds out packages that it does not list: {', '.join(sorted(missing))}.", "List them or leave them out."
            )
        # Held-out packages first: what they contain must be unseen, so training files that repeat it are the ones dropped.
        # The others in an order that says nothing, so that any stretch of train.jsonl is a fair sample of kinds and languages.
        packages.sort(key=lambda p: (p.label not in held_out, hashlib.sha256(p.label.encode()).digest()))
        return Plan(tuple(packages), held_out, Limits(**raw["limits"]))


@dataclass(frozen=True, slots=True)
class Job:
    """Where the corpus goes, where downloads are kept, and which benchmarks it must not contain."""

    destination: Path
    downloads: Path
    bench_data: Path | None = None
    allow_missing: bool = False
    report: Callable[[str], None] = print


def build(job: Job, plan: Plan | None = None) -> dict[str, Any]:
    """Write the corpus to `job.destination` and return its manifest.

    Raises ConfigError where the list is wrong or a licence forbids a package, and DlspError where one cannot be fetched
    (with `allow_missing` it is left out, and the manifest says so). What was fetched is kept, so a later run goes on.
    """
    plan = plan or Plan.read()
    benchmarks = Benchmarks(job.bench_data)
    seen = Seen(plan.limits.repeated_share, plan.limits.same_shape_share, plan.limits.held_out_share)
    job.destination.mkdir(parents=True, exist_ok=True)
    archives, missing = _fetch_all(job, plan)
    rows: list[dict[str, Any]] = []
    parts = {name: job.destination / f"{name}.jsonl.part" for name in ("train", "held_out")}
    with parts["train"].open("w") as train, parts["held_out"].open("w") as held_out:
        for number, archive in enumerate(archives, 1):
            split = plan.held_out.get(archive.package.label, "train")
            selection = _Selection(archive.package, plan.limits, seen, benchmarks, held_out=split != "train")
            selection.choose(archive.entries())
            row = {**_describe(archive), "split": split, **selection.summary()}
            rows.append(row)
            _write(held_out if split != "train" else train, archive.package, split, selection.kept)
            job.report(
                f"[{number}/{len(archives)}] {archive.package.label} {row['version']}: {row['files']} files, {row['bytes'] / 1e6:.2f} MB"
            )
    for name, part in parts.items():
        part.replace(job.destination / f"{name}.jsonl")
    manifest = _manifest(job, rows, benchmarks, missing)
    (job.destination / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    return manifest


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of one corpus file: package, split, path, language, text, and the package's weight where it is not 1.

    Raises ConfigError where there is no such file.
    """
    if not path.exists():
        raise ConfigError(f"There is no corpus file {path}.", "Build it with `dlsp train corpus`, or name its folder with --work.")
    with path.open() as lines:
        for line in lines:
            yield json.loads(line)


@dataclass(slots=True)
class _Selection:
    """The files of one package that are kept, and what each rule dropped."""

    package: Package
    limits: Limits
    seen: Seen
    benchmarks: Benchmarks
    held_out: bool
    kept: list[tuple[str, str, str]] = field(default_factory=list)
    sizes: Counter[str] = field(default_factory=Counter)
    tests: Counter[str] = field(default_factory=Counter)
    dropped: dict[str, list[int]] = field(default_factory=dict)
    replaced_addresses: int = 0

    def choose(self, entries: Iterator[Entry]) -> None:
        """Files that are no tests first, both in an order that says nothing about them, until the caps are reached."""
        candidates: list[tuple[Entry, str]] = []
        for entry in entries:
            if not self._wanted(entry.path):
                continue
            reason = filters.refuse_path(entry.path, entry.language, entry.size)
            if reason is None and not entry.allowed:
                reason = "licence"
            text = None if reason else filters.decode(entry.read())
            if text is None:
                self._drop(reason or "encoding", entry.size)
            else:
                candidates.append((entry, text))
        candidates.sort(key=lambda c: (filters.is_test(c[0].path), hashlib.sha256(c[0].path.encode()).digest()))
        for entry, text in candidates:
            reason = self._take(entry, text)
            if reason:
                self._drop(reason, entry.size)
        self.kept.sort()

    def _wanted(self, path: str) -> bool:
        package = self.package
        return (not package.only or path.startswith(package.only)) and not (package.skip and path.startswith(package.skip))

    def _take(self, entry: Entry, text: str) -> str | None:
        language = entry.language.name
        is_test = filters.is_test(entry.path)
        if self.sizes[language] + len(text) > self.limits.of(self.package, language):
            return "over the cap"
        if is_test and self.tests[language] + len(text) > self.limits.tests_share * self.sizes[language]:
            return "tests over their share"
        reason = filters.refuse_text(text, entry.language)
        if reason and not (self.held_out and reason == "no grant"):  # whose notices are the package's business
            return reason
        replaced = 0
        if not self.held_out:  # held-out text stays as people wrote it: nobody learns it, and completing it is the test
            if reason := self.benchmarks.refuse(text):
                return reason
            text, replaced = filters.clean(text, entry.language)
            if len(text) < filters.SMALLEST:
                return "too small"
        if reason := self.seen.refuse(text, reserve=self.held_out):
            return reason
        size = len(text.encode())
        self.replaced_addresses += replaced
        self.sizes[language] += size
        if is_test:
            self.tests[language] += size
        self.kept.append((entry.path, language, text))
        return None

    def summary(self) -> dict[str, Any]:
        """What the manifest says of the package's files."""
        files = Counter(language for _, language, _ in self.kept)
        return {
            "files": len(self.kept),
            "bytes": self.sizes.total(),
            "languages": {name: {"files": files[name], "bytes": self.sizes[name]} for name in sorted(files)},
            "dropped": dict(sorted(self.dropped.items())),
            "replaced_addresses": self.replaced_addresses,
        }

    def _drop(self, reason: str, size: int) -> None:
        count = self.dropped.setdefault(reason, [0, 0])
        count[0] += 1
        count[1] += size


def _fetch_all(job: Job, plan: Plan) -> tuple[list[Archive], list[str]]:
    """Everything is fetched and every licence checked before the first file is read, so that errors come early."""
    archives, missing = [], []
    for package in plan.packages:
        try:
            paths = fetch(package, job.downloads, job.report)
        except DlspError as error:
            if not job.allow_missing or package.label in plan.held_out:
                raise
            job.report(f"left out: {error}")
            missing.append(package.label)
            continue
        archive = open_package(package, paths)
        if not archive.verdict.permissive:
            raise ConfigError(
                f"{package.name} {package.version} says its licence is {archive.verdict.evidence!r}, which is not on the permissive list.",
                "Take it out of corpus.toml.",
            )
        archives.append(archive)
    return archives, missing


def _describe(archive: Archive) -> dict[str, Any]:
    package = archive.package
    return {
        "name": package.name,
        "version": package.version,
        "kind": package.kind,
        "weight": package.weight,
        "licence": package.licence,
        "licence_evidence": archive.verdict.evidence,
        "sha256": package.files,
    }


def _write(out: TextIO, package: Package, split: str, kept: list[tuple[str, str, str]]) -> None:
    for path, language, text in kept:
        # The test split is Python alone: its figures are compared with those of earlier corpora.
        own = "other" if split == "test" and language != "python" else split
        row: dict[str, Any] = {"package": package.label, "split": own, "path": path, "language": language, "text": text}
        if package.weight != 1:
            row["weight"] = package.weight
        out.write(json.dumps(row) + "\n")


def _manifest(job: Job, rows: list[dict[str, Any]], benchmarks: Benchmarks, missing: list[str]) -> dict[str, Any]:
    training = [row for row in rows if row["split"] == "train"]
    languages: dict[str, dict[str, int]] = {}
    dropped: dict[str, list[int]] = {}
    for row in training:
        for name, count in row["languages"].items():
            total = languages.setdefault(name, {"packages": 0, "files": 0, "bytes": 0})
            total["packages"] += 1
            total["files"] += count["files"]
            total["bytes"] += count["bytes"]
        for reason, (files, size) in row["dropped"].items():
            total_dropped = dropped.setdefault(reason, [0, 0])
            total_dropped[0] += files
            total_dropped[1] += size
    digests = {}
    for name in ("train.jsonl", "held_out.jsonl"):
        with (job.destination / name).open("rb") as content:
            digests[name] = hashlib.file_digest(content, "sha256").hexdigest()
    train_bytes = sum(row["bytes"] for row in training)
    return {
        "sha256": digests,
        "python": ".".join(map(str, sys.version_info[:3])),
        "train_bytes": train_bytes,
        "python_share": round(languages.get("python", {"bytes": 0})["bytes"] / max(1, train_bytes), 4),
        "languages": dict(sorted(languages.items(), key=lambda item: -item[1]["bytes"])),
        "dropped": dict(sorted(dropped.items(), key=lambda item: -item[1][1])),
        "dropped_columns": ["files", "bytes"],
        "benchmarks": benchmarks.describe(),
        "missing": missing,
        "packages": rows,
    }
