from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types

from dlsp.documents import Encoding, Point, Span, advance, opened
from dlsp.edits import EditStyle, Place, PopupStyle, inline_items, inline_items_after_selected, popup_items, workspace_edit
from dlsp.holes.openings import Filled, Filling
from editor_model import EditorModel
from engine.api import Piece

SMILE = "\U0001f600"
ENCODINGS: tuple[Encoding, ...] = ("utf-8", "utf-16", "utf-32")
CASES = tomllib.loads((Path(__file__).resolve().parents[1] / "golden" / "edits.toml").read_text(encoding="utf-8"))["case"]
BARE, AS_IS, SNIPPETS = PopupStyle(), PopupStyle(as_is=True), PopupStyle(snippets=True)


def place(text: str, line: int, column: int, encoding: Encoding = "utf-16") -> Place:
    return Place(opened("file:///code/a.py", 1, "python", text), Point(line, column), encoding)


def taken(editor: EditorModel, item: types.CompletionItem, base: str) -> None:
    """Accept a popup item as an editor does; one that knows snippets indents their lines."""
    edit = item.text_edit
    assert isinstance(edit, types.TextEdit)
    text = edit.new_text
    if item.insert_text_format == types.InsertTextFormat.Snippet:
        assert item.insert_text_mode == types.InsertTextMode.AdjustIndentation
        first, *rows = unescaped(text).split("\n")
        text = "\n".join([first, *(base + row if row else row for row in rows)])
    editor.apply((edit.range, text))


def unescaped(snippet: str) -> str:
    out, escaped = "", False
    for letter in snippet:
        assert escaped or letter not in "$", "a snippet with an open variable"
        if letter == "\\" and not escaped:
            escaped = True
            continue
        out, escaped = out + letter, False
    return out


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("case", CASES, ids=[case["name"][:60] for case in CASES])
def test_golden(case: dict[str, Any], encoding: Encoding) -> None:
    if case["kind"] == "edit":
        check_edit(case, encoding)
        return
    before, bar, after = case["at"].partition("|")
    assert bar
    editor = EditorModel(before + after, encoding)
    here = Place(opened("file:///code/a", 1, "python", before + after), advance(Point(0, 0), before), encoding)
    if case["kind"] == "ghost":
        (item,) = inline_items(here, [case["text"]], case.get("replaces", 0))
        assert item.range is not None
        assert item.range.start.line == item.range.end.line, "an inline item is on one line"
        editor.apply((item.range, str(item.insert_text)))
    elif case["kind"] == "selected":
        start = Point(here.at.line, here.at.column - case["word"])
        selected = types.SelectedCompletionInfo(here.range(start, here.at), case["selected"])
        snapshot, at = here.snapshot.with_item(start, here.at, case["selected"])
        (item,) = inline_items_after_selected(selected, Place(snapshot, at, encoding), [case["text"]])
        assert item.range is not None
        editor.apply((item.range, str(item.insert_text)))
    else:
        style = PopupStyle(snippets=case.get("snippets", False), as_is=case.get("as_is", False))
        items = popup_items(here, case["text"], style)
        if "labels" in case:
            assert [item.label for item in items] == case["labels"]
        for item in items:
            assert not item.preselect
            assert str(item.sort_text).startswith("~")
            assert isinstance(item.text_edit, types.TextEdit)
            covered = editor.offsets(item.text_edit.range)
            assert str(item.filter_text).startswith(editor.text[slice(*covered)]), "clients filter by what is replaced"
        if "documented" in case:
            assert isinstance(items[0].documentation, types.MarkupContent)
            assert case["documented"] in items[0].documentation.value
        if items:
            head = here.snapshot.head(here.at)
            taken(editor, items[0], head[: len(head) - len(head.lstrip())])
    assert editor.text == case["gives"]


def filling_of(case: dict[str, Any]) -> Filling:
    text, spans, start = "", [], Point(0, 0)
    for letter in case["at"]:
        if letter == "«":
            start = advance(Point(0, 0), text)
        elif letter == "»":
            spans.append(Span(start, advance(Point(0, 0), text)))
        else:
            text += letter
    pieces = tuple(Piece(text=said, confidence=sure) for said, sure in case.get("pieces", ()))
    holes = tuple(Filled(span=span, text=said, confidence=0.5, pieces=pieces) for span, said in zip(spans, case["texts"], strict=True))
    return Filling(basis=opened("file:///code/a", 3, "python", text), holes=holes)


def check_edit(case: dict[str, Any], encoding: Encoding) -> None:
    filling = filling_of(case)
    here = Place(filling.basis, Point(0, 0), encoding)
    plain = EditorModel(filling.basis.text, encoding)
    edit = workspace_edit(here, filling, EditStyle(), "label")
    assert edit.changes is not None
    plain.apply(*((each.range, each.new_text) for each in edit.changes["file:///code/a"]))
    assert plain.text == case["gives"]
    rich = workspace_edit(here, filling, EditStyle(document_changes=True, snippet_edits=True, tab_stops=True), "label")
    assert rich.document_changes is not None
    (document,) = rich.document_changes
    assert isinstance(document, types.TextDocumentEdit)
    snippets = [each.snippet.value for each in document.edits if isinstance(each, types.SnippetTextEdit)]
    assert snippets == ([case["snippet"]] if case.get("snippet") else [])


def test_ghost_text_is_inserted_at_the_cursor_in_the_clients_units() -> None:
    for encoding, character in zip(ENCODINGS, (9, 7, 6), strict=True):
        first, second = inline_items(place(f"s = {SMILE} ", 0, 6, encoding), ["x", "y"])
        assert first.range == types.Range(types.Position(0, character), types.Position(0, character))
        assert (first.insert_text, second.insert_text) == ("x", "y")


def test_a_popup_item_replaces_the_word_and_is_filtered_by_it() -> None:
    (item,) = popup_items(place("    x = comp", 0, 12), "ute(a)", PopupStyle(markdown=True), "dlsp nano 80 %")
    assert item.label == "compute(a)"
    assert item.filter_text == "compute(a)"
    assert item.text_edit == types.TextEdit(types.Range(types.Position(0, 8), types.Position(0, 12)), "compute(a)")
    assert str(item.sort_text).startswith("~")
    assert item.preselect is False
    assert item.detail == "dlsp nano 80 %"
    assert item.insert_text_format == types.InsertTextFormat.PlainText
    assert item.insert_text_mode == types.InsertTextMode.AsIs
    assert item.documentation == types.MarkupContent(types.MarkupKind.Markdown, "```python\ncompute(a)\n```")


def test_without_a_word_only_the_text_counts() -> None:
    (item,) = popup_items(place("x = ", 0, 4), "1", BARE)
    assert isinstance(item.text_edit, types.TextEdit)
    assert (item.label, item.filter_text, item.text_edit.range.start.character) == ("1", "1", 4)
    assert item.documentation == types.MarkupContent(types.MarkupKind.PlainText, "1")


def test_the_block_comes_before_its_first_line() -> None:
    (whole, first) = popup_items(place("x", 0, 1), " = 1\ny = 2", AS_IS)
    assert (whole.label, first.label) == ("x = 1 …", "x = 1")
    assert str(whole.sort_text) < str(first.sort_text)
    assert isinstance(first.documentation, types.MarkupContent)
    assert "y = 2" in first.documentation.value, "what the item leaves out can be read"


def test_a_long_label_is_cut_and_the_documentation_is_not() -> None:
    (item,) = popup_items(place("", 0, 0), "a" * 200, BARE)
    assert len(item.label) == 60
    assert isinstance(item.documentation, types.MarkupContent)
    assert item.documentation.value == "a" * 200


def test_backquotes_do_not_end_the_documentation() -> None:
    (item,) = popup_items(place("", 0, 0), "s = '```'", PopupStyle(markdown=True))
    assert isinstance(item.documentation, types.MarkupContent)
    assert item.documentation.value.startswith("````python\n")


@pytest.mark.parametrize("annotations", [False, True])
@pytest.mark.parametrize("snippets", [False, True])
def test_an_edit_of_several_holes(annotations: bool, snippets: bool) -> None:
    case = {"at": "«a» «b»", "texts": ["x", "x"], "pieces": [["x", 0.1]]}
    filling = filling_of(case)
    style = EditStyle(document_changes=True, annotations=annotations, snippet_edits=snippets, tab_stops=True)
    edit = workspace_edit(Place(filling.basis, Point(0, 0), "utf-16"), filling, style, "dlsp: Fill 2 holes")
    assert edit.changes is None
    assert edit.document_changes is not None
    (document,) = edit.document_changes
    assert isinstance(document, types.TextDocumentEdit)
    assert (document.text_document.uri, document.text_document.version) == ("file:///code/a", 3)
    kind = types.SnippetTextEdit if snippets else types.AnnotatedTextEdit if annotations else types.TextEdit
    assert all(isinstance(each, kind) for each in document.edits)
    if annotations:
        named = {each.annotation_id for each in document.edits if not isinstance(each, types.TextEdit)}
        assert edit.change_annotations is not None
        assert named == set(edit.change_annotations)
        assert all(each.needs_confirmation is False for each in edit.change_annotations.values())
        assert {each.description for each in edit.change_annotations.values()} == {"50 % sure"}
    else:
        assert edit.change_annotations is None


def test_tab_stops_only_where_they_are_wanted() -> None:
    filling = filling_of({"at": "«a»", "texts": ["x"], "pieces": [["x", 0.1]]})
    here = Place(filling.basis, Point(0, 0), "utf-16")
    for style in (EditStyle(document_changes=True, snippet_edits=True), EditStyle(document_changes=True, tab_stops=True)):
        edit = workspace_edit(here, filling, style, "x")
        assert edit.document_changes is not None
        assert isinstance(edit.document_changes[0], types.TextDocumentEdit)
        assert isinstance(edit.document_changes[0].edits[0], types.TextEdit)
