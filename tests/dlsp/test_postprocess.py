from __future__ import annotations

import time
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dlsp import syntax
from dlsp.documents import Point, Snapshot, Span, advance, opened
from dlsp.postprocess import chain
from dlsp.postprocess.brackets import brackets, closing, unmatched
from dlsp.postprocess.chain import FILTERS, polish
from dlsp.postprocess.draft import LONGEST_LINE, Draft, Style, Wanted, draft_for
from engine.api import Fill, Piece

CASES = tomllib.loads((Path(__file__).resolve().parents[1] / "golden" / "postprocess.toml").read_text(encoding="utf-8"))["case"]
BY_NAME = {each.__name__: each for each in FILTERS}
REASONS = {
    "low_confidence", "invalid_characters", "repetition", "duplicate", "syntax", "too_short", "rejected", "junk", "empty_output",
}  # fmt: skip
COMPLAINTS = {
    "llama.vim#55", "llama.vim#71", "tabnine-vscode#60", "tabnine-vscode#69", "tabnine-vscode#1078", "vscode#187151", "vscode#136452",
    "copilot-release#8741", "fittencode#128", "llama.vim#51", "llama.vscode#39", "neovim#32972", "llm.nvim#49", "blink#2146",
    "tabby#2674",
}  # fmt: skip
"""What users complained of that is a filter's business: duplicated text and brackets, broken indentation, too short to be worth it."""


def draft_of(case: dict[str, Any]) -> Draft:
    before, bar, after = case["at"].partition("|")
    assert bar, "the case says where the cursor is"
    fill = Fill(
        text=case["text"],
        confidence=case.get("confidence", 1.0),
        tokens=1,
        pieces=tuple(Piece(text=text, confidence=sure) for text, sure in case.get("pieces", ())),
    )
    assert "".join(piece.text for piece in fill.pieces) in ("", fill.text)
    limits = {name: case[name] for name in ("floor", "max_lines", "last_line", "invoked", "min_characters") if name in case}
    wanted = Wanted(rejected=tuple(case.get("rejected", ())), style=Style(*case.get("style", ())), **limits)
    return draft_for(opened("file:///a", 1, case.get("language", "python"), before + after), advance(Point(0, 0), before), fill, wanted)


@pytest.mark.parametrize("case", CASES, ids=[f"{case['filter']}: {case.get('name', case['text'])!r}"[:70] for case in CASES])
def test_golden(case: dict[str, Any]) -> None:
    draft = (polish if case["filter"] == "all" else BY_NAME[case["filter"]])(draft_of(case))
    assert (draft.text, draft.reason) == (case["gives"], case.get("reason", ""))
    assert (draft.replaces, draft.rest) == (case.get("replaces", 0), case.get("rest", ""))


def test_every_filter_reason_and_complaint_has_cases() -> None:
    assert len(CASES) >= 100
    assert {case["filter"] for case in CASES} == {*BY_NAME, "all"}
    assert {case["reason"] for case in CASES if "reason" in case} == REASONS
    assert {case["complaint"] for case in CASES if "complaint" in case} == COMPLAINTS
    assert all(case.get("reason") if not case["gives"].strip() else "reason" not in case for case in CASES if case["filter"] == "all")


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_what_is_polished_stays_so_and_has_text_or_a_reason(case: dict[str, Any]) -> None:
    once = polish(draft_of(case))
    assert bool(once.text) != bool(once.reason)
    assert "".join(piece.text for piece in once.pieces) in ("", once.text)
    if once.text:
        assert polish(once) == once
    else:
        assert (once.replaces, once.rest, once.pieces) == (0, "", ())


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_accepting_the_text_and_then_the_rest_needs_no_second_look(case: dict[str, Any]) -> None:
    once = polish(draft_of(case))
    if once.rest:
        assert polish(once.following()).text == once.rest


def test_surroundings_are_the_nearest_first() -> None:
    draft = draft_for(opened("file:///a", 1, "python", "a\nb\nc\nd\ne"), Point(2, 1), Fill(text="", confidence=1.0, tokens=0), Wanted())
    assert (draft.head, draft.tail, draft.above, draft.below) == ("c", "", ("b", "a"), ("d", "e"))


def test_shorter_text_keeps_the_pieces_it_consists_of() -> None:
    draft = Draft(text="abcd", pieces=(Piece(text="ab", confidence=0.5), Piece(text="cd", confidence=0.4)))
    assert draft.with_text("abc").pieces == (draft.pieces[0], Piece(text="c", confidence=0.4))
    assert draft.with_text("bc").pieces == (Piece(text="b", confidence=0.5), Piece(text="c", confidence=0.4))
    assert draft.with_text("xbcd").pieces == ()
    assert draft.with_text("xbcd").confidence == 1.0
    assert draft.with_text("abcd") is draft


def test_shorter_text_is_as_sure_as_its_own_tokens_but_not_more_than_calibration_allows() -> None:
    pieces = (Piece(text="ab", confidence=0.5), Piece(text="cd", confidence=0.4))
    assert Draft(text="abcd", confidence=0.2, pieces=pieces).with_text("ab").confidence == pytest.approx(0.5)
    assert Draft(text="abcd", confidence=0.1, pieces=pieces).with_text("ab").confidence == pytest.approx(0.25)


def test_a_rest_is_kept_while_the_text_before_it_ends_as_it_did() -> None:
    draft = Draft(text="  a\n  b\n\n  c").cut(len("  a\n  b"))
    assert (draft.text, draft.rest) == ("  a\n  b", "\n\n  c")
    assert draft.with_text("\ta\n\tb").rest == "\n\n  c"
    assert draft.with_text("  a").rest == ""
    assert msgspec.structs.replace(Draft(text="a\nb"), tail=")").cut(1).rest == ""


def test_the_document_after_the_text_is_where_the_rest_goes() -> None:
    snapshot = opened("file:///a", 1, "python", "def f():\n    x)\n")
    draft = draft_for(snapshot, Point(1, 5), Fill(text=" = g(1)\n\n    z", confidence=1.0, tokens=1), Wanted(max_lines=5))
    draft = msgspec.structs.replace(draft.cut(7), replaces=1, rest="\n    z")
    after = draft.following()
    assert (after.text, after.head, after.tail, after.above[:1]) == ("\n    z", "    x = g(1)", "", ("def f():",))
    assert after.snapshot is not None
    assert after.snapshot.text == "def f():\n    x = g(1)\n"
    assert after.at == Point(1, 12)


@pytest.mark.parametrize(
    ("language", "style", "expected"),
    [
        ("python", Style(), (False, 4)),
        ("python", Style(2, True), (False, 2)),
        ("python", Style(8, False), (True, 8)),
        ("makefile", Style(2, True), (True, 2)),
        ("go", Style(), (True, 4)),
    ],
)
def test_the_editor_says_how_to_indent(language: str, style: Style, expected: tuple[bool, int]) -> None:
    draft = draft_for(opened("file:///a", 1, language, "x"), Point(0, 1), Fill(text="", confidence=1.0, tokens=0), Wanted(style=style))
    assert (draft.tabs, draft.width) == expected


def test_very_long_lines_are_looked_at_near_the_cursor_only() -> None:
    line = "  " + "f(x), " * 50_000
    snapshot = opened("file:///a", 1, "javascript", f"{line}\n{line}{line}\n{line}")
    at = Point(1, len(line))
    draft = draft_for(snapshot, at, Fill(text="g(y), g(z)", confidence=1.0, tokens=1), Wanted(max_lines=3))
    assert (len(draft.head), len(draft.tail), len(draft.above[0])) == (LONGEST_LINE + 2, LONGEST_LINE, LONGEST_LINE)
    assert draft.head.startswith("  ")
    began = time.process_time()
    assert polish(draft).text
    assert time.process_time() - began < 0.25


def test_brackets_in_strings_do_not_count() -> None:
    assert brackets('f(\'(\', "[\\"" + x)') == [(1, "("), (16, ")")]
    assert brackets("don't\n(") == [(6, "(")]
    assert unmatched(brackets("a) + (b")) == ([1], [5])
    assert brackets("1'000 + f(&'a str, don't") == [(9, "(")]
    assert brackets("rb'(' in Set<'(' | 'b'>") == []


def test_a_bracket_is_closed_by_its_own_kind() -> None:
    assert unmatched(brackets("{ f( }")) == ([], [3])
    assert unmatched(brackets("f( ] )")) == ([3], [])
    assert unmatched(brackets("[(}{)]")) == ([2], [3])
    assert closing("f(a, [b, {c}") == "])"


@pytest.mark.parametrize(
    ("at", "cut", "expected"),
    [
        ("f(|)", "x)", ("x)", 1, "")),
        ("f(|)", "x", ("x", 0, "")),
        ("f(|b)", "a, b)", ("a, b)", 2, "")),
        ("f(|b)", "a", ("", 0, "syntax")),
    ],
)
def test_what_a_text_was_to_replace_is_not_deleted_when_the_text_is_cut(
    at: str, cut: str, expected: tuple[str, int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "FILTERS", (lambda draft: draft.with_text(cut),))
    draft = draft_of({"at": at, "text": f"{cut}, b);"})
    draft = chain.polish(msgspec.structs.replace(draft, replaces=len(draft.tail)))
    assert (draft.text, draft.replaces, draft.reason) == expected


class Grammar:
    """Stands in for a parse: a text is wrong if it holds one of `errors`."""

    def __init__(self, *errors: str) -> None:
        self.errors, self.asked = errors, 0

    def introduces_error(self, snapshot: Snapshot, span: Span, text: str) -> bool | None:
        self.asked += 1
        return any(error in text for error in self.errors)


@pytest.fixture
def grammar(monkeypatch: pytest.MonkeyPatch):
    def install(*errors: str) -> Grammar:
        made = Grammar(*errors)
        monkeypatch.setattr(syntax, "introduces_error", made.introduces_error)
        return made

    return install


def wrong(text: str, **facts: Any) -> Draft:
    return BY_NAME["syntax_regression"](draft_of({"at": "x|\n", "text": text, "language": "python", **facts}))


def test_whole_lines_go_before_words_do(grammar) -> None:
    grammar("!")
    assert wrong("a = b\nc = d\ne = !", max_lines=9).text == "a = b\nc = d"
    assert wrong("a.b.c = !").text == "a.b.c"


def test_what_nothing_can_be_left_of_is_dropped_unless_it_was_asked_for(grammar) -> None:
    grammar("a")
    assert wrong("a.b.c").reason == "syntax"
    assert wrong("a.b.c", invoked=True).text == "a.b.c"


def test_few_shorter_texts_are_tried(grammar) -> None:
    made = grammar("a")
    wrong("a = b\n" * 30 + ", ".join("bcdefghijklmnopqrstuvw"), max_lines=99)
    assert made.asked <= 6


def test_a_language_without_a_grammar_goes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syntax, "introduces_error", lambda *_: None)
    assert wrong(") ) =").text == ") ) ="
