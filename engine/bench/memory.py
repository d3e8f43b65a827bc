"""Memory of processes, read from /proc. Knows nothing of what the processes do.

Resident memory (RSS) counts shared pages in full in every process; the proportional size (PSS) divides them fairly.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

PROC = Path("/proc")


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Megabytes (10^6 bytes) of one process. `pss_mb` is None where the system does not tell."""

    pid: int
    rss_mb: float
    pss_mb: float | None = None


def of_process(pid: int, proc: Path = PROC) -> Memory | None:
    """What a process holds now; None where it is gone, or the system has no /proc."""
    rss = _kilobytes(proc / str(pid) / "status", "VmRSS")
    if rss is None:
        return None
    pss = _kilobytes(proc / str(pid) / "smaps_rollup", "Pss")
    return Memory(pid=pid, rss_mb=_megabytes(rss), pss_mb=None if pss is None else _megabytes(pss))


def marked(marker: str, proc: Path = PROC) -> Iterator[int]:
    """Ids of the processes that were started with the text `marker` somewhere in their environment."""
    wanted = marker.encode()
    if not proc.is_dir():
        return
    for entry in proc.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if wanted in (entry / "environ").read_bytes():
                    yield int(entry.name)


def _megabytes(kilobytes: int) -> float:
    return round(kilobytes * 1024 / 1e6, 1)


def _kilobytes(path: Path, field: str) -> int | None:
    try:
        found = re.search(rf"^{field}:\s+(\d+) kB", path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found.group(1)) if found else None
