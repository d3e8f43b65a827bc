"""The filters between the model and the editor, in order. Knows what a filter is, not what it does."""

from __future__ import annotations

from collections.abc import Callable

from dlsp.postprocess.block_end import block_end
from dlsp.postprocess.characters import characters
from dlsp.postprocess.confidence import confidence
from dlsp.postprocess.draft import Draft
from dlsp.postprocess.echo import echo
from dlsp.postprocess.indentation import indentation
from dlsp.postprocess.lines import lines
from dlsp.postprocess.repetition import repetition
from dlsp.postprocess.suffix_overlap import suffix_overlap
from dlsp.postprocess.trailing_space import trailing_space

Filter = Callable[[Draft], Draft]

# Doubtful text goes first, as it costs nothing to see. Lines are cut before their indentation is looked at, and text is
# compared with its surroundings only when it is in the document's own manner. What the cuts leave behind is trimmed last.
FILTERS: tuple[Filter, ...] = (
    confidence,
    characters,
    lines,
    repetition,
    indentation,
    block_end,
    suffix_overlap,
    echo,
    trailing_space,
)


def polish(draft: Draft) -> Draft:
    """The draft after all filters. Without text it always has a reason; white space alone is no text: `empty_output`."""
    for apply in FILTERS:
        if not draft.text.strip():
            break
        draft = apply(draft)
    return draft if draft.text.strip() else draft.dropped(draft.reason or "empty_output")
