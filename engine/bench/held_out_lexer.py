"""Cuts source files of other languages than Python into names, other tokens, and prose: comments and strings of several lines.

Which characters are comments and strings, Pygments says; it is a lexer, so it also reads files that would not compile.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Error, String

LEXERS: dict[str, tuple[str, dict[str, Any]]] = {
    "javascript": ("javascript", {}),
    "typescript": ("typescript", {}),
    "c": ("c", {}),
    "cpp": ("cpp", {}),
    "lua": ("lua", {}),
    "shellscript": ("bash", {}),
    "json": ("json", {}),
    "yaml": ("yaml", {}),
    "toml": ("toml", {}),
    # Fenced code is then one string of several lines: what is drawn from Markdown is Markdown.
    "markdown": ("markdown", {"handlecodeblocks": False}),
}
"""Pygments' lexer of each language (LSP language id), and its options."""

_WORD = re.compile(r"[^\W\d]\w*|\d[\w.]*|[=<>!&|+\-*/%^~?:.]+|[^\w\s]")
_NAME = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a file: lines from 0, columns in code points. Only prose may take several lines; its columns mean nothing."""

    kind: Literal["name", "token", "prose"]
    line: int
    last_line: int
    start: int
    end: int


def lex(text: str, language: str) -> list[Piece]:
    """The pieces of a file, in order, blanks left out. What the lexer cannot read counts as prose, so nothing is drawn from there."""
    name, options = LEXERS[language]
    # Not `get_tokens`: it strips blank lines and rewrites line ends, and every position would be off.
    lexer = get_lexer_by_name(name, **options)
    pieces: list[Piece] = []
    line = line_start = at = 0
    open_string: int | None = None  # a string comes in parts, which are one token
    for position, kind, value in lexer.get_tokens_unprocessed(text):
        if not value:
            continue
        line += text.count("\n", at, position)
        line_start, at = text.rfind("\n", 0, position) + 1, position
        column = position - line_start
        end = column + len(value.rstrip())
        # Preprocessor lines are comments to Pygments.
        comment = kind in Comment and kind not in Comment.Preproc and kind not in Comment.PreprocFile
        string = kind in String or value[0] in "\"'"
        if comment or kind in Error or (string and "\n" in value):
            # A line end behind a comment is not part of it; in a string it is, and the string goes on behind it.
            last = line + (value if string else value.rstrip("\n")).count("\n")
            pieces.append(Piece("prose", line, last, column, column))
            open_string = None
        elif not string:
            pieces += _words(value, line, column)
            open_string = None
        elif open_string is None:
            open_string = len(pieces)
            pieces.append(Piece("token", line, line, column, max(end, column + 1)))
        else:
            pieces[open_string] = replace(pieces[open_string], end=max(end, pieces[open_string].end))
    return pieces


def _words(value: str, line: int, column: int) -> Iterator[Piece]:
    """The words and signs of a stretch of code, which may take several lines."""
    for number, part in enumerate(value.split("\n")):
        shift = column if number == 0 else 0
        for match in _WORD.finditer(part):
            kind: Literal["name", "token"] = "name" if _NAME.fullmatch(match[0]) else "token"
            yield Piece(kind, line + number, line + number, shift + match.start(), shift + match.end())
