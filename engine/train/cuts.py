"""Cuts windows out of source files and holes out of windows, the way cursors and selections fall in an editor.

Holes are chosen over characters first and tokens second: where a cut falls inside a word, the text on both sides is
tokenized separately, as it is when a person's cursor stands there. Knows nothing of noise, tensors or the network.
"""

from __future__ import annotations

import bisect
import itertools
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import ConfigError
from engine.text.tokenizer import Tokenizer
from engine.train import corpus

CODE = re.compile(
    r"[=(\[{}\])]|\w\.\w|^\s*(def|class|return|import|from|if|elif|else|for|while|try|except|with|raise|pass|yield|assert)\b.*:?$"
)
"""A hole that matches is likely code; others are often prose in docstrings, and are drawn again up to three times."""


@dataclass(frozen=True, slots=True)
class Window:
    """`tokens` of one window and its holes as token index pairs [start, end).

    `open_end` marks holes that show no suffix: their text runs on past the end of the canvas.
    """

    tokens: list[int]
    holes: list[tuple[int, int]]
    open_end: list[bool]


class Cutter:
    """Draws windows from a corpus file. Raises ConfigError where there is no text in it.

    Packages are drawn in proportion to bytes ** 0.6, so that none dominates, times their weight in the list if `weighted`.
    """

    def __init__(self, path: Path, tokenizer: Tokenizer, document_id: int, length: int, holes: int, weighted: bool = True) -> None:
        self._tokenizer, self._document_id = tokenizer, document_id
        self.length, self.holes = length, holes
        packages: dict[str, list[str]] = {}
        weights: dict[str, float] = {}
        for row in corpus.read(path):
            packages.setdefault(row["package"], []).append(row["text"])
            weights[row["package"]] = row.get("weight", 1.0) if weighted else 1.0
        if not any(any(texts) for texts in packages.values()):
            raise ConfigError(f"{path} holds nothing to learn from.", "Build it again with `dlsp train corpus`.")
        self._texts = list(packages.values())
        sizes = [[len(t) for t in texts] for texts in self._texts]
        self._package_weights = _cumulative([weight * sum(s) ** 0.6 for weight, s in zip(weights.values(), sizes, strict=True)])
        self._file_weights = [_cumulative(s) for s in sizes]

    def draw(self, rng: random.Random) -> Window:
        """One window of exactly `length` tokens with `holes` holes."""
        tokens: list[int] = []
        words: list[int] = []
        line_ends: list[int] = []
        blocked: list[tuple[int, int]] = []
        while len(tokens) < self.length:
            self._append_file(rng, tokens, words, line_ends, blocked)
        tokens = tokens[: self.length]
        line_ends = [i for i in line_ends if i < self.length]
        starts = [i for i in range(1, self.length) if words[i] != words[i - 1]]
        holes = [span for span in blocked if span[1] < self.length][: self.holes // 6]
        while len(holes) < self.holes:
            for _ in range(4):
                start, end = self._hole(rng, starts, line_ends)
                if CODE.search(self._tokenizer.decode(tokens[start : end + 1]).strip("\n")):
                    break
            holes.append((start, end))
        open_end = [rng.random() < 0.08 for _ in holes]
        return Window(tokens, holes, open_end)

    def _append_file(
        self, rng: random.Random, tokens: list[int], words: list[int], line_ends: list[int], character_holes: list[tuple[int, int]]
    ) -> None:
        package = _pick(rng, self._package_weights)
        text = self._texts[package][_pick(rng, self._file_weights[package])]
        characters = (self.length - len(tokens)) * 6
        start = 0
        if len(text) > characters and rng.random() > 0.15:
            start = text.rfind("\n", 0, rng.randrange(1, len(text) - characters // 2)) + 1
        text = text[start : start + characters]
        cuts: list[int] = []
        spans: list[tuple[int, int]] = []
        for _ in range(max(1, self.holes // 6)):
            a = rng.randrange(len(text))
            b = min(len(text), a + int(2 ** rng.uniform(0, 6.3)))
            if not any(a < d and c < b for c, d in spans):
                spans.append((a, b))
                cuts += [a, b]
        cuts = sorted({0, len(text), *cuts})
        pieces = self._tokenizer.encode_many([text[a:b] for a, b in itertools.pairwise(cuts)])
        offset = {}
        word = words[-1] + 1 if words else 0
        if start == 0:
            tokens.append(self._document_id)
            words.append(word)
            word += 1
        for cut, piece in zip(cuts, pieces, strict=False):
            offset[cut] = len(tokens)
            for token, in_piece in zip(piece.ids, piece.words, strict=True):
                if self._tokenizer.token_bytes[token][:1] == b"\n":
                    line_ends.append(len(tokens))
                tokens.append(token)
                words.append(word + in_piece)
            word = words[-1] + 1 if words else word
        offset[cuts[-1]] = len(tokens)
        character_holes += [(offset[a], offset[b]) for a, b in spans]

    def _hole(self, rng: random.Random, starts: list[int], line_ends: list[int]) -> tuple[int, int]:
        """45 % rest of line, 28 % whole line, 17 % words within a line, 10 % several lines."""
        kind = rng.random()
        start = rng.choice(starts)
        index = bisect.bisect_left(line_ends, start)
        end = line_ends[index] if index < len(line_ends) else self.length
        if kind < 0.45:
            return start, end
        previous = line_ends[index - 1] if index else 0
        if kind < 0.73:
            return previous, end
        if kind < 0.90:
            inside = [s for s in starts[bisect.bisect_left(starts, start) : bisect.bisect_left(starts, start) + 12] if s <= end]
            return start, rng.choice(inside or [end])
        last = min(index + rng.randint(1, 3), len(line_ends) - 1)
        return previous if rng.random() < 0.5 else start, line_ends[last] if last > index else end


def _cumulative(weights: Sequence[float]) -> list[float]:
    total, out = 0.0, []
    for weight in weights:
        total += weight
        out.append(total)
    return out


def _pick(rng: random.Random, cumulative: list[float]) -> int:
    return bisect.bisect(cumulative, rng.random() * cumulative[-1], hi=len(cumulative) - 1)
