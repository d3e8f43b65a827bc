"""Reads the import statements of a file: which names come from which module. Python, JavaScript and TypeScript.

Knows text only; where a module lies is the workspace's business.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from dlsp.context.definition_scan import family_of

HEAD_LINES = 400
"""Only so much of a file is searched for imports."""
_MOST_STATEMENT_LINES = 40
_MOST_LINE = 2_000
_PY_FROM = re.compile(r"[ \t]*from[ \t]+(\.*)([\w.]*)[ \t]+import[ \t]+(.*)", re.DOTALL)
_PY_IMPORT = re.compile(r"[ \t]*import[ \t]+([\w. \t,]+)")
_PY_NAME = re.compile(r"(\w+|\*)(?:[ \t]+as[ \t]+(\w+))?")
_JS_IMPORT = re.compile(r"[ \t]*(?:import|export)\b(.*?)\bfrom[ \t]*[\"']([^\"'\n]+)[\"']", re.DOTALL)
_JS_REQUIRE = re.compile(r"[ \t]*(?:const|let|var)[ \t]+(.*?)=[ \t]*require\([\"']([^\"'\n]+)[\"']\)", re.DOTALL)
_JS_NAME = re.compile(r"(?:type\s+)?(\w+|\*)(?:\s*(?:as|:)\s*(\w+))?")
_STATEMENT = re.compile(
    r"[ \t]*(?:import\b|from\s+[\w.]+\s+import\b|export\b.*\bfrom\b|(?:const|let|var)\s.*\brequire\("
    r"|#\s*include\b|use\s|using\s|package\s|local\s+\w+\s*=\s*require|source\s)"
)


class Imported(NamedTuple):
    """One imported name. `name` is what it is called in its module ("" for the module itself), `alias` what it is called here.

    `level` counts the leading dots of a Python import; JavaScript modules keep theirs in `module`.
    """

    module: str
    level: int
    name: str
    alias: str


def imports_in(language: str, lines: Sequence[str]) -> tuple[Imported, ...]:
    """The imports of a file's first few hundred lines, in order; none for other languages."""
    family = family_of(language)
    if family not in ("python", "javascript"):
        return ()
    found: list[Imported] = []
    for statement in statements_in(lines):
        found += _python(statement) if family == "python" else _javascript(statement)
    return tuple(found)


def statements_in(lines: Sequence[str]) -> list[str]:
    """The import statements at the head of a file, each with all its lines; in any language that is looked into."""
    found, number = [], 0
    while number < min(len(lines), HEAD_LINES):
        line = lines[number][:_MOST_LINE].rstrip()
        number += 1
        if not _STATEMENT.match(line[:400]):
            continue
        statement = [line]
        while (
            number < len(lines)
            and len(statement) < _MOST_STATEMENT_LINES
            and (statement[-1].endswith("\\") or sum(map("".join(statement).count, "({")) > sum(map("".join(statement).count, ")}")))
        ):
            statement.append(lines[number][:_MOST_LINE].rstrip())
            number += 1
        found.append("\n".join(statement))
    return found


def _python(statement: str) -> list[Imported]:
    if match := _PY_FROM.match(statement):
        dots, module, names = match.groups()
        names = re.sub(r"#[^\n]*", "", names)
        return [Imported(module, len(dots), name, alias or name) for name, alias in _PY_NAME.findall(names)]
    if match := _PY_IMPORT.match(statement):
        return [Imported(name, 0, "", alias or name) for name, alias in re.findall(r"([\w.]+)(?:[ \t]+as[ \t]+(\w+))?", match.group(1))]
    return []


def _javascript(statement: str) -> list[Imported]:
    match = _JS_IMPORT.match(statement) or _JS_REQUIRE.match(statement)
    if match is None:
        return []
    names, module = match.groups()
    braced = re.search(r"\{(.*?)\}", names, re.DOTALL)
    found = [Imported(module, 0, name, alias or name) for name, alias in _JS_NAME.findall(braced.group(1))] if braced else []
    outside = re.sub(r"\{.*?\}", "", names, flags=re.DOTALL)
    for name, alias in _JS_NAME.findall(outside):
        if name not in ("type", "import"):
            # A default export is called what its importers like; a namespace is the module.
            found.append(Imported(module, 0, "" if name == "*" else "default", alias or name))
    return found
