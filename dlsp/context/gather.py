"""The text around a hole, as a request for the engine: what stands before and after it in the same document, within a budget.

Whoever calls has made sure that the document is not excluded. Knows no protocol; the engine counts tokens, this counts characters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from dlsp.context.exclude import path_of
from dlsp.documents import Point, Snapshot
from dlsp.settings import Settings
from dlsp.trigger import Decision
from engine.api import Hole, InfillRequest, Limits

CHARACTERS_A_TOKEN = 6
"""More than source has on average, so that the engine and not this file decides where the context ends."""
DEFAULT_TOKENS = 4096
PREFIX_SHARE = 0.7
_SURROGATE = re.compile("[\ud800-\udfff]")


class Origin(msgspec.Struct, frozen=True):
    """Who asks: a name for this process, and the workspace folders that paths are given relative to."""

    client: str = ""
    roots: tuple[Path, ...] = ()


def gather(snapshot: Snapshot, at: Point, decision: Decision, settings: Settings, origin: Origin) -> InfillRequest:
    """The request for one hole at a place. The prefix begins at a line start unless a single line exceeds the budget."""
    budget = (settings.prompt_tokens or DEFAULT_TOKENS) * CHARACTERS_A_TOKEN
    most_before = int(budget * PREFIX_SHARE)
    prefix = snapshot.before(at, most_before)
    suffix = snapshot.following(at, budget - most_before)
    if len(prefix) == most_before and "\n" in prefix:
        prefix = prefix[prefix.index("\n") + 1 :]
    return InfillRequest(
        prefix=_clean(prefix),
        suffix=_clean(suffix),
        holes=(Hole(max_tokens=decision.max_tokens, max_lines=decision.max_lines),),
        limits=Limits(deadline_ms=settings.deadline_ms, prompt_tokens=settings.prompt_tokens),
        client=origin.client,
        document=_clean(snapshot.uri),
        version=snapshot.version,
        path=_clean(_relative(snapshot.uri, origin.roots)),
        language=snapshot.language,
    )


def _relative(uri: str, roots: Sequence[Path]) -> str:
    """The path below the workspace folder, or the bare name: the folders above it are nobody's business."""
    path = path_of(uri)
    if path is None:
        return ""
    for root in roots:
        if path.is_relative_to(root):
            return path.relative_to(root).as_posix()
    return path.name


def _clean(text: str) -> str:
    """Half a surrogate pair can come out of JSON but cannot go into UTF-8."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)
