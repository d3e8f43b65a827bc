"""Finds what a source file defines, line by line and without a parser: functions, classes, types, constants, as short texts.

Light on purpose: it runs beside a person's typing over thousands of files. A definition it misses is missed context, no more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePath
from typing import NamedTuple

MOST_CHARACTERS = 600
_MOST_SIGNATURE_LINES = 12
_MOST_BODY_LINES = 16
_MOST_LINE = 240
_PAUSE_LINES = 200
_EXTENSIONS = {
    "python": "py pyi",
    "javascript": "js jsx mjs cjs",
    "typescript": "ts tsx mts cts",
    "go": "go",
    "rust": "rs",
    "c": "c h",
    "cpp": "cc cpp cxx hh hpp hxx",
    "java": "java",
    "lua": "lua",
    "shellscript": "sh bash",
}
_LANGUAGE_OF = {f".{ending}": language for language, endings in _EXTENSIONS.items() for ending in endings.split()}
_ALIASES = {"javascriptreact": "javascript", "typescriptreact": "typescript"}
_GENERATED_NAME = re.compile(r"_pb2(_grpc)?\.pyi?$|\.min\.\w+$|\.(generated|gen|pb)\.\w+$|_generated\.\w+$|^moc_|\.bundle\.js$")
_GENERATED_HEAD = re.compile(r"@generated|\bcode generated\b|\bauto-?generated\b|do not edit", re.IGNORECASE)


class Found(NamedTuple):
    """A definition in a text: `line` from 0; `text` is its signature, the first line of its description, and its members."""

    name: str
    kind: str
    line: int
    text: str


def language_of(path: PurePath) -> str:
    """The language of a file by its ending, "" for files that are not looked into."""
    return _LANGUAGE_OF.get(path.suffix.lower(), "")


def family_of(language: str) -> str:
    """The language whose files are looked at together with those of `language`."""
    language = _ALIASES.get(language, language)
    return {"typescript": "javascript", "cpp": "c"}.get(language, language)


def is_generated(name: str, text: str) -> bool:
    """Whether a file was written by a program: nobody completes code like it."""
    return bool(_GENERATED_NAME.search(name) or _GENERATED_HEAD.search(text, 0, 400))


def definitions_in(language: str, lines: list[str]) -> Iterator[Found]:
    """The definitions of a text, in order. `lines` are without line ends. Lazy, so that a long file can be read bit by bit."""
    return (found for found in scan(language, lines) if found is not None)


def scan(language: str, lines: list[str]) -> Iterator[Found | None]:
    """As `definitions_in`, and None now and then where nothing is found, so that nobody waits for long."""
    language = _ALIASES.get(language, language)
    return _python(lines) if language == "python" else _other(lines, _PATTERNS[language]) if language in _PATTERNS else iter(())


_PY_DEF = re.compile(r"([ \t]*)(?:async[ \t]+)?(def|class)[ \t]+(\w+)")
_PY_ASSIGNED = re.compile(r"([A-Za-z_]\w*)[ \t]*(?::[^=]{1,80})?=(?!=)")
_PY_ATTRIBUTE = re.compile(r"[ \t]+([A-Za-z_]\w*)[ \t]*(:[^=]|=(?!=))")
_PY_OWN = re.compile(r"[ \t]+self\.(\w+)[ \t]*(?::[^=]{1,80})?=(?!=)")


def _python(lines: list[str]) -> Iterator[Found | None]:
    owners: list[tuple[int, str, str]] = []
    for number, line in enumerate(lines):
        if number % _PAUSE_LINES == 0:
            yield None
        match = _PY_DEF.match(line[:_MOST_LINE])
        if match is None:
            assigned = _PY_ASSIGNED.match(line) if line[:1].isalpha() or line[:1] == "_" else None
            if assigned and len(line) <= 160:
                yield Found(assigned.group(1), "constant", number, line.rstrip())
            continue
        depth, kind, name = len(match.group(1)), match.group(2), match.group(3)
        while owners and owners[-1][0] >= depth:
            owners.pop()
        within = owners[-1] if owners else None
        owners.append((depth, kind, name))
        if within is not None and within[1] == "def":
            # What a function defines for itself helps nobody else.
            continue
        signature = _python_signature(lines, number, depth)
        if kind == "class":
            yield Found(name, "class", number, _cut([*signature, *_python_members(lines, number + len(signature), depth)]))
        elif within is None:
            yield Found(name, "function", number, _cut([*signature, *_python_description(lines, number + len(signature), depth)]))
        elif not (name.startswith("__") and name.endswith("__")):
            body = [*signature, *_python_description(lines, number + len(signature), depth)]
            yield Found(name, "method", number, _cut([f"class {within[2]}:", *(f"    {text}" for text in body)]))


def _python_signature(lines: list[str], number: int, depth: int) -> list[str]:
    """The lines of a header up to its colon, without the header's indentation."""
    found, open_brackets = [], 0
    for line in lines[number : number + _MOST_SIGNATURE_LINES]:
        text = line[:_MOST_LINE].rstrip()
        found.append(text[depth:] if not text[:depth].strip() else text.lstrip())
        open_brackets += sum(map(text.count, "([{")) - sum(map(text.count, ")]}"))
        if open_brackets <= 0 and text.endswith(":"):
            break
        if open_brackets <= 0 and not text.endswith(("\\", ",")):
            break
    return found


def _python_description(lines: list[str], number: int, depth: int) -> list[str]:
    """The first line of a docstring, as a docstring of one line."""
    for line in lines[number : number + 2]:
        text = line.strip()
        if text[:3] in ('"""', "'''") or text[:4] in ('r"""', "r'''"):
            said = text.lstrip("r").strip("\"'").strip()
            return [f'    """{said}"""'] if said else []
        if text:
            break
    return []


def _python_members(lines: list[str], number: int, depth: int) -> list[str]:
    """Attributes and method headers of a class that begins before line `number`, one line each."""
    found = _python_description(lines, number, depth)
    inner: int | None = None
    weight = 0
    in_init, in_text = False, False
    for line in lines[number : number + 400]:
        text = line[:_MOST_LINE].rstrip()
        quotes = text.count('"""') + text.count("'''")
        if in_text or quotes % 2:
            in_text ^= bool(quotes % 2)
            continue
        if not text.strip() or text.lstrip()[0] in "#@)\"'":
            continue
        indent = len(text) - len(text.lstrip())
        if indent <= depth:
            break
        inner = indent if inner is None else inner
        if indent == inner:
            method = _PY_DEF.match(text)
            in_init = bool(method and method.group(3) == "__init__")
            if method:
                found.append("    " + text.strip() + (" ..." if text.endswith(":") else ""))
            elif _PY_ATTRIBUTE.match(text):
                found.append("    " + text.strip())
        elif in_init and (own := _PY_OWN.match(text)) and not own.group(1).startswith("_"):
            found.append("        " + text.strip())
        weight += len(found[-1]) if found else 0
        if weight > 4 * MOST_CHARACTERS or len(found) > 60:
            break
    return found


_JS = (
    ("function", re.compile(r"\s*(?:export\s+)?(?:default\s+)?(?:async\s+)?function\s*\*?\s+(\w+)\s*[<(]")),
    ("class", re.compile(r"\s*(?:export\s+)?(?:default\s+)?(?:abstract\s+)?class\s+(\w+)")),
    ("type", re.compile(r"\s*(?:export\s+)?(?:declare\s+)?(?:const\s+)?(?:interface|enum|namespace)\s+(\w+)")),
    ("type", re.compile(r"\s*(?:export\s+)?(?:declare\s+)?type\s+(\w+)\s*[<=]")),
    ("function", re.compile(r"(?:export\s+)?(?:const|let|var)\s+(\w+)[^=]{0,120}=\s*(?:async\s*)?(?:\([^)]*\)|\w+)\s*(?::[^=]{1,80})?=>")),
    ("constant", re.compile(r"(?:export\s+)?(?:const|let|var)\s+(\w+)\s*(?::[^=]{1,80})?=")),
    (
        "method",
        re.compile(
            r"  ?(?:  |\t)?(?:public |private |protected |static |async |get |set |readonly )*(\w+)\s*(?:<[^>]*>)?\([^;]*\)[^;]*\{$"
        ),
    ),
)
_C = (
    ("type", re.compile(r"(?:typedef\s+)?(?:struct|union|enum|class|enum class)\s+(\w+)[^;()]*$")),
    ("type", re.compile(r"(?:template\s*<.*>\s*)?(?:using)\s+(\w+)\s*=")),
    ("constant", re.compile(r"#\s*define\s+(\w+)")),
    ("function", re.compile(r"(?!return\b|else\b|typedef\b|using\b)[A-Za-z_][\w\s\*&:<>,~]*?[\s\*&:](\w+)\s*\([^;{}]*\)?[^;{}]*\{?;?$")),
)
_JAVA_MODIFIERS = r"(?:(?:public|private|protected|static|final|abstract|sealed|synchronized|default|native)\s+)"
_PATTERNS: dict[str, tuple[tuple[str, re.Pattern[str]], ...]] = {
    "javascript": _JS,
    "typescript": _JS,
    "go": (
        ("function", re.compile(r"func\s+(?:\([^)]*\)\s*)?(\w+)\s*[\[(]")),
        ("type", re.compile(r"type\s+(\w+)\b")),
        ("constant", re.compile(r"(?:const|var)\s+(\w+)\b")),
    ),
    "rust": (
        ("function", re.compile(r"\s*(?:pub(?:\([^)]*\))?\s+)?(?:const\s+|async\s+|unsafe\s+|extern\s+\S+\s+)*fn\s+(\w+)")),
        ("type", re.compile(r"\s*(?:pub(?:\([^)]*\))?\s+)?(?:struct|enum|trait|union|type)\s+(\w+)")),
        ("constant", re.compile(r"\s*(?:pub(?:\([^)]*\))?\s+)?(?:const|static)\s+(?:mut\s+)?(\w+)\s*:")),
        ("function", re.compile(r"\s*macro_rules!\s+(\w+)")),
    ),
    "c": _C,
    "cpp": _C,
    "java": (
        ("type", re.compile(rf"\s*{_JAVA_MODIFIERS}*(?:class|interface|enum|record|@interface)\s+(\w+)")),
        ("method", re.compile(rf"\s+{_JAVA_MODIFIERS}+[\w<>\[\],.? ]*?\b(\w+)\s*\([^;]*$")),
    ),
    "lua": (
        ("function", re.compile(r"\s*(?:local\s+)?function\s+(?:[\w.]+[.:])?(\w+)\s*\(")),
        ("function", re.compile(r"\s*(?:local\s+)?(?:[\w.]+\.)?(\w+)\s*=\s*function\s*\(")),
    ),
    "shellscript": (
        ("function", re.compile(r"\s*(?:function\s+)?([\w-]+)\s*\(\)\s*\{?")),
        ("function", re.compile(r"\s*function\s+([\w-]+)")),
    ),
}  # fmt: skip
"""For each language: kinds of definitions and how a line of one begins. Adding a language is adding a row."""
_NO_NAMES = frozenset({"if", "for", "while", "switch", "catch", "return", "else", "function", "sizeof", "constructor", "main", "new"})
_COMMENT = re.compile(r"\s*(///?|/\*\*?|\*|--+|#)\s?")


def _other(lines: list[str], patterns: tuple[tuple[str, re.Pattern[str]], ...]) -> Iterator[Found | None]:
    for number, line in enumerate(lines):
        if number % _PAUSE_LINES == 0:
            yield None
        if not line or len(line) > _MOST_LINE or line.lstrip()[:2] in ("//", "/*", "* ", "--"):
            continue
        for kind, pattern in patterns:
            match = pattern.match(line)
            if match and match.group(1) not in _NO_NAMES:
                yield Found(match.group(1), kind, number, _cut([*_described(lines, number), *_bracketed(lines, number, kind)]))
                break


def _described(lines: list[str], number: int) -> list[str]:
    """The comment line right above, if there is one; the first line of a comment of several."""
    first = number
    while (
        first > 0 and number - first < 30 and _COMMENT.match(lines[first - 1]) and not lines[first - 1].startswith(("#include", "#define"))
    ):
        first -= 1
    said = next((text for text in lines[first:number] if _COMMENT.sub("", text, count=1).strip(" */")), "")
    return [said.strip()[:_MOST_LINE]] if said else []


def _bracketed(lines: list[str], number: int, kind: str) -> list[str]:
    """A header up to the brace that opens its body; types with their members."""
    found, depth = [], 0
    margin = len(lines[number]) - len(lines[number].lstrip())
    for line in lines[number : number + _MOST_BODY_LINES]:
        text = line[:_MOST_LINE].rstrip()
        found.append(text[margin:] if not text[:margin].strip() else text.lstrip())
        depth += sum(map(text.count, "([{")) - sum(map(text.count, ")]}"))
        if depth <= 0 and (len(found) > 1 or not text.endswith((",", "=", "&&", "||"))):
            break
        if kind not in ("type", "class", "constant") and depth <= 1 and text.endswith("{"):
            break
    return found


def _cut(lines: list[str]) -> str:
    """As many lines as `MOST_CHARACTERS` allow."""
    kept: list[str] = []
    weight = 0
    for line in lines:
        weight += len(line) + 1
        if kept and weight > MOST_CHARACTERS:
            break
        kept.append(line[:MOST_CHARACTERS])
    return "\n".join(kept)
