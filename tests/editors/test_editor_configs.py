"""The configurations in editors/configs can be read, and name only settings and commands that there are. Starts no editor."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dlsp.features.wishes import COMMANDS
from lsp_stdio import ROOT

CONFIGS = ROOT / "editors" / "configs"
SETTINGS = set(json.loads((ROOT / "dlsp" / "settings.schema.json").read_text(encoding="utf-8"))["properties"])
FILES = sorted(path for path in CONFIGS.rglob("*") if path.is_file())
CONTROL = {"dlsp.snooze", "dlsp.resume", "dlsp.toggle", "dlsp.reset", "dlsp.logFile"}


def parsed(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    return tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)


def options(tree: Any) -> Iterator[dict[str, Any]]:
    """Every table that is sent to a server at its start."""
    if isinstance(tree, list):
        for each in tree:
            yield from options(each)
    elif isinstance(tree, dict):
        for name, value in tree.items():
            if name in ("initializationOptions", "initialization_options", "config"):
                yield value
            else:
                yield from options(value)


DATA = [path for path in FILES if path.suffix in (".json", ".toml", ".sublime-settings", ".sublime-commands")]


@pytest.mark.parametrize("path", DATA, ids=lambda path: path.relative_to(CONFIGS).as_posix())
def test_files_of_data_are_valid_and_set_what_there_is(path: Path) -> None:
    tree = parsed(path)
    found = [tree] if path.name == "initializationOptions.json" else list(options(tree))
    assert found or path.name in ("template.json", "dlsp.sublime-commands")
    for table in found:
        assert set(table) <= SETTINGS


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(CONFIGS).as_posix())
def test_commands_and_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"[\"'`](dlsp\.[A-Za-z]+)[\"'`]", text))
    assert named <= CONTROL | set(COMMANDS)
    for target in re.findall(r"\]\(([^)#]+)\)", text) if path.suffix == ".md" else ():
        assert (path.parent / target).exists(), target


def test_every_editor_has_a_page_and_is_in_the_index() -> None:
    index = (CONFIGS / "README.md").read_text(encoding="utf-8")
    for folder in (path for path in CONFIGS.iterdir() if path.is_dir()):
        page = folder / "README.md"
        assert f"({folder.name}/README.md)" in index
        assert "Tried by us" in page.read_text(encoding="utf-8")
        assert re.search(r"\bCheck\b|does it run", page.read_text(encoding="utf-8"))
