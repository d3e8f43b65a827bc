"""The golden cases are many, and each says what it is about."""

from __future__ import annotations

import tomllib
from pathlib import Path

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def cases(name: str) -> list[dict[str, object]]:
    """All cases of a file, whatever its tables are called."""
    tables = tomllib.loads((GOLDEN / f"{name}.toml").read_text(encoding="utf-8"))
    return [case for table in tables.values() if isinstance(table, list) for case in table]


def test_there_are_enough_of_each_kind() -> None:
    fewest = {"postprocess": 100, "trigger": 40, "edits": 30, "holes": 20}
    assert {name: len(cases(name)) >= least for name, least in fewest.items()} == dict.fromkeys(fewest, True)


def test_no_two_cases_have_the_same_name() -> None:
    for file in GOLDEN.glob("*.toml"):
        names = [case["name"] for case in cases(file.stem) if "name" in case]
        assert len(names) == len(set(names)), file.name
