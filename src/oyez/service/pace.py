"""Pace: news of which only the newest counts, handed on no more often than anybody needs it.

For locations and statistics: what came in between is forgotten, the last is never.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from oyez.logger import get_logger

logger = get_logger("oyez.service")

K = TypeVar("K")
V = TypeVar("V")

Send = Callable[[K, V], Awaitable[bool]]
"""Hands a value on. False: not yet, since another process has just done so; it waits again."""


class Pace(Generic[K, V]):
    """Hands `send` the newest value of each key, and after each waits `interval` seconds.

    A key that was quiet for so long is handed on at once; one that was not, when the wait is over. A key costs memory
    from its first value until it is quiet.
    """

    def __init__(
        self, send: Send[K, V], interval: float, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """What `send` raises is logged, and costs that one value. While `close` waits it must not say no."""
        self._send = send
        self._interval = interval
        self._sleep = sleep
        self._newest: dict[K, list[V]] = {}
        """For each key that is not quiet the value that waits, or nothing."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._resting: set[asyncio.Task[None]] = set()
        self._closing = False

    def offer(self, key: K, value: V) -> None:
        """Hand `value` on as soon as it is due, unless something newer has come by then."""
        quiet = key not in self._newest
        self._newest[key] = [value]
        if quiet:
            task = asyncio.create_task(self._hand_on(key))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Hand on what waits, at once."""
        self._closing = True
        for task in self._resting:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _hand_on(self, key: K) -> None:
        try:
            while waiting := self._newest[key]:
                self._newest[key] = []
                try:
                    done = await self._send(key, waiting[0])
                except Exception as error:  # Whatever fails, the next value is another chance.
                    logger.warning("news was not handed on", error=repr(error))
                    done = True
                if not done and not self._newest[key]:
                    self._newest[key] = waiting
                await self._rest()
        finally:
            del self._newest[key]

    async def _rest(self) -> None:
        task = asyncio.current_task()
        if self._closing or task is None:
            return
        self._resting.add(task)
        try:
            await self._sleep(self._interval)
        except asyncio.CancelledError:
            if not self._closing:
                raise
            task.uncancel()
        finally:
            self._resting.discard(task)
