"""Downloads the HumanEval-Infilling files when a person asks for it, and keeps a file only if its hash is the pinned one.

The only place of the benches that touches a network; knows nothing of cases or models.
"""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from engine.bench.data import HUMANEVAL
from engine.errors import DlspError

SOURCE = "https://raw.githubusercontent.com/openai/human-eval-infilling/master/data"
"""The authors' repository (MIT licence)."""

_TIMEOUT_SECONDS = 60.0


def fetch(folder: Path, source: str = SOURCE, report: Callable[[str], None] = print) -> None:
    """Download every set that `folder` lacks or holds in another version.

    Raises DlspError where a file cannot be had, cannot be written, or is not the published one; then nothing of it is kept.
    """
    for published in HUMANEVAL.values():
        path = folder / published.file
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == published.sha256:
            report(f"{published.file}: already there")
            continue
        try:
            with urllib.request.urlopen(f"{source}/{published.file}", timeout=_TIMEOUT_SECONDS) as answer:
                raw = answer.read()
        except (urllib.error.URLError, OSError) as error:
            reason = getattr(error, "reason", error)
            raise DlspError(
                f"{published.file} cannot be downloaded ({reason}).", "Check the network, or put the file there yourself."
            ) from error
        digest = hashlib.sha256(raw).hexdigest()
        if digest != published.sha256:
            raise DlspError(f"{published.file} is not the published file (SHA-256 {digest}).", "Nothing was kept; try another time.")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(raw)
        except OSError as error:
            raise DlspError(f"{path} cannot be written ({error.strerror}).", "Choose another folder.") from error
        report(f"{published.file}: {len(raw):,} bytes")
