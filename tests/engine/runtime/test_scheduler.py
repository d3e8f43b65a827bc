"""The scheduler with an engine whose steps the test controls."""

import asyncio
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from engine.api import Fill, InfillRequest, InfillResult, Limits, empty_result
from engine.errors import HostError, RequestError
from engine.runtime.scheduler import Scheduler

STEP = 0.005


class StepEngine:
    """Takes as many steps as the prefix says (`10 name`), `-1` for endless; notes what started, ended and how."""

    model, device, dtype, fallback_reason, notice = "steps", "cpu", "float32", "", ""
    prompt_tokens = 640
    reads_snippets = True

    def __init__(self):
        self.started: list[InfillRequest] = []
        self.finished: list[tuple[str, str]] = []
        self.stopped_after: list[float] = []
        self.cancel_asked = 0.0
        self.threads: set[int] = set()

    def infill(self, request, *, cancelled=None):
        self.started.append(request)
        self.threads.add(threading.get_ident())
        steps, _, name = request.prefix.partition(" ")
        if steps == "raise":
            raise {"value": ValueError, "exit": SystemExit, "stop": StopIteration, "request": RequestError}[name](request.suffix)
        taken = 0
        while taken != int(steps):
            if cancelled():
                self.stopped_after.append(time.monotonic())
                self.finished.append((name, "cancelled"))
                return empty_result("cancelled", "cancelled")
            time.sleep(STEP)
            taken += 1
        self.finished.append((name, "complete"))
        return InfillResult(fills=(Fill(text=name, confidence=1.0, tokens=1),), finish="complete")

    def close(self):
        pass


def ask(what, *, client="", document="", deadline_ms=0, suffix=""):
    return InfillRequest(prefix=what, suffix=suffix, client=client, document=document, limits=Limits(deadline_ms=deadline_ms))


@pytest.fixture
def engine():
    return StepEngine()


@pytest.fixture
async def scheduler(engine):
    executor = ThreadPoolExecutor(max_workers=1)
    scheduler = Scheduler(engine, executor)
    yield scheduler
    await scheduler.close()
    executor.shutdown()


async def until(condition, seconds=2.0):
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it did not happen in time"
        await asyncio.sleep(0.001)


async def test_requests_run_in_the_order_they_came_on_one_thread(scheduler, engine):
    names = [f"r{i}" for i in range(6)]
    results = await asyncio.gather(*(scheduler.submit(ask(f"2 {name}")) for name in names))
    assert [r.text for r in results] == names
    assert [name for name, _ in engine.finished] == names
    assert len(engine.threads) == 1


async def test_queue_time_is_reported(scheduler):
    first, second = await asyncio.gather(scheduler.submit(ask("10 a")), scheduler.submit(ask("1 b")))
    assert first.timings.queue_ms < 10 * STEP * 1000
    assert second.timings.queue_ms >= 10 * STEP * 1000


async def test_a_newer_request_supersedes_a_queued_one_which_never_runs(scheduler, engine):
    blocker = asyncio.create_task(scheduler.submit(ask("20 blocker")))
    old = asyncio.create_task(scheduler.submit(ask("1 old", client="c", document="d")))
    await until(lambda: engine.started)
    new = asyncio.create_task(scheduler.submit(ask("1 new", client="c", document="d")))
    result = await asyncio.wait_for(old, 10 * STEP)
    assert (result.finish, result.reason, result.fills) == ("superseded", "superseded", ())
    assert (await new).text == "new"
    assert (await blocker).text == "blocker"
    assert [r.prefix for r in engine.started] == ["20 blocker", "1 new"]


async def test_a_newer_request_supersedes_the_running_one_within_a_step(scheduler, engine):
    old = asyncio.create_task(scheduler.submit(ask("-1 old", client="c", document="d")))
    await until(lambda: engine.started)
    began = time.monotonic()
    new = asyncio.create_task(scheduler.submit(ask("1 new", client="c", document="d")))
    assert (await old).reason == "superseded"
    assert (await new).text == "new"
    assert engine.finished[0] == ("old", "cancelled")
    assert engine.stopped_after[0] - began < 10 * STEP


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"client": "c", "document": "d"}, {"client": "c", "document": "other"}),
        ({"client": "c", "document": "d"}, {"client": "other", "document": "d"}),
        ({"client": "c", "document": ""}, {"client": "c", "document": ""}),
        ({"client": "", "document": "d"}, {"client": "", "document": "d"}),
    ],
)
async def test_only_the_same_named_document_of_the_same_named_client_is_superseded(scheduler, first, second):
    results = await asyncio.gather(scheduler.submit(ask("2 a", **first)), scheduler.submit(ask("2 b", **second)))
    assert [r.finish for r in results] == ["complete", "complete"]


async def test_cancelling_a_queued_request_means_it_never_runs(scheduler, engine):
    blocker = asyncio.create_task(scheduler.submit(ask("10 blocker")))
    await until(lambda: engine.started)
    queued = asyncio.create_task(scheduler.submit(ask("1 queued")))
    await asyncio.sleep(0)
    queued.cancel()
    with pytest.raises(asyncio.CancelledError):
        await queued
    await blocker
    assert (await scheduler.submit(ask("1 next"))).text == "next"
    assert [r.prefix for r in engine.started] == ["10 blocker", "1 next"]


async def test_cancelling_the_running_request_stops_it_within_a_step(scheduler, engine):
    running = asyncio.create_task(scheduler.submit(ask("-1 endless")))
    await until(lambda: engine.started)
    cancelled_at = time.monotonic()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: engine.finished)
    assert engine.finished == [("endless", "cancelled")]
    assert engine.stopped_after[0] - cancelled_at < 10 * STEP


async def test_a_deadline_that_passes_in_the_queue_is_answered_at_once(scheduler, engine):
    blocker = asyncio.create_task(scheduler.submit(ask("40 blocker")))
    await until(lambda: engine.started)
    began = time.monotonic()
    late = await scheduler.submit(ask("1 late", deadline_ms=30))
    took = time.monotonic() - began
    assert (late.finish, late.reason) == ("deadline", "deadline")
    assert 0.025 < took < 40 * STEP
    assert late.timings.queue_ms >= 25
    assert not blocker.done()
    await blocker
    assert [r.prefix for r in engine.started] == ["40 blocker"]


async def test_the_engine_gets_what_is_left_of_the_deadline(scheduler, engine):
    await asyncio.gather(scheduler.submit(ask("10 blocker")), scheduler.submit(ask("1 second", deadline_ms=5000)))
    blocker, second = engine.started
    assert blocker.limits.deadline_ms == 0
    assert 0 < second.limits.deadline_ms <= 5000 - 10 * STEP * 1000


async def test_a_running_request_minds_its_deadline_itself(scheduler):
    assert (await scheduler.submit(ask("10 slow", deadline_ms=20))).text == "slow"


@pytest.mark.parametrize(
    ("kind", "expected"), [("value", ValueError), ("exit", RuntimeError), ("stop", RuntimeError), ("request", RequestError)]
)
async def test_an_exception_goes_to_its_caller_only_and_the_worker_goes_on(scheduler, kind, expected):
    bad = asyncio.create_task(scheduler.submit(ask(f"raise {kind}", suffix="x")))
    good = asyncio.create_task(scheduler.submit(ask("1 good")))
    with pytest.raises(expected):
        await bad
    assert (await good).text == "good"


async def test_an_exception_is_logged_without_its_message(scheduler, caplog):
    with caplog.at_level(logging.DEBUG), pytest.raises(ValueError, match="top secret"):
        await scheduler.submit(ask("raise value", suffix="top secret"))
    assert "ValueError" in caplog.text
    assert "top secret" not in caplog.text


async def test_closing_answers_everybody_and_refuses_newcomers(scheduler, engine):
    running = asyncio.create_task(scheduler.submit(ask("-1 running")))
    queued = asyncio.create_task(scheduler.submit(ask("-1 queued")))
    await until(lambda: engine.started)
    await asyncio.wait_for(scheduler.close(), 1)
    assert [(await task).reason for task in (running, queued)] == ["cancelled", "cancelled"]
    with pytest.raises(HostError, match="shutting down"):
        await scheduler.submit(ask("1 late"))


async def test_busy_is_told_once_for_a_burst(engine):
    heard = []
    executor = ThreadPoolExecutor(max_workers=1)
    scheduler = Scheduler(engine, executor, heard.append)
    await asyncio.gather(*(scheduler.submit(ask(f"1 r{i}")) for i in range(3)))
    await until(lambda: len(heard) == 2)
    await scheduler.submit(ask("1 later"))
    await until(lambda: len(heard) == 4)
    assert heard == [True, False, True, False]
    await scheduler.close()
    executor.shutdown()


async def test_a_deadline_that_no_clock_can_hold_is_its_callers_error_alone(scheduler, engine):
    with pytest.raises(OverflowError):
        await scheduler.submit(ask("1 endless", deadline_ms=10**400))
    assert (await asyncio.wait_for(scheduler.submit(ask("1 next")), 2)).text == "next"
    assert len(engine.started) == 1
