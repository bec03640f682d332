"""Time in tests: how long a test waits for an event at most, and a clock that only the test moves."""

import asyncio
from collections.abc import Callable

PATIENCE = 60.0
"""Seconds after which an event that must happen counts as not happening. No test waits for them to pass, so they are
many: a busy machine may need ten times as long as an idle one."""
WALL_TIME = 1_700_000_000.0
"""Seconds since 1970, for code that needs the time of day."""


class Clock:
    """Seconds that pass only if a test says so."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


async def until(happened: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Return when something has happened that nothing reports."""
    async with asyncio.timeout(patience):
        while not happened():  # noqa: ASYNC110 - nothing says when
            await asyncio.sleep(0.005)


class Change(asyncio.Event):
    """Set after each change of an object that tests wait for."""

    async def until(self, happened: Callable[[], bool]) -> None:
        """Return when `happened` is true; checked after each change."""
        async with asyncio.timeout(PATIENCE):
            while not happened():
                self.clear()
                await self.wait()
