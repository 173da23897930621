"""Work that many requests wait for at once, done once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

_Result = TypeVar("_Result")


class SingleFlight(Generic[_Result]):
    """Runs of something that many wait for at once: one run per key, whoever gives up."""

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Task[_Result]] = {}
        self._waiting: dict[Hashable, int] = {}

    async def result(self, key: Hashable, run: Callable[[], Awaitable[_Result]]) -> _Result:
        """Join the run of this key, or start it; it goes on when a caller is cancelled."""
        task = self._running.get(key)
        if task is None:
            task = asyncio.ensure_future(self._run(key, run))
            # When everyone has given up, nobody is left to receive an error.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._running[key] = task
        self._waiting[key] = self._waiting.get(key, 0) + 1
        try:
            return await asyncio.shield(task)
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]

    def has_waiters(self, key: Hashable) -> bool:
        """Whether anyone still waits for this key."""
        return key in self._waiting

    async def _run(self, key: Hashable, run: Callable[[], Awaitable[_Result]]) -> _Result:
        try:
            return await run()
        finally:
            del self._running[key]
