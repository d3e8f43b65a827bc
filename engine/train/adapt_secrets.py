"""Finds keys and passwords in a user's own files, which a model that is adapted to them must not learn.

It is stricter than the corpus's rules (`filters.py`): those see published packages, where a marker alone is code that reads keys; here
a wrong refusal costs one file and a missed key is kept in the weights. Knows one text at a time.
"""

from __future__ import annotations

import re

from engine.train.filters import entropy

PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY( BLOCK)?-----|^PuTTY-User-Key-File-\d", re.MULTILINE)
"""What dlsp keeps out of prompts (`dlsp/context/exclude.py`, which may not be imported here; a test holds the two equal). The header is
enough: between it and the key may stand further headers, or whatever joins strings in a language."""

ASSIGNED = re.compile(
    r"""(?i)(?P<name>(?:secret|token|passw(?:or)?d|(?:api|access|private|signing|encryption)[_-]?key|credential|auth)[\w.-]{0,80})"""
    r"""["'`]?\]?[ \t]*(?::[ \t]*[\w.\[\] |]{1,40}=|:=|=>|[:=])[ \t]*"""
    r"""(?:(?:[\w.]{1,40}\()?[bfru]{0,2}["'`])?(?:(?:bearer|basic|token)[ ])?(?P<value>[A-Za-z0-9+/_=-]{32,})(?![\w.(\[])"""
)
"""A long value that a name of a credential is given, quoted or not (YAML, shell). What stops at a dot, a call or an index is code."""
SAYS_SECRET = re.compile(r"(?i)secret|passw|key|(auth|access|api)[_-]?token")
HINTS = ("secret", "passw", "key", "token", "credential", "auth")
HEX = re.compile(r"[0-9a-fA-F]{32,}")
LEAST_ENTROPY, LEAST_ENTROPY_OF_HEX = 4.3, 3.3
"""Bits a character. Random values of this length have more; words, paths and `0000...` have less."""


def holds_secret(text: str) -> bool:
    """Whether there is a private key in the text, or a value that looks random and is assigned to the name of a credential."""
    if "-" in text and PRIVATE_KEY.search(text):
        return True
    lowered = text.lower()
    return any(hint in lowered for hint in HINTS) and any(map(_is_secret, ASSIGNED.finditer(text)))


def _is_secret(match: re.Match[str]) -> bool:
    value = match["value"]
    if HEX.fullmatch(value):
        # Digests have names too (`token_sha256`): only what says that it is secret counts.
        return SAYS_SECRET.search(match["name"]) is not None and entropy(value.lower()) >= LEAST_ENTROPY_OF_HEX
    kinds = (str.isdigit, str.islower, str.isupper)
    return all(any(map(kind, value)) for kind in kinds) and entropy(value) >= LEAST_ENTROPY
