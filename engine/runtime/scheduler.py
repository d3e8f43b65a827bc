"""Which requests run: one engine thread, first come first served, newer requests of a document replacing older ones.

It knows neither the network nor how a hole is filled; everything but the engine call happens on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import msgspec

from engine.api import Finish, InfillRequest, InfillResult, Timings, empty_result
from engine.errors import DlspError, HostError

_log = logging.getLogger(__name__)


class InfillEngine(Protocol):
    """What the scheduler and the host need of an engine; `engine.runtime.engine.Engine` is the real one."""

    @property
    def model(self) -> str: ...

    @property
    def device(self) -> str: ...

    @property
    def dtype(self) -> str: ...

    @property
    def fallback_reason(self) -> str:
        """One sentence on why `auto` did not get the better device, or empty."""
        ...

    @property
    def notice(self) -> str:
        """One sentence that whoever uses the model should read now (its licence, the first time), or empty."""
        ...

    @property
    def prompt_tokens(self) -> int:
        """How many tokens of context the model reads, 0 where that is not known."""
        ...

    @property
    def reads_snippets(self) -> bool:
        """Whether the model takes text from other files."""
        ...

    def infill(self, request: InfillRequest, *, cancelled: Callable[[], bool] | None = None) -> InfillResult:
        """Fill the holes, blocking; `cancelled` is polled between denoise steps. Raises `RequestError`."""
        ...

    def close(self) -> None: ...


class Scheduler:
    """Runs requests one after another on one thread. All methods are called on the event loop that first submitted.

    `executor` is the engine thread: it must have a single worker and stays the caller's to shut down. `on_busy` hears True
    when work begins and False when the queue is empty again.
    """

    def __init__(self, engine: InfillEngine, executor: ThreadPoolExecutor, on_busy: Callable[[bool], None] | None = None) -> None:
        self._engine = engine
        self._executor = executor
        self._on_busy = on_busy
        self._queue: deque[_Job] = deque()
        self._running: _Job | None = None
        self._worker: asyncio.Task[None] | None = None
        self._closed = False

    async def submit(self, request: InfillRequest) -> InfillResult:
        """The answer to `request`; cancelling the awaiting task cancels it within one denoise step.

        A result with finish `superseded` comes as soon as a newer request of the same client and document is submitted, one
        with finish `deadline` as soon as the deadline passes in the queue. Raises what the engine raises, and `HostError`
        after `close`.
        """
        if self._closed:
            raise HostError("The engine host is shutting down.", "Try again in a moment.")
        job = _Job(request, asyncio.get_running_loop())
        # Before anything is queued: a number no clock can hold is this caller's error alone.
        if request.limits.deadline_ms:
            job.timer = job.loop.call_later(request.limits.deadline_ms / 1000, self._expire, job)
        self._supersede_older(job)
        self._queue.append(job)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work(), name="scheduler")
        try:
            return await job.future
        finally:
            # Only a cancelled caller gets here with work left to stop; for an answered job this changes nothing.
            job.stop.set()
            job.forget_timer()
            if job in self._queue:
                self._queue.remove(job)

    async def close(self) -> None:
        """Answer everybody with finish `cancelled` and wait for the running step to end."""
        self._closed = True
        waiting = list(self._queue)
        self._queue.clear()
        for job in [*waiting, *([self._running] if self._running else [])]:
            self._answer(job, "cancelled")
        if self._worker is not None:
            await asyncio.wait([self._worker])

    def _supersede_older(self, newer: _Job) -> None:
        if newer.key is None:
            return
        for older in [job for job in self._queue if job.key == newer.key]:
            self._queue.remove(older)
            self._answer(older, "superseded")
        if self._running is not None and self._running.key == newer.key:
            self._answer(self._running, "superseded")

    def _expire(self, job: _Job) -> None:
        """The deadline came; a job that already runs minds its own, for the engine then returns the best so far."""
        if job in self._queue:
            self._queue.remove(job)
            self._answer(job, "deadline")

    def _answer(self, job: _Job, finish: Finish) -> None:
        job.stop.set()
        job.forget_timer()
        if not job.future.done():
            result = empty_result(finish, finish, self._engine.model, self._engine.device)
            job.future.set_result(msgspec.structs.replace(result, timings=Timings(queue_ms=job.queued_ms())))

    async def _work(self) -> None:
        """Run jobs until the queue is empty; `submit` starts the next worker. No await may follow the last look at the queue."""
        self._tell_busy(True)
        while self._queue:
            job = self._queue.popleft()
            job.forget_timer()
            job.started = time.monotonic()
            self._running = job
            try:
                outcome = await job.loop.run_in_executor(self._executor, self._run, job)
            except RuntimeError as error:  # The executor was shut down under us: only at the end of the process.
                outcome = error
            finally:
                self._running = None
            if isinstance(outcome, BaseException) and not isinstance(outcome, DlspError):
                _log_failure(outcome)
            if job.future.done():
                continue
            if isinstance(outcome, BaseException):
                job.future.set_exception(outcome if _can_travel(outcome) else RuntimeError(type(outcome).__name__))
            else:
                job.future.set_result(outcome)
        self._worker = None
        self._tell_busy(False)

    def _run(self, job: _Job) -> InfillResult | BaseException:
        """One engine call, on the engine thread. Exceptions are returned, so that nothing can end the thread or the loop."""
        queued_ms = job.queued_ms()
        request = job.request
        if request.limits.deadline_ms:
            remaining_ms = int(request.limits.deadline_ms - queued_ms)
            if remaining_ms <= 0:
                result = empty_result("deadline", "deadline", self._engine.model, self._engine.device)
                return msgspec.structs.replace(result, timings=Timings(queue_ms=queued_ms))
            request = msgspec.structs.replace(request, limits=msgspec.structs.replace(request.limits, deadline_ms=remaining_ms))
        try:
            result = self._engine.infill(request, cancelled=job.stop.is_set)
        except BaseException as error:  # noqa: BLE001 - the one caller gets it; the host must outlive any engine failure
            return error
        return msgspec.structs.replace(result, timings=msgspec.structs.replace(result.timings, queue_ms=queued_ms))

    def _tell_busy(self, busy: bool) -> None:
        if self._on_busy is not None:
            self._on_busy(busy)


class _Job:
    """One request on its way. `stop` is what the engine polls; the future is the caller's."""

    __slots__ = ("future", "key", "loop", "received", "request", "started", "stop", "timer")

    def __init__(self, request: InfillRequest, loop: asyncio.AbstractEventLoop) -> None:
        self.request = request
        self.loop = loop
        self.key = (request.client, request.document) if request.client and request.document else None
        self.received = time.monotonic()
        self.started = 0.0
        self.stop = threading.Event()
        self.future: asyncio.Future[InfillResult] = loop.create_future()
        self.timer: asyncio.TimerHandle | None = None

    def queued_ms(self) -> float:
        """How long the job waited for others, up to now while it still waits."""
        return ((self.started or time.monotonic()) - self.received) * 1000

    def forget_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


def _can_travel(error: BaseException) -> bool:
    """Whether a future takes this exception without ending the event loop or refusing it."""
    return isinstance(error, Exception) and not isinstance(error, StopIteration)


def _log_failure(error: BaseException) -> None:
    """Where it failed, but not the exception's message: that may quote the document."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    _log.error("the engine failed on a request: %s\n%s", type(error).__name__, frames)
