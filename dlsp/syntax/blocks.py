"""What a block has to do with a place: whether one begins there, or goes on. Knows nothing of what is done with that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from dlsp.documents import Point, Snapshot
from dlsp.syntax.grammars import GRAMMARS, WORD, count_faults, is_block, parsed, prepare, upwards
from dlsp.syntax.window import Window, depth, window_around

if TYPE_CHECKING:
    from tree_sitter import Node, Tree

_LINES_BELOW = 20
_TEXT = ("string", "comment", "heredoc")


class BlockFacts(msgspec.Struct, frozen=True):
    """Of a place: it ends a line that `opens` a block which has no body yet; it is a blank line in the body of a block.

    `last_line` is the last line of the block around it, 0-based, without the line that closes it; -1 if there is none, it is too far
    away to be seen, or the block begins only here.
    """

    opens: bool = False
    blank_in_body: bool = False
    last_line: int = -1


def block_at(snapshot: Snapshot, at: Point) -> BlockFacts | None:
    """What a block has to do with a place at the end of a line or before closing brackets; None where that cannot be told.

    A statement is put there for a try: where it lands in the tree is where text that is typed there would land.
    """
    window = window_around(snapshot, at.line, at.line) if prepare(snapshot.language) else None
    if window is None:
        return None
    head, tail, below = snapshot.head(at), snapshot.tail(at), _next_line(snapshot, at.line)
    blank = not head.strip() and not tail.strip()
    # A line that is already followed by a deeper one has its block.
    opening = not blank and depth(below) <= depth(head)
    if blank and not head:
        # The cursor is at the margin of an empty line; who types there will be indented like the line below.
        head = below[: len(below) - len(below.lstrip())]
    elif not blank:
        head += " "
    tree, closer = _tried(window, at.line, (head, tail), GRAMMARS[snapshot.language].closers if opening else ())
    row, column = window.row(at.line), len(head.encode("utf-8", "surrogatepass"))
    leaf = tree.root_node.descendant_for_point_range((row, column), (row, column + len(WORD)))
    around = list(upwards(leaf))
    if any(word in node.type for node in around for word in _TEXT):
        return BlockFacts()
    if leaf is None or any(node.is_error for node in around):
        return None
    statement = next((node for node in around if node.parent is None or _holds_statements(node.parent, snapshot.language)), leaf)
    parent = statement.parent
    outermost = parent is None or (parent.parent is None and not window.level)
    if parent is None or outermost or statement.start_point != leaf.start_point:
        # At the top, or in the middle of an expression.
        return BlockFacts()
    alone = not any(node is not None and node.is_named for node in (statement.prev_sibling, statement.next_named_sibling))
    opens = opening and alone and parent.start_point[0] == row
    known = not opens and not closer
    return BlockFacts(opens=opens, blank_in_body=blank, last_line=_last_line(parent, window, at.line) if known else -1)


def _tried(window: Window, line: int, around: tuple[str, str], closers: tuple[str, ...]) -> tuple[Tree, str]:
    """The tree with a statement on a line, and the closer that had to be put behind it for the lines to make sense."""
    head, tail = around
    probe = head + GRAMMARS[window.language].probe

    def grown(closer: str) -> Tree:
        return parsed(window.source((line, line), probe + closer + tail), window.language)

    best, closed = grown(""), ""
    if not best.root_node.has_error:
        return best, closed
    least = count_faults(best, window.language)
    for closer in closers:
        tree = grown(closer)
        if (count := count_faults(tree, window.language)) < least:
            best, closed, least = tree, closer, count
    return best, closed


def _holds_statements(node: Node, language: str) -> bool:
    return node.parent is None or is_block(node, language)


def _last_line(block: Node, window: Window, line: int) -> int:
    if block.type == "statement_list" and block.parent is not None:
        block = block.parent
    last = block.children[-1] if block.children else None
    if last is not None and last.is_missing:
        return -1
    end = window.line_of(block.end_point[0])
    if end >= window.last and window.open_ended:
        return -1
    closed = last is not None and not last.is_named and block.start_point[0] != block.end_point[0] == window.row(end)
    return max(end - 1 if closed else end, line)


def _next_line(snapshot: Snapshot, number: int) -> str:
    """The next line below that is not blank."""
    below = (snapshot.line(n) for n in range(number + 1, min(number + 1 + _LINES_BELOW, len(snapshot.lines))))
    return next((line for line in below if line.strip()), "")
