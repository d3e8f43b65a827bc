"""Text with characters that no source should have is not shown; line ends are made "\\n". Knows nothing of the surroundings."""

from __future__ import annotations

import re

from dlsp.postprocess.draft import Draft

# Control characters but for tab and line end, halves of surrogate pairs, direction overrides (they make code look like other
# code), the byte order mark and the replacement character, which stands for bytes that were no text.
_INVALID = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffd]")


def characters(draft: Draft) -> Draft:
    """Drops with `invalid_characters`."""
    text = draft.text.replace("\r\n", "\n").replace("\r", "\n")
    return draft.dropped("invalid_characters") if _INVALID.search(text) else draft.with_text(text)
