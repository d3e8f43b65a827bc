"""The filling of holes without a protocol: what is chosen, what is cut, and whether it still fits when it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import structs

from dlsp.documents import Change, Point, Span, opened
from dlsp.holes.last import LastFilling
from dlsp.holes.openings import Filled, Filling, Opening, of_markers, of_selection, rendered
from dlsp.infilling import Task, fill, sentence, settled, still_true
from dlsp.infilling.refit import refit, without_end
from dlsp.infilling.task import openings_of, reason_of
from dlsp.notebooks import Cell
from dlsp.postprocess.draft import Style, first_pieces
from dlsp.session import Session
from dlsp.settings import Settings
from engine.api import Fill, InfillRequest, InfillResult, Piece
from engine.errors import HolesApartError, LoadingError, RequestError
from lsp_filling import fills
from scripted_backend import ScriptedBackend

URI = "file:///code/a.py"
TWO = "def f(a):\n    ...\n\n\ndef g(a):\n    ...\n"
HOLES = Task(uri=URI, kind="holes")


def said(text: str, *pieces: tuple[str, float]) -> Fill:
    return Fill(text=text, confidence=0.5, tokens=1, pieces=tuple(Piece(text=t, confidence=c) for t, c in pieces))


@pytest.fixture
async def session() -> AsyncIterator[Session]:
    backend = ScriptedBackend()
    session = Session(lambda settings: backend)
    session.open(URI, 1, "python", TWO)
    session.start()
    await session.wait_until_loaded(5)
    yield session
    await session.close()


def scripted(session: Session, script: Any) -> ScriptedBackend:
    assert isinstance(session.backend, ScriptedBackend)
    session.backend.script = script
    return session.backend


async def test_progress_goes_up(session: Session) -> None:
    scripted(session, lambda request: fills("return a", "return a + 1"))
    heard: list[tuple[float, str]] = []
    filling = await fill(session, HOLES, lambda share, message: heard.append((share, message)))
    assert [hole.text for hole in filling.holes] == ["return a", "return a + 1"]
    shares = [share for share, _ in heard]
    assert shares == sorted(shares)
    assert heard[0] == (0.05, "Filling 2 holes.")


async def test_texts_that_fit_alone_must_fit_together(session: Session) -> None:
    session.open(URI, 1, "python", "x = [<fill>\ny = <fill>\n")
    scripted(session, lambda request: fills("1", "2]", others=[["1]", "2"]]))
    filling = await fill(session, HOLES)
    assert filling.holes, filling.message
    snapshot = session.documents[URI].snapshot
    assert snapshot.text == "x = [<fill>\ny = <fill>\n", "nothing is applied here"


async def test_a_python_function_gets_at_least_a_return(session: Session) -> None:
    def script(request: InfillRequest) -> Any:
        if request.prefix.endswith("return "):
            return "a * 2"
        return fills(*("(" for _ in request.holes))

    scripted(session, script)
    filling = await fill(session, HOLES)
    assert [hole.text for hole in filling.holes] == ["return a * 2", "return a * 2"]


async def test_a_deadline_ends_the_ladder(session: Session) -> None:
    session.configure({"infillDeadlineMs": 30})

    async def script(request: InfillRequest) -> Any:
        await asyncio.sleep(0.04)
        return fills(*("(" for _ in request.holes))

    backend = scripted(session, script)
    filling = await fill(session, HOLES)
    assert (filling.holes, filling.reason) == ((), "deadline")
    assert len(backend.requests) == 1


async def test_no_deadline(session: Session) -> None:
    session.configure({"infillDeadlineMs": 0})
    backend = scripted(session, lambda request: fills("return a", "return a"))
    assert (await fill(session, HOLES)).holes
    assert backend.requests[0].limits.deadline_ms == 0


@pytest.mark.parametrize(
    ("error", "reason"),
    [(RequestError("No."), "backend_error"), (ValueError("bug"), "backend_error"), (LoadingError("Later."), "loading")],
)
async def test_failures_are_reasons(session: Session, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str) -> None:
    monkeypatch.setattr(session, "wait_until_loaded", lambda seconds: asyncio.sleep(0, False))
    scripted(session, lambda request: error)
    filling = await fill(session, HOLES)
    assert (filling.holes, filling.reason) == ((), reason)
    assert filling.message
    assert "bug" not in filling.message


async def test_who_waits_for_the_model_gets_the_second_answer(session: Session) -> None:
    answers: list[Any] = [LoadingError("Later."), fills("return a", "return a")]
    scripted(session, lambda request: answers.pop(0))
    assert len((await fill(session, HOLES)).holes) == 2


@pytest.mark.parametrize("finish", ["superseded", "deadline"])
async def test_an_answer_without_text_has_its_reason(session: Session, finish: Any) -> None:
    scripted(session, lambda request: InfillResult(fills=(), finish=finish, reason=finish))
    filling = await fill(session, HOLES)
    assert (filling.holes, filling.reason, filling.skipped) == ((), finish, 2)


async def test_alternatives_that_do_not_fit_are_not_offered(session: Session) -> None:
    session.open(URI, 1, "python", "x = 1\n")
    scripted(session, lambda request: fills("y = 2", others=[["z = ("], ["w = 3"], ["y = 2"], ["v = 4"]]))
    task = Task(uri=URI, spans=(Span(Point(0, 0), Point(0, 5)),), alternatives=3)
    (hole,) = (await fill(session, task)).holes
    assert (hole.text, hole.others) == ("y = 2", ("w = 3", "v = 4"))


async def test_a_hole_at_the_start_of_a_line_keeps_the_rest_of_it(session: Session) -> None:
    session.open(URI, 1, "python", "foo(a)\n")
    scripted(session, lambda request: "bar(a)")
    task = Task(uri=URI, spans=(Span(Point(0, 0), Point(0, 3)),))
    (hole,) = (await fill(session, task)).holes
    assert hole.text == "bar"


async def test_very_long_documents_are_parsed_near_the_hole_only(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    session.open(URI, 1, "python", "x = 1\n" * 20_000 + "def f():\n    ...\n")
    monkeypatch.setattr("dlsp.syntax.parses", lambda language, text: pytest.fail("the whole document was parsed"))
    scripted(session, lambda request: fills("return (", others=[["return 1"]]))
    assert [hole.text for hole in (await fill(session, HOLES)).holes] == ["return 1"]


async def test_still_true(session: Session) -> None:
    scripted(session, lambda request: fills("return a", "return a + 1"))
    filling = await fill(session, HOLES)
    assert still_true(session, filling)
    session.change(URI, 2, [Change("import os\n", (0, 0), (0, 0))])
    moved = settled(session, filling)
    assert moved is not None
    assert [hole.span.start.line for hole in moved.holes] == [2, 6]
    assert moved.basis.version == 2
    session.change(URI, 3, [Change("pass", (2, 4), (2, 7))])
    assert not still_true(session, filling)
    session.close_document(URI)
    assert not still_true(session, filling)


def test_the_last_filling_is_followed_and_forgotten_when_it_was_edited() -> None:
    basis = opened(URI, 1, "python", "a = 1\nb = 2\n")
    last = LastFilling()
    assert last.spans(basis) == ()
    last.remember(Filling(basis=basis, holes=(Filled(span=Span(Point(1, 4), Point(1, 5)), text="3 +\\\n4"),)))
    after = opened(URI, 2, "python", "a = 1\nb = 3 +\\\n4\n")
    assert last.spans(after) == (Span(Point(1, 4), Point(2, 1)),)
    assert last.spans(opened(URI, 3, "python", "\na = 1\nb = 3 +\\\n4\n")) == (Span(Point(2, 4), Point(3, 1)),)
    assert last.spans(opened(URI, 3, "python", "a = 1\nb = 3 +\\\n5\n")) == ()
    assert last.spans(opened("file:///other", 3, "python", after.text)) == ()


@pytest.mark.parametrize(
    ("text", "gives"),
    [
        ("return 1", "return 1"),
        ("    return 1", "return 1"),
        ("    x = 1\n        return x", "x = 1\n    return x"),
        ("        x = 1\n        return x", "x = 1\n    return x"),
        ("x = 1\n    return x\ndef other():\n    pass", "x = 1\n    return x"),
        ("x = 1  \n    return x\n", "x = 1\n    return x"),
        ("return 1\r\n", "return 1"),
    ],
)
def test_a_body_is_made_to_fit(text: str, gives: str) -> None:
    snapshot = opened(URI, 1, "python", TWO)
    candidate = refit(snapshot, of_markers(snapshot)[0], said(text))
    assert candidate is not None
    assert candidate.text == gives


@pytest.mark.parametrize("text", ["", "  \n", "a\ufffdb", "\x00"])
def test_of_some_texts_nothing_is_left(text: str) -> None:
    snapshot = opened(URI, 1, "python", TWO)
    assert refit(snapshot, of_markers(snapshot)[0], said(text)) is None


def test_the_lead_is_a_sure_piece() -> None:
    snapshot = opened(URI, 1, "python", "def f(): ...\n")
    candidate = refit(snapshot, of_markers(snapshot)[0], said("return 1", ("return ", 0.9), ("1", 0.2)))
    assert candidate is not None
    assert candidate.text == "\n    return 1"
    assert [piece.text for piece in candidate.pieces] == ["\n    ", "return ", "1"]


def test_text_that_is_there_already_is_not_put_there_twice() -> None:
    snapshot = opened(URI, 1, "python", "f(a, b)\n")
    (opening,) = of_selection(snapshot, Span(Point(0, 2), Point(0, 3)))
    candidate = refit(snapshot, opening, said("x, b)"))
    assert candidate is not None
    assert candidate.text == "x"


def test_what_was_sent_along_behind_a_hole_is_taken_off() -> None:
    fill = without_end(said("bar(a)", ("ba", 0.9), ("r(a)", 0.5)), "(a)")
    assert (fill.text, [piece.text for piece in fill.pieces]) == ("bar", ["ba", "r"])
    assert without_end(said("bar"), "(a)").text == "bar"
    assert first_pieces((), 3) == ()


def test_what_a_task_means() -> None:
    snapshot = opened(URI, 1, "python", "a = 1\nb = 2\n")
    both = (Span(Point(0, 0), Point(0, 5)), Span(Point(1, 0), Point(1, 5)))
    found, why = openings_of(snapshot, Task(uri=URI, kind="refine", spans=both, noise=0.2, lock=("names",)), Settings())
    assert why == ""
    assert [(opening.noise, opening.locked) for opening in found] == [(0.2, ((0, 1),))] * 2
    shorter, _ = openings_of(snapshot, Task(uri=URI, spans=both[:1], stretch=0.6), Settings())
    longer, _ = openings_of(snapshot, Task(uri=URI, spans=both[:1], stretch=1.5), Settings())
    assert shorter[0].max_tokens < 16
    assert longer[0].max_lines > 3


def test_every_sentence_ends_with_a_next_step_or_is_one() -> None:
    for reason in ("no_hole", "syntax", "changed_meanwhile", "not_applied", "holes_apart", "deadline", "something new"):
        assert sentence(reason).count(". ") >= 1, reason
    assert reason_of("unchanged") == "empty_output"
    assert reason_of("syntax") == "syntax"


async def test_a_failure_on_the_way_does_not_cost_what_is_filled(session: Session) -> None:
    scripted(session, lambda request: fills("return a", "return (") if len(request.holes) == 2 else RequestError("No."))
    filling = await fill(session, HOLES)
    assert ([hole.text for hole in filling.holes], filling.skipped, filling.reason) == (["return a"], 1, "")
    assert filling.message == sentence("rest_failed")


async def test_an_engine_that_does_not_come_back_does_not_cost_what_is_filled(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlsp.infilling.work._GRACE_SECONDS", 0.0)
    session.configure({"infillDeadlineMs": 200})

    async def script(request: InfillRequest) -> Any:
        if len(request.holes) == 1:
            await asyncio.sleep(60)
        return fills("return a", "return (")

    scripted(session, script)
    filling = await fill(session, HOLES)
    assert ([hole.text for hole in filling.holes], filling.skipped) == (["return a"], 1)
    assert filling.message == sentence("rest_deadline")


async def test_on_a_slow_machine_some_holes_are_filled_rather_than_none(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once take too long; a share of the rest for each attempt at each hole would be too short for any of them."""
    monkeypatch.setattr("dlsp.infilling.work._WORTHWHILE_SECONDS", 0.2)
    session.open(URI, 1, "python", "".join(f"def f{n}(a):\n    ...\n\n\n" for n in range(6)))
    session.configure({"infillDeadlineMs": 1000})

    async def script(request: InfillRequest) -> Any:
        took = 0.15 * len(request.holes) * request.decoding.alternatives
        allowed = request.limits.deadline_ms / 1000
        await asyncio.sleep(min(took, allowed))
        if took > allowed:
            return InfillResult(fills=(), finish="deadline", reason="")
        return fills(*("return a" for _ in request.holes))

    scripted(session, script)
    filling = await fill(session, HOLES)
    assert len(filling.holes) >= 2
    assert filling.skipped == 6 - len(filling.holes)
    assert filling.message == sentence("rest_deadline")


async def test_of_holes_too_far_apart_each_gets_its_share_of_the_time(session: Session) -> None:
    session.open(URI, 1, "python", "".join(f"def f{n}(a):\n    ...\n\n\n" for n in range(4)))
    session.configure({"infillDeadlineMs": 8000})
    backend = scripted(session, lambda request: HolesApartError("Apart.") if len(request.holes) > 1 else fills("return a"))
    assert len((await fill(session, HOLES)).holes) == 4
    asked = [request.limits.deadline_ms for request in backend.requests if len(request.holes) == 1]
    assert asked == pytest.approx([2000] * 4, abs=300)


async def test_a_hole_that_cannot_be_read_does_not_cost_the_others(session: Session) -> None:
    def script(request: InfillRequest) -> Any:
        apart = len(request.holes) > 1 or "def g" not in request.prefix
        return HolesApartError("Apart.") if apart else fills("return a")

    backend = scripted(session, script)
    filling = await fill(session, HOLES)
    assert ([hole.span.start.line for hole in filling.holes], filling.skipped) == ([5], 1)
    assert len(backend.requests) == 3, "nobody asks for it again"


async def test_texts_are_checked_once(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    session.open(URI, 1, "python", "".join(f"def f{n}(a):\n    ...\n\n\n" for n in range(20)))
    scripted(session, lambda request: fills(*(["return ("] * len(request.holes))))
    checks = 0

    def parses(language: str, text: str) -> bool:
        nonlocal checks
        checks += 1
        return "return (" not in text

    monkeypatch.setattr("dlsp.syntax.parses", parses)
    assert not (await fill(session, HOLES)).holes
    assert checks < 50


async def test_other_documents_help_and_excluded_ones_do_not(session: Session) -> None:
    session.open("file:///code/b.py", 1, "python", "def helper_of_a(a):\n    return a * 12345\n")
    session.open("file:///code/.env", 1, "python", "def f(a): return 'CANARY'\ndef g(a): return a\n")
    session.configure({"context": ["openFiles"]})
    session.change(URI, 2, [Change("    # helper_of_a helps\n", (1, 0), (1, 0))])
    backend = scripted(session, lambda request: fills("return a", "return a"))
    await fill(session, HOLES)
    (request,) = backend.requests
    assert ["12345" in snippet.text for snippet in request.snippets] == [True]
    assert request.limits.snippet_share > 0
    assert "CANARY" not in repr(request)


async def test_earlier_cells_of_a_notebook_are_read_but_not_written(session: Session) -> None:
    cells = [Cell(f"vscode-notebook-cell:/code/a.ipynb#{name}") for name in "abc"]
    for cell, text in zip(cells, ("price = 12345\n", "tax = 19\n", TWO), strict=True):
        session.open(cell.uri, 1, "python", text)
    session.notebooks.opened("file:///code/a.ipynb", cells)
    backend = scripted(session, lambda request: fills("return price", "return tax"))
    filling = await fill(session, Task(uri=cells[2].uri, kind="holes"))
    assert backend.requests[0].prefix == "price = 12345\n\ntax = 19\n\ndef f(a):\n    "
    assert [hole.span.start for hole in filling.holes] == [Point(1, 4), Point(5, 4)]


async def test_the_editors_indentation(session: Session) -> None:
    session.open(URI, 1, "python", "def f(a): ...\n")
    scripted(session, lambda request: "if a:\n    return a" if "\n\t" not in request.prefix else "if a:\n\t\treturn a")
    for style, text in ((Style(2), "\n  if a:\n    return a"), (Style(4, insert_spaces=False), "\n\tif a:\n\t\treturn a")):
        (hole,) = (await fill(session, Task(uri=URI, kind="holes", style=style))).holes
        assert hole.text == text


def test_an_indentation_that_the_block_does_not_have_is_not_mixed_in() -> None:
    snapshot = opened(URI, 1, "python", TWO)
    candidate = refit(snapshot, of_markers(snapshot)[0], said("if a:\n        return a"), Style(4, insert_spaces=False))
    assert candidate is not None
    assert candidate.text == "if a:\n        return a"


def test_white_space_in_locked_text_stays() -> None:
    snapshot = opened(URI, 1, "python", 'x = """a  \nb"""\n')
    (opening,) = of_selection(snapshot, Span(Point(0, 0), Point(1, 4)))
    candidate = refit(snapshot, structs.replace(opening, locked=((4, 15),)), said('y = """a  \nb"""'))
    assert candidate is not None
    assert candidate.text == 'y = """a  \nb"""'


async def test_a_long_wait_shows_progress(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlsp.infilling.work._TICK_SECONDS", 0.01)

    async def script(request: InfillRequest) -> Any:
        await asyncio.sleep(0.1)
        return fills("return a", "return a")

    scripted(session, script)
    session.configure({"infillDeadlineMs": 300})
    heard: list[float] = []
    await fill(session, HOLES, lambda share, message: heard.append(share))
    assert len(heard) > 3
    assert heard == sorted(heard)
    assert 0.1 < heard[-1] <= 0.55
    count = len(heard)
    await asyncio.sleep(0.03)
    assert len(heard) == count, "it ends with the wait"


async def test_texts_that_were_cut_short_are_written_again_or_it_is_said(session: Session) -> None:
    late = structs.replace(fills("x = a", "return a"), finish="deadline")
    scripted(session, lambda request: late if len(request.holes) == 2 else fills("y = a\n    return y"))
    filling = await fill(session, HOLES)
    assert [hole.text for hole in filling.holes] == ["y = a\n    return y"] * 2
    assert filling.message == ""
    scripted(session, lambda request: late if len(request.holes) == 2 else fills("("))
    filling = await fill(session, HOLES)
    assert [hole.text for hole in filling.holes] == ["x = a", "return a"]
    assert filling.message == sentence("hasty")


CALL = "def f(first, second):\n    result = compute(\n        first,\n        second third,\n    )\n    return result\n"


async def repaired(session: Session, language: str, text: str, line: int, said: Any, columns: tuple[int, int] = (0, 0)) -> str:
    """The document after a repair; the message where there was none."""
    uri = f"{URI}.{language}"
    session.open(uri, 1, language, text)
    scripted(session, lambda request: fills(said) if isinstance(said, str) else said)
    filling = await fill(session, Task(uri=uri, kind="repair", spans=(Span(Point(line, columns[0]), Point(line, columns[1])),)))
    if not filling.holes:
        return filling.message
    return rendered(filling.basis, [Opening(span=hole.span) for hole in filling.holes], [hole.text for hole in filling.holes])[0].text


@pytest.mark.parametrize(
    ("language", "text", "line", "columns"),
    [
        pytest.param("python", CALL, 3, (0, 0), id="call"),
        pytest.param("python", "d = {\n    'a': [1, 2, 3},\n    'b': [4],\n}\n", 1, (0, 0), id="dict"),
        pytest.param("javascript", "const o = {\n  a: 1,\n  b 2,\n  c: 3,\n};\n", 2, (0, 0), id="object"),
        pytest.param("python", "def f(a):\n    foo(a,\n        b)\n    return 1\n", 1, (4, 7), id="right already"),
        pytest.param("csharp", "void M(int x) {\n    if (nobody > 0) {\n        Run(x);\n    }\n}\n", 1, (8, 14), id="no grammar"),
        pytest.param("python", "x =\ny = 2\n", 0, (0, 0), id="next line"),
    ],
)
@pytest.mark.parametrize("said", ["", "a = ((", "x = 3"])
async def test_a_repair_never_costs_what_was_right(
    session: Session, language: str, text: str, line: int, columns: tuple[int, int], said: str
) -> None:
    after = await repaired(session, language, text, line, said, columns)
    if text.startswith("x =") and said == "x = 3":
        assert after == "x = 3\ny = 2\n"
    else:
        assert after in (sentence("no_repair"), sentence("empty_output"))


@pytest.mark.parametrize(
    ("text", "said", "gives"),
    [
        ('print "hello"\n', 'print("hello")', 'print("hello")\n'),
        ("f(a=1, 2)\n", "f(2, a=1)", "f(2, a=1)\n"),
    ],
)
async def test_what_only_python_itself_finds_wrong_is_repaired_as_well(session: Session, text: str, said: str, gives: str) -> None:
    assert await repaired(session, "python", text, 0, said) == gives


async def test_a_model_that_goes_away_during_a_repair_is_not_a_matter_of_syntax(session: Session) -> None:
    answers: list[Any] = [fills("x = = 3"), RequestError("Gone.")]
    session.open(URI, 1, "python", "x = = 2\n")
    scripted(session, lambda request: answers.pop(0))
    filling = await fill(session, Task(uri=URI, kind="repair", spans=(Span(Point(0, 0), Point(0, 0)),)))
    assert (filling.holes, filling.reason) == ((), "backend_error")


@pytest.mark.parametrize(
    ("language", "text", "span", "said"),
    [
        ("javascript", "function a() {\n  first(1);\n  return 3;\n}\n\nlet z = = 3;\n", ((1, 2), (1, 11)), "if (x) {"),
        ("go", "package a\n\nfunc f() int {\n\tfirst(1)\n\treturn 3\n}\n\nvar z = = 3\n", ((3, 1), (3, 9)), "for {"),
        ("python", "def a():\n    first(1)\n    return 3\n\n\nz = = 3\n", ((1, 4), (1, 12)), "if x:"),
    ],
)
@pytest.mark.parametrize("broken", [False, True])
async def test_nothing_is_left_open_whether_or_not_something_else_is_wrong(
    session: Session, language: str, text: str, span: tuple[tuple[int, int], tuple[int, int]], said: str, broken: bool
) -> None:
    uri = f"{URI}.{language}"
    session.open(uri, 1, language, text if broken else text.replace("= =", "="))
    scripted(session, lambda request: fills(said))
    task = Task(uri=uri, spans=(Span(Point(*span[0]), Point(*span[1])),))
    assert (await fill(session, task)).reason == "syntax"
    scripted(session, lambda request: fills("other(2)"))
    assert [hole.text for hole in (await fill(session, task)).holes] == ["other(2)"]


async def test_a_line_that_a_range_only_touches_is_none_of_its(session: Session) -> None:
    text = "a = 1\nb = foo(2)\nlimit = 100\n"
    session.open(URI, 1, "python", text)
    backend = scripted(session, lambda request: fills("b = bar(2)"))
    filling = await fill(session, Task(uri=URI, kind="repair", spans=(Span(Point(1, 0), Point(2, 0)),)))
    assert backend.requests[0].holes[0].draft == "b = foo(2)"
    assert [(hole.span, hole.text) for hole in filling.holes] == [(Span(Point(1, 0), Point(1, 10)), "b = bar(2)")]


async def test_ranges_that_touch_are_one_hole(session: Session) -> None:
    session.open(URI, 1, "python", "abcdef = 1\n")
    scripted(session, lambda request: fills("Q"))
    spans = (Span(Point(0, 0), Point(0, 3)), Span(Point(0, 3), Point(0, 6)))
    (hole,) = (await fill(session, Task(uri=URI, kind="holes", spans=spans))).holes
    assert hole.span == Span(Point(0, 0), Point(0, 6))


async def test_a_refined_text_ends_where_its_draft_did(session: Session) -> None:
    session.open(URI, 1, "python", "def f(a):\n    b = a\n    return b\nx = 1\n")
    scripted(session, lambda request: fills("c = a\n    return c\n"))
    task = Task(uri=URI, kind="refine", noise=0.7, spans=(Span(Point(1, 4), Point(2, 12)),))
    (hole,) = (await fill(session, task)).holes
    assert hole.text == "c = a\n    return c"
