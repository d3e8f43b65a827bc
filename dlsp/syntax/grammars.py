"""Grammars by language, imported when first needed, and the trees they make.

Knows neither documents nor what is looked for in a tree.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from tree_sitter import Node, Parser, Query, Tree

WORD = "_dlsp_"
"""A name that no document has."""


class Grammar(msgspec.Struct, frozen=True):
    """Where a grammar comes from; a statement in its language; what may close a block that was just opened."""

    module: str
    function: str = "language"
    probe: str = f"{WORD}();"
    closers: tuple[str, ...] = (" }",)


SHELLS = ("shellscript", "sh", "bash")
"""What editors call the language of shell scripts."""

GRAMMARS = {
    "python": Grammar("tree_sitter_python", probe=f"{WORD}()", closers=()),
    "javascript": Grammar("tree_sitter_javascript"),
    "javascriptreact": Grammar("tree_sitter_javascript"),
    "typescript": Grammar("tree_sitter_typescript", "language_typescript"),
    "typescriptreact": Grammar("tree_sitter_typescript", "language_tsx"),
    "go": Grammar("tree_sitter_go"),
    "rust": Grammar("tree_sitter_rust"),
    "c": Grammar("tree_sitter_c"),
    "cpp": Grammar("tree_sitter_cpp"),
    "java": Grammar("tree_sitter_java"),
    "lua": Grammar("tree_sitter_lua", probe=f"{WORD}()", closers=(" end",)),
    **dict.fromkeys(SHELLS, Grammar("tree_sitter_bash", probe=WORD, closers=("; fi", "; done", "; }"))),
}

# Nodes whose children are statements or members.
_BLOCKS = frozenset(
    {
        "block",
        "statement_block",
        "statement_list",
        "compound_statement",
        "class_body",
        "interface_body",
        "enum_body",
        "constructor_body",
        "field_declaration_list",
        "declaration_list",
        "switch_body",
        "switch_block",
        "switch_block_statement_group",
        "switch_case",
        "switch_default",
        "case_statement",
        "match_block",
        "do_group",
        "expression_case",
        "default_case",
        "communication_case",
    }
)
# A shell has no node for the block of these.
_SHELL_BLOCKS = frozenset({"if_statement", "elif_clause", "else_clause", "case_item"})


def supports(language: str) -> bool:
    """Whether there is a grammar for a language. Importing it may still fail; then all answers are those for a language without."""
    return language in GRAMMARS


def prepare(language: str) -> bool:
    """Import a language's grammar, which takes some ten milliseconds once; may be called from a thread. False if there is none."""
    return _parser(language) is not None


def parsed(source: str, language: str) -> Tree:
    """The tree of a text with "\\n" line ends, in a language that is prepared."""
    parser = _parser(language)
    assert parser is not None, "only what has a grammar is parsed"
    return parser.parse(source.encode("utf-8", "surrogatepass"))


def faults(root: Node) -> Iterator[Node]:
    """Errors, the outermost of each place, and nodes that are missing."""
    rest = [root] if root.has_error else []
    while rest:
        node = rest.pop()
        if node.is_error or node.is_missing:
            yield node
        elif node.has_error:
            rest.extend(node.children)


def count_faults(tree: Tree, language: str) -> int:
    """How many things are wrong."""
    count = sum(1 for _ in faults(tree.root_node))
    if language == "python":
        # The grammar allows empty blocks, the language does not; broken indentation shows as just that.
        from tree_sitter import QueryCursor

        blocks = QueryCursor(_python_blocks()).captures(tree.root_node).get("block", [])
        count += sum(1 for block in blocks if not block.named_child_count)
    return count


def is_block(node: Node, language: str) -> bool:
    """Whether the children of a node are statements, members or cases."""
    return node.type in _BLOCKS or (language in SHELLS and node.type in _SHELL_BLOCKS)


def upwards(node: Node | None) -> Iterator[Node]:
    """A node and all that are around it."""
    while node is not None:
        yield node
        node = node.parent


@cache
def _parser(language: str) -> Parser | None:
    grammar = GRAMMARS.get(language)
    if grammar is None:
        return None
    try:
        from tree_sitter import Language, Parser

        return Parser(Language(getattr(importlib.import_module(grammar.module), grammar.function)()))
    except (ImportError, AttributeError, ValueError):
        # Not installed, or made for another version of the library: suggestions do without.
        return None


@cache
def _python_blocks() -> Query:
    from tree_sitter import Query

    parser = _parser("python")
    assert parser is not None
    assert parser.language is not None
    return Query(parser.language, "(block) @block")
