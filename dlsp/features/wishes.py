"""What a client says when it wants something filled, read from plain JSON: the argument of the commands and of `dlsp/infill`.

The same object travels in code actions. Knows what a task is, not how it is done.
"""

from __future__ import annotations

import random
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from pygls.exceptions import JsonRpcInvalidParams

from dlsp.documents import Snapshot, Span
from dlsp.edits import Place
from dlsp.infilling import Kind, Task
from dlsp.locks import Lock
from dlsp.postprocess.draft import Style
from dlsp.session import Session

Wish = Literal["infill", "holes", "refine", "repair", "alternatives", "reroll", "lengthen", "shorten"]
COMMANDS: dict[str, Wish] = {
    "dlsp.infill": "infill",
    "dlsp.fillHoles": "holes",
    "dlsp.refine": "refine",
    "dlsp.repair": "repair",
    "dlsp.reroll": "reroll",
    "dlsp.lengthen": "lengthen",
    "dlsp.shorten": "shorten",
}
ABOUT_THE_LAST: tuple[Wish, ...] = ("reroll", "lengthen", "shorten")
"""Without ranges they are about the text that was filled in last."""
_LABELS: dict[Wish, str] = {
    "infill": "Fill the selection",
    "holes": "Fill the holes",
    "refine": "Refine the selection",
    "repair": "Repair the error",
    "alternatives": "Fill the selection differently",
    "reroll": "Fill with another text",
    "lengthen": "Fill with a longer text",
    "shorten": "Fill with a shorter text",
}
_KINDS: dict[Wish, Kind] = {"holes": "holes", "refine": "refine", "repair": "repair"}
_STRETCHES: dict[Wish, float] = {"lengthen": 1.5, "shorten": 0.6}


class _Position(msgspec.Struct, frozen=True):
    line: Annotated[int, Meta(ge=0)]
    character: Annotated[int, Meta(ge=0)]


class Range(msgspec.Struct, frozen=True):
    """A range in the client's units."""

    start: _Position
    end: _Position

    def span(self, session: Session, snapshot: Snapshot) -> Span:
        """The range as places that exist in a document."""
        ends = [snapshot.point((each.line, each.character), session.encoding) for each in (self.start, self.end)]
        return Span(min(ends), max(ends))


class FormattingOptions(msgspec.Struct, frozen=True, rename="camel"):
    """How the editor indents; `tab_size` 0 if it does not say."""

    tab_size: Annotated[int, Meta(ge=0, le=32)] = 0
    insert_spaces: bool = True


class Argument(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is wanted of a document. `kind` is for `dlsp/infill`, which is no command of its own."""

    uri: str
    version: int | None = None
    ranges: tuple[Range, ...] | None = None
    noise: Annotated[float, Meta(ge=0, le=1)] | None = None
    lock: tuple[Lock | Range, ...] | None = None
    alternatives: Annotated[int, Meta(ge=1, le=8)] | None = None
    seed: Annotated[int, Meta(ge=0, lt=2**31)] | None = None
    marker: str | None = None
    formatting_options: FormattingOptions | None = None
    kind: Wish = "infill"


def read_argument(raw: object) -> Argument:
    """The argument as the client sent it. Raises JsonRpcInvalidParams with a sentence that says what is wrong with it."""
    try:
        return msgspec.convert(raw if raw is not None else {}, Argument)
    except msgspec.ValidationError as error:
        raise JsonRpcInvalidParams(f"The argument is not valid: {str(error).rstrip('.')}.") from None


def task_of(session: Session, argument: Argument, wish: Wish, spans: tuple[Span, ...] | None = None) -> Task:
    """The task that an argument describes; `spans` in the place of its ranges, where they are known already."""
    document = session.documents.get(argument.uri)
    ranges, locks = argument.ranges or (), argument.lock or ()
    if spans is None:
        spans = tuple(each.span(session, document.snapshot) for each in ranges) if document else ()
    lock = tuple(each.span(session, document.snapshot) if isinstance(each, Range) else each for each in locks) if document else ()
    options = argument.formatting_options or FormattingOptions()
    other = wish in ("reroll", "alternatives")
    return Task(
        uri=argument.uri,
        version=argument.version,
        kind=_KINDS.get(wish, "infill"),
        spans=spans,
        noise=0.5 if argument.noise is None else argument.noise,
        lock=lock,
        alternatives=argument.alternatives or 1,
        seed=argument.seed or (random.randrange(1, 2**31) if other else 0),
        stretch=_STRETCHES.get(wish, 1.0),
        marker=argument.marker or "",
        differs=other,
        style=Style(options.tab_size, options.insert_spaces),
    )


def label_of(wish: Wish, holes: int = 0) -> str:
    """What the edit is called, in the editor's list of things to undo for example."""
    if wish == "holes" and holes:
        return "dlsp: Fill 1 hole" if holes == 1 else f"dlsp: Fill {holes} holes"
    return f"dlsp: {_LABELS[wish]}"


def as_json(span: Span, place: Place) -> dict[str, Any]:
    """A span as a client's range."""
    found = place.range(*span)
    return {
        "start": {"line": found.start.line, "character": found.start.character},
        "end": {"line": found.end.line, "character": found.end.character},
    }
