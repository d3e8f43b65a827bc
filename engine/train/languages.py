"""Which files count as source, by language: suffixes, the size a file may have, and what begins a comment.

It knows names of files, and of content only the first line of scripts without a suffix; what is kept and what is dropped is
decided in `filters.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True, slots=True)
class Language:
    """A language of the corpus. `largest` is the size in bytes above which a file is taken for data or generated."""

    name: str
    suffixes: tuple[str, ...]
    largest: int
    comment: tuple[str, ...] = ("#",)
    names: tuple[str, ...] = ()


LANGUAGES = (
    Language("python", (".py", ".pyi", ".pyx", ".pxd"), 400_000),
    Language("javascript", (".js", ".mjs", ".cjs", ".jsx"), 250_000, ("//", "/*", "*")),
    Language("typescript", (".ts", ".mts", ".cts", ".tsx"), 250_000, ("//", "/*", "*")),
    Language("lua", (".lua",), 150_000, ("--",)),
    Language("c", (".c", ".h"), 200_000, ("//", "/*", "*")),
    Language("cpp", (".cc", ".cpp", ".cxx", ".hh", ".hpp"), 200_000, ("//", "/*", "*")),
    Language("shell", (".sh", ".bash", ".zsh", ".bats"), 100_000, names=(".bashrc", ".profile", ".zshrc")),
    Language("toml", (".toml",), 50_000),
    Language("yaml", (".yaml", ".yml"), 50_000),
    Language("json", (".json",), 20_000, ()),
    Language("markdown", (".md",), 100_000, ()),
)

DATA_LANGUAGES = frozenset({"json", "yaml", "toml"})
PROSE_LANGUAGES = frozenset({"markdown"})

_BY_SUFFIX = {suffix: language for language in LANGUAGES for suffix in language.suffixes}
_BY_NAME = {name: language for language in LANGUAGES for name in language.names}


SHELL_SCRIPT = re.compile(rb"#!\s*\S*(/|\benv )(ba|z|k|da)?sh\b")


def language_of(path: str) -> Language | None:
    """The language of a file by its name alone, or None where the corpus does not want it."""
    pure = PurePosixPath(path)
    return _BY_NAME.get(pure.name) or _BY_SUFFIX.get(pure.suffix)


def may_be_script(path: str, size: int) -> bool:
    """True for files that have no suffix to go by and are small enough to look into."""
    return not PurePosixPath(path).suffix and size <= _BY_SUFFIX[".sh"].largest


def language_of_script(raw: bytes) -> Language | None:
    """The language of a file without a suffix, by its first line."""
    return _BY_SUFFIX[".sh"] if SHELL_SCRIPT.match(raw) else None
