"""A queue for work that arrives in bursts: a few pieces are done in each iteration of the event loop.

If a thousand clients connect at once, for example after a restart, their handshakes take a few hundred microseconds
each; a thousand disconnects take nearly as long. In a single iteration, this work would block the loop for all other
clients.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from oyez.logger import get_logger

logger = get_logger("oyez.concurrency")

WORK_PER_ITERATION = 2
"""Pieces of work in one iteration: they take less than a millisecond, and longer than the iteration itself."""
MAX_QUEUED_BYTES = 16_000_000
"""Bytes that queued work may hold: about ten thousand handshakes, which take about a second."""
OVERHEAD = 1_000
"""Bytes that a queued piece of work uses in addition to its own size."""


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
