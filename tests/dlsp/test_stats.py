from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from dlsp import stats
from dlsp.log import older
from dlsp.outcomes import Event
from dlsp.stats import Latency, Retention, Tally, Writer, clear, read, summarize

NOW = 2_000_000_000.0


def event(name: str, **facts: object) -> Event:
    return Event(event=name, **{"at": NOW - 60, "language": "python", **facts})  # type: ignore[arg-type]


def test_events_are_added_up() -> None:
    events = [
        *(event("shown", source="model", latency_ms=float(ms)) for ms in range(1, 101)),
        event("shown", source="live", latency_ms=0.4, language="go"),
        event("accepted", characters=10),
        event("accepted", characters=20, language="go"),
        event("partial", characters=3),
        event("typed", characters=9),
        event("rejected"),
        event("ignored"),
        event("ignored"),
        event("ignored"),
        event("retained", after_s=30.0, of=10, characters=10),
        event("retained", after_s=30.0, of=20, characters=0),
        event("retained", after_s=300.0, of=10, characters=8),
        event("latency", stages={"prompt": 4.0, "denoise": 20.0}),
        event("latency", stages={"prompt": 6.0, "denoise": 30.0}),
        event("empty", reason="mid_line", count=7),
        event("empty", reason="mid_line"),
        event("empty", reason="undo", count=2),
        event("shown", at=NOW - 8 * 86_400, latency_ms=9e9),
    ]
    summary = summarize(events, 7, NOW)
    assert (summary.shown, summary.accepted, summary.partial, summary.typed, summary.rejected, summary.ignored) == (101, 2, 1, 1, 1, 3)
    assert summary.acceptance == 0.375
    assert summary.characters == 33
    assert summary.retained == {
        "30": Retention(suggestions=2, accepted=30, retained=10),
        "300": Retention(suggestions=1, accepted=10, retained=8),
    }
    assert summary.latency == {"new": Latency(answers=100, p50=50.5, p95=96.0), "known": Latency(answers=1, p50=0.4, p95=0.4)}
    assert summary.stages == {"prompt": 5.0, "denoise": 25.0}
    assert summary.languages == {"python": Tally(shown=100, accepted=2, characters=13), "go": Tally(shown=1, accepted=1, characters=20)}
    assert list(summary.reasons.items()) == [("mid_line", 8), ("undo", 2)]


def test_nothing_adds_up_to_nothing() -> None:
    assert summarize([], 30, NOW) == stats.Summary(days=30)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "state" / "stats.jsonl"
    writer = Writer(file, lambda: True)
    writer(Event(event="shown", characters=3))
    for _ in range(5):
        writer(Event(event="empty", reason="mid_line", kind="ghost"))
    assert not file.exists()
    writer.flush()
    writer.flush()
    with file.open("a") as stream:
        stream.write('{"event":"of tomorrow"}\nnot json\n\n')
    writer(Event(event="accepted", characters=3))
    writer.flush()
    events = list(read(file))
    assert [(e.event, e.count) for e in events] == [("shown", 1), ("empty", 5), ("accepted", 1)]
    assert all(e.at > 1e9 for e in events)
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) & 0o077 == 0


def test_the_setting_is_asked_each_time(tmp_path: Path) -> None:
    file, wanted = tmp_path / "s.jsonl", [False]
    writer = Writer(file, lambda: wanted[0])
    writer(Event(event="shown"))
    writer.flush()
    assert not file.exists()
    wanted[0] = True
    writer(Event(event="accepted"))
    writer.flush()
    assert [e.event for e in read(file)] == ["accepted"]


def test_the_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "MOST_BYTES", 2000)
    file = tmp_path / "s.jsonl"
    writer = Writer(file, lambda: True)
    for number in range(300):
        writer(Event(event="shown", characters=number + 1))
        writer.flush()
    assert file.stat().st_size + older(file).stat().st_size < 2 * 2100
    assert list(read(file))[-1].characters == 300
    assert clear(file) == 2
    assert list(read(file)) == []
    assert clear(file) == 0


def test_many_events_do_not_wait_for_the_clock(tmp_path: Path) -> None:
    file = tmp_path / "s.jsonl"
    writer = Writer(file, lambda: True)
    for _ in range(1000):
        writer(Event(event="shown"))
    assert len(list(read(file))) == 1000


def test_a_file_that_cannot_be_written_is_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    writer = Writer(tmp_path / "file" / "s.jsonl", lambda: True)
    for _ in range(3):
        writer(Event(event="shown"))
        writer.flush()
    assert len([r for r in caplog.records if "dlsp stats" in r.getMessage()]) == 1


def test_lines_are_short() -> None:
    line = json.loads(stats.msgspec.json.encode(Event(event="accepted", at=1.0, characters=3)))
    assert line == {"event": "accepted", "at": 1.0, "characters": 3}
