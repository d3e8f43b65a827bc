from __future__ import annotations

from lsprotocol import types

from dlsp.documents import Point, opened
from dlsp.edits import Place, inline_item, inline_item_after_selected, popup_items

SMILE = "\U0001f600"


def place(text: str, line: int, column: int, encoding="utf-16") -> Place:
    return Place(opened("file:///a.py", 1, "python", text), Point(line, column), encoding)


def test_ghost_text_is_inserted_at_the_cursor_in_the_clients_units() -> None:
    for encoding, character in (("utf-8", 9), ("utf-16", 7), ("utf-32", 6)):
        item = inline_item(place(f"s = {SMILE} ", 0, 6, encoding), "x")
        assert item.range == types.Range(types.Position(0, character), types.Position(0, character))
        assert item.insert_text == "x"


def test_what_is_inserted_has_the_documents_line_ends() -> None:
    assert inline_item(place("a\r\nb", 1, 1), "x\ny").insert_text == "x\r\ny"
    assert inline_item(place("a\nb", 1, 1), "x\ny").insert_text == "x\ny"
    (whole, first) = popup_items(place("a\r\nb", 1, 1), "x\ny", markdown=False)
    assert whole.text_edit.new_text == "bx\r\ny"
    assert first.text_edit.new_text == "bx"


def test_text_after_a_selected_popup_item_replaces_what_the_item_would() -> None:
    selected = types.SelectedCompletionInfo(types.Range(types.Position(0, 0), types.Position(0, 2)), "print")
    item = inline_item_after_selected(selected, place("print", 0, 5), "(x)")
    assert (item.insert_text, item.range) == ("print(x)", selected.range)


def test_a_popup_item_replaces_the_word_and_is_filtered_by_it() -> None:
    (item,) = popup_items(place("    x = comp", 0, 12), "ute(a)", markdown=True)
    assert item.label == "compute(a)"
    assert item.filter_text == "compute(a)"
    assert item.text_edit == types.TextEdit(types.Range(types.Position(0, 8), types.Position(0, 12)), "compute(a)")
    assert item.sort_text.startswith("~")
    assert item.preselect is False
    assert item.insert_text_format == types.InsertTextFormat.PlainText
    assert item.insert_text_mode == types.InsertTextMode.AsIs
    assert item.documentation == types.MarkupContent(types.MarkupKind.Markdown, "```python\ncompute(a)\n```")


def test_without_a_word_only_the_text_counts() -> None:
    (item,) = popup_items(place("x = ", 0, 4), "1", markdown=False)
    assert (item.label, item.filter_text, item.text_edit.range.start.character) == ("1", "1", 4)
    assert item.documentation == types.MarkupContent(types.MarkupKind.PlainText, "1")


def test_several_lines_make_two_items_and_a_block_behind_a_colon_one() -> None:
    (whole, first) = popup_items(place("x", 0, 1), " = 1\ny = 2", markdown=False)
    assert (whole.label, first.label) == ("x = 1 …", "x = 1")
    assert whole.sort_text < first.sort_text
    assert "y = 2" in whole.documentation.value
    (block,) = popup_items(place("def f():", 0, 8), "\n    pass", markdown=False)
    assert block.label == "pass"
    assert block.text_edit.new_text == "\n    pass"


def test_a_long_label_is_cut_and_the_documentation_is_not() -> None:
    (item,) = popup_items(place("", 0, 0), "a" * 200, markdown=False)
    assert len(item.label) == 60
    assert item.documentation.value == "a" * 200


def test_backquotes_do_not_end_the_documentation() -> None:
    (item,) = popup_items(place("", 0, 0), "s = '```'", markdown=True)
    assert item.documentation.value.startswith("````python\n")
