"""LocalBackend: keeps an engine host of this machine within reach. Starts or finds it, follows its states, replaces it when it dies.

It knows neither where the host's files are (the host says where it answers) nor how requests run there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec

from dlsp.backends.feed import StatusFeed
from dlsp.backends.launch import host_command, launch
from dlsp.backends.remote import Broken, HttpEngineClient, Unreached
from engine.api import HostAddress, InfillRequest, InfillResult, Status
from engine.config import EngineConfig
from engine.errors import DlspError, HostError, PlaceError

_log = logging.getLogger(__name__)

_NOTICE_SECONDS = 1.0
"""How long the supervisor may take to notice that the host a request could not reach is gone."""


class RestartPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How a lost host is replaced; seconds throughout.

    The pause before a new start doubles from `first_pause` to `longest_pause`. A host that was lost within `quick` of its start
    crashed; after `crashes` of those in a row nothing is started until a request comes at least `cool_down` later.
    """

    start_timeout: float = 20.0
    first_pause: float = 0.2
    longest_pause: float = 5.0
    quick: float = 30.0
    crashes: int = 4
    cool_down: float = 60.0


class LocalBackend:
    """The user's own engine host, shared with the other editors of the same user.

    `command` makes the host's command line from the configuration. The host is started by the first `watch` or `infill`.
    """

    name = "local"

    def __init__(
        self,
        config: EngineConfig,
        command: Callable[[EngineConfig], Sequence[str]] = host_command,
        policy: RestartPolicy | None = None,
    ) -> None:
        self._config = config
        self._command = command(config)
        self._policy = policy or RestartPolicy()
        self._feed = StatusFeed(self._status("starting", "not_started"))
        self._supervisor: asyncio.Task[None] | None = None
        self._attached: asyncio.Future[HttpEngineClient] | None = None
        self._wanted = asyncio.Event()
        self._gave_up: DlspError | None = None
        self._gave_up_at = 0.0
        self._closed = False

    async def infill(self, request: InfillRequest) -> InfillResult:
        """Fill the holes of one request.

        Waits for a host that is being started (at most `start_timeout`), not for its model: LoadingError. Raises HostError when
        there is no host or it is lost on the way.
        """
        client = await self._client()
        try:
            return await client.infill(request)
        except Unreached:
            # It died a moment ago, as the supervisor is about to notice; the request was not seen, so the next host may have it.
            try:
                async with asyncio.timeout(_NOTICE_SECONDS):
                    await client.closed.wait()
            except TimeoutError:
                pass
            else:
                return await (await self._client()).infill(request)
            raise
        except Broken:
            # Not sent again: it may be what ended the host. While a dying host still accepts connections, the next request must
            # not run into it: the caller hears of the loss only when the supervisor knows of it.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_NOTICE_SECONDS):
                    await client.closed.wait()
            raise

    def watch(self) -> AsyncIterator[Status]:
        self._supervise()
        return self._feed.watch()

    async def close(self) -> None:
        self._closed = True
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        self._refuse(HostError("The connection to the engine host was closed.", "Start the language server again."))
        self._feed.close()

    async def _client(self) -> HttpEngineClient:
        """The client of the present host, or of the next one."""
        if self._closed:
            raise HostError("The connection to the engine host was closed.", "Start the language server again.")
        if self._gave_up is not None and time.monotonic() - self._gave_up_at < self._policy.cool_down:
            raise self._gave_up
        self._supervise()
        attached = self._future()
        if not attached.done():
            self._wanted.set()
        try:
            async with asyncio.timeout(self._policy.start_timeout):
                # Shielded: many requests wait for the one start, and cancelling one of them is nothing to the others.
                return await asyncio.shield(attached)
        except TimeoutError:
            raise HostError("The engine host did not start in time.", "Run `dlsp doctor`.") from None

    def _supervise(self) -> None:
        if self._supervisor is None and not self._closed:
            self._supervisor = asyncio.create_task(self._keep_host(), name="engine-supervisor")

    async def _keep_host(self) -> None:
        """Start, follow, replace; ends only by cancellation."""
        policy = self._policy
        crashes = 0
        while True:
            self._gave_up = None
            self._feed.publish(self._status("starting", "starting", "The engine host is being started."))
            began = time.monotonic()
            problem = await self._one_host()
            if problem is None:
                # Somebody stopped it on purpose: it stays away until it is needed.
                crashes = 0
                await self._wanted.wait()
                continue
            crashes = crashes + 1 if time.monotonic() - began < policy.quick else 1
            _log.warning("engine host lost: %s", problem)
            # What is wrong with a folder or an option stays wrong until somebody changes it.
            told = isinstance(problem, PlaceError) or not isinstance(problem, HostError)
            final = told or crashes >= policy.crashes
            reason = problem.reason if told else "host_failed" if final else "host_lost"
            if final:
                problem = type(problem)(str(problem.args[0]), problem.action or "Run `dlsp doctor`.")
                self._gave_up, self._gave_up_at = problem, time.monotonic()
            self._feed.publish(self._status("error", reason, str(problem)))
            if final or not isinstance(problem, _Lost):
                # Whoever waits after the loss of a host that served waits for the next one; a start that failed is their answer.
                self._refuse(problem)
            if final:
                crashes = 0
                self._wanted.clear()
                await self._wanted.wait()
            else:
                await asyncio.sleep(min(policy.first_pause * 2 ** (crashes - 1), policy.longest_pause))

    async def _one_host(self) -> DlspError | None:
        """From start to end of one host; None when it said goodbye, else what went wrong."""
        client: HttpEngineClient | None = None
        try:
            address = await launch(self._command, self._policy.start_timeout)
            client = HttpEngineClient(address)
            said = await client.health()
            if said.get("pid") != address.pid:
                return HostError("Something else answers at the engine host's address.", "Run `dlsp engine --stop`.")
            self._future().set_result(client)
            self._wanted.clear()
            async for status in client.statuses():
                self._feed.publish(status)
            if self._feed.current.state == "idle":
                return None
            return _lost(address)
        except DlspError as error:
            return error if client is None else _lost(client.address)
        finally:
            if client is not None:
                if self._attached is not None and self._attached.done():
                    self._attached = None
                await client.close()

    def _future(self) -> asyncio.Future[HttpEngineClient]:
        if self._attached is None:
            self._attached = asyncio.get_running_loop().create_future()
        return self._attached

    def _refuse(self, problem: DlspError) -> None:
        """Answer everybody who waits for a host."""
        waited, self._attached = self._attached, None
        if waited is not None and not waited.done():
            waited.set_exception(problem)
            waited.exception()  # Looked at, so that nobody having waited is no reason for a warning.

    def _status(self, state: str, reason: str, message: str = "") -> Status:
        return msgspec.convert({"state": state, "reason": reason, "message": message, "model": self._config.model}, Status)


class _Lost(HostError):
    """A host that was there has gone without a word."""


def _lost(address: HostAddress) -> _Lost:
    return _Lost("The engine host ended unexpectedly.", f"See {address.log}." if address.log else "Run `dlsp doctor`.")
