"""A request from a place in a document: the text around it within a budget, and snippets from elsewhere, scored and deduplicated.

Asks the sources in order until the time is over. Reads no file; the engine counts tokens, this counts characters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from time import perf_counter

import msgspec

from dlsp.context import definitions, imports, open_files, outline, recent_edits, siblings
from dlsp.context.candidates import DEFAULT_TOKENS, Candidate, ContextSpot, Kept, Source, likeness, relative_path
from dlsp.context.exclude import holds_private_key
from dlsp.documents import Point
from engine.api import Hole, InfillRequest, Limits, Snippet

CHARACTERS_A_TOKEN = 6
"""More than source has on average, so that the engine and not this file decides where the context ends."""
SIDE_SHARE = 0.7
"""What either side may take of it: models divide what they read between the two in different ways."""
SOURCES: tuple[tuple[str, Source], ...] = (
    ("outline", outline.candidates),
    ("definitions", definitions.candidates),
    ("imports", imports.candidates),
    ("recentEdits", recent_edits.candidates),
    ("openFiles", open_files.candidates),
    ("siblings", siblings.candidates),
)
"""By the names of the setting `context`, in the order in which they are asked; those that compare texts come last."""

STICKY = 1.3
"""So much better must other snippets be to take the place of those the model has just read."""
STICKY_LINES = 40
ALIKE = 0.5
"""From this share of common lines on, two texts say the same."""
_MOST_FROM_A_SOURCE = 24
_MOST_SNIPPETS = 8
_LEAST_CHARACTERS = 12
_SURROGATE = re.compile("[\ud800-\udfff]")


class Gathered(msgspec.Struct, frozen=True):
    """The request; what each source took, as (name, milliseconds, snippets taken); and what to hand in with the next request."""

    request: InfillRequest
    took: tuple[tuple[str, float, int], ...] = ()
    kept: Kept | None = None


def gather(spot: ContextSpot) -> Gathered:
    """The request for one hole at a place. The prefix begins at a line start unless a single line exceeds the budget.

    Whoever calls has made sure that the document itself is not excluded; every other one is checked here.
    """
    chosen, took = _snippets(spot)
    kept = Kept(uri=spot.snapshot.uri, line=spot.at.line, candidates=chosen)
    if spot.previous is not None and chosen == spot.previous.candidates:
        kept = msgspec.structs.replace(kept, line=spot.previous.line)
    return Gathered(_request(spot, chosen), took, kept)


def _request(spot: ContextSpot, chosen: Sequence[Candidate]) -> InfillRequest:
    snapshot, settings, decision = spot.snapshot, spot.settings, spot.decision
    budget = (settings.prompt_tokens or max(spot.prompt_tokens, DEFAULT_TOKENS)) * CHARACTERS_A_TOKEN
    most_before = int(budget * SIDE_SHARE)
    prefix = snapshot.before(spot.at, most_before)
    suffix = snapshot.following(spot.at, most_before)
    if len(prefix) == most_before and "\n" in prefix:
        prefix = prefix[prefix.index("\n") + 1 :]
    elif spot.cells:
        prefix = _with_cells(spot, prefix, most_before)
    share = settings.context_share if chosen else 0.0
    return InfillRequest(
        prefix=_clean(prefix),
        suffix=_clean(suffix),
        holes=(Hole(max_tokens=decision.max_tokens, max_lines=decision.max_lines),),
        snippets=tuple(Snippet(path=_clean(c.path), text=_clean(c.text)) for c in chosen),
        limits=Limits(deadline_ms=settings.deadline_ms, prompt_tokens=settings.prompt_tokens, snippet_share=share),
        client=spot.origin.client,
        document=_clean(snapshot.uri),
        version=snapshot.version,
        path=_clean(relative_path(snapshot.uri, spot.origin.roots)),
        language=snapshot.language,
    )


def _with_cells(spot: ContextSpot, prefix: str, room: int) -> str:
    """The prefix with a notebook's earlier cells in front, a blank line between two, as a script would have them."""
    for cell in reversed(spot.cells):
        text = cell.before(Point(len(cell.lines) - 1, len(cell.lines[-1])), room).strip("\n")
        if not text.strip() or spot.excluded(cell.uri):
            continue
        if len(prefix) + len(text) + 2 > room:
            break
        prefix = f"{text}\n\n{prefix}"
    return prefix


def _snippets(spot: ContextSpot) -> tuple[tuple[Candidate, ...], tuple[tuple[str, float, int], ...]]:
    found: list[Candidate] = []
    spent: dict[str, float] = {}
    wanted = spot.settings.context
    if spot.reads_snippets and spot.room >= _LEAST_CHARACTERS:
        for name, source in SOURCES:
            if name in wanted and not spot.late:
                began = perf_counter()
                found += _drawn(spot, source)
                spent[name] = 1000 * (perf_counter() - began)
    fresh = _chosen(spot, found)
    chosen = _steady(spot, found, fresh)
    counts = {name: sum(candidate.source == name for candidate in chosen) for name in spent}
    return chosen, tuple((name, round(ms, 3), counts[name]) for name, ms in spent.items())


def _drawn(spot: ContextSpot, source: Source) -> list[Candidate]:
    found: list[Candidate] = []
    for candidate in source(spot):
        found.append(candidate)
        if len(found) >= _MOST_FROM_A_SOURCE or spot.late:
            break
    return found


def _chosen(spot: ContextSpot, found: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The best candidates that differ from one another and from what the model sees anyway, cut to what it will read of them."""
    chosen: list[Candidate] = []
    known: list[frozenset[str]] = []
    room = spot.room
    for candidate in sorted(found, key=lambda c: -c.score):
        if len(chosen) >= _MOST_SNIPPETS or room < _LEAST_CHARACTERS:
            break
        text = _fitted(candidate.text.strip("\n"), room)
        lines = frozenset(line.strip() for line in text.split("\n") if line.strip())
        if len(text) < _LEAST_CHARACTERS or _is_seen(lines, spot.own) or any(likeness(lines, other) >= ALIKE for other in known):
            continue
        if not _may_be_used(spot, candidate) or holds_private_key([candidate.text]):
            continue
        path = candidate.path or relative_path(candidate.uri, spot.origin.roots)
        chosen.append(msgspec.structs.replace(candidate, text=text, path=path))
        known.append(lines)
        room -= len(text) + 1
    return tuple(chosen)


def _steady(spot: ContextSpot, found: Sequence[Candidate], fresh: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    """What the model has just read, as long as it is true and hardly worse: other snippets cost it all that it has encoded."""
    previous = spot.previous
    if previous is None or previous.uri != spot.snapshot.uri or abs(previous.line - spot.at.line) > STICKY_LINES:
        return fresh
    scores: dict[tuple[str, str], float] = {}
    for candidate in found:
        key = (candidate.uri, candidate.text.strip("\n")[:_LEAST_CHARACTERS])
        scores[key] = max(candidate.score, scores.get(key, 0.0))
    still: list[Candidate] = []
    for old in previous.candidates:
        key = (old.uri, old.text[:_LEAST_CHARACTERS])
        lines = frozenset(line.strip() for line in old.text.split("\n") if line.strip())
        true = any(c.uri == old.uri and c.text.strip("\n").startswith(old.text) for c in found) or old.stamp == spot.stamp(old.uri) != 0
        if true and old.source in spot.settings.context and _may_be_used(spot, old) and not _is_seen(lines, spot.own):
            still.append(msgspec.structs.replace(old, score=max(scores.get(key, 0.0), (0.9 if key in scores else 0.7) * old.score)))
    if not still or sum(c.score for c in fresh) >= STICKY * sum(c.score for c in still):
        return fresh
    # As they were, scores and all: what is carried on must not wear out by being asked about.
    kept = {(c.uri, c.text) for c in still}
    return tuple(c for c in previous.candidates if (c.uri, c.text) in kept)


def _may_be_used(spot: ContextSpot, candidate: Candidate) -> bool:
    return candidate.uri == spot.snapshot.uri or spot.quotable(candidate.uri)


def _is_seen(lines: frozenset[str], own: frozenset[str]) -> bool:
    """Whether the model sees most of these lines around the hole."""
    return len(lines & own) >= ALIKE * len(lines)


def _fitted(text: str, room: int) -> str:
    """The first lines of a text that fit."""
    if len(text) <= room:
        return text
    end = text.rfind("\n", 0, room + 1)
    return text[:end] if end > 0 else ""


def _clean(text: str) -> str:
    """Half a surrogate pair can come out of JSON but cannot go into UTF-8."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)
