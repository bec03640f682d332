"""Long work on the event loop in short parts, so that the loop stays responsive."""

import asyncio
from time import perf_counter

PART_SECONDS = 0.002
"""Seconds after which long work must pause: short compared to the latency of an event."""


class LongWork:
    """Measures the time of work since its start. Use `if work.is_long(): await work.pause()` between the steps."""

    __slots__ = ("_end",)

    def __init__(self) -> None:
        self._end = perf_counter() + PART_SECONDS

    def is_long(self) -> bool:
        """True if the work has run for PART_SECONDS since its start or its last pause."""
        return perf_counter() >= self._end

    async def pause(self) -> None:
        """Let the event loop run one iteration."""
        await asyncio.sleep(0)
        self._end = perf_counter() + PART_SECONDS
