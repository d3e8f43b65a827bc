"""Pulls a model from a hub when a person asks for it: pins the commit, takes only files that are data, installs all of them or none.

Everything that can be known to be wrong is found before the weights are downloaded. No code of a repository is ever taken or run;
how bytes travel is the business of `transfer`, where models lie that of `store`.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
from huggingface_hub import HfApi

from engine.errors import CheckpointError, DlspError, HostError, UnknownFamilyError
from engine.models import checkpoint, hub_files, store
from engine.models.families import Facts, recognise
from engine.models.hub_errors import check_address, disk_error, explained
from engine.models.hub_files import CONFIG, WEIGHTS, is_text, weight_files
from engine.models.quantize import Precision, weight_bytes
from engine.models.shapes import ANOTHER
from engine.models.shards import names
from engine.models.store import Installed, Manifest, ModelName, StoredFile, size_text
from engine.models.transfer import PART, Meter, RemoteFile, Source, fetch, verified
from engine.text.tokenizer import UNSUPPORTED, lookup

RESERVE_BYTES = 200_000_000
"""What a download leaves free on the disk."""

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "int8", "int4")

_AS_PUBLISHED = "The files are as they were published: choose another revision, or another model."
_KEPT = "The files are as they were published: choose another revision. `dlsp models remove {}` deletes them."


@dataclass(frozen=True, slots=True)
class Plan:
    """What is about to be downloaded: one commit of a model, `total` bytes, `missing` of which are still to come.

    `resumed` bytes of the weights are there already: files that have been checked, and the beginnings of others.
    `licence` is what the repository or its family names, `notice` what users must know of it, empty for most.
    """

    id: str
    revision: str
    commit: str
    files: tuple[RemoteFile, ...]
    family: str
    licence: str
    notice: str
    total: int
    missing: int
    resumed: int


@dataclass(frozen=True, slots=True)
class Pull:
    """How to pull: from where, to where (None: the user's folder), and whom to tell.

    `on_plan` is called once before the weights are asked for. `on_check` is called while files that are here are read, `on_progress`
    while others are downloaded, both with bytes done and bytes in all. `needed` says how much memory a model needs in a number format,
    for the manifest.
    """

    source: Source = field(default_factory=Source)
    root: Path | None = None
    on_plan: Callable[[Plan], None] | None = None
    on_check: Callable[[int, int], None] | None = None
    on_progress: Callable[[int, int], None] | None = None
    needed: Callable[[checkpoint.Checkpoint, Precision], int] | None = None


@dataclass(frozen=True, slots=True)
class _Repository:
    id: str
    revision: str
    commit: str
    files: dict[str, RemoteFile]


def pull(name: ModelName, how: Pull | None = None) -> Installed:
    """Download and install a model, or mend the one that is installed; one that is whole is only checked.

    Raises HostError where hub, network or disk are in the way, and CheckpointError (UnknownFamilyError) where the model is not one
    that dlsp can use. Nothing is installed then; what was downloaded is kept for the next attempt where that can help.
    """
    how = how or Pull()
    root = how.root or store.default_root()
    repository = _look_up(store.in_full(name, root), how.source)
    place = store.place(repository.id, repository.commit, root)
    known = store.read(place)
    if known and repository.revision == repository.commit:
        # Whoever names the commit of a model that is here does not want it to forget its branch.
        repository = replace(repository, revision=known.manifest.revision)
    staging = store.staging_place(repository.id, repository.commit, root)
    try:
        with store.held(staging):
            right: dict[str, str] = {}
            if place.exists():
                right = _check(place, repository, how)
                if known and right.keys() >= {file.name for file in known.manifest.files}:
                    # It counts as the latest pulled.
                    return store.write(place, msgspec.structs.replace(known.manifest, revision=repository.revision, pulled=time.time()))
                shutil.rmtree(staging, ignore_errors=True)
                # From here on nobody finds it, until it is whole again.
                place.replace(staging)
            staging.mkdir(exist_ok=True)
            try:
                return _install(repository, staging, place, right, how)
            except DlspError:
                if not any(path for pattern in (WEIGHTS, WEIGHTS + PART) for path in staging.glob(pattern)):
                    # Nothing that is worth to be kept, and no business of the user's.
                    shutil.rmtree(staging, ignore_errors=True)
                raise
    except OSError as error:
        raise disk_error(error, root) from error


def _look_up(name: ModelName, source: Source) -> _Repository:
    """What the hub says of a model now. Raises CheckpointError for one whose weights dlsp would not load."""
    check_address(source.url)
    with explained(name, source.url):
        api = HfApi(endpoint=source.endpoint, token=source.token, library_name="dlsp")
        info = api.model_info(name.id, revision=name.revision or None, files_metadata=True, timeout=source.timeout)
        commit, siblings = info.sha, info.siblings or []
        if not commit:
            raise ValueError("it names no commit")
        files = {}
        for sibling in siblings:
            # A checkpoint is the files at the top of a repository; a name from outside is never a path here.
            if "/" in sibling.rfilename or "\\" in sibling.rfilename or sibling.size is None:
                continue
            large = sibling.lfs.sha256 if sibling.lfs else ""
            small = "" if large else sibling.blob_id or ""
            files[sibling.rfilename] = RemoteFile(info.id, commit, sibling.rfilename, sibling.size, large, small)
    hub_files.check(info.id, [sibling.rfilename for sibling in siblings])
    return _Repository(info.id, name.revision or "main", commit, files)


def _install(repository: _Repository, staging: Path, place: Path, right: dict[str, str], how: Pull) -> Installed:
    """Download what is missing in `staging`, check it, and move it to `place`. `right` are the SHA-256 of files that are known to be."""
    for path in staging.glob(WEIGHTS):
        # None counts as whole before it has been checked, least of all one that was taken away because it is damaged.
        if path.name not in right:
            path.replace(path.with_name(path.name + PART))
    texts = [file for name, file in repository.files.items() if is_text(name)]
    hashes = {file.name: fetch(file, staging, how.source, Meter(0, None)) for file in texts}
    weights = [repository.files[name] for name in weight_files(repository.id, repository.files, staging)]
    hashes |= {file.name: right[file.name] for file in weights if file.name in right} | _check_parts(weights, staging, how)
    plan = _plan(repository, staging, (*texts, *weights))
    if how.on_plan:
        how.on_plan(plan)
    _check_space(plan, staging)
    meter = Meter(plan.total, how.on_progress)
    meter.add(sum(file.size for file in plan.files if file.name in hashes))
    hashes |= {file.name: fetch(file, staging, how.source, meter) for file in weights if file.name not in hashes}
    for path in staging.glob(f"*{PART}"):
        path.unlink()  # somebody else's: what belongs to the model is whole by now
    model = _understood(repository, staging, whole=True)
    manifest = Manifest(
        id=repository.id,
        revision=repository.revision,
        commit=repository.commit,
        files=tuple(StoredFile(name=file.name, size=file.size, sha256=hashes[file.name]) for file in plan.files),
        pulled=time.time(),
        family=model.family.name,
        memory={precision: weight_bytes(model.config, precision) for precision in PRECISIONS},
        needed={precision: how.needed(model, precision) for precision in PRECISIONS} if how.needed else {},
        licence=model.licence,
        notice=model.notice,
        dlsp=importlib.metadata.version("dlsp"),
    )
    store.write(staging, manifest)
    place.parent.mkdir(parents=True, exist_ok=True)
    staging.replace(place)
    return Installed(folder=place, manifest=manifest)


def _plan(repository: _Repository, staging: Path, files: tuple[RemoteFile, ...]) -> Plan:
    model = _understood(repository, staging, whole=False)
    return Plan(
        id=repository.id,
        revision=repository.revision,
        commit=repository.commit,
        files=files,
        family=model.family.name,
        licence=model.licence,
        notice=model.notice,
        total=sum(file.size for file in files),
        missing=sum(file.size - _present(staging, file) for file in files),
        resumed=sum(_present(staging, file) for file in files if not is_text(file.name)),
    )


def _understood(repository: _Repository, staging: Path, whole: bool) -> checkpoint.Checkpoint:
    """The checkpoint in `staging`, if config and tokenizer are such that dlsp can use it, and the tensors too if it is `whole`.

    Raises CheckpointError or UnknownFamilyError, with the model's name instead of a folder that will soon be gone.
    """
    try:
        if not whole:
            _recognise(staging)
        model = checkpoint.read(staging)
        model.token_ids(checkpoint.tokenizer_of(model).special_id)
        if whole:
            for check in checkpoint.verify(staging):
                if check.state == "failed":
                    raise CheckpointError(check.detail, _KEPT.format(repository.id))
                if check.name == "shapes":
                    break  # What is left is to read every file again; that has just been done.
    except CheckpointError as error:
        said = str(error.args[0]).replace(str(staging), repository.id)
        if repository.id not in said:
            said = f"{repository.id}: {said}"
        # What helps a folder does not help here: the files are as they were published.
        fitting = isinstance(error, UnknownFamilyError) or error.action in (ANOTHER, UNSUPPORTED) or "dlsp models remove" in error.action
        raise type(error)(said, error.action if fitting else _AS_PUBLISHED) from error
    return model


def _recognise(staging: Path) -> None:
    """Raises UnknownFamilyError before `checkpoint.read` can complain of weights that are not there yet."""
    try:
        raw = json.loads((staging / CONFIG).read_text(encoding="utf-8"))
    except ValueError:
        return  # what is wrong with it is said by checkpoint.read
    if isinstance(raw, dict):
        recognise(Facts(raw, lookup(staging), names(staging)))


def _check(place: Path, repository: _Repository, how: Pull) -> dict[str, str]:
    """SHA-256 of the files at `place` that are what was pulled and what the hub has, by name."""
    model = store.read(place)
    right: dict[str, str] = {}
    if model is None:
        return right
    damaged = model.damaged()
    files = [file for file in model.manifest.files if file.name not in damaged]
    meter = Meter(sum(file.size for file in files), how.on_check)
    for file in files:
        remote = repository.files.get(file.name)
        if remote is not None and verified(remote, place / file.name, meter) == file.sha256:
            right[file.name] = file.sha256
    return right


def _check_parts(files: list[RemoteFile], staging: Path, how: Pull) -> dict[str, str]:
    """SHA-256 of those files that an earlier attempt has brought here whole, by name; what is as long but wrong is deleted."""
    parts = [(file, staging / (file.name + PART)) for file in files if _present(staging, file) == file.size]
    parts = [(file, part) for file, part in parts if part.is_file()]
    meter = Meter(sum(file.size for file, _ in parts), how.on_check)
    right = {}
    for file, part in parts:
        if digest := verified(file, part, meter):
            part.replace(staging / file.name)
            right[file.name] = digest
        else:
            part.unlink()
    return right


def _check_space(plan: Plan, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if plan.missing and plan.missing + RESERVE_BYTES > free:
        raise HostError(
            f"{plan.id} needs {size_text(plan.missing)} more, and only {size_text(free)} are free on the disk of {folder.parent.parent}.",
            "Free some space (`dlsp models remove` deletes models), or make this folder a link to one on a larger disk.",
        )


def _present(folder: Path, file: RemoteFile) -> int:
    """Bytes of a file that lie in `folder`, whole or in part."""
    for path in (folder / file.name, folder / (file.name + PART)):
        if path.is_file():
            return min(path.stat().st_size, file.size)
    return 0
