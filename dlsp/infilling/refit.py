"""A model's text for a hole, made to fit the document: characters, lines, indentation, what is there already. Knows no grammar."""

from __future__ import annotations

import msgspec

from dlsp.documents import Snapshot
from dlsp.holes.openings import Opening
from dlsp.postprocess.block_end import block_end
from dlsp.postprocess.characters import characters
from dlsp.postprocess.draft import Draft, Style, Wanted, draft_for, first_pieces
from dlsp.postprocess.indentation import indentation
from dlsp.postprocess.lines import lines
from dlsp.postprocess.repetition import repetition
from dlsp.postprocess.suffix_overlap import suffix_overlap
from dlsp.postprocess.trailing_space import trailing_space
from engine.api import Fill, Piece

_UNSAID = Style()


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A text that may stand in a hole, its lead included. `pieces` joined are the text, or there are none. `hasty`: the time was up while
    the model was at it, and there may be more to say."""

    text: str
    confidence: float
    pieces: tuple[Piece, ...] = ()
    hasty: bool = False


def refit(snapshot: Snapshot, opening: Opening, fill: Fill, style: Style = _UNSAID) -> Candidate | None:
    """The text as it may stand in the hole, indented in the editor's `style` where that is the hole's own; None if nothing is left of
    it. A draft that was kept in part is only tidied."""
    emptied, at = snapshot.with_item(*opening.span, opening.lead)
    wanted = Wanted(max_lines=opening.max_lines or 1_000_000, invoked=True, style=_agreeing(style, opening.indent))
    draft = draft_for(emptied, at, fill, wanted)
    if opening.noise < 1 or opening.locked:
        # Locked text stays exactly as it is, white space at the ends of its lines included.
        filters = (characters,) if opening.locked else (characters, trailing_space)
        if not opening.locked:
            # The hole ends where its draft does, before the line end.
            draft = draft.with_text(draft.text.rstrip())
    else:
        draft = _flush(draft)
        cut = (block_end,) if opening.stub and opening.max_lines > 1 else ()
        filters = (characters, lines, repetition, indentation, *cut, suffix_overlap, trailing_space)
    for each in filters:
        if not draft.text.strip():
            return None
        # A text that holds the rest of the line would have to replace it; a hole's border stays where it is.
        draft = after if not (after := each(draft)).replaces else draft
    if not draft.text.strip():
        return None
    pieces = draft.pieces
    if pieces and opening.lead:
        pieces = (Piece(text=opening.lead, confidence=1.0), *pieces)
    return Candidate(text=opening.lead + draft.text, confidence=fill.confidence, pieces=pieces)


def without_end(fill: Fill, tail: str) -> Fill:
    """A fill without the text that was only sent along behind the hole."""
    if not tail or not fill.text.endswith(tail):
        return fill
    return msgspec.structs.replace(fill, text=fill.text[: -len(tail)], pieces=first_pieces(fill.pieces, len(fill.text) - len(tail)))


def _agreeing(style: Style, indent: str) -> Style:
    """The style, unless the hole's own line is indented in the other manner: the two do not go together in one block."""
    return _UNSAID if indent and ("\t" in indent) == style.insert_spaces else style


def _flush(draft: Draft) -> Draft:
    """The hole begins behind the indentation of its line: a text that brings its own loses it, on all of its lines."""
    if draft.head.strip():
        return draft
    first, *rows = draft.text.lstrip("\n").split("\n")
    own = first[: len(first) - len(first.lstrip(" \t"))]
    for deep in (draft.head + own, own):
        # The further lines count from the margin, the first one from the hole or from the margin, too.
        if len(deep) > len(draft.head) and all(not row.strip() or row.startswith(deep) for row in rows):
            rows = [draft.head + row[len(deep) :] if row.strip() else row for row in rows]
            break
    return draft.with_text("\n".join([first.lstrip(" \t"), *rows]))
