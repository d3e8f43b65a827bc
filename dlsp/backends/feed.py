"""StatusFeed: the states of one engine, for any number of watchers. Knows neither where states come from nor who reads them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from engine.api import Status


class StatusFeed:
    """Holds the present state and passes every change on to each watcher, in order, until it is closed."""

    def __init__(self, first: Status) -> None:
        self._current = first
        self._watchers: set[asyncio.Queue[Status | None]] = set()
        self._closed = False

    @property
    def current(self) -> Status:
        """The state published last."""
        return self._current

    def publish(self, status: Status) -> None:
        """Make `status` the present state; repeating it tells nobody anything."""
        if status == self._current or self._closed:
            return
        self._current = status
        for queue in self._watchers:
            queue.put_nowait(status)

    async def watch(self) -> AsyncIterator[Status]:
        """The present state, then each change, until `close`."""
        if self._closed:
            return
        queue: asyncio.Queue[Status | None] = asyncio.Queue()
        queue.put_nowait(self._current)
        self._watchers.add(queue)
        try:
            while (status := await queue.get()) is not None:
                yield status
        finally:
            self._watchers.discard(queue)

    def close(self) -> None:
        """End every watch after what it has not read yet."""
        self._closed = True
        for queue in self._watchers:
            queue.put_nowait(None)
