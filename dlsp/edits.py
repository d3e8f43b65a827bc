"""Text as LSP items and edits: ranges in the client's units, the document's line ends, and what this client can take.

One of the few files that know the protocol's types; where the text comes from is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
from lsprotocol import types

from dlsp.documents import Encoding, Point, Snapshot, from_column
from dlsp.holes.openings import Filled, Filling
from engine.api import Piece

WEAK = 0.5
"""Parts of a filled text that the model was less sure of become tab stops, where the user wants them."""
_LABEL_CHARACTERS = 60
_WORD_END = re.compile(r"[\w$]*\Z")
_INDENTATION = re.compile(r"[ \t]*")
_Edit = types.TextEdit | types.AnnotatedTextEdit | types.SnippetTextEdit


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

    def inserted(self, text: str, line: int | None = None) -> str:
        """Text with the line ends that the document has near a line, by default that of the place."""
        eol = self.snapshot.eol_near(self.at.line if line is None else line)
        return text if eol == "\n" else text.replace("\n", eol)


class PopupStyle(msgspec.Struct, frozen=True, kw_only=True):
    """What the items of a client's popup may hold: documentation in Markdown, snippets, text that is inserted as it is."""

    markdown: bool = False
    snippets: bool = False
    as_is: bool = False


class EditStyle(msgspec.Struct, frozen=True, kw_only=True):
    """What an edit of the workspace may hold (see `ClientFacts`), and whether the user wants tab stops in it."""

    document_changes: bool = False
    annotations: bool = False
    snippet_edits: bool = False
    metadata: bool = False
    tab_stops: bool = False


def inline_items(place: Place, texts: Sequence[str], replaces: int = 0) -> list[types.InlineCompletionItem]:
    """Ghost texts at a place, best first. They take the place of the next `replaces` code points of the line, and of nothing else:
    clients demand a range on one line."""
    end = Point(place.at.line, min(place.at.column + replaces, len(place.snapshot.line(place.at.line))))
    return [types.InlineCompletionItem(insert_text=place.inserted(text), range=place.range(place.at, end)) for text in texts]


def inline_items_after_selected(
    selected: types.SelectedCompletionInfo, place: Place, texts: Sequence[str]
) -> list[types.InlineCompletionItem]:
    """Ghost texts that go on from a popup item that is selected: they replace what the item would replace, and begin with it."""
    return [types.InlineCompletionItem(insert_text=selected.text + place.inserted(text), range=selected.range) for text in texts]


def popup_items(place: Place, text: str, style: PopupStyle, detail: str = "dlsp") -> list[types.CompletionItem]:
    """The text as popup items: all of it and, if it has several lines, also the first of them alone.

    An item replaces the word before the cursor by that word and the text, because clients filter by what they replace. It
    never comes first and is never preselected: who presses Enter or Tab on the first item of a popup did not ask for us.
    A client that can insert neither snippets nor several lines as they are gets the first line, and all of it to read.
    """
    first, newline, _ = text.partition("\n")
    block = _block(place, text, style) if newline else None
    variants: list[tuple[str, _Block | None]] = []
    if not newline or block is not None:
        variants.append((text, block))
    if newline and first.strip():
        variants.append((first, None))
    return [_popup_item(place, variant, number, _Shown(text, style, detail)) for number, variant in enumerate(variants)]


def workspace_edit(place: Place, filling: Filling, style: EditStyle, label: str) -> types.WorkspaceEdit:
    """One edit that fills all holes, in coordinates of the document it was made for, with its version where the client takes one.

    Nothing in it asks for confirmation: clients would show it with every part switched off.
    """
    snapshot = filling.basis
    place = Place(snapshot, place.at, place.encoding)
    holes = sorted(filling.holes, key=lambda hole: hole.span)
    if not style.document_changes:
        return types.WorkspaceEdit(changes={snapshot.uri: [_text_edit(place, hole) for hole in holes]})
    edits: list[_Edit] = []
    annotations: dict[str, types.ChangeAnnotation] = {}
    for number, hole in enumerate(holes, 1):
        name = None
        if style.annotations:
            name = f"dlsp-{number}"
            description = f"{round(hole.confidence * 100)} % sure"
            annotations[name] = types.ChangeAnnotation(label=label, needs_confirmation=False, description=description)
        edits.append(_edit(place, hole, style, name))
    document = types.OptionalVersionedTextDocumentIdentifier(uri=snapshot.uri, version=snapshot.version)
    return types.WorkspaceEdit(
        document_changes=[types.TextDocumentEdit(text_document=document, edits=edits)], change_annotations=annotations or None
    )


class _Shown(msgspec.Struct, frozen=True):
    whole: str
    style: PopupStyle
    detail: str


class _Block(msgspec.Struct, frozen=True):
    """Several lines in a form that the client inserts with the right indentation."""

    text: str
    snippet: bool


def _block(place: Place, text: str, style: PopupStyle) -> _Block | None:
    if style.snippets:
        # Clients give each line of a snippet the indentation of the line it is put on, whatever they are asked to do.
        head = place.snapshot.head(place.at)
        match = _INDENTATION.match(head)
        base = match.group() if match else ""
        first, *rows = text.split("\n")
        if all(not row.strip() or row.startswith(base) for row in rows):
            return _Block("\n".join([first, *(row[len(base) :] if row.strip() else "" for row in rows)]), snippet=True)
    return _Block(text, snippet=False) if style.as_is else None


def _popup_item(place: Place, variant: tuple[str, _Block | None], number: int, shown: _Shown) -> types.CompletionItem:
    text, block = variant
    head = place.snapshot.head(place.at)
    match = _WORD_END.search(head)
    word = match.group() if match else ""
    start = Point(place.at.line, place.at.column - len(word))
    line, newline, _ = (word + text).strip().partition("\n")
    label = line if len(line) <= _LABEL_CHARACTERS else line[: _LABEL_CHARACTERS - 1] + "…"
    if newline and not label.endswith("…"):
        label += " …"
    snippet = block is not None and block.snippet
    new_text = _escaped(word + block.text) if block is not None and snippet else word + text
    return types.CompletionItem(
        label=label,
        kind=types.CompletionItemKind.Text,
        detail=shown.detail,
        documentation=_documentation(place.snapshot.language, word + shown.whole, markdown=shown.style.markdown),
        preselect=False,
        sort_text=f"~dlsp{number}",
        filter_text=word + line.removeprefix(word),
        insert_text_format=types.InsertTextFormat.Snippet if snippet else types.InsertTextFormat.PlainText,
        # The indentation of plain text is right as it is; a client must not add that of the cursor's line.
        insert_text_mode=types.InsertTextMode.AdjustIndentation if snippet else types.InsertTextMode.AsIs,
        text_edit=types.TextEdit(range=place.range(start, place.at), new_text=place.inserted(new_text)),
    )


def _documentation(language: str, text: str, *, markdown: bool) -> types.MarkupContent:
    if not markdown:
        return types.MarkupContent(types.MarkupKind.PlainText, text)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return types.MarkupContent(types.MarkupKind.Markdown, f"{fence}{language}\n{text}\n{fence}")


def _text_edit(place: Place, hole: Filled) -> types.TextEdit:
    return types.TextEdit(range=place.range(*hole.span), new_text=place.inserted(hole.text, hole.span.start.line))


def _edit(place: Place, hole: Filled, style: EditStyle, annotation: str | None) -> _Edit:
    plain = _text_edit(place, hole)
    if style.tab_stops and style.snippet_edits and _is_flat(place, hole) and (snippet := _with_tab_stops(hole)):
        value = types.StringValue(place.inserted(snippet, hole.span.start.line))
        return types.SnippetTextEdit(range=plain.range, snippet=value, annotation_id=annotation)
    if annotation is not None:
        return types.AnnotatedTextEdit(annotation_id=annotation, range=plain.range, new_text=plain.new_text)
    return plain


def _is_flat(place: Place, hole: Filled) -> bool:
    """Whether a client that indents the lines of a snippet like the first one changes nothing by that."""
    return "\n" not in hole.text or not place.snapshot.line(hole.span.start.line)[:1].isspace()


def _with_tab_stops(hole: Filled) -> str:
    """The text as a snippet whose weak parts are stops, the last stop behind it; "" if there is no weak part."""
    if "".join(piece.text for piece in hole.pieces) != hole.text:
        return ""
    parts, stops = [], 0
    for weak, text in _runs(hole.pieces):
        bare = text.strip()
        if not weak or not bare:
            parts.append(_escaped(text))
            continue
        stops += 1
        lead, trail = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
        parts.append(f"{lead}${{{stops}:{_escaped(bare)}}}{trail}")
    return "".join(parts) + "$0" if stops else ""


def _runs(pieces: Sequence[Piece]) -> list[tuple[bool, str]]:
    """Neighbours that are both weak, or both not, as one."""
    runs: list[tuple[bool, str]] = []
    for piece in pieces:
        weak = piece.confidence < WEAK
        if runs and runs[-1][0] == weak:
            runs[-1] = (weak, runs[-1][1] + piece.text)
        else:
            runs.append((weak, piece.text))
    return runs


def _escaped(text: str) -> str:
    return re.sub(r"([\\$}])", r"\\\1", text)
