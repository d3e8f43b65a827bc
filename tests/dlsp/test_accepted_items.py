"""Whatever is accepted, in any encoding, after any edits meanwhile: the editor then holds prefix + text + suffix."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from lsprotocol import types

from dlsp.documents import Change, Encoding, Point, Snapshot, Span, changed, follow, opened, typed_since
from dlsp.edits import EditStyle, Place, PopupStyle, inline_items, inline_items_after_selected, popup_items, workspace_edit
from dlsp.holes.openings import Filled, Filling, text_of
from editor_model import EditorModel

URI = "file:///code/a.py"
PIECES = st.sampled_from(
    [
        "a",
        "bc",
        " ",
        "    ",
        "\t",
        "(",
        ")",
        "\n",
        "\n",
        "\r\n",
        "\r",
        "é",
        "😀",
        "שלום",
        "عالم",
        "\u2028",
        "\x0c",
        "\x85",
        "e\u0301",
        "${1}",
    ]
)
TEXTS = st.lists(PIECES, max_size=25).map("".join)
SAID = st.lists(st.sampled_from(["x", "y = 1", "\n", "\n    ", "😀", "ש", "$", "}", "\\", ")"]), min_size=1, max_size=6).map("".join)
ENCODINGS = st.sampled_from(["utf-8", "utf-16", "utf-32"])
EDITS = st.lists(st.tuples(st.integers(0, 999), st.integers(0, 999), PIECES), max_size=3)


def point_at(snapshot: Snapshot, position: dict[str, int], encoding: Encoding) -> Point:
    return snapshot.point((position["line"], position["character"]), encoding)


def edited(editor: EditorModel, snapshot: Snapshot, edits: list[tuple[int, int, str]], encoding: Encoding) -> Snapshot:
    """The same random edits done in the editor and told to the server."""
    for first, last, text in edits:
        places = editor.places()
        (_, start), (_, end) = sorted((places[first % len(places)], places[last % len(places)]), key=lambda place: place[0])
        editor.apply(({"start": start, "end": end}, text))
        change = Change(text, (start["line"], start["character"]), (end["line"], end["character"]))
        snapshot, _ = changed(snapshot, snapshot.version + 1, [change], encoding)
        assert snapshot.text == editor.text
    return snapshot


def in_lines_of(snapshot: Snapshot, line: int, text: str) -> str:
    return text.replace("\n", snapshot.eol_near(line))


@given(TEXTS, st.integers(0, 999), SAID, ENCODINGS, EDITS, st.integers(0, 4))
@settings(max_examples=200, deadline=None)
def test_ghost_text(text: str, where: int, said: str, encoding: Encoding, edits: list[Any], replaces: int) -> None:
    editor, snapshot = EditorModel(text, encoding), opened(URI, 1, "python", text)
    places = editor.places()
    at = point_at(snapshot, places[where % len(places)][1], encoding)
    now = edited(editor, snapshot, edits, encoding)
    # As `answer` does: typed along, followed, or dropped.
    typed = typed_since(snapshot, at, now)
    here = at if typed == "" else follow(snapshot, at, now)
    if here is None:
        return
    (item, other) = inline_items(Place(now, here, encoding), [said, said + "z"], replaces)
    assert item.range is not None
    assert item.range == other.range
    start, end = editor.offsets(item.range)
    prefix, suffix = editor.text[:start], editor.text[end:]
    assert editor.text[start:end] == now.tail(here)[:replaces]
    editor.apply((item.range, str(item.insert_text)))
    assert editor.text == prefix + in_lines_of(now, here.line, said) + suffix
    assert (prefix.count("\n") or now.head(here)) == (prefix.count("\n") or prefix.rpartition("\r")[2])


@given(TEXTS, st.integers(0, 999), SAID, ENCODINGS)
@settings(max_examples=150, deadline=None)
def test_popup_items(text: str, where: int, said: str, encoding: Encoding) -> None:
    editor, snapshot = EditorModel(text, encoding), opened(URI, 1, "python", text)
    places = editor.places()
    offset, position = places[where % len(places)]
    at = point_at(snapshot, position, encoding)
    for style in (PopupStyle(), PopupStyle(as_is=True)):
        for item in popup_items(Place(snapshot, at, encoding), said, style):
            copy = EditorModel(editor.text, encoding)
            assert isinstance(item.text_edit, types.TextEdit)
            copy.apply((item.text_edit.range, item.text_edit.new_text))
            whole, first = in_lines_of(snapshot, at.line, said), said.partition("\n")[0]
            assert copy.text in (text[:offset] + whole + text[offset:], text[:offset] + first + text[offset:])


@given(TEXTS, st.integers(0, 999), SAID, ENCODINGS, st.sampled_from(["print", "p😀", "ש"]))
@settings(max_examples=100, deadline=None)
def test_behind_a_selected_item(text: str, where: int, said: str, encoding: Encoding, chosen: str) -> None:
    editor, snapshot = EditorModel(text, encoding), opened(URI, 1, "python", text)
    places = editor.places()
    offset, position = places[where % len(places)]
    at = point_at(snapshot, position, encoding)
    area = Place(snapshot, at, encoding).range(at, at)
    after, behind = snapshot.with_item(at, at, chosen)
    (item,) = inline_items_after_selected(types.SelectedCompletionInfo(area, chosen), Place(after, behind, encoding), [said])
    assert item.range is not None
    editor.apply((item.range, str(item.insert_text)))
    assert editor.text == text[:offset] + chosen + in_lines_of(after, behind.line, said) + text[offset:]


@given(TEXTS, st.lists(st.tuples(st.integers(0, 999), SAID), min_size=1, max_size=4), ENCODINGS, EDITS, st.booleans())
@settings(max_examples=200, deadline=None)
def test_edits_of_several_holes(text: str, cuts: list[tuple[int, str]], encoding: Encoding, edits: list[Any], versioned: bool) -> None:
    editor, snapshot = EditorModel(text, encoding), opened(URI, 1, "python", text)
    places = editor.places()
    numbers = sorted({number % len(places) for number, _ in cuts})
    holes = []
    for first, last, (_, said) in zip(numbers[::2], numbers[1::2], cuts, strict=False):
        start, end = (point_at(snapshot, places[number][1], encoding) for number in (first, last))
        holes.append(Filled(span=Span(start, end), text=said))
    if not holes:
        return
    now = edited(editor, snapshot, edits, encoding)
    # As `infilling.settled` does: each hole is followed, or all of it is dropped.
    moved = []
    for hole in holes:
        ends = [follow(snapshot, point, now) for point in hole.span]
        if None in ends or text_of(snapshot, hole.span) != text_of(now, Span(*ends)):  # type: ignore[arg-type]
            return
        moved.append(Filled(span=Span(*ends), text=hole.text))  # type: ignore[arg-type]
    filling = Filling(basis=now, holes=tuple(moved))
    edit = workspace_edit(Place(now, Point(0, 0), encoding), filling, EditStyle(document_changes=versioned), "label")
    if versioned:
        assert edit.document_changes is not None
        assert isinstance(edit.document_changes[0], types.TextDocumentEdit)
        assert edit.document_changes[0].text_document.version == now.version
        parts: list[Any] = list(edit.document_changes[0].edits)
    else:
        assert edit.changes is not None
        parts = list(edit.changes[URI])
    spans = [editor.offsets(part.range) for part in parts]
    expected, position = "", 0
    for (start, end), hole in zip(spans, moved, strict=True):
        expected += editor.text[position:start] + in_lines_of(now, hole.span.start.line, hole.text)
        position = end
    expected += editor.text[position:]
    editor.apply(*((part.range, part.new_text) for part in parts))
    assert editor.text == expected
