"""Decides what of a repository is learned and what is held out, from a list of files that may be read.

Which files may be read is settled before (ignore files, secrets); the corpus's filters drop what teaches nothing. Knows nothing of
networks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from engine.errors import RequestError
from engine.train.adapt_secrets import holds_secret
from engine.train.dedup import Seen
from engine.train.filters import COPYLEFT, RESERVED, clean, decode, refuse_path, refuse_text
from engine.train.languages import DATA_LANGUAGES, PROSE_LANGUAGES, Language, language_of

FURTHER = (
    Language("go", (".go",), 200_000, ("//", "/*", "*")),
    Language("rust", (".rs",), 200_000, ("//", "/*", "*")),
    Language("java", (".java",), 200_000, ("//", "/*", "*")),
    Language("csharp", (".cs",), 200_000, ("//", "/*", "*")),
    Language("kotlin", (".kt", ".kts"), 200_000, ("//", "/*", "*")),
    Language("swift", (".swift",), 200_000, ("//", "/*", "*")),
    Language("ruby", (".rb",), 200_000),
    Language("php", (".php",), 200_000, ("//", "/*", "*", "#")),
)
"""Languages that the base model was not trained on. It gains most there, from little."""

HELD_OUT_SHARE = 0.1
FEWEST_HELD_OUT = 3
FEWEST_FILES = 8
FEWEST_CHARACTERS = 10_000
MOST_CHARACTERS = 64_000_000
"""Far more than ten minutes can read; of a larger repository files are chosen by the hash of their path."""

_FURTHER = {suffix: language for language in FURTHER for suffix in language.suffixes}
_OWN = frozenset({"copyleft", "no grant", "python 2"})
"""What keeps a file out of a public corpus is no reason here: it is the user's own code, under whatever licence."""


@dataclass(frozen=True, slots=True)
class SourceText:
    """A file of the repository: its path below the root, the language's name, and the text."""

    path: str
    language: str
    text: str


@dataclass(frozen=True, slots=True)
class Sources:
    """`training` is cleaned as the corpus is, `held_out` is as it was written; `dropped` counts files by rule."""

    training: tuple[SourceText, ...]
    held_out: tuple[SourceText, ...]
    dropped: dict[str, int]

    @property
    def characters(self) -> int:
        """Length of what is trained on."""
        return sum(len(file.text) for file in self.training)

    def languages(self) -> dict[str, int]:
        """Training files by language, most first."""
        return dict(Counter(file.language for file in self.training).most_common())


def source_language(path: str) -> Language | None:
    """The language of a file by its name, or None where it is not source."""
    return language_of(path) or _FURTHER.get(Path(path).suffix)


def gather(root: Path, paths: Sequence[str]) -> Sources:
    """Read `paths` (relative to `root`, with `/`) and split them. The same files are held out as long as their paths stay.

    Training files that repeat more than a fifth of what is held out are dropped, so that the measurement is honest. Raises
    RequestError where there is too little to learn from.
    """
    dropped: Counter[str] = Counter()
    candidates: list[tuple[SourceText, Language]] = []
    total = 0
    for path in sorted(paths, key=_rank):
        language = source_language(path)
        if language is None:
            continue
        text, reason = _read(root / path, path, language) if total < MOST_CHARACTERS else ("", "over the cap")
        if reason:
            dropped[reason] += 1
            continue
        total += len(text)
        candidates.append((SourceText(path, language.name, text), language))
    code = [file for file, _ in candidates if file.language not in DATA_LANGUAGES | PROSE_LANGUAGES]
    if len(code) < FEWEST_FILES or sum(len(file.text) for file in code) < FEWEST_CHARACTERS:
        left_out = ", ".join(f"{count} {reason}" for reason, count in dropped.most_common())
        raise RequestError(
            f"{root} has {len(code)} source files to learn from, which is too little.",
            f"At least {FEWEST_FILES} files and {FEWEST_CHARACTERS:,} characters are needed; ignored files do not count"
            + (f", and of the others these were left out: {left_out}." if left_out else "."),
        )
    count = max(FEWEST_HELD_OUT, sum(_rank(file.path)[0] < HELD_OUT_SHARE for file in code))
    held_out = tuple(code[:count])
    seen = Seen(repeated=0.8, same_shape=1.0, reserved=0.2)
    for file in held_out:
        seen.refuse(file.text, reserve=True)
    chosen = {file.path for file in held_out}
    training = []
    for file, language in candidates:
        if file.path in chosen:
            continue
        text, _ = clean(file.text, language)
        if reason := seen.refuse(text):
            dropped["repeats a held-out file" if reason == "held out" else reason] += 1
        else:
            training.append(SourceText(file.path, file.language, text))
    if not training:
        raise RequestError(f"All files of {root} repeat each other: nothing is left to learn from.", "Adapt to a larger repository.")
    return Sources(tuple(training), held_out, dict(dropped.most_common()))


def _read(file: Path, path: str, language: Language) -> tuple[str, str | None]:
    """The text of a file, or why it is not used."""
    try:
        size = file.stat().st_size
        if reason := refuse_path(path, language, size):
            return "", reason
        text = decode(file.read_bytes())
    except OSError:
        return "", "unreadable"
    if text is None:
        return "", "encoding"
    if holds_secret(text):
        return "", "secret"
    reason = refuse_text(text, language)
    if reason in _OWN:
        # The licence hid what the rules behind it would say.
        reason = refuse_text(RESERVED.sub("", COPYLEFT.sub("", text)), language)
    if reason and reason not in _OWN:
        return "", reason
    return text, None if text.strip() else "too small"


def _rank(path: str) -> tuple[float, str]:
    """Where a path stands in an order that means nothing: 0 to 1, even over all paths."""
    return int.from_bytes(blake2b(path.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big") / 2**64, path
