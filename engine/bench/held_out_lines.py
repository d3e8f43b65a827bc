"""Finds the lines of code in a source file, with the columns where their tokens and names stand.

Python files are read by Python itself, others by a lexer that knows comments and strings. Knows nothing of holes or cases.
"""

from __future__ import annotations

import ast
import io
import tokenize
from dataclasses import dataclass

from engine.bench.held_out_lexer import LEXERS, Piece, lex
from engine.bench.metrics import parse

LANGUAGES = ("python", *LEXERS)
"""Languages whose lines of code can be told from comments."""

LINE_STRUCTURE = frozenset({tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER, tokenize.ENCODING})

OTHER_LINE_ENDS = "\r\f\v\x1c\x1d\x1e\x85\u2028\u2029"
"""Characters that some tools count as line ends or blanks and an editor does not: line numbers would disagree."""


@dataclass(frozen=True, slots=True)
class CodeLine:
    """A line of code in a file: its number from 0, and the columns (code points) where its tokens and its names stand."""

    number: int
    text: str
    tokens: tuple[tuple[int, int], ...]
    names: tuple[tuple[int, int], ...]

    @property
    def indent(self) -> int:
        """The column of the first token."""
        return self.tokens[0][0]


def code_lines(text: str, language: str = "python") -> list[CodeLine]:
    """The lines of a file that hold code and nothing else; none where the language is not known or the file cannot be read."""
    if language == "python":
        return _python_lines(text)
    if language not in LEXERS or any(c in text for c in OTHER_LINE_ENDS):
        return []
    return _lexed_lines(text, lex(text, language))


def _python_lines(text: str) -> list[CodeLine]:
    tree = parse(text)
    if tree is None:
        return []
    prose = _string_statements(tree)
    tokens: dict[int, list[tuple[int, int]]] = {}
    names: dict[int, list[tuple[int, int]]] = {}
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT or token.start[0] != token.end[0]:
                prose.update(range(token.start[0], token.end[0] + 1))
            elif token.type not in LINE_STRUCTURE:
                tokens.setdefault(token.start[0], []).append((token.start[1], token.end[1]))
                if token.type == tokenize.NAME:
                    names.setdefault(token.start[0], []).append((token.start[1], token.end[1]))
    except (tokenize.TokenError, SyntaxError):
        return []
    lines = text.split("\n")
    if any(c in text for c in "\r\f"):
        return []
    return [
        CodeLine(number - 1, lines[number - 1], tuple(spans), tuple(names.get(number, ())))
        for number, spans in sorted(tokens.items())
        if number not in prose and any(c.isalnum() for c in lines[number - 1])
    ]


def _string_statements(tree: ast.Module) -> set[int]:
    """Numbers of the lines that docstrings and other strings standing alone take."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def _lexed_lines(text: str, pieces: list[Piece]) -> list[CodeLine]:
    lines = text.split("\n")
    prose: set[int] = set()
    tokens: dict[int, list[tuple[int, int]]] = {}
    names: dict[int, list[tuple[int, int]]] = {}
    for piece in pieces:
        if piece.kind == "prose":
            prose.update(range(piece.line, piece.last_line + 1))
        else:
            tokens.setdefault(piece.line, []).append((piece.start, piece.end))
            if piece.kind == "name":
                names.setdefault(piece.line, []).append((piece.start, piece.end))
    return [
        CodeLine(number, lines[number], tuple(spans), tuple(names.get(number, ())))
        for number, spans in sorted(tokens.items())
        if number not in prose and any(c.isalnum() for c in lines[number])
    ]
