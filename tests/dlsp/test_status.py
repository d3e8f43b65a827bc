from __future__ import annotations

import ast
import re
from pathlib import Path

import msgspec

from dlsp.status import REASONS, Report, StatusBoard
from engine import errors
from engine.api import Status

ROOT = Path(__file__).resolve().parents[2]
_REFUSER = re.compile(r"gate|_?reason|.*refus.*")
_DROPS = (".dropped",)


def test_every_change_and_every_answer_is_told() -> None:
    board, told = StatusBoard(), []
    board.listen(told.append)
    assert board.loading
    board.engine_changed(Status(state="loading", progress=0.5, message="Reading weights."), "local")
    assert board.loading
    board.engine_changed(Status(state="ready", model="nano", device="cpu"), "local")
    assert not board.loading
    board.answered("mid_line", 1.234)
    board.answered("", 20.0)
    assert [(report.state, report.reason, report.latency_ms) for report in told] == [
        ("loading", "", 0.0),
        ("ready", "", 0.0),
        ("ready", "mid_line", 1.2),
        ("ready", "", 20.0),
    ]
    assert (board.report.model, board.report.device, board.report.backend) == ("nano", "cpu", "local")


def test_a_message_belongs_to_what_it_was_said_about() -> None:
    board = StatusBoard()
    board.engine_changed(Status(state="ready"), "local")
    board.answered("backend_error", 1, "The host is gone.")
    assert board.report.message == "The host is gone."
    board.answered("", 1)
    assert board.report.message == ""


def test_an_engine_in_error_stays_in_error_whatever_is_answered() -> None:
    board = StatusBoard()
    board.engine_changed(Status(state="error", reason="host_lost", message="It ended."), "local")
    board.answered("", 1)
    assert (board.report.state, board.report.reason, board.report.message) == ("error", "host_lost", "It ended.")


def test_names_on_the_wire() -> None:
    names = "state reason explanation message model device backend latencyMs progress enabled language snoozedUntilMs reasons"
    assert set(msgspec.to_builtins(Report())) == set(names.split())


def test_every_reason_is_explained_and_counted() -> None:
    board = StatusBoard()
    for reason in ("mid_line", "undo", "", "mid_line"):
        board.answered(reason, 1.0)
    assert board.report.reasons == {"mid_line": 2, "undo": 1}
    assert board.report.explanation == REASONS["mid_line"]
    board.answered("", 1.0)
    assert board.report.explanation == ""


def test_the_document_in_use_is_told_when_it_is_news() -> None:
    board, told = StatusBoard(), []
    board.listen(told.append)
    board.in_use("python", True)
    board.in_use("python", True)
    board.answered("disabled_language", 1.0, language="markdown")
    board.answered("", 1.0, language="python")
    board.answered("", 1.0)
    board.in_use("python", False)
    assert [(report.language, report.enabled) for report in told] == [
        ("python", True),
        ("markdown", False),
        ("python", True),
        ("python", True),
        ("python", False),
    ]


def test_a_pause_is_told_when_it_is_news() -> None:
    board, told = StatusBoard(), []
    board.listen(told.append)
    board.snoozed(0)
    board.snoozed(5000)
    board.snoozed(5000)
    board.snoozed(0)
    assert [report.snoozed_until_ms for report in told] == [5000, 0]


def test_what_the_model_reads_is_known_once_it_is_told() -> None:
    board = StatusBoard()
    assert board.prompt_tokens == 0
    assert board.reads_snippets
    board.engine_changed(Status(state="ready", prompt_tokens=512, reads_snippets=False), "local")
    assert board.prompt_tokens == 512
    assert not board.reads_snippets


def _reasons_in_the_source() -> set[str]:
    """Every reason that is written down anywhere: as a keyword or an assignment, and what the gate returns."""
    found: set[str] = set()
    for path in [*(ROOT / "dlsp").rglob("*.py"), *(ROOT / "engine" / "serve").rglob("*.py"), *(ROOT / "engine" / "runtime").rglob("*.py")]:
        tree = ast.parse(path.read_bytes())
        for node in ast.walk(tree):
            value: ast.AST | None = None
            if isinstance(node, ast.keyword):
                value = node.value if node.arg == "reason" else None
            elif isinstance(node, ast.Assign):
                value = node.value if ast.unparse(node.targets[0]) in ("reason", "self.reason") else None
            elif isinstance(node, ast.Call):
                # `draft.dropped("too_short")`, as the filters say it.
                value = node.args[0] if ast.unparse(node.func).endswith(_DROPS) and node.args else None
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _REFUSER.fullmatch(node.name):
                for returned in (child.value for child in ast.walk(node) if isinstance(child, ast.Return)):
                    found |= set(_words(returned))
            found |= set(_words(value))
    return found - {""}


def _words(value: ast.AST | None) -> list[str]:
    """The texts that an expression may come out as."""
    if isinstance(value, ast.Constant):
        return [value.value] if isinstance(value.value, str) else []
    if isinstance(value, ast.IfExp):
        return _words(value.body) + _words(value.orelse)
    return [word for part in value.values for word in _words(part)] if isinstance(value, ast.BoolOp) else []


def test_every_reason_in_the_source_is_in_the_table() -> None:
    found = _reasons_in_the_source()
    assert {"mid_line", "disabled_language", "backend_error", "loading"} <= found, "this test looks in the wrong place"
    assert found - set(REASONS) == set()


def test_every_kind_of_failure_of_the_engine_is_in_the_table() -> None:
    """The host makes reasons of the names of exceptions."""
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.DlspError)}
    # These are about one request or one document and never a state of the engine.
    kinds -= {errors.DlspError, errors.RequestError, errors.HolesApartError, errors.DocumentError, errors.LoadingError}
    names = {re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower() for kind in kinds}
    assert names - set(REASONS) == set()


def test_the_page_about_reasons_says_the_same() -> None:
    page = (ROOT / "docs" / "reasons.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", page, re.MULTILINE))
    assert rows == REASONS


def test_reasons_are_sentences() -> None:
    for reason, sentence in REASONS.items():
        assert re.fullmatch(r"[a-z_]+", reason)
        assert re.fullmatch(r"[A-Z].+\.", sentence), reason
        assert "|" not in sentence


def test_why_the_latest_answer_was_empty_outlives_busy_and_ready() -> None:
    board = StatusBoard()
    board.engine_changed(Status(state="busy"), "local")
    board.answered("low_confidence", 12.0)
    board.engine_changed(Status(state="ready"), "local")
    assert board.report.reason == "low_confidence"
    board.answered("", 9.0)
    board.engine_changed(Status(state="ready"), "local")
    assert board.report.reason == ""


def test_a_loading_answer_is_forgotten_once_the_model_is_ready() -> None:
    board = StatusBoard()
    board.answered("loading", 1.0)
    board.engine_changed(Status(state="ready"), "local")
    assert board.report.reason == ""
