"""Long work on the event loop, in parts: others get on in between."""

import asyncio
from time import perf_counter

PART_SECONDS = 0.002
"""Time for which work may go on before others have a turn."""


class LongWork:
    """Measures work that has begun. `if work.is_long(): await work.pause()` between its steps costs nearly nothing."""

    __slots__ = ("_end",)

    def __init__(self) -> None:
        self._end = perf_counter() + PART_SECONDS

    def is_long(self) -> bool:
        """True if it has gone on for PART_SECONDS since its begin or the last pause."""
        return perf_counter() >= self._end

    async def pause(self) -> None:
        """Let the loop turn."""
        await asyncio.sleep(0)
        self._end = perf_counter() + PART_SECONDS
