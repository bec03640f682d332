"""The lag of the event loop: how late a timer runs, because something else has kept the loop busy."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LAG_INTERVAL = 0.5
"""Seconds between two measurements."""


@contextmanager
def measure_lag(report: Callable[[float], None]) -> Iterator[None]:
    """Call `report` with the lag in seconds, at once and every LAG_INTERVAL, while inside."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def measure(due: float) -> None:
        nonlocal timer
        report(max(0.0, loop.time() - due))
        due = loop.time() + LAG_INTERVAL
        timer = loop.call_at(due, measure, due)

    measure(loop.time())
    try:
        yield
    finally:
        timer.cancel()
