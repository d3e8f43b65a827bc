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


@dataclass(frozen=True, slots=True)
class HealedCut:
    """Both sides of a hole after healing.

    `prefix_ids` stop before the word the cursor stands in or behind; the hole must begin with its bytes, `forced`, which were
    the tokens `taken`. `suffix` is the text behind the hole; `closing` is what the finished hole ends with although it now
    stands in `suffix`.
    """

    prefix_ids: list[int]
    taken: list[int]
    forced: bytes
    suffix: str
    closing: str


def heal(prefix: str, suffix: str, tokenizer: Tokenizer) -> HealedCut:
    """Heal the cut between `prefix` and the hole.

    A cursor at the start of a line that holds text already asks for whole lines before it: the line end that such a
    hole needs is put before the suffix and handed back as `closing`.
    """
    closing = ""
    if suffix and not suffix.startswith("\n") and (not prefix or prefix.endswith("\n")):
        suffix, closing = "\n" + suffix, "\n"
    encoding = tokenizer.encode(prefix)
    if not encoding.ids:
        return HealedCut([], [], b"", suffix, closing)
    last = len(encoding.ids)
    while last and encoding.words[last - 1] == encoding.words[-1]:
        last -= 1
    taken = encoding.ids[last:]
    return HealedCut(encoding.ids[:last], taken, tokenizer.decode_bytes(taken), suffix, closing)


@dataclass(frozen=True, slots=True)
class HealedDraft:
    """A draft as the tokens of the hole, what healing took back included: the first `kept` of them hold nothing else, and
    the one behind them begins with the bytes `straddled`, which are no part of the draft either."""

    ids: list[int]
    kept: int
    straddled: bytes


def heal_draft(cut: HealedCut, draft: str, tokenizer: Tokenizer) -> HealedDraft:
    """The tokens of a draft that stands in the hole of `cut`."""
    if cut.closing and draft.endswith("\n"):
        draft = draft[:-1]  # that line end stands in the suffix now
    ids = tokenizer.encode(cut.forced.decode() + draft).ids
    kept, covered = 0, 0
    while kept < len(ids) and covered + len(tokenizer.token_bytes[ids[kept]]) <= len(cut.forced):
        covered += len(tokenizer.token_bytes[ids[kept]])
        kept += 1
    return HealedDraft(ids, kept, cut.forced[covered:])


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
