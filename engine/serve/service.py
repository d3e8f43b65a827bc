"""One engine's life inside a host: loading in the background, its states for all who watch, its clients, its requests.

It knows neither HTTP nor processes; the app asks it, and the process asks how long nobody has needed it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import traceback
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from msgspec.structs import replace

from engine.api import InfillRequest, InfillResult, Status
from engine.config import EngineConfig
from engine.errors import DlspError, HostError, LoadingError
from engine.runtime.scheduler import InfillEngine, Scheduler
from engine.serve.live import LiveEngine, OnStep, watched

_log = logging.getLogger(__name__)

Loader = Callable[[EngineConfig, Callable[[float], None]], InfillEngine]
"""Makes the engine, slowly, on the engine thread; told where to report progress from 0 to 1."""

_RELOAD_AFTER_SECONDS = 15.0
"""A model that could not be loaded is tried again by the first request that comes this much later."""


class EngineService:
    """Loads an engine and serves it. Everything but the engine itself runs on one event loop."""

    def __init__(self, config: EngineConfig, loader: Loader, version: str = "") -> None:
        self.config = config
        self._loader = loader
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")
        self._engine: LiveEngine | None = None
        self._scheduler: Scheduler | None = None
        self._loading: asyncio.Task[None] | None = None
        self._failure: DlspError | None = None
        self._failed_at = 0.0
        self._status = Status(state="starting", model=config.model, pid=os.getpid(), version=version)
        self._changed = asyncio.Event()
        self._closed = False
        self._clients = 0
        self._last_left = time.monotonic()

    @property
    def status(self) -> Status:
        """The present state."""
        return self._status

    def start(self) -> None:
        """Begin to load; the outcome is a Status. Does nothing while loading, loaded or closed."""
        if self._loading is None and self._scheduler is None and not self._closed:
            self._failure = None
            self._publish(replace(self._status, state="loading", reason="loading", message="", progress=0.0))
            self._loading = asyncio.create_task(self._load(), name="load")

    @property
    def steady(self) -> bool:
        """Whether what a watcher sees committed from the left is how the answer begins; False while that is not known."""
        return self._engine is not None and self._engine.steady

    async def infill(self, request: InfillRequest, on_step: OnStep | None = None) -> InfillResult:
        """Run one request; `on_step` sees its canvases on the engine thread and may end it.

        Raises LoadingError at once while the model loads, and the failure when it could not be loaded.
        """
        with self.client():
            if self._scheduler is None:
                if self._failure is not None and time.monotonic() - self._failed_at < _RELOAD_AFTER_SECONDS:
                    raise self._failure
                self.start()
                raise LoadingError(f"The model {self.config.model} is still loading.", "Try again in a moment.")
            return await self._scheduler.submit(request if on_step is None else watched(request, on_step))

    async def watch(self, heartbeat: float) -> AsyncGenerator[Status, None]:
        """The present state, then each change (the latest, where several came at once), until `close`. At the latest every
        `heartbeat` seconds the state is repeated. Counts as a client. Whoever comes newly finds a model that could not be loaded being
        tried again: what was wrong may be mended."""
        with self.client():
            if self._failure is not None:
                self.start()
            while True:
                # Both are read before the yield, or a change while the reader is busy would be lost.
                changed, last = self._changed, self._closed
                yield self._status
                if last:
                    return
                try:
                    await asyncio.wait_for(changed.wait(), heartbeat)
                except TimeoutError:
                    continue

    @contextmanager
    def client(self) -> Iterator[None]:
        """Counts somebody who needs the engine for as long as the block runs."""
        self._clients += 1
        try:
            yield
        finally:
            self._clients -= 1
            self._last_left = time.monotonic()

    def idle_seconds(self) -> float:
        """How long nobody has needed the engine."""
        return 0.0 if self._clients else time.monotonic() - self._last_left

    async def close(self, reason: str) -> None:
        """End every request and watch stream; the last state is `idle` with `reason`. The engine thread is not waited for
        while it loads, for that cannot be interrupted."""
        if self._closed:
            return
        self._closed = True
        self._publish(replace(self._status, state="idle", reason=reason, message="", progress=0.0))
        if self._loading is not None:
            self._loading.cancel()
        if self._scheduler is not None:
            await self._scheduler.close()
        if self._engine is not None:
            self._executor.submit(self._engine.close)
        self._executor.shutdown(wait=False)

    async def _load(self) -> None:
        loop = asyncio.get_running_loop()

        def report(progress: float) -> None:
            loop.call_soon_threadsafe(self._progress, progress)

        try:
            engine = await loop.run_in_executor(self._executor, self._loader, self.config, report)
        except DlspError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong in torch or a driver becomes a state, not the host's end
            _log.error("loading failed\n%s", "".join(traceback.format_exception(error)))
            cause = str(error).strip().splitlines()
            reason = f"{type(error).__name__}: {cause[0]}" if cause else type(error).__name__
            self._fail(HostError(f"The model {self.config.model} cannot be loaded ({reason}).", "Run `dlsp doctor`."))
        else:
            self._engine = LiveEngine(engine)
            self._scheduler = Scheduler(self._engine, self._executor, self._busy)
            reason = "cpu_fallback" if engine.fallback_reason else "licence" if engine.notice else ""
            message = " ".join(part for part in (engine.fallback_reason, engine.notice) if part)
            ready = replace(self._status, state="ready", reason=reason, message=message, progress=1.0, model=engine.model)
            reads = {"prompt_tokens": engine.prompt_tokens, "reads_snippets": engine.reads_snippets}
            self._publish(replace(ready, device=engine.device, dtype=engine.dtype, **reads))
        finally:
            self._loading = None

    def _fail(self, error: DlspError) -> None:
        # Kept without its frames and causes: they hold whatever had been loaded by then, up to the whole network.
        error.__cause__ = error.__context__ = None
        self._failure, self._failed_at = error.with_traceback(None), time.monotonic()
        self._publish(replace(self._status, state="error", reason=error.reason, message=str(error), progress=0.0))

    def _progress(self, progress: float) -> None:
        """Pass on every twentieth only; each one is a line to every editor."""
        if self._status.state == "loading" and progress - self._status.progress >= 0.05:
            self._publish(replace(self._status, progress=min(progress, 1.0)))

    def _busy(self, busy: bool) -> None:
        if not self._closed:
            self._publish(replace(self._status, state="busy" if busy else "ready"))

    def _publish(self, status: Status) -> None:
        if status.state != self._status.state and "busy" not in (status.state, self._status.state):
            _log.info("%s %s %s", status.state, status.reason, status.message)
        self._status = status
        self._changed.set()
        self._changed = asyncio.Event()
