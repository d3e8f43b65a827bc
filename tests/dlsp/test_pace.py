from __future__ import annotations

from itertools import pairwise

import pytest

from dlsp.pace import Pace, floor
from dlsp.settings import Settings

SETTINGS = Settings(debounce_ms=300)
START = 1000.0


def typed(interval: float, keys: int = 9, pace: Pace | None = None) -> tuple[Pace, float]:
    """A user who typed keys at an interval in seconds, and when they struck the last one."""
    pace, now = pace or Pace(), START
    for _ in range(keys):
        now += interval
        pace.typed(now)
    return pace, now


def test_the_pause_follows_the_typing_and_stays_below_the_setting() -> None:
    pauses = []
    for interval in (0.03, 0.1, 0.2, 0.9):
        pace, now = typed(interval)
        pauses.append(pace.pause_ms(SETTINGS, "x = comp", 0.0, now))
    assert pauses == pytest.approx([36, 120, 240, 300])


def test_nobody_who_types_in_a_burst_is_asked_between_two_keys_however_slow_the_model() -> None:
    for interval in (0.03, 0.08, 0.12):
        for expected in (0.0, 80.0, 500.0):
            pace, now = typed(interval)
            assert pace.pause_ms(SETTINGS, "x = comp", expected, now) > interval * 1000


def test_the_time_of_a_model_too_slow_for_the_next_key_is_taken_off_a_slow_typist_s_pause() -> None:
    pace, now = typed(0.25)
    assert pace.pause_ms(SETTINGS, "x = comp", 210.0, now) == pytest.approx(150)
    pace, now = typed(0.5)
    assert pace.pause_ms(Settings(debounce_ms=5000), "x = comp", 460.0, now) == pytest.approx(150)


@pytest.mark.parametrize(("interval", "expected"), [(0.11, 40.0), (0.2, 140.0), (0.9, 500.0)])
def test_who_types_more_slowly_than_the_model_answers_hardly_waits(interval: float, expected: float) -> None:
    pace, now = typed(interval)
    assert pace.pause_ms(SETTINGS, "x = comp", expected, now) == pytest.approx(50)


@pytest.mark.parametrize("head", ["a.", "f(", "x = [", "x = {", "def f():", "x = ", "", "    "])
def test_no_pause_where_something_begins(head: str) -> None:
    pace, now = typed(0.2)
    assert pace.pause_ms(SETTINGS, head, 0.0, now) == 0
    assert pace.pause_ms(SETTINGS, head + "word", 0.0, now) > 0


def test_time_that_the_editor_waited_itself_counts() -> None:
    pace, now = typed(0.2)
    assert pace.pause_ms(SETTINGS, "word", 0.0, now + 0.1) == pytest.approx(140)
    assert pace.pause_ms(SETTINGS, "word", 0.0, now + 5) == 0
    assert pace.pause_ms(SETTINGS, "word", 0.0, now - 1) == pytest.approx(240)


def test_gaps_of_thinking_and_machine_made_changes_are_no_typing() -> None:
    pace, now = typed(0.1)
    usual = pace.pause_ms(SETTINGS, "word", 0.0, now)
    pace.typed(now + 30)
    pace.typed(now + 30.001)
    assert pace.pause_ms(SETTINGS, "word", 0.0, now + 30.001) == pytest.approx(usual)


def test_before_anything_is_known_there_is_a_usual_pause() -> None:
    assert 50 < Pace().pause_ms(SETTINGS, "word", 0.0, START) < 200


def test_who_rejects_waits_longer_each_time_but_not_beyond_the_setting() -> None:
    pace, now = typed(0.1)
    pauses = [pace.pause_ms(SETTINGS, "word", 0.0, now)]
    for _ in range(8):
        pace.rejected(now)
        pauses.append(pace.pause_ms(SETTINGS, "word", 0.0, now))
    assert all(later > earlier or later == 300 for earlier, later in pairwise(pauses))
    assert pauses[1] == pytest.approx(138)
    assert pauses[-1] == 300
    # The eagerness of a dot ends, too.
    assert pace.pause_ms(SETTINGS, "a.", 0.0, now) > 0


def test_an_acceptance_shortens_and_time_heals() -> None:
    pace, now = typed(0.1)
    pace.rejected(now)
    pace.accepted(now)
    assert pace.pause_ms(SETTINGS, "word", 0.0, now) == pytest.approx(96.6)
    late = now + 36_000
    pace.typed(late)
    assert pace.pause_ms(SETTINGS, "word", 0.0, late) == pytest.approx(120, rel=0.01)


def test_ten_minutes_halve_what_is_left_of_a_rejection() -> None:
    pace, now = typed(0.1)
    pace.rejected(now)
    pace.typed(now + 600)
    assert pace.pause_ms(SETTINGS, "word", 0.0, now + 600) == pytest.approx(129)


def test_who_takes_two_offers_in_seven_waits_as_long_as_ever() -> None:
    pace, now = typed(0.1)
    for _ in range(20):
        for _ in range(5):
            pace.rejected(now)
        for _ in range(2):
            pace.accepted(now)
    assert pace.pause_ms(SETTINGS, "word", 0.0, now) == pytest.approx(120, rel=0.3)


def test_many_acceptances_do_not_do_away_with_the_pause() -> None:
    pace, now = typed(0.2)
    for _ in range(50):
        pace.accepted(now)
    assert pace.pause_ms(SETTINGS, "word", 0.0, now) == pytest.approx(120)


def test_eagerness() -> None:
    pace, now = typed(0.1)
    assert pace.pause_ms(Settings(debounce_ms=300, eagerness="low"), "a.", 0.0, now) == 600
    assert pace.pause_ms(Settings(debounce_ms=5000, eagerness="low"), "a.", 0.0, now) == 700
    assert pace.pause_ms(Settings(debounce_ms=300, eagerness="high"), "word", 0.0, now) == 40
    assert pace.pause_ms(Settings(debounce_ms=20, eagerness="high"), "word", 0.0, now) == 20


@pytest.mark.parametrize("eagerness", ["low", "medium", "high"])
def test_zero_never_waits(eagerness: str) -> None:
    pace, now = typed(0.1)
    pace.rejected(now)
    assert pace.pause_ms(Settings(debounce_ms=0, eagerness=eagerness), "word", 0.0, now) == 0


def test_floor() -> None:
    floors = [floor(Settings(min_confidence=0.35, eagerness=eagerness)) for eagerness in ("low", "medium", "high")]
    assert floors == pytest.approx([0.5, 0.35, 0.25])
    assert floor(Settings(min_confidence=0.95, eagerness="low")) == 1
    assert floor(Settings(min_confidence=0.05, eagerness="high")) == 0
    assert floor(Settings(min_confidence=0, eagerness="low")) == 0
