"""The models that were pulled: where they lie, what a manifest says of each, which one a name means, and how one is removed.

Knows folders and manifests only: nothing of networks, families or tensors, and it imports nothing slow.
"""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import platformdirs
from filelock import FileLock, Timeout

from engine.errors import CheckpointError, HostError, RequestError

BUILT_IN = Path(__file__).resolve().parent.parent / "weights"
"""The folder of the models that come with dlsp."""

MANIFEST = "dlsp-manifest.json"
STAGING = ".staging"
"""Below the root: downloads that are not finished. A model is complete from the moment it is renamed out of here."""

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_REVISION = re.compile(r"[\w][\w./-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHORTEST_COMMIT = 7


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a model as it was when it was pulled. `size` in bytes, `sha256` in hexadecimal."""

    name: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Where a model came from. `revision` is what was asked for, `commit` what it meant then; `pulled` is Unix time.

    `memory` is what the weights take once loaded, `needed` the same with room to work in, both in bytes by number format. `notice`
    is what the licence asks users to know, empty for most.
    """

    id: str
    revision: str
    commit: str
    files: tuple[StoredFile, ...]
    pulled: float
    family: str = ""
    memory: dict[str, int] = {}
    needed: dict[str, int] = {}
    licence: str = ""
    notice: str = ""
    dlsp: str = ""


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """A complete model on disk."""

    folder: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """`Org/Name@commit`, the name that means exactly this one."""
        return f"{self.manifest.id}@{self.manifest.commit[:12]}"

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.manifest.files)

    def hashes(self) -> dict[str, str]:
        """File name -> SHA-256."""
        return {file.name: file.sha256 for file in self.manifest.files}

    def damaged(self) -> list[str]:
        """Names of the files that are missing or have another size than when they were pulled. Reads no file."""
        return [file.name for file in self.manifest.files if _size(self.folder / file.name) != file.size]


class Interrupted(msgspec.Struct, frozen=True, kw_only=True):
    """A download that was not finished; `size` is what of it lies on disk, in bytes."""

    id: str
    commit: str
    folder: Path
    size: int


class ModelName(msgspec.Struct, frozen=True, kw_only=True):
    """`Org/Name` and, if one was named, a revision: branch, tag or commit."""

    id: str
    revision: str = ""

    def __str__(self) -> str:
        return f"{self.id}@{self.revision}" if self.revision else self.id


def default_root() -> Path:
    """The user's folder of pulled models. It may be a link to a folder on a larger disk."""
    return platformdirs.user_data_path("dlsp", appauthor=False) / "models"


def parse(name: str) -> ModelName:
    """`Org/Name` or `Org/Name@revision` taken apart. Raises RequestError for anything else."""
    model, at, revision = name.strip().partition("@")
    sound = _ID.fullmatch(model) and ".." not in model and "--" not in model
    if not sound or (at and not (_REVISION.fullmatch(revision) and ".." not in revision)):
        raise RequestError(f"{name!r} is not the name of a model.", "Write Org/Name, or Org/Name@revision for a branch, tag or commit.")
    return ModelName(id=model, revision=revision)


def is_name(text: str) -> bool:
    """Whether a text is the name of a model as `parse` knows it, pulled or not."""
    try:
        parse(text)
    except RequestError:
        return False
    return True


def installed(root: Path | None = None) -> list[Installed]:
    """Every complete model, the latest pulled first."""
    found = [model for folder in _subfolders(root or default_root()) if (model := read(folder)) is not None]
    return sorted(found, key=lambda model: model.manifest.pulled, reverse=True)


def matching(name: str, root: Path | None = None) -> list[Installed]:
    """The models that a name fits, several when more than one revision was pulled; the first is the one that the name means."""
    return [model for model in installed(root) if _fits(parse(name), model.manifest)] if is_name(name) else []


def find(name: str, root: Path | None = None) -> Installed | None:
    """The model that a name means: of several revisions that fit, the one pulled last. None where there is none."""
    return next(iter(matching(name, root)), None)


def locate(name: str, root: Path | None = None) -> Path | None:
    """The folder of the model that `Org/Name` or `Org/Name@revision` means, or None where it was not pulled."""
    model = find(name, root)
    return model.folder if model else None


def read(folder: Path) -> Installed | None:
    """The pulled model in `folder`, or None where it has no manifest that can be read."""
    try:
        return Installed(folder=folder, manifest=msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest))
    except (OSError, msgspec.MsgspecError):
        return None


def mend(path: Path) -> str:
    """What to do about a file that is damaged, or about a folder of them: it depends on where the model came from."""
    folder = path if path.is_dir() else path.parent
    if folder.parent == BUILT_IN:
        return "Install dlsp again from its folder (docs/install.md)."
    if model := read(folder):
        return f"`dlsp models pull {model.name}` mends it."
    if path == folder:
        return "Copy the whole folder again from where it came from."
    return f"Copy {path.name} again from where its folder came from."


def write(folder: Path, manifest: Manifest) -> Installed:
    """Put a manifest into `folder`, at once or not at all."""
    draft = folder / f"{MANIFEST}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
        draft.replace(folder / MANIFEST)
    finally:
        draft.unlink(missing_ok=True)
    return Installed(folder=folder, manifest=manifest)


def place(model: str, commit: str, root: Path) -> Path:
    """The folder of one revision of a model."""
    return root / _folder_name(model) / commit


def staging_place(model: str, commit: str, root: Path) -> Path:
    """The folder that a revision is downloaded into before it is moved to its place."""
    return root / STAGING / f"{_folder_name(model)}@{commit}"


@contextmanager
def held(staging: Path) -> Iterator[None]:
    """Keeps other processes away from a download while the block runs. Raises HostError while another one has it."""
    staging.parent.mkdir(parents=True, exist_ok=True)
    lock = staging.with_name(f"{staging.name}.lock")
    try:
        with FileLock(lock, timeout=0):
            try:
                yield
            finally:
                if not staging.exists():
                    with suppress(OSError):  # Windows does not delete an open file; then it stays, which does no harm
                        lock.unlink()
    except Timeout as error:
        model = staging.name.partition("@")[0].replace("--", "/", 1)
        raise HostError(f"Another process is pulling {model} at the moment.", "Wait for it, or end it.") from error


def interrupted(root: Path | None = None) -> list[Interrupted]:
    """Downloads that were begun and not finished, by name."""
    found = []
    for folder in sorted(_folders((root or default_root()) / STAGING)):
        model, at, commit = folder.name.rpartition("@")
        if at and "--" in model and _COMMIT.fullmatch(commit):
            found.append(Interrupted(id=model.replace("--", "/", 1), commit=commit, folder=folder, size=_bytes_below(folder)))
    return found


def in_full(wanted: ModelName, root: Path | None = None) -> ModelName:
    """The name with its commit in full, where it begins one that is known here: hubs do not take the short form."""
    if not _is_commit(wanted.revision):
        return wanted
    known = [(model.manifest.id, model.manifest.commit) for model in installed(root)]
    known += [(partial.id, partial.commit) for partial in interrupted(root)]
    commits = (commit for model, commit in known if _same(model, wanted.id) and commit.startswith(wanted.revision))
    return ModelName(id=wanted.id, revision=next(commits, wanted.revision))


def remove(name: str, root: Path | None = None) -> int:
    """Delete every revision that a name fits, and its unfinished downloads; returns the bytes that are free now.

    Raises RequestError for what is no name, and CheckpointError where there is nothing of that name or it cannot be deleted.
    """
    root = root or default_root()
    wanted = parse(name)
    models = [model.folder for model in matching(name, root)]
    begun = [partial.folder for partial in interrupted(root) if _is_part_of(wanted, partial)]
    if not models and not begun:
        raise CheckpointError(f"There is no model {name!r} here.", "`dlsp models` lists what is.")
    freed = 0
    for folder in models:
        freed += _delete(folder, root)
    for folder in begun:
        with held(folder):
            freed += _delete(folder, root)
    with suppress(OSError):
        (root / STAGING).rmdir()
    return freed


def size_text(size: int) -> str:
    """Bytes for people: 950 kB, 12.3 MB, 15.2 GB."""
    for unit, digits in (("GB", 9), ("MB", 6), ("kB", 3)):
        if size >= 10**digits:
            number = size / 10**digits
            return f"{number:.0f} {unit}" if number >= 100 else f"{number:.1f} {unit}"
    return f"{size} bytes"


def _fits(wanted: ModelName, manifest: Manifest) -> bool:
    if not _same(wanted.id, manifest.id):
        return False
    if not wanted.revision or wanted.revision == manifest.revision:
        return True
    return _is_commit(wanted.revision) and manifest.commit.startswith(wanted.revision)


def _is_part_of(wanted: ModelName, partial: Interrupted) -> bool:
    """An unfinished download knows its commit only, so a branch or tag does not name it."""
    named = not wanted.revision or (_is_commit(wanted.revision) and partial.commit.startswith(wanted.revision))
    return named and _same(wanted.id, partial.id)


def _same(one: str, other: str) -> bool:
    """Hubs find a model whatever the case of the letters; so do we."""
    return one.casefold() == other.casefold()


def _is_commit(revision: str) -> bool:
    return len(revision) >= _SHORTEST_COMMIT and re.fullmatch(r"[0-9a-f]+", revision) is not None


def _folder_name(model: str) -> str:
    return model.replace("/", "--", 1)


def _subfolders(root: Path) -> Iterator[Path]:
    for model in _folders(root):
        if model.name != STAGING:
            yield from _folders(model)


def _folders(parent: Path) -> list[Path]:
    try:
        return [path for path in parent.iterdir() if path.is_dir()]
    except OSError:
        return []


def _delete(folder: Path, root: Path) -> int:
    """Take a folder away at once, so that no half of it is ever found, and then delete what is in it; returns its bytes."""
    size = _bytes_below(folder)
    doomed = root / STAGING / f"removed-{uuid.uuid4().hex[:8]}"
    try:
        doomed.parent.mkdir(parents=True, exist_ok=True)
        folder.replace(doomed)
        shutil.rmtree(doomed)
    except OSError as error:
        where = error.filename or folder
        raise CheckpointError(
            f"{where} cannot be deleted ({error.strerror or error}).", "Run `dlsp engine --stop`, check the permissions, and try again."
        ) from error
    for left in (root / STAGING).glob("removed-*"):  # by a removal that was interrupted
        shutil.rmtree(left, ignore_errors=True)
    with suppress(OSError):  # other revisions are in it
        folder.parent.rmdir()
    return size


def _bytes_below(folder: Path) -> int:
    return sum(size for path in folder.rglob("*") if path.is_file() and (size := _size(path)) is not None)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
