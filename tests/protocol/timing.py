"""How the protocol's tests distinguish linear from quadratic: by comparing sizes, not by absolute times."""

import gc
import time
from collections.abc import Callable
from typing import Any

SMALL = 62_500
LARGE = 16 * SMALL
"""A megabyte: the most that one message may have."""

FACTOR = 100
"""Times the cost that 16 times the size may have: a quadratic function's is 256, a linear one's 16 and some noise."""

FLOOR = 0.000_5
"""Seconds below which a cost is nothing but noise."""


def assert_linear(work: Callable[[Any], object], build: Any) -> None:
    """Fail where `work` costs processor time out of proportion to the size that `build` was called with."""
    small, large = build(SMALL), build(LARGE)
    collecting = gc.isenabled()
    gc.disable()
    try:
        # Memory that other programs use at the same time costs time too; but not again and again.
        assert any(_cost(work, large) < FACTOR * max(_cost(work, small), FLOOR) for _ in range(5))
    finally:
        if collecting:
            gc.enable()


def _cost(work: Callable[[Any], object], data: Any) -> float:
    start = time.thread_time()
    work(data)
    return time.thread_time() - start
