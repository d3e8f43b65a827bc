from __future__ import annotations

import importlib.util
import time

import pytest

from dlsp.documents import Point, Snapshot, Span, advance, opened
from dlsp.syntax import BlockFacts, block_at, error_spans, introduces_error, leaves, parses, prepare, statement_around, supports
from dlsp.syntax.grammars import GRAMMARS
from dlsp.syntax.window import WINDOW_LINES, window_around


def at_bar(text: str, language: str = "python") -> tuple[Snapshot, Point]:
    before, bar, after = text.partition("|")
    assert bar
    return opened("file:///code/a", 1, language, before + after), advance(Point(0, 0), before)


def between_bars(text: str, language: str = "python") -> tuple[Snapshot, Span]:
    before, middle, after = text.split("|")
    start = advance(Point(0, 0), before)
    return opened("file:///code/a", 1, language, before + middle + after), Span(start, advance(start, middle))


def text_of(snapshot: Snapshot, span: Span) -> str:
    return snapshot.following(span.start, snapshot.size)[: -len(snapshot.following(span.end, snapshot.size)) or None]


def breaks(text: str, addition: str, language: str = "python") -> bool | None:
    snapshot, at = at_bar(text, language)
    return introduces_error(snapshot, Span(at, at), addition)


@pytest.mark.parametrize("language", sorted(GRAMMARS))
def test_every_grammar_can_be_had(language: str) -> None:
    assert supports(language)
    assert prepare(language)
    assert parses(language, "") is True


def test_a_language_without_a_grammar() -> None:
    snapshot, at = at_bar("val x = |", "kotlin")
    span = Span(at, at)
    assert not supports("kotlin")
    assert not prepare("kotlin")
    assert (
        block_at(snapshot, at) is introduces_error(snapshot, span, ")") is statement_around(snapshot, span) is parses("kotlin", "") is None
    )
    assert error_spans(snapshot) == leaves(snapshot, span) == ()


# Blocks


@pytest.mark.parametrize(
    ("language", "text", "facts"),
    [
        ("python", "def f():|\n\nx = 1\n", BlockFacts(opens=True)),
        ("python", "def f():|\n    return 1\n", BlockFacts(last_line=0)),
        ("python", "def f():\n    |\n", BlockFacts(blank_in_body=True, last_line=1)),
        ("python", "def f():\n    a = 1\n|\n    return a\n\nf()\n", BlockFacts(blank_in_body=True, last_line=3)),
        (
            "python",
            "class A:\n    def f(self):\n        |\n\n    def g(self):\n        pass\n",
            BlockFacts(blank_in_body=True, last_line=2),
        ),
        ("python", "x = 1\n|\ny = 2\n", BlockFacts()),
        ("python", 'def f():\n    """Doc.\n    |\n    """\n', BlockFacts()),
        ("python", "def f():\n    # note:|\n", BlockFacts()),
        ("python", "print(\n    |\n)\n", BlockFacts()),
        ("javascript", "function f() { g();|}", BlockFacts(last_line=0)),
        ("javascript", "if (a) {|\ng();\n", BlockFacts(opens=True)),
        ("javascript", "function f() {\n  |\n  g();\n}\n", BlockFacts(blank_in_body=True, last_line=2)),
        ("go", "func f() {\n\tg()\n\t|\n}\n", BlockFacts(blank_in_body=True, last_line=2)),
        ("shellscript", "for x in a b; do|\ndone\n", BlockFacts(opens=True)),
        ("c", "int x[] = {|};\n", BlockFacts()),
    ],
)
def test_blocks(language: str, text: str, facts: BlockFacts) -> None:
    assert block_at(*at_bar(text, language)) == facts


def test_where_a_statement_makes_no_sense_nobody_knows() -> None:
    assert block_at(*at_bar("x = {'a': |\n")) is None
    assert block_at(*at_bar("class A {|}\n", "java")) is None


def test_the_end_of_a_block_that_goes_on_below_the_window_is_not_known() -> None:
    body = "    x = 1\n" * (2 * WINDOW_LINES)
    facts = block_at(*at_bar(f"def f():\n    |\n{body}"))
    assert facts == BlockFacts(blank_in_body=True, last_line=-1)


def test_a_place_deep_in_a_long_method() -> None:
    body = "            x = [1, 2]\n" * (2 * WINDOW_LINES)
    text = f"class A:\n    def f(self):\n        if x:\n{body}            |\n        return x\n\n    def g(self):\n        pass\n"
    snapshot, at = at_bar(text)
    assert block_at(snapshot, at) == BlockFacts(blank_in_body=True, last_line=at.line)
    assert introduces_error(snapshot, Span(at, at), "x = 2") is False
    assert introduces_error(snapshot, Span(at, at), "x = = 2") is True


# Errors


@pytest.mark.parametrize(
    ("language", "text", "addition", "expected"),
    [
        ("python", "x = |\n", "compute(1)", False),
        ("python", "def f():\n    return |\n", "a b c", True),
        ("python", "x = compute(|)\n", "a, b)", True),
        ("python", "|\n", "for x in y:", False),
        ("python", "|\n", "def f(self,", False),
        ("python", "|\n", "x = [", False),
        ("python", "|\n", "if x:\nreturn 1", True),
        ("python", "|\n", "if x:\n    return 1", False),
        ("python", "x = | + 1\n", "(", True),
        ("python", "x = (|\n", "1)", False),
        ("python", "x = )\n|\n", "y = 1", False),
        ("python", "def f():|\n", "\n    return 1", False),
        ("javascript", "if (a) |\n", "{", False),
        ("javascript", "f(|);\n", "a b", True),
        ("javascript", "const a = | + 1;\n", "b => {", True),
        ("javascript", "const a = |;\n", "b => {", False),
        ("javascript", "items.map(|\n", "x => {\n  return x", False),
        ("go", "func f() {\n\t|\n}\n", "if err != nil {", False),
        ("rust", "fn f() {\n    |\n}\n", "let = 1;", True),
        ("c", "int f(void) {\n  |\n}\n", "return 1;", False),
        ("lua", "|\n", "if x then", False),
        ("shellscript", "|\n", "if true; then", False),
    ],
)
def test_what_makes_the_syntax_worse(language: str, text: str, addition: str, expected: bool) -> None:
    assert breaks(text, addition, language) is expected


def test_an_open_bracket_hides_errors_that_are_not_the_text_s() -> None:
    document = "def f():\n    x = g(a|\n    y = = 1\n    z z = 2\n    w = 1 1\n"
    assert breaks(document, ")") is False
    assert breaks(document, ") b") is True


def test_rows_torn_out_of_a_table_tell_nothing() -> None:
    rows = [f'    "a{number}": {number},\n' for number in range(100)]
    document = "CODES = {\n" + "".join(rows[:50]) + '    "new": |\n' + "".join(rows[50:]) + "}\n"
    assert not breaks(document, '"x",')


@pytest.mark.parametrize("language", ["javascript", "typescript"])
def test_members_of_a_class_that_begins_far_above(language: str) -> None:
    method = "  get one () {\n    return 1;\n  }\n\n"
    document = "class A {\n" + method * 30 + "  async load (|\n    return 2;\n  }\n\n" + method * 30 + "}\n"
    assert breaks(document, ") {", language) is False
    assert breaks(document.replace("async load (|", "async load () {|"), " } =", language) is True
    snapshot, at = at_bar("class A {\n" + method * 30 + "  load () {\n    |\n  }\n" + method * 30 + "}\n", language)
    assert block_at(snapshot, at) == BlockFacts(blank_in_body=True, last_line=at.line)


def test_errors_are_found_where_they_are() -> None:
    snapshot = opened("file:///code/a.py", 1, "python", "שלום = 1\r\nx = ((1]\r\ny = 2\r\n")
    (span, *_) = error_spans(snapshot)
    assert span.start.line == 1
    assert error_spans(snapshot, Span(Point(1, 0), Point(1, 8)))
    assert error_spans(snapshot, Span(Point(0, 0), Point(0, 2))) == ()
    assert error_spans(opened("file:///code/a.py", 1, "python", "x = 1\n")) == ()


def test_what_is_missing_is_an_empty_span() -> None:
    snapshot = opened("file:///code/a.js", 1, "javascript", "f(1;\n")
    assert Span(Point(0, 3), Point(0, 3)) in error_spans(snapshot)


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("python", "def f():\n    return 1\n", True),
        ("python", "def f():\nx = 1\n", False),
        ("python", "x = \ny = 2\n", False),
        ("python", "x = '\\d'\r\ny = 2\r\n", True),
        ("python", "x = '\0'\n", False),
        ("javascript", "f(1;", False),
        ("javascript", "f(1);\rg();\r", True),
    ],
)
def test_whole_texts(language: str, text: str, expected: bool) -> None:
    assert parses(language, text) is expected


# Statements and words


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("python", "x = 1\nif a:\n    y = |f(1)| + 2\n", "y = f(1) + 2"),
        ("python", "x = 1\n|y = 2\nz = 3\n|w = 4\n", "y = 2\nz = 3"),
        ("python", "@cache\ndef f(|a|):\n    return a\n\nx = 1\n", "@cache\ndef f(a):\n    return a"),
        ("python", "if a:\n    b()\n|else|:\n    c()\n", "if a:\n    b()\nelse:\n    c()"),
        ("javascript", "function f() { a(); |b|(); }", "b();"),
        ("go", "func f() {\n\tx := |1|\n}\n", "x := 1"),
    ],
)
def test_the_statement_around(language: str, text: str, expected: str) -> None:
    snapshot, span = between_bars(text, language)
    found = statement_around(snapshot, span)
    assert found is not None
    assert text_of(snapshot, found) == expected


def test_nothing_is_around_white_space_of_an_empty_document() -> None:
    snapshot, span = between_bars("\n|  |\n")
    assert statement_around(snapshot, span) is None


def test_words_and_their_kinds() -> None:
    snapshot, span = between_bars("def f():\n    |total = price(1, 'ü𝄞')  # note|\n")
    found = [(leaf.kind, text_of(snapshot, Span(leaf.start, leaf.end))) for leaf in leaves(snapshot, span)]
    assert [text for kind, text in found if kind == "name"] == ["total", "price"]
    assert [text for kind, text in found if kind == "literal"] == ["1", "'ü𝄞'"]
    assert [text for kind, text in found if kind == "comment"] == ["# note"]
    assert [text for kind, text in found if kind == "other"] == ["=", "(", ",", ")"]


def test_only_words_that_are_wholly_within() -> None:
    snapshot, span = between_bars("tot|al = price| + 1\n")
    assert [text_of(snapshot, Span(leaf.start, leaf.end)) for leaf in leaves(snapshot, span)] == ["=", "price"]


# Windows


def test_a_window_is_small_and_begins_and_ends_with_whole_definitions() -> None:
    text = "".join(f"def f{n}():\n    if x:\n        return {n}\n\n" for n in range(200))
    snapshot = opened("file:///code/a.py", 1, "python", text)
    window = window_around(snapshot, 401, 401)
    assert window is not None
    assert window.lines[0].startswith("def ")
    assert snapshot.line(window.last + 1).startswith("def ")
    assert WINDOW_LINES < len(window.lines) <= 2 * WINDOW_LINES + 1
    assert parses("python", window.source()) is True


def test_a_place_of_a_window_is_one_of_the_document_and_back() -> None:
    text = "class A:\n" + "    def ü(self):\n        𝄞 = 'שלום'\n\n" * 60
    snapshot = opened("file:///code/a.py", 1, "python", text)
    for line in (10, 90, 100, 178):
        window = window_around(snapshot, line, line)
        assert window is not None
        for column in range(len(snapshot.line(line)) + 1):
            assert window.point(window.place(Point(line, column))) == Point(line, column)


def test_a_huge_line_has_no_window_and_one_nearby_only_makes_it_smaller() -> None:
    text = "x = 1\n" * 5 + "y = '" + "a" * 100_000 + "'\n" + "z = 1\n" * 5
    snapshot = opened("file:///code/a.py", 1, "python", text)
    assert window_around(snapshot, 5, 5) is None
    assert introduces_error(snapshot, Span(Point(5, 3), Point(5, 3)), ")") is None
    assert introduces_error(snapshot, Span(Point(8, 4), Point(8, 4)), ")") is True


def test_odd_line_ends_do_not_move_rows() -> None:
    snapshot, at = at_bar("a = 1\rb = 'x\u2028y\f'\r\ndef f():\n\t|\n")
    assert block_at(snapshot, at) == BlockFacts(blank_in_body=True, last_line=3)


def test_a_large_document_costs_no_more_than_a_small_one() -> None:
    text = "".join(f"def f{n}(a):\n    if a:\n        return [a, {n}]\n    return None\n\n" for n in range(4000))
    snapshot = opened("file:///code/a.py", 1, "python", text)
    prepare("python")
    began = time.process_time()
    for number in range(20):
        block_at(snapshot, Point(10_004 + 5 * number, 0))
    assert (time.process_time() - began) / 20 < 0.02


def test_a_grammar_that_is_not_installed_is_like_none(monkeypatch: pytest.MonkeyPatch) -> None:
    from dlsp.syntax import grammars

    monkeypatch.setitem(grammars.GRAMMARS, "brainfuck", grammars.Grammar("tree_sitter_no_such_thing"))
    assert importlib.util.find_spec("tree_sitter_no_such_thing") is None
    assert supports("brainfuck")
    assert not prepare("brainfuck")
    grammars._parser.cache_clear()
