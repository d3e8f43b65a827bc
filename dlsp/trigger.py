"""Whether to ask the model at a place, and for one line or a block; when not, the reason. Pure: knows no clocks and no backends."""

from __future__ import annotations

import re

import msgspec

from dlsp.documents import Point, Snapshot
from dlsp.settings import Settings

_CLOSING_REST = re.compile(r"""\s*[)\]}>"'`,;:.]*\s*""")
_TOKENS_A_LINE = 64
_TOKENS_A_FURTHER_LINE = 24
_MOST_TOKENS = 384


class Decision(msgspec.Struct, frozen=True):
    """Ask for at most `max_lines`, or do not ask for `reason`."""

    max_lines: int = 1
    reason: str = ""

    @property
    def max_tokens(self) -> int:
        """How many tokens the hole may get."""
        return min(_TOKENS_A_LINE + _TOKENS_A_FURTHER_LINE * (self.max_lines - 1), _MOST_TOKENS)


def gate(settings: Settings, language: str, excluded: bool) -> str:
    """Why a document gets no suggestions at all, whatever the place: `disabled`, `disabled_language`, `excluded_file`, or ""."""
    if not settings.enabled:
        return "disabled"
    if not settings.offers(language):
        return "disabled_language"
    return "excluded_file" if excluded else ""


def decide(snapshot: Snapshot, at: Point, settings: Settings, *, invoked: bool, took_back: bool = False) -> Decision:
    """What to ask for. Reasons not to: `undo`, `mid_line`, `empty_document`; somebody who invokes is refused nothing."""
    if invoked:
        return Decision(max_lines=settings.max_lines if _wants_block(snapshot, at) else 1)
    if took_back:
        return Decision(reason="undo")
    if not _CLOSING_REST.fullmatch(snapshot.tail(at)):
        return Decision(reason="mid_line")
    if not snapshot.before(at, 2000).strip() and not snapshot.following(at, 2000).strip():
        return Decision(reason="empty_document")
    return Decision()


def _wants_block(snapshot: Snapshot, at: Point) -> bool:
    """A blank line, or the end of a line that opens a block which has no body yet."""
    head, tail = snapshot.head(at), snapshot.tail(at)
    if tail.strip(" \t)]};"):
        return False
    if not head.strip():
        return not tail.strip()
    opener = head.rstrip()[-1:]
    if opener != "{" and (opener != ":" or sum(map(head.count, "([{")) != sum(map(head.count, ")]}"))):
        # A colon within brackets is a slice or a pair.
        return False
    indent = _indent(head)
    for number in range(at.line + 1, min(at.line + 20, len(snapshot.lines))):
        if (line := snapshot.line(number)).strip():
            return _indent(line) <= indent
    return True


def _indent(line: str) -> int:
    """Columns of leading white space, a tab counting as four."""
    expanded = line.expandtabs(4)
    return len(expanded) - len(expanded.lstrip())
