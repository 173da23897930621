"""Work that many wait for is done once, whoever gives up."""

from __future__ import annotations

import asyncio

import pytest

from apex_tasks.web.predictions.single_flight import SingleFlight


class Work:
    """Counts how often it is started, and ends when it is told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.started = 0
        self.finish = asyncio.Event()
        self.error = error

    async def __call__(self) -> int:
        self.started += 1
        await self.finish.wait()
        if self.error is not None:
            raise self.error
        return self.started


def test_all_who_wait_get_the_one_result() -> None:
    async def scenario() -> None:
        work, flight = Work(), SingleFlight[int]()
        waiting = [asyncio.ensure_future(flight.result("key", work)) for _ in range(50)]
        await asyncio.sleep(0)
        assert flight.has_waiters("key")
        work.finish.set()
        assert await asyncio.gather(*waiting) == [1] * 50
        assert not flight.has_waiters("key")
        assert await flight.result("key", work) == 2, "what has ended is not kept"

    asyncio.run(scenario())


def test_other_keys_do_not_wait() -> None:
    async def scenario() -> None:
        slow, quick, flight = Work(), Work(), SingleFlight[int]()
        waiting = asyncio.ensure_future(flight.result("slow", slow))
        await asyncio.sleep(0)
        quick.finish.set()
        assert await flight.result("quick", quick) == 1
        slow.finish.set()
        assert await waiting == 1

    asyncio.run(scenario())


def test_it_goes_on_when_a_caller_gives_up() -> None:
    async def scenario() -> None:
        work, flight = Work(), SingleFlight[int]()
        one, other = (asyncio.ensure_future(flight.result("key", work)) for _ in range(2))
        await asyncio.sleep(0)
        one.cancel()
        with pytest.raises(asyncio.CancelledError):
            await one
        assert flight.has_waiters("key")
        work.finish.set()
        assert await other == 1

    asyncio.run(scenario())


def test_an_error_reaches_everyone_and_the_next_call_tries_again() -> None:
    async def scenario() -> None:
        work, flight = Work(ValueError("no")), SingleFlight[int]()
        waiting = [asyncio.ensure_future(flight.result("key", work)) for _ in range(3)]
        await asyncio.sleep(0)
        work.finish.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert [str(error) for error in found] == ["no"] * 3
        work.error = None
        assert await flight.result("key", work) == 2

    asyncio.run(scenario())
