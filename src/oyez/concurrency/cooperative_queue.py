"""A queue for work that arrives in bursts: a few pieces in each iteration of the event loop.

A thousand clients that connect at once, for example after a restart, are a thousand handshakes of some hundred
microseconds each; a thousand that disconnect cost nearly as much. In a single iteration they would stop the loop for
all other clients.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from oyez.logger import get_logger

logger = get_logger("oyez.concurrency")

WORK_PER_ITERATION = 2
"""Pieces of work in one iteration: together less than a millisecond, and more than the iteration itself costs."""
MAX_QUEUED_BYTES = 16_000_000
"""Bytes that queued work may hold: some ten thousand handshakes, which take about a second."""
OVERHEAD = 1_000
"""Bytes that queued work costs in addition to its own size."""


class CooperativeQueue:
    """Runs WORK_PER_ITERATION pieces of work in each iteration of the loop, in the order of their arrival."""

    def __init__(self) -> None:
        self._left = WORK_PER_ITERATION
        self._scheduled = False
        self._queued: deque[tuple[Callable[[], None], int]] = deque()
        self._queued_bytes = 0

    def try_acquire(self) -> bool:
        """True if the caller may do one piece of work now: nothing is queued, and this iteration has room."""
        if self._queued or not self._left:
            return False
        self._left -= 1
        self._schedule()
        return True

    def submit(self, work: Callable[[], None], size: int) -> bool:
        """Run `work`, which holds `size` bytes of memory, in a later iteration; False if too much is queued."""
        if self._queued_bytes + size + OVERHEAD > MAX_QUEUED_BYTES:
            return False
        self._queued.append((work, size + OVERHEAD))
        self._queued_bytes += size + OVERHEAD
        self._schedule()
        return True

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run_iteration)

    def _run_iteration(self) -> None:
        self._scheduled = False
        self._left = WORK_PER_ITERATION
        while self._queued and self._left:
            self._left -= 1
            work, size = self._queued.popleft()
            self._queued_bytes -= size
            try:
                work()
            except Exception:
                logger.exception("queued work failed")
        if self._left < WORK_PER_ITERATION:
            self._schedule()
