"""A clock that only the test moves."""

import asyncio
import heapq
import time
from collections.abc import Callable
from itertools import count
from typing import Any

from oyez.concurrency.clock import Clock, Timer


class ManualClock(Clock):
    """The time of a tested server. It begins at the real time, and stands still until it is moved."""

    def __init__(self, start: float | None = None) -> None:
        """`start` is in seconds since 1970; None: now."""
        self._start = time.time() if start is None else start
        self._passed = 0.0
        super().__init__(lambda: self._start + self._passed)
        self._timers: list[tuple[float, int, _Call]] = []
        """A heap of the calls that are due, by their time; the number keeps the order of equal times."""
        self._numbers = count()
        self._pausing: set[asyncio.Future[None]] = set()
        self.sleeping: set[asyncio.Task[Any] | None] = set()
        """The tasks that wait for the clock."""

    def monotonic(self) -> float:
        # Not 0: some code takes that for "never".
        return 1_000.0 + self._passed

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        over = asyncio.get_running_loop().create_future()
        timer, task = self.call_later(seconds, _finish, over), asyncio.current_task()
        self.sleeping.add(task)
        try:
            await over
        finally:
            self.sleeping.discard(task)
            timer.cancel()

    async def pause(self, seconds: float) -> None:
        """Return when the test has ended a fault, not when time passes: what retries has nothing to do before."""
        over = asyncio.get_running_loop().create_future()
        self._pausing.add(over)
        try:
            await over
        finally:
            self._pausing.discard(over)

    def call_later(self, seconds: float, call: Callable[..., object], *args: Any) -> Timer:
        timer = _Call(call, args)
        heapq.heappush(self._timers, (self._passed + max(0.0, seconds), next(self._numbers), timer))
        return timer

    # What the test kit does.

    @property
    def passed(self) -> float:
        """Seconds by which the clock was moved."""
        return self._passed

    @property
    def next_due(self) -> float | None:
        """The value of `passed` at which the next call is due; None if there is none."""
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def move(self, passed: float) -> None:
        """Move to this value of `passed`, and make the calls that are due."""
        self._passed = max(passed, self._passed)
        while (due := self.next_due) is not None and due <= self._passed:
            heapq.heappop(self._timers)[2]()

    def end_pauses(self) -> None:
        """Retry everything that waits between two attempts."""
        for over in tuple(self._pausing):
            _finish(over)

    def forget(self) -> None:
        """The process that asked for calls is gone."""
        self._timers.clear()
        self._pausing.clear()
        self.sleeping.clear()


class _Call:
    """A call that is due later."""

    __slots__ = ("_args", "_call", "cancelled")

    def __init__(self, call: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._call = call
        self._args = args
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def __call__(self) -> None:
        self._call(*self._args)


def _finish(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)
