"""Work that one task repeats: when it is triggered, and after the pause that the work itself returns."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress

from oyez.concurrency.backoff import Backoff, is_worth_logging
from oyez.concurrency.task_set import run_beside
from oyez.logger import get_logger

logger = get_logger("oyez.concurrency")

BACKOFF = Backoff(0.1, 2.0, jitter=0.5)
"""At most 2 s, because every part of Oyez must work again within 5 s after its storage has come back."""


class PeriodicTask:
    """Repeats `work`, which does one round and returns the seconds until the next one, unless it is triggered."""

    def __init__(
        self, name: str, work: Callable[[], Awaitable[float]], pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """`name` is shown in log lines. `pause` waits so many seconds after a round that has failed."""
        self._name = name
        self._pause = pause
        self._work = work
        self._triggered = asyncio.Event()
        self._begun = 0
        self._ended = 0
        self._round_ended = asyncio.Condition()

    def trigger(self) -> None:
        """Begin a round as soon as the current one, if any, has ended."""
        self._triggered.set()

    async def done(self) -> None:
        """Wait until a round that begins after this call has ended."""
        wanted = self._begun + 1
        self.trigger()
        async with self._round_ended:
            await self._round_ended.wait_for(lambda: self._ended >= wanted)

    def running(self) -> AbstractAsyncContextManager[None]:
        """Do rounds while inside. If a round raises an error, it is logged, and the round is repeated after a pause."""
        return run_beside(self._run())

    async def _run(self) -> None:
        failures = 0
        while True:
            self._triggered.clear()
            self._begun = number = self._begun + 1
            try:
                pause = await self._work()
            except Exception as error:  # The work is repeated after any failure.
                failures += 1
                if is_worth_logging(failures):
                    logger.warning("round failed", of=self._name, error=repr(error), failures=failures)
                # Ignore triggers during backoff: the work would probably fail again.
                await self._pause(BACKOFF.delay(failures))
                continue
            failures = 0
            async with self._round_ended:
                self._ended = number
                self._round_ended.notify_all()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._triggered.wait()
