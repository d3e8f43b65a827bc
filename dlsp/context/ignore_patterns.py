"""Patterns of .gitignore files, with git's own meaning: which of them names a file or a folder, and which has the last word.

A pattern is matched against one path, never through the folders above it: who asks goes down from folder to folder, as git does.
No pattern takes more than time in proportion to the path, whoever wrote it.
"""

from __future__ import annotations

import functools
import itertools
import re
import sys
from collections.abc import Sequence
from typing import NamedTuple

_CLASSES = {
    "alnum": "a-zA-Z0-9", "alpha": "a-zA-Z", "blank": " \t", "cntrl": "\0-\x1f\x7f", "digit": "0-9", "graph": "!-~", "lower": "a-z",
    "print": " -~", "punct": "!-/:-@\\[-`{-~", "space": r"\s", "upper": "A-Z", "xdigit": "0-9A-Fa-f",
}  # fmt: skip
_FOLDERS = "(?:[^/]+/)*"
# Where the names of files are the same in capitals, git takes patterns so, too.
_FLAGS = re.DOTALL | (re.IGNORECASE if sys.platform in ("win32", "darwin") else 0)


class Rule(NamedTuple):
    """One pattern: it excludes, or (`!`) lets in again, what `regex` matches; `folders` says that it names folders only."""

    pattern: str
    excludes: bool
    folders: bool
    regex: re.Pattern[str]


class Rules:
    """The patterns of one file or setting; what is no pattern, or no valid one, has no effect."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._rules = tuple(rule for pattern in reversed(patterns) if (rule := parsed(pattern)))
        # Most paths are named by no pattern: one look tells.
        self._any = re.compile("|".join(dict.fromkeys(rule.regex.pattern for rule in self._rules)), _FLAGS)

    def named(self, path: str, *, folder: bool = False) -> Rule | None:
        """The last pattern that names a path, which is relative to where the patterns stand, with "/" between its parts."""
        if not self._rules or not self._any.fullmatch(path):
            return None
        return next((rule for rule in self._rules if (folder or not rule.folders) and rule.regex.fullmatch(path)), None)

    def excluding(self, path: str) -> Rule | None:
        """The pattern that excludes a file, itself or one of the folders it is in."""
        ends = [number for number, character in enumerate(path) if character == "/"]
        for end in (*ends, None):
            if (rule := self.named(path[:end], folder=end is not None)) is not None and rule.excludes:
                return rule
        return None


@functools.lru_cache(maxsize=256)
def rules(patterns: tuple[str, ...]) -> Rules:
    """The rules that some lines make; the same lines are read once."""
    return Rules(patterns)


def is_pattern(line: str) -> bool:
    """Whether a line has an effect, or says on purpose that it has none."""
    return parsed(line) is not None or not line.strip() or line.startswith("#")


@functools.lru_cache(maxsize=4096)
def parsed(line: str) -> Rule | None:
    """A line as git reads it; None for comments, blank lines and what can never match anything."""
    pattern = line.rstrip("\r\n")
    while pattern.endswith(" ") and not pattern.endswith("\\ "):
        pattern = pattern[:-1]
    excludes = not pattern.startswith("!")
    body = pattern if excludes else pattern[1:]
    if not body.strip("/") or pattern.startswith("#"):
        return None
    folders = body.endswith("/")
    body = body.removesuffix("/")
    if "/" in body:
        parts = body.removeprefix("/").split("/")
    else:
        parts = ["**", body]
    try:
        return Rule(pattern, excludes, folders, re.compile(_path(parts), _FLAGS))
    except (re.error, ValueError, OverflowError):
        return None


def _path(parts: list[str]) -> str:
    """Parts of a path, `**` for any number of folders. Of those in the middle the first place that fits is as good as any other."""
    runs = [[_part(part) for part in run] for double, run in itertools.groupby(parts, lambda part: part == "**") if not double]
    inside = parts[-1] == "**"
    if not runs:
        return ".+"
    texts = ["/".join(run) for run in runs]
    first = f"{_FOLDERS}{texts[0]}" if parts[0] == "**" and len(texts) == 1 and not inside else ""
    if not first:
        first = f"(?>(?:[^/]+/)*?{texts[0]}(?=/|\\Z))" if parts[0] == "**" else texts[0]
    middle = "".join(f"/(?>(?:[^/]+/)*?{text}(?=/))" for text in (texts[1:] if inside else texts[1:-1]))
    last = f"/{_FOLDERS}{texts[-1]}" if len(texts) > 1 and not inside else ""
    return first + middle + last + ("/.+" if inside else "")


def _part(glob: str) -> str:
    """One part of a path. Each `*` but the last one takes as little as it can, and never gives it back."""
    pieces, star = [""], False
    number = 0
    while number < len(glob):
        character = glob[number]
        number += 1
        if character == "*":
            if not star:
                pieces.append("")
        elif character == "?":
            pieces[-1] += "[^/]"
        elif character == "[":
            text, number = _bracket(glob, number)
            pieces[-1] += text
        elif character == "\\":
            if number == len(glob):
                raise ValueError("nothing is escaped")
            pieces[-1] += re.escape(glob[number])
            number += 1
        else:
            pieces[-1] += re.escape(character)
        star = character == "*"
    if len(pieces) == 1:
        return pieces[0]
    return pieces[0] + "".join(f"(?>[^/]*?{piece})" for piece in pieces[1:-1]) + f"[^/]*{pieces[-1]}(?=/|\\Z)"


def _bracket(glob: str, number: int) -> tuple[str, int]:
    """A set of characters that begins before `number`, and where it ends."""
    negated = glob[number : number + 1] in ("!", "^")
    number += negated
    found, first = "", True
    while first or glob[number : number + 1] != "]":
        if number >= len(glob):
            raise ValueError("a bracket is open")
        if glob.startswith("[:", number) and (end := glob.find(":]", number)) >= 0:
            found += _CLASSES[glob[number + 2 : end]] if glob[number + 2 : end] in _CLASSES else _unknown()
            number = end + 2
        else:
            low, number = _character(glob, number)
            if glob[number : number + 1] == "-" and glob[number + 1 : number + 2] not in ("]", ""):
                high, number = _character(glob, number + 1)
                # A range that ends before it begins holds nothing.
                found += f"{re.escape(low)}-{re.escape(high)}" if low <= high else ""
            else:
                found += re.escape(low)
        first = False
    if not found:
        return ("[^/]" if negated else "(?!)"), number + 1
    return f"(?!/)[{'^' if negated else ''}{found}]", number + 1


def _character(glob: str, number: int) -> tuple[str, int]:
    if glob[number : number + 1] == "\\":
        number += 1
    if number >= len(glob):
        raise ValueError("a bracket is open")
    return glob[number], number + 1


def _unknown() -> str:
    raise ValueError("no such class of characters")
