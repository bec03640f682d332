"""Send only the newest value of each key, at most once in an interval.

This is for locations and statistics: intermediate values are dropped, but the last one is always sent.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from oyez.concurrency.task_set import TaskSet
from oyez.logger import get_logger

logger = get_logger("oyez.concurrency")

K = TypeVar("K")
V = TypeVar("V")

Send = Callable[[K, V], Awaitable[bool]]
"""Sends a value. Returns False if another process has just sent one: the value then waits for another interval."""


class Conflater(Generic[K, V]):
    """Calls `send` with the newest value of each key, and waits `interval` seconds after each call.

    A value is sent at once if its key had no value for `interval` seconds; otherwise it is sent after the wait. A key
    uses memory from its first value until the end of its last wait.
    """

    def __init__(
        self, send: Send[K, V], interval: float, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """An error of `send` is logged, and that one value is lost. During `close`, `send` must return True."""
        self._send = send
        self._interval = interval
        self._sleep = sleep
        self._newest: dict[K, list[V]] = {}
        """For each key in use a list of the value that waits, or an empty list."""
        self._tasks = TaskSet()
        self._sleeping: set[asyncio.Task[None]] = set()
        self._closing = False

    def submit(self, key: K, value: V) -> None:
        """Send `value` when it is due, unless a newer value of its key is submitted before."""
        idle = key not in self._newest
        self._newest[key] = [value]
        if idle:
            self._tasks.spawn(self._run(key))

    async def close(self) -> None:
        """Send all waiting values at once."""
        self._closing = True
        for task in self._sleeping:
            task.cancel()
        await self._tasks.drain()

    async def _run(self, key: K) -> None:
        try:
            while waiting := self._newest[key]:
                self._newest[key] = []
                try:
                    done = await self._send(key, waiting[0])
                except Exception as error:  # One failure must not prevent the next value from being sent.
                    logger.warning("a value was not sent", error=repr(error))
                    done = True
                if not done and not self._newest[key]:
                    self._newest[key] = waiting
                await self._wait()
        finally:
            del self._newest[key]

    async def _wait(self) -> None:
        task = asyncio.current_task()
        if self._closing or task is None:
            return
        self._sleeping.add(task)
        try:
            await self._sleep(self._interval)
        except asyncio.CancelledError:
            if not self._closing:
                raise
            task.uncancel()
        finally:
            self._sleeping.discard(task)
