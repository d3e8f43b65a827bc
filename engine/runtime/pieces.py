"""The text of a gap, token by token, with the probability each was decided with: what a reader needs to see where a text is weak.

Knows bytes and probabilities; neither networks nor calibration, which is for whole fills.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from engine.api import Piece


def pieces_of(tokens: Sequence[bytes], confidence: Sequence[float], skip: int) -> tuple[Piece, ...]:
    """The pieces of what `tokens` say behind their first `skip` bytes; joined they are the text, without bytes that are not UTF-8.

    `confidence` has a probability for each token. Tokens that share a character are one piece, as sure as all of them together.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="ignore")
    out: list[Piece] = []
    sure = 1.0
    for token, probability in zip(tokens, confidence, strict=True):
        said = token[skip:]
        skip = max(0, skip - len(token))
        if not said:
            continue
        sure *= probability
        if text := decoder.decode(said):
            out.append(Piece(text=text, confidence=sure))
            sure = 1.0
    return tuple(out)


def cut(pieces: Sequence[Piece], characters: int) -> tuple[Piece, ...]:
    """The pieces of the first `characters` characters."""
    out: list[Piece] = []
    for piece in pieces:
        if characters <= 0:
            break
        out.append(Piece(text=piece.text[:characters], confidence=piece.confidence))
        characters -= len(piece.text)
    return tuple(out)
