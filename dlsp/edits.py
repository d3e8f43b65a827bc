"""Text to insert as LSP items: ranges in the client's units, the document's line ends, one item or two for a popup.

One of the few files that know the protocol's types; where the text comes from is not known here.
"""

from __future__ import annotations

import re

import msgspec
from lsprotocol import types

from dlsp.documents import Encoding, Point, Snapshot, from_column

_LABEL_CHARACTERS = 60
_WORD_END = re.compile(r"[\w$]*\Z")


class Place(msgspec.Struct, frozen=True):
    """Where text goes: a place in a snapshot, in the encoding of the client's columns."""

    snapshot: Snapshot
    at: Point
    encoding: Encoding

    def position(self, point: Point) -> types.Position:
        """A place of the snapshot as the client counts."""
        return types.Position(point.line, from_column(self.snapshot.line(point.line), point.column, self.encoding))

    def range(self, start: Point, end: Point) -> types.Range:
        """The range between two places."""
        return types.Range(self.position(start), self.position(end))

    def inserted(self, text: str) -> str:
        """Text with the line ends of the document."""
        return text if self.snapshot.eol == "\n" else text.replace("\n", self.snapshot.eol)


def inline_item(place: Place, text: str) -> types.InlineCompletionItem:
    """Ghost text at a place. The range is empty, and so on one line, as clients demand."""
    return types.InlineCompletionItem(insert_text=place.inserted(text), range=place.range(place.at, place.at))


def inline_item_after_selected(selected: types.SelectedCompletionInfo, place: Place, text: str) -> types.InlineCompletionItem:
    """Ghost text that goes on from a popup item that is selected: it replaces what the item would replace, and begins with it."""
    return types.InlineCompletionItem(insert_text=selected.text + place.inserted(text), range=selected.range)


def popup_items(place: Place, text: str, *, markdown: bool) -> list[types.CompletionItem]:
    """The text as popup items: all of it and, if it has several lines, also the first of them alone.

    An item replaces the word before the cursor by that word and the text, because clients filter by what they replace. It
    never comes first and is never preselected: who presses Enter or Tab on the first item of a popup did not ask for us.
    """
    first, newline, _ = text.partition("\n")
    variants = [text, first] if newline and first.strip() else [text]
    return [_popup_item(place, variant, number, markdown=markdown) for number, variant in enumerate(variants)]


def _popup_item(place: Place, text: str, number: int, *, markdown: bool) -> types.CompletionItem:
    head = place.snapshot.head(place.at)
    match = _WORD_END.search(head)
    word = match.group() if match else ""
    start = Point(place.at.line, place.at.column - len(word))
    line, newline, _ = (word + text).strip().partition("\n")
    label = line if len(line) <= _LABEL_CHARACTERS else line[: _LABEL_CHARACTERS - 1] + "…"
    if newline and not label.endswith("…"):
        label += " …"
    return types.CompletionItem(
        label=label,
        kind=types.CompletionItemKind.Text,
        detail="dlsp",
        documentation=_documentation(place.snapshot.language, word + text, markdown=markdown),
        preselect=False,
        sort_text=f"~dlsp{number}",
        filter_text=word + line.removeprefix(word),
        insert_text_format=types.InsertTextFormat.PlainText,
        # The indentation is right as it is; a client must not add that of the cursor's line.
        insert_text_mode=types.InsertTextMode.AsIs,
        text_edit=types.TextEdit(range=place.range(start, place.at), new_text=place.inserted(word + text)),
    )


def _documentation(language: str, text: str, *, markdown: bool) -> types.MarkupContent:
    if not markdown:
        return types.MarkupContent(types.MarkupKind.PlainText, text)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return types.MarkupContent(types.MarkupKind.Markdown, f"{fence}{language}\n{text}\n{fence}")
