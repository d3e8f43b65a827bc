from __future__ import annotations

import asyncio

import pytest

from dlsp.flights import Flights, Outcome
from dlsp.suggestions import Site

HERE, THERE = Site("file:///a", "x = ", ""), Site("file:///a", "y = ", "")


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
    flight = flights.launch(HERE, 1, work.run())
    waiting = [asyncio.create_task(flight.join()) for _ in range(3)]
    await settle()
    waiting[0].cancel()
    await settle()
    assert not work.cancelled
    assert flights.of("file:///a") is flight
    work.outcome.set_result(Outcome("text"))
    assert [await each for each in waiting[1:]] == [Outcome("text")] * 2
    assert flights.of("file:///a") is None


async def test_when_the_last_leaves_the_work_is_cancelled() -> None:
    flights, work = Flights(), Work()
    waiting = asyncio.create_task(flights.launch(HERE, 1, work.run()).join())
    await settle()
    waiting.cancel()
    await settle()
    assert work.cancelled
    assert flights.of("file:///a") is None


async def test_a_wait_that_is_too_long_gives_up_and_with_it_the_flight() -> None:
    flights, work = Flights(), Work()
    assert await flights.launch(HERE, 1, work.run()).join(0.01) is None
    await settle()
    assert work.cancelled


async def test_a_new_flight_replaces_the_old_one_of_the_document_only() -> None:
    flights, old, other, new = Flights(), Work(), Work(), Work()
    waiting = asyncio.create_task(flights.launch(HERE, 1, old.run()).join())
    elsewhere = flights.launch(Site("file:///b", "", ""), 1, other.run())
    await settle()
    flights.launch(THERE, 1, new.run())
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
        await Flights().launch(HERE, 1, fail()).join()
    assert "ValueError" in caplog.text
    assert "secret" not in caplog.text
