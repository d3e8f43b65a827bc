"""The statements and words of a part of a document, by a parse of the lines around it. Knows nothing of what is done with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from dlsp.documents import Point, Snapshot, Span
from dlsp.syntax.grammars import is_block, parsed, prepare
from dlsp.syntax.window import Window, window_around

if TYPE_CHECKING:
    from tree_sitter import Node

WordKind = Literal["name", "literal", "comment", "other"]

_LITERALS = frozenset(
    {
        "string",
        "template_string",
        "concatenated_string",
        "raw_string",
        "ansi_c_string",
        "regex",
        "number",
        "integer",
        "float",
        "true",
        "false",
        "none",
        "null",
        "nil",
        "undefined",
    }
)
_MADE_OF_WORDS = frozenset({"composite_literal", "func_literal", "class_literal"})


class Leaf(msgspec.Struct, frozen=True):
    """A word of the source; a string or a comment is one word."""

    kind: WordKind
    start: Point
    end: Point


def leaves(snapshot: Snapshot, span: Span) -> tuple[Leaf, ...]:
    """The words that lie wholly within a span, in order. Empty for a language without a grammar."""
    window = _window(snapshot, span)
    if window is None:
        return ()
    first, last = window.place(span.start), window.place(span.end)
    found: list[Leaf] = []
    rest = [parsed(window.source(), snapshot.language).root_node]
    while rest:
        node = rest.pop()
        if node.end_point <= first or node.start_point >= last:
            continue
        kind = _kind(node)
        if kind is None:
            rest.extend(reversed(node.children))
        elif node.start_point >= first and node.end_point <= last and node.start_point != node.end_point:
            found.append(Leaf(kind, *_span(node, window)))
    return tuple(found)


def statement_around(snapshot: Snapshot, span: Span) -> Span | None:
    """The smallest whole statement that holds a span, or the run of statements of one block that it touches; None where there is none."""
    window = _window(snapshot, span)
    if window is None:
        return None
    start, end = _trimmed(snapshot, span)
    node = parsed(window.source(), snapshot.language).root_node.descendant_for_point_range(window.place(start), window.place(end))
    while node is not None and node.parent is not None and not is_block(node, snapshot.language):
        if is_block(node.parent, snapshot.language) or node.parent.parent is None:
            return _span(node, window)
        node = node.parent
    if node is None:
        return None
    parts = [part for child in node.named_children if (part := _span(child, window)).end > start and part.start < end]
    return Span(parts[0].start, parts[-1].end) if parts else None


def _window(snapshot: Snapshot, span: Span) -> Window | None:
    return window_around(snapshot, span.start.line, span.end.line) if prepare(snapshot.language) else None


def _span(node: Node, window: Window) -> Span:
    return Span(window.point(node.start_point), window.point(node.end_point))


def _kind(node: Node) -> WordKind | None:
    """What kind of word a node is; None if it is made of words."""
    name = node.type
    if "comment" in name:
        return "comment"
    if node.is_named and (name in _LITERALS or (name.endswith("_literal") and name not in _MADE_OF_WORDS)):
        return "literal"
    if node.child_count:
        return None
    return "name" if "identifier" in name or name in ("word", "variable_name") else "other"


def _trimmed(snapshot: Snapshot, span: Span) -> tuple[Point, Point]:
    """A span without the white space at its ends; as it is if there is nothing else in it."""
    start, end = span
    while start < end and not snapshot.line(start.line)[start.column :].strip():
        start = Point(start.line + 1, 0)
    while end > start and not snapshot.line(end.line)[: end.column].strip():
        end = Point(end.line - 1, len(snapshot.line(end.line - 1)))
    if start >= end:
        return span.start, span.start
    first, last = snapshot.line(start.line)[start.column :], snapshot.line(end.line)[: end.column]
    return Point(start.line, start.column + len(first) - len(first.lstrip())), Point(end.line, len(last.rstrip()))
