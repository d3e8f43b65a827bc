from __future__ import annotations

import asyncio

import pytest

from dlsp.documents import Change, Point, Snapshot, changed, opened
from dlsp.flights import Flights, Outcome, Plan


def at_end(text: str, uri: str = "file:///a", linger: float = 0.0, ahead: bool = False) -> Plan:
    return Plan(snapshot=opened(uri, 1, "python", text + "\n\n"), at=Point(0, len(text)), linger=linger, ahead=ahead)


def typed(plan: Plan, text: str, line: int = 0, column: int | None = None) -> Snapshot:
    place = (line, plan.at.column if column is None else column)
    return changed(plan.snapshot, 2, [Change(text, place, place)], "utf-32")[0]


HERE, THERE = at_end("x = "), at_end("y = ")


class Work:
    """Waits to be told its outcome; knows whether it was cancelled."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.cancelled = False

    async def run(self) -> Outcome:
        try:
            return await self.outcome
        except asyncio.CancelledError:
            self.cancelled = True
            raise


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_several_wait_for_the_same() -> None:
    flights, work = Flights(), Work()
    flight = flights.launch(HERE, work.run())
    waiting = [asyncio.create_task(flight.join()) for _ in range(3)]
    await settle()
    waiting[0].cancel()
    await settle()
    assert not work.cancelled
    assert flights.of("file:///a") is flight
    work.outcome.set_result(Outcome(("text",)))
    assert [await each for each in waiting[1:]] == [Outcome(("text",))] * 2
    assert flights.of("file:///a") is None


async def test_when_the_last_leaves_the_work_is_cancelled() -> None:
    flights, work = Flights(), Work()
    waiting = asyncio.create_task(flights.launch(HERE, work.run()).join())
    await settle()
    waiting.cancel()
    await settle()
    assert work.cancelled
    assert flights.of("file:///a") is None


async def test_a_wait_that_is_too_long_gives_up_and_with_it_the_flight() -> None:
    flights, work = Flights(), Work()
    assert await flights.launch(HERE, work.run()).join(0.01) is None
    await settle()
    assert work.cancelled


async def test_a_new_flight_replaces_the_old_one_of_the_document_only() -> None:
    flights, old, other, new = Flights(), Work(), Work(), Work()
    waiting = asyncio.create_task(flights.launch(HERE, old.run()).join())
    elsewhere = flights.launch(at_end("", "file:///b"), other.run())
    await settle()
    flights.launch(THERE, new.run())
    assert await waiting == Outcome(reason="superseded")
    assert old.cancelled
    assert flights.of("file:///b") is elsewhere
    await flights.cancel_all()
    assert new.cancelled
    assert other.cancelled


async def test_what_goes_wrong_reaches_who_waits(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> Outcome:
        raise ValueError("secret text")

    with pytest.raises(ValueError, match="secret"):
        await Flights().launch(HERE, fail()).join()
    assert "ValueError" in caplog.text
    assert "secret" not in caplog.text


async def test_a_flight_lingers_for_the_question_that_comes_next() -> None:
    flights, work = Flights(), Work()
    flight = flights.launch(at_end("x = ", linger=30.0), work.run())
    first = asyncio.create_task(flight.join())
    await settle()
    first.cancel()
    await settle()
    assert not work.cancelled
    assert flights.of("file:///a") is flight
    second = asyncio.create_task(flight.join())
    await settle()
    work.outcome.set_result(Outcome(("text",)))
    assert await second == Outcome(("text",))


async def test_nobody_came_while_it_lingered() -> None:
    flights, work = Flights(), Work()
    assert await flights.launch(at_end("x = ", linger=0.01), work.run()).join(0.0) is None
    assert not work.cancelled
    await asyncio.sleep(0.05)
    assert work.cancelled


@pytest.mark.parametrize(
    ("text", "line", "column", "stays"),
    [("val", 0, None, True), ("# end", 1, 0, True), ("import os\n", 0, 0, True), ("no", 0, 0, False)],
)
async def test_a_change_ends_what_lingers_unless_the_place_is_still_there(text: str, line: int, column: int | None, stays: bool) -> None:
    flights, work = Flights(), Work()
    plan = at_end("x = ", linger=30.0)
    await flights.launch(plan, work.run()).join(0.0)
    flights.reconcile(typed(plan, text, line, column))
    await settle()
    assert work.cancelled is not stays
    await flights.cancel_all()


async def test_a_change_does_not_end_what_somebody_waits_for_or_what_was_made_ahead() -> None:
    flights, work, ahead = Flights(), Work(), Work()
    plan = at_end("x = ", linger=30.0)
    waiting = asyncio.create_task(flights.launch(plan, work.run()).join())
    await settle()
    flights.reconcile(typed(plan, "no", 0, 0))
    await settle()
    assert not work.cancelled
    flights.launch(at_end("x = ", ahead=True), ahead.run())
    assert await waiting == Outcome(reason="superseded")
    flights.reconcile(typed(plan, "no", 0, 0))
    await settle()
    assert not ahead.cancelled
    await flights.cancel_all()
