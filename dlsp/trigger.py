"""Whether to ask the model at a place, and for one line or a block; when not, the reason. Pure: knows no clocks and no backends."""

from __future__ import annotations

import re
from itertools import chain

import msgspec

from dlsp.documents import Point, Snapshot
from dlsp.settings import Settings
from dlsp.syntax import BlockFacts, block_at

LONGEST_LINE = 20_000
"""In longer lines, in characters, nothing is offered unasked: they are data or made by a machine."""
FEWEST_CHARACTERS = 10
"""A document with less than this, white space not counted, says too little to go on."""

_CLOSING_REST = re.compile(r"""\s*(?:(?:</[\w.:-]*>|[)\]}>"'`,;:.])\s*)*\{?\s*""")
_LONGEST_REST = 200
_OPENS = re.compile(r"(?:[:{]|\b(?:then|do|else|repeat|in)|\bfunction\b[^()]*\([^()]*\))\s*\Z")
_READ_ONLY_SCHEMES = frozenset({"git", "gitfs", "output", "vscode-scm", "walkthrough", "comment"})
_INPUT_BOXES = frozenset({"scminput"})
_LINES_BELOW = 20
_TOKENS_A_LINE = 64
_TOKENS_A_FURTHER_LINE = 24
_MOST_TOKENS = 384


class Overrides:
    """What the user switched with a command: holds until the editor ends, whatever the settings say. Times are the caller's, in seconds."""

    def __init__(self) -> None:
        self.off: set[str] = set()
        self.disabled = False
        self.snoozed_until = 0.0

    def snoozed(self, now: float) -> bool:
        """Whether automatic suggestions are put off for a while."""
        return now < self.snoozed_until


class Circumstances(msgspec.Struct, frozen=True, kw_only=True):
    """What was done before a question. `text_elsewhere`: a document with little in it belongs to others, as a notebook's cell does."""

    invoked: bool = False
    took_back: bool = False
    several_cursors: bool = False
    just_accepted: bool = False
    snoozed: bool = False
    text_elsewhere: bool = False


class Decision(msgspec.Struct, frozen=True):
    """Ask for at most `max_lines`, or do not ask for `reason`.

    `last_line` is the last line of the block that the place is in, 0-based; -1 if there is none, or nobody knows.
    """

    max_lines: int = 1
    reason: str = ""
    last_line: int = -1

    @property
    def max_tokens(self) -> int:
        """How many tokens the hole may get."""
        return min(_TOKENS_A_LINE + _TOKENS_A_FURTHER_LINE * (self.max_lines - 1), _MOST_TOKENS)


def gate(settings: Settings, uri: str, language: str, excluded: bool, overrides: Overrides) -> str:
    """Why a document gets no suggestions at all, whatever the place: `disabled`, `not_editable`, `disabled_language`,
    `excluded_file`, or ""."""
    if not settings.enabled or overrides.disabled:
        return "disabled"
    if uri.partition(":")[0].lower() in _READ_ONLY_SCHEMES:
        return "not_editable"
    if not settings.offers(language) or language in overrides.off or (language in _INPUT_BOXES and language not in settings.languages):
        return "disabled_language"
    return "excluded_file" if excluded else ""


def decide(snapshot: Snapshot, at: Point, settings: Settings, circumstances: Circumstances) -> Decision:
    """What to ask for; somebody who invokes is refused nothing.

    Reasons not to ask, of which the first counts: `snoozed`, `manual`, `several_cursors`, `undo`, `long_line`, `mid_line`,
    `empty_document`. Takes some milliseconds where a block may be due, because the lines around are parsed.
    """
    if not circumstances.invoked:
        reason = _refusal(snapshot, at, settings, circumstances) or _place_refusal(snapshot, at)
        if not reason and not circumstances.text_elsewhere and not _says_enough(snapshot, at):
            reason = "empty_document"
        if reason:
            return Decision(reason=reason)
    facts = _block(snapshot, at, settings, circumstances)
    if facts is not None:
        return Decision(max_lines=settings.max_lines, last_line=facts.last_line)
    further = circumstances.just_accepted and not circumstances.invoked and _may_offer_blocks(settings)
    return Decision(max_lines=min(2, settings.max_lines) if further else 1)


def _refusal(snapshot: Snapshot, at: Point, settings: Settings, circumstances: Circumstances) -> str:
    """Why nothing is offered unasked, whatever the text."""
    if circumstances.snoozed:
        return "snoozed"
    if settings.trigger == "manual":
        return "manual"
    if circumstances.several_cursors:
        return "several_cursors"
    return "undo" if circumstances.took_back else ""


def _place_refusal(snapshot: Snapshot, at: Point) -> str:
    """Why nothing is offered unasked at this place of this line."""
    if len(snapshot.lines[at.line]) > LONGEST_LINE:
        return "long_line"
    rest = snapshot.tail(at)
    return "" if len(rest) <= _LONGEST_REST and _CLOSING_REST.fullmatch(rest) else "mid_line"


def _says_enough(snapshot: Snapshot, at: Point) -> bool:
    """Whether a document has enough characters. Looks at those around the place first and stops at the last one it needs."""
    count = 0
    for number in chain(range(at.line, -1, -1), range(at.line + 1, len(snapshot.lines))):
        count += sum(not character.isspace() for character in snapshot.lines[number][:LONGEST_LINE])
        if count >= FEWEST_CHARACTERS:
            return True
    return False


def _may_offer_blocks(settings: Settings) -> bool:
    return settings.multiline == "auto" and settings.eagerness != "low"


def _block(snapshot: Snapshot, at: Point, settings: Settings, circumstances: Circumstances) -> BlockFacts | None:
    """The block to offer at a place; None where one line is due."""
    if settings.multiline == "never" or not (circumstances.invoked or _may_offer_blocks(settings)):
        return None
    head, tail = snapshot.head(at), snapshot.tail(at)
    blank = not head.strip() and not tail.strip()
    if not blank and (tail.strip(" \t)]};,") or not _OPENS.search(head[-_LONGEST_REST:])):
        return None
    facts = block_at(snapshot, at) or _by_indentation(snapshot, at)
    if facts.opens or facts.blank_in_body:
        return facts
    # On any blank line somebody who asks wants more than one line.
    return facts if blank and circumstances.invoked else None


def _by_indentation(snapshot: Snapshot, at: Point) -> BlockFacts:
    """The same facts where no grammar can tell them."""
    head = snapshot.head(at)
    below = next(filter(str.strip, map(snapshot.line, range(at.line + 1, min(at.line + _LINES_BELOW, len(snapshot.lines))))), "")
    if not head.strip():
        deep = _indent(head) if head else _indent(below)
        return BlockFacts(blank_in_body=deep > 0)
    opener = head.rstrip()[-1:]
    if opener not in ":{" or (opener == ":" and sum(map(head.count, "([{")) != sum(map(head.count, ")]}"))):
        # A colon within brackets is a slice or a pair.
        return BlockFacts()
    return BlockFacts(opens=_indent(below) <= _indent(head))


def _indent(line: str) -> int:
    """Columns of leading white space, a tab counting as four."""
    return len(line[: len(line) - len(line.lstrip())].expandtabs(4))
