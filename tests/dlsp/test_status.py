from __future__ import annotations

import msgspec

from dlsp.status import Report, StatusBoard
from engine.api import Status


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
    assert set(msgspec.to_builtins(Report())) == {"state", "reason", "message", "model", "device", "backend", "latencyMs", "progress"}


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
