"""Where the syntax of a document is wrong, and whether a text would make it worse. Knows nothing of who wrote that text."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator

from dlsp.documents import Snapshot, Span
from dlsp.syntax.grammars import GRAMMARS, SHELLS, count_faults, faults, parsed, prepare
from dlsp.syntax.window import whole, window_around

_PYTHON_HEADER = re.compile(r"\s*(async\s+)?(def|class|if|elif|for|while|with|match|case|except)\b")
_REACH = 40
"""Lines on each side in which a text may do harm: they are parsed at every answer of the model, so there are fewer of them."""
_TORN = 5
"""Lines that have as many errors without the one that is written were torn out of something larger, as a table or a docstring."""
_CLOSERS = {"(": ")", "[": "]", "{": "}"}


def introduces_error(snapshot: Snapshot, span: Span, text: str) -> bool | None:
    """Whether the lines around have more syntax errors with `text` ("\\n" line ends) in the place of a span than without it; None
    where that cannot be told.

    What a text merely leaves open at its end (a bracket, the header of a block) is no error: it will be gone on with.
    """
    window = window_around(snapshot, span.start.line, span.end.line, _REACH) if prepare(snapshot.language) else None
    if window is None:
        return None
    language, replaced = snapshot.language, (span.start.line, span.end.line)
    head, tail = snapshot.head(span.start), snapshot.tail(span.end)

    def count(middle: str) -> int:
        return count_faults(parsed(window.source(replaced, head + middle + tail), language), language)

    after = count(text)
    if not after:
        return False
    before = count_faults(parsed(window.source(), language), language)
    if before and after > before:
        # One bracket or quote that is left open can hide all other errors; without the line they are all to be seen.
        others = count_faults(parsed(window.source(replaced), language), language)
        if others >= _TORN:
            return None
        before = max(before, others)
    return after > before and all(count(text + rest) > before for rest in _rests(language, (head, text, tail)))


def error_spans(snapshot: Snapshot, within: Span | None = None) -> tuple[Span, ...]:
    """Where the syntax is wrong, in order; what is missing is an empty span. Empty for a language without a grammar.

    With `within`, the lines around it are parsed and errors that touch it are told; without, the whole document is parsed,
    which takes about 20 ms for 5,000 lines.
    """
    if not prepare(snapshot.language):
        return ()
    window = whole(snapshot) if within is None else window_around(snapshot, within.start.line, within.end.line)
    if window is None:
        return ()
    root = parsed(window.source(), snapshot.language).root_node
    spans = {Span(window.point(node.start_point), window.point(node.end_point)) for node in faults(root)}
    return tuple(sorted(span for span in spans if within is None or (span.start <= within.end and span.end >= within.start)))


def fault_count(language: str, text: str) -> int | None:
    """How many things the grammar finds wrong in a whole text; None for a language without one. Takes about 20 ms for 5,000 lines,
    so nothing that answers while somebody types may use it."""
    return count_faults(parsed(_plain(text), language), language) if prepare(language) else None


def parses(language: str, text: str) -> bool | None:
    """Whether a whole text is without syntax errors; None for a language without a grammar. Takes as long as `fault_count`."""
    count = fault_count(language, text)
    # The grammar takes some things for valid that Python itself does not, such as a value on the line after its `=`.
    return None if count is None else not count and (language != "python" or _compiles(_plain(text)))


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _rests(language: str, parts: tuple[str, str, str]) -> Iterator[str]:
    """What could follow a text that ends in the middle of something; nothing if more than closing brackets stands behind it."""
    head, text, tail = parts
    if tail.strip(" \t)]};,"):
        return
    last = (head + text).rpartition("\n")[2].rstrip()
    closers = _owed(text)
    if language == "python":
        if last.endswith(":"):
            yield closers + " pass"
        elif _PYTHON_HEADER.match(last):
            yield closers + ": pass"
    if closers:
        yield closers
        yield closers + ";"
    if language == "lua" or language in SHELLS:
        # A shell wants a command before the end of a block.
        yield from (" :" + closer if language in SHELLS else closer for closer in GRAMMARS[language].closers)


def _owed(text: str) -> str:
    """The closers that a text leaves owing, innermost first. Brackets within strings count too: that only makes a try fail."""
    owed: list[str] = []
    for character in text:
        if character in _CLOSERS:
            owed.append(_CLOSERS[character])
        elif owed and character == owed[-1]:
            owed.pop()
    return "".join(reversed(owed))


def _compiles(text: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
    return True
