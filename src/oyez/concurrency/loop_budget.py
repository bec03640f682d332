"""A budget of time in each iteration of the event loop, for work that many tasks do at once.

A single task works at once. If a thousand tasks want to work, they work one after the other over many iterations, and
the loop runs its other callbacks between them.
"""

import asyncio
from collections import deque


class LoopBudget:
    """Lets tasks work in the order of their arrival, for about `seconds` in one iteration of the loop."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._left = seconds
        self._expected = seconds
        """Seconds that the last piece of work took: the estimate for the next one."""
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._scheduled = False

    async def enter(self) -> None:
        """Wait until the budget has room for one piece of work. Call `charge` after the work and before any `await`."""
        if self._left > 0 and not self._waiting:
            return
        entered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(entered)
        self._schedule()
        await entered

    def charge(self, seconds: float) -> None:
        """Count a piece of work. If it took longer than the budget, no work is done in the following iterations."""
        self._left -= seconds
        self._expected = seconds
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run_iteration)

    def _run_iteration(self) -> None:
        self._scheduled = False
        self._left = min(self._seconds, self._left + self._seconds)
        room = self._left
        while self._waiting and room > 0:
            entered = self._waiting.popleft()
            if not entered.done():
                entered.set_result(None)
                room -= self._expected
        if self._waiting or self._left < self._seconds:
            self._schedule()
