"""Writes an adapted network among the user's models: a draft that can be measured, then a model that can be chosen and removed.

Nothing is visible under its name before it is whole, and a draft that is not kept leaves nothing. Knows nothing of training.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from safetensors import SafetensorError

from engine.errors import CheckpointError
from engine.models import checkpoint as checkpoints
from engine.models import store
from engine.models.quantize import COMPUTE_DTYPES, Precision, weight_bytes
from engine.models.store import Installed, Manifest, StoredFile
from engine.runtime.loading import footprint
from engine.train.adapt import Adapted

ORGANISATION = "adapted"
CARD = "MODEL_CARD.md"
LICENCE = "Apache-2.0 (base)"
"""The weights also hold something of the repository, whose licence nobody here knows."""

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "int8", "int4")

_ABANDONED_SECONDS = 3600
_DRAFT = "adapting-"


def model_name(folder: str) -> str:
    """`adapted/NAME` for a repository in a folder of this name, in letters that the store takes."""
    word = re.sub(r"[^A-Za-z0-9_]+", lambda found: "." if found[0] == "." else "-", folder).strip("-._")
    return f"{ORGANISATION}/{word or 'repository'}"


@contextmanager
def drafted(adapted: Adapted, name: str, root: Path | None = None) -> Iterator[Path]:
    """A checkpoint folder that exists while the block runs, or for good if `keep` is called in it.

    Raises CheckpointError where the models folder cannot be written.
    """
    staging = (root or store.default_root()) / store.STAGING
    draft = staging / f"{_DRAFT}{uuid.uuid4().hex[:8]}"
    try:
        try:
            _sweep(staging)
            raw = {key: value for key, value in adapted.base.raw.items() if not key.startswith("_")}
            checkpoints.save(adapted.network, raw | {"name": name}, adapted.base.family, draft, dtype=torch.bfloat16)
            shutil.copyfile(adapted.base.directory / "tokenizer.json", draft / "tokenizer.json")
        except (OSError, SafetensorError) as error:
            raise _unwritable(draft, error) from error
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        with suppress(OSError):  # others are at work in it
            staging.rmdir()


def keep(draft: Path, name: str, card: str, root: Path | None = None) -> Installed:
    """Make a draft the model `name`, with `card` as its model card, in place of what had this name before."""
    root = root or store.default_root()
    try:
        (draft / CARD).write_text(card, encoding="utf-8")
        files = tuple(
            StoredFile(name=path.name, size=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
            for path in sorted(draft.iterdir())
        )
        commit = hashlib.sha256("\n".join(f"{file.name} {file.sha256}" for file in files).encode()).hexdigest()[:40]
        model = checkpoints.read(draft)
        manifest = Manifest(
            id=name,
            revision=commit,
            commit=commit,
            files=files,
            pulled=time.time(),
            family=model.family.name,
            memory={precision: weight_bytes(model.config, precision) for precision in PRECISIONS},
            needed={precision: footprint(model, precision, COMPUTE_DTYPES["bfloat16"]).total for precision in PRECISIONS},
            licence=LICENCE,
            dlsp=importlib.metadata.version("dlsp"),
        )
        place = store.place(name, commit, root)
        if not place.exists():
            store.write(draft, manifest)
            place.parent.mkdir(parents=True, exist_ok=True)
            draft.replace(place)
    except OSError as error:
        raise _unwritable(draft, error) from error
    for older in store.matching(name, root):
        if older.folder != place:
            store.remove(older.name, root)
    return Installed(folder=place, manifest=manifest)


def _sweep(staging: Path) -> None:
    """Deletes drafts of runs that were killed."""
    for left in staging.glob(f"{_DRAFT}*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


def _unwritable(draft: Path, error: OSError | SafetensorError) -> CheckpointError:
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error).rstrip(".")
    return CheckpointError(f"The model cannot be written to {draft.parent.parent} ({why}).", "Check its permissions and the free space.")
