"""Work that is done in rounds, by one task: a round when somebody asks, and one whenever the last said it was time.

What the outbox's relay and the jobs have in common. Knows neither.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from oyez.logger import get_logger

logger = get_logger("oyez.service")

FIRST_PAUSE = 0.05
"""Seconds before a round that failed is tried again; twice as many after each further failure, and up to twice that
at random, so that nodes do not come together."""
LONGEST_PAUSE = 2.0
"""With the random part within the five seconds in which everything works again after its storage has come back."""


class Rounds:
    """`work` does one round and returns the seconds after which the next one is due without being asked for."""

    def __init__(self, name: str, work: Callable[[], Awaitable[float]]) -> None:
        """`name` is for the logs."""
        self._name = name
        self._work = work
        self._asked = asyncio.Event()
        self._begun = 0
        self._ended = 0
        self._turn = asyncio.Condition()

    def ask(self) -> None:
        """Have a round begin as soon as the one at work, if any, has ended."""
        self._asked.set()

    async def done(self) -> None:
        """Wait until a whole round has been done that began after this was called."""
        wanted = self._begun + 1
        self.ask()
        async with self._turn:
            await self._turn.wait_for(lambda: self._ended >= wanted)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Rounds are done while inside. What a round raises is logged, and it is tried again after a pause."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        failures = 0
        while True:
            self._asked.clear()
            self._begun = number = self._begun + 1
            try:
                pause = await self._work()
            except Exception as error:  # Whatever fails, what has to be done is still there and is tried again.
                failures += 1
                # The first, the second, the fourth, …: a fault that stays is not told every two seconds.
                if failures.bit_count() == 1:
                    logger.warning("round failed", of=self._name, error=repr(error), failures=failures)
                longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures, 10))
                # Not cut short by `ask`: what failed just now would fail again.
                await asyncio.sleep(random.uniform(longest / 2, longest))
                continue
            failures = 0
            async with self._turn:
                self._ended = number
                self._turn.notify_all()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._asked.wait()
