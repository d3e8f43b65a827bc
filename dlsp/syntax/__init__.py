"""What a parse of the lines around a place tells: blocks, errors, whole statements and kinds of words, for languages with a grammar.

Parses a window of lines while somebody types, because a parse holds up everything else. Knows no settings and no protocol.
"""

from dlsp.syntax.blocks import BlockFacts, block_at
from dlsp.syntax.errors import error_spans, fault_count, introduces_error, parses
from dlsp.syntax.grammars import prepare, supports
from dlsp.syntax.words import Leaf, leaves, statement_around

__all__ = [
    "BlockFacts",
    "Leaf",
    "block_at",
    "error_spans",
    "fault_count",
    "introduces_error",
    "leaves",
    "parses",
    "prepare",
    "statement_around",
    "supports",
]
