"""The filters between the model and the editor, in order. Knows what a filter is, not what it does."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from dlsp.postprocess.balance import balance
from dlsp.postprocess.block_end import block_end
from dlsp.postprocess.brackets import CLOSERS
from dlsp.postprocess.characters import characters
from dlsp.postprocess.confidence import confidence
from dlsp.postprocess.draft import Draft, in_order
from dlsp.postprocess.echo import echo
from dlsp.postprocess.indentation import indentation
from dlsp.postprocess.junk import junk
from dlsp.postprocess.lines import lines
from dlsp.postprocess.rejected import rejected
from dlsp.postprocess.repetition import repetition
from dlsp.postprocess.suffix_overlap import suffix_overlap
from dlsp.postprocess.syntax_regression import syntax_regression
from dlsp.postprocess.too_short import too_short
from dlsp.postprocess.trailing_space import trailing_space
from dlsp.postprocess.weak_tail import weak_tail

Filter = Callable[[Draft], Draft]

# Doubtful text goes first, as it costs nothing to see, and its weak tail while the text still is what the tokens said: every
# rewriting after that parts the two. Lines are cut before their indentation is looked at, and text is compared with its
# surroundings only when it is in the document's own manner; what stands behind the cursor before what stands above, because a text
# that ends in the next lines is cut there, while one that begins with them is no suggestion. The parse comes when all that would
# break the code for a known reason is gone, as it is the dearest. What is left is judged last: whether it is worth showing.
FILTERS: tuple[Filter, ...] = (
    confidence,
    characters,
    junk,
    lines,
    weak_tail,
    repetition,
    indentation,
    block_end,
    suffix_overlap,
    echo,
    balance,
    trailing_space,
    syntax_regression,
    too_short,
    rejected,
)


def polish(draft: Draft) -> Draft:
    """The draft after all filters, and so the `rest` that was cut off to follow it. Without text it always has a reason; white
    space alone is no text: `empty_output`."""
    done = _filtered(draft)
    if not done.rest:
        return done
    following = _filtered(done.following())
    return msgspec.structs.replace(done, rest=following.text, rest_pieces=following.pieces)


def _filtered(draft: Draft) -> Draft:
    for apply in FILTERS:
        if not draft.text.strip():
            break
        draft = _with_what_it_replaces(apply(draft))
    return draft if draft.text.strip() else draft.dropped(draft.reason or "empty_output")


def _with_what_it_replaces(draft: Draft) -> Draft:
    """What a text was to take the place of is not deleted when a later filter has cut it from the text: closers stay where they
    are, of anything else the text would say a part twice."""
    rest = draft.tail[: draft.replaces].rstrip()
    if in_order(rest, draft.text):
        return draft
    return draft.dropped("syntax") if rest.strip(CLOSERS + "\"'`,;: ") else msgspec.structs.replace(draft, replaces=0)
