"""The clock of a process: it tells the time that it is given, and calls what is due later once, or never."""

import asyncio

from oyez.concurrency.clock import Clock
from tests.support.clock import PATIENCE


def test_the_time_is_the_time_that_it_is_given() -> None:
    assert Clock(lambda: 7.0).now() == 7.0


async def test_what_is_due_is_called_and_what_is_cancelled_is_not() -> None:
    clock, called = Clock(), asyncio.Queue[str]()
    clock.call_later(0.002, called.put_nowait, "second")
    clock.call_later(0.001, called.put_nowait, "cancelled").cancel()
    await clock.sleep(0.0)
    await clock.pause(0.0)
    async with asyncio.timeout(PATIENCE):
        assert await called.get() == "second"
    assert called.empty()
