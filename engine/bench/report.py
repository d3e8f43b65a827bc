"""How a bench reports: a table for people, then one line of JSON as the last line of standard output.

Also the facts about the machine that every figure needs. Knows nothing of what was measured.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from engine.bench.metrics import mean, percentile

BUSY_SHARE = 0.5
"""Load of the last minute, as a share of the cores, from which on times are marked as disturbed."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One finished bench. `rows` are a label and one cell for each of `columns`; `notes` are sentences under the table."""

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    data: Mapping[str, Any]
    notes: Sequence[str] = ()


def show(report: Report, console: Console) -> None:
    """Print the table and the notes, then the data as one unwrapped JSON line."""
    table = Table(title=report.title, title_justify="left")
    table.add_column("")
    for column in report.columns:
        table.add_column(column, justify="right")
    for label, cells in report.rows:
        table.add_row(label, *cells)
    console.print(table)
    for note in report.notes:
        console.print(note, highlight=False)
    if busy := _busy(report.data):
        console.print(busy, highlight=False)
    console.file.write(msgspec.json.encode(report.data).decode() + "\n")
    console.file.flush()


def machine(threads: int = 0) -> dict[str, Any]:
    """What the figures depend on: processor, cores, system, versions, and the load when asked.

    `threads` 0 stands for torch's own choice. Imports no torch: a server that is measured must not share its cost.
    """
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 0,
        "threads": threads or "auto",
        "system": platform.system().lower(),
        "python": platform.python_version(),
        "torch": _version("torch"),
        "dlsp": _version("dlsp"),
        "load_1m": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """p50, p95, mean and n of milliseconds."""
    return {
        "p50": round(percentile(values, 50), 2),
        "p95": round(percentile(values, 95), 2),
        "mean": round(mean(values), 2),
        "n": len(values),
    }


def milliseconds(values: Sequence[float]) -> str:
    """`p50 / p95` of milliseconds for a table cell, a dash where nothing was measured."""
    return f"{percentile(values, 50):.1f} / {percentile(values, 95):.1f} ms" if values else "-"


def _busy(data: Mapping[str, Any]) -> str:
    """A warning where other work ran beside the measurement; figures of time are worth little then."""
    facts = data.get("machine") or {}
    load, cores = facts.get("load_1m"), facts.get("cores")
    if not load or not cores or load <= BUSY_SHARE * cores:
        return ""
    return f"The machine was busy before the start (load {load:g} on {cores} cores): times are too long."


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _cpu_model() -> str:
    try:
        facts = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    name = next((line.partition(":")[2].strip() for line in facts.splitlines() if line.startswith("model name")), "")
    return name or platform.machine()
