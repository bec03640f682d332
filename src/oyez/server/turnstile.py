"""A turnstile: work that comes in crowds, a little of it in each turn of the loop.

A thousand clients that come at once, as after a restart, are a thousand handshakes of some hundred microseconds each,
and a thousand that go together are nearly as much. Done as it comes, it would be one turn of the loop, in which nobody
hears anything.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from oyez.logger import get_logger

logger = get_logger("oyez.server")

PASSING_A_TURN = 2
"""Pieces of work in one turn: together less than a millisecond, and more than what the next turn itself costs."""
MAX_WAITING_BYTES = 16_000_000
"""What may wait: some ten thousand handshakes, which take about a second."""
OVERHEAD = 1_000
"""What waiting costs besides the bytes that wait."""


class Turnstile:
    """Lets PASSING_A_TURN pieces of work through in each turn of the loop, in the order in which they came."""

    def __init__(self) -> None:
        self._left = PASSING_A_TURN
        self._turning = False
        self._waiting: deque[tuple[Callable[[], None], int]] = deque()
        self._waiting_bytes = 0

    def passes(self) -> bool:
        """Whether there is room for one more in this turn, and nobody waits. The room is then taken."""
        if self._waiting or not self._left:
            return False
        self._left -= 1
        self._turn_later()
        return True

    def wait(self, work: Callable[[], None], size: int) -> bool:
        """Have `work`, which keeps `size` bytes in memory, done in a later turn; False where too much waits."""
        if self._waiting_bytes + size + OVERHEAD > MAX_WAITING_BYTES:
            return False
        self._waiting.append((work, size + OVERHEAD))
        self._waiting_bytes += size + OVERHEAD
        self._turn_later()
        return True

    def _turn_later(self) -> None:
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._turning = False
        self._left = PASSING_A_TURN
        while self._waiting and self._left:
            self._left -= 1
            work, size = self._waiting.popleft()
            self._waiting_bytes -= size
            try:
                work()
            except Exception:
                logger.exception("work at a turnstile failed")
        if self._left < PASSING_A_TURN:
            self._turn_later()


class Rate:
    """So many in a second, and as many at once after a second in which there were none. `clock` is monotonic."""

    def __init__(self, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._clock = clock
        self._left = float(per_second)
        self._counted_at = clock()

    def take(self) -> bool:
        """Whether there is room for one more, which is taken then."""
        now = self._clock()
        self._left = min(self._per_second, self._left + (now - self._counted_at) * self._per_second)
        self._counted_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
