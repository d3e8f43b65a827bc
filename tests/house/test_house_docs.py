"""The pages that people follow: their links lead somewhere; the commands, options and settings they name are ones. Runs none of them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dlsp.cli.main import _COMMANDS, _load

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = {".venv", ".cache", "node_modules", "dist", "build", "tests"}
PAGES = sorted(path for path in ROOT.rglob("*.md") if not SKIPPED & set(path.relative_to(ROOT).parts) and path != ROOT / "docs" / "log.md")
"""All but the log, which says what was so at its time."""

SETTINGS = set(json.loads((ROOT / "dlsp" / "settings.schema.json").read_text(encoding="utf-8"))["properties"])
COMMANDS = {name: _load(name) for name in _COMMANDS}


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def anchors(path: Path) -> set[str]:
    """The names that headings of a page get where pages are shown."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    heads = re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", head)).lower().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name) if name else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


def commands(text: str) -> Iterator[list[str]]:
    """Every `dlsp ...` of a page: lines of its shell blocks, and what stands between backticks."""
    for block in re.findall(r"```(?:console|sh)\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            for part in line.removeprefix("$ ").split("&&"):
                yield shlex.split(part, comments=True)
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for line in re.findall(r"`((?:[A-Z_]+=\S+ )*dlsp [^`]*)`", prose):
        yield shlex.split(line)


def assert_is_one(words: list[str]) -> None:
    """Whether a command and each of its options exist; the values are the reader's own."""
    command: Any = COMMANDS.get(words[0])
    assert command is not None or words[0].startswith("-"), words
    rest = words[1:]
    while rest and not rest[0].startswith("-") and hasattr(command, "commands"):
        assert rest[0] in command.commands, words
        command, rest = command.commands[rest[0]], rest[1:]
    known = {"-h", "--help", "-V", "--version"}
    known |= {option for parameter in getattr(command, "params", ()) for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= known, words


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_are_ones(page: Path) -> None:
    for words in commands(page.read_text(encoding="utf-8")):
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if len(words) > 1 and words[0].endswith("dlsp"):
            assert_is_one(words[1:])


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_settings_are_ones(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = set(re.findall(r"\b[Tt]he settings? `(?:dlsp\.)?(\w+)`", text)) | set(re.findall(r"\bsetting `(?:dlsp\.)?(\w+)`", text))
    assert found - {"serverPath"} <= SETTINGS


def test_there_is_something_to_look_at() -> None:
    """The tests above would pass on empty pages."""
    read = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(PAGES) > 20
    assert ["dlsp", "doctor"] in list(commands(read))
    with pytest.raises(AssertionError):
        assert_is_one(["models", "poll"])
    with pytest.raises(AssertionError):
        assert_is_one(["infill", "a.py:1:1", "--dif"])
