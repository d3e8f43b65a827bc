"""Token healing: moves the cut between prefix and hole back to where the tokenizer would have cut.

A cursor inside a word, behind a bracket or inside an indent run leaves a prefix whose last token the full text would not
have. The last word of the prefix is therefore taken back into the hole, and what is generated must begin with its bytes.
Knows tokens and bytes, not models. (Token healing as in the guidance library; FIM paper, arXiv 2207.14255, section 5,
on why cuts inside tokens otherwise cost two thirds of the score.)
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass

from engine.text.tokenizer import Tokenizer

MOST_TAKEN = 8
"""Tokens that are taken back at most: a run of letters without blanks (Chinese, base64) is one word, however long."""


@dataclass(frozen=True, slots=True)
class HealedCut:
    """The text before a gap after healing: `prefix_ids` stop before the word the cursor stands in or behind; the gap must
    begin with its bytes, `forced`, which were the tokens `taken`."""

    prefix_ids: list[int]
    taken: list[int]
    forced: bytes


def heal(prefix: str, tokenizer: Tokenizer) -> HealedCut:
    """Heal the cut behind `prefix`."""
    encoding = tokenizer.encode(prefix)
    if not encoding.ids:
        return HealedCut([], [], b"")
    last = len(encoding.ids)
    while last and encoding.words[last - 1] == encoding.words[-1] and len(encoding.ids) - last < MOST_TAKEN:
        last -= 1
    # A token may hold a part of a character; what is taken back begins with a whole one.
    while last < len(encoding.ids) and _continues(encoding.ids[last], tokenizer):
        last += 1
    taken = encoding.ids[last:]
    return HealedCut(encoding.ids[:last], taken, tokenizer.decode_bytes(taken))


def _continues(token: int, tokenizer: Tokenizer) -> bool:
    """Whether a token begins inside a character (with a continuation byte of UTF-8)."""
    return b"\x80" <= tokenizer.token_bytes[token][:1] < b"\xc0"


@dataclass(frozen=True, slots=True)
class HealedDraft:
    """A draft as the tokens of the gap, what healing took back included: the first `kept` of them hold nothing else, and
    the one behind them begins with the bytes `straddled`, which are no part of the draft either.

    `exact` is False where the tokenizer changes the text (it composes accents), so that tokens do not give it back.
    """

    ids: list[int]
    kept: int
    straddled: bytes
    exact: bool


def heal_draft(cut: HealedCut, draft: str, tokenizer: Tokenizer) -> HealedDraft:
    """The tokens of a draft that stands in the gap behind `cut`."""
    ids = tokenizer.encode(cut.forced.decode() + draft).ids
    if not tokenizer.decode_bytes(ids).startswith(cut.forced):  # the draft's first character belongs to the one before
        ids = cut.taken + tokenizer.encode(draft).ids
    kept, covered = 0, 0
    while kept < len(ids) and covered + len(tokenizer.token_bytes[ids[kept]]) <= len(cut.forced):
        covered += len(tokenizer.token_bytes[ids[kept]])
        kept += 1
    exact = tokenizer.decode_bytes(ids) == cut.forced + draft.encode()
    return HealedDraft(ids, kept, cut.forced[covered:], exact)


class ForcedStart:
    """Which tokens may come next while the forced bytes are not used up. Built once per tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        pairs = sorted((piece, index) for index, piece in enumerate(tokenizer.token_bytes) if piece)
        self._pieces = [piece for piece, _ in pairs]
        self._ids = [index for _, index in pairs]
        self._token_bytes = tokenizer.token_bytes

    def allowed(self, forced: bytes) -> list[int]:
        """Ids of tokens that begin with `forced` or that `forced` begins with."""
        ids = self.covering(forced)
        for size in range(1, len(forced)):
            index = bisect.bisect_left(self._pieces, forced[:size])
            while index < len(self._pieces) and self._pieces[index] == forced[:size]:
                ids.append(self._ids[index])
                index += 1
        return ids

    def covering(self, forced: bytes) -> list[int]:
        """Ids of tokens that begin with `forced`."""
        low = bisect.bisect_left(self._pieces, forced)
        return self._ids[low : bisect.bisect_left(self._pieces, forced + b"\xff" * 8)]

    def rest(self, forced: bytes, token: int) -> bytes:
        """What is still forced after `token`."""
        piece = self._token_bytes[token]
        return forced[len(piece) :] if forced.startswith(piece) else b""
