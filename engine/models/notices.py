"""What the licences of weights ask: which licence a checkpoint has, what its user should have read, and whether that was shown.

Reads model cards and one small file of the user's; imports nothing slow.
"""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import msgspec
import platformdirs

_FREE_LICENCES = ("apache-2.0", "mit", "bsd", "cc0", "cc-by-4.0", "unlicense", "isc")


def default_file() -> Path:
    """The user's file of the notices that were shown."""
    return platformdirs.user_data_path("dlsp", appauthor=False) / "notices.json"


def notice_once(family_name: str, notice: str, file: Path | None = None) -> str:
    """`notice` if this user has not been given it for this family before, else "".

    `file` remembers it (None: the user's own). Where that cannot be written the notice comes again next time; nothing is raised.
    """
    file = file or default_file()
    shown = _shown(file)
    if not notice or notice in shown.get(family_name, []):
        return ""
    shown.setdefault(family_name, []).append(notice)
    draft = file.with_name(f"{file.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            draft.write_bytes(msgspec.json.format(msgspec.json.encode(shown), indent=1) + b"\n")
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)
    except OSError:
        pass  # Told twice is better than not at all.
    return notice


def licence_of(directory: Path, usual: str, notice: str) -> tuple[str, str]:
    """The licence that the model card's front matter names, else the family's `usual` one, and what to tell the user about it.

    `notice` is the family's own; it counts more than a general one.
    """
    try:
        card = (directory / "README.md").read_text(encoding="utf-8", errors="replace")
    except OSError:
        card = ""
    front = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", card, re.DOTALL)
    named = dict(re.findall(r"^(license|license_name)\s*:\s*[\"']?([^\"'\n#]*[^\"'\n#\s])", front.group(1), re.MULTILINE)) if front else {}
    licence = named.get("license", "")
    if licence.lower() in ("", "other", "unknown"):
        licence = named.get("license_name") or usual
    known = licence.lower() == usual.lower() or licence.lower().startswith(_FREE_LICENCES)
    return licence, notice or ("" if known else f"The weights come under the licence {licence}: read it before you use them.")


def _shown(file: Path) -> dict[str, list[str]]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, list[str]])
    except (OSError, msgspec.MsgspecError):
        return {}
