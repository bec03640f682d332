"""Delays before a failed operation is repeated."""

import random
from dataclasses import dataclass

MAX_DOUBLINGS = 30
"""Failures after which the delay no longer doubles, so that it stays a finite number."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays that double with each failure, from `first` up to `longest` seconds.

    `jitter` is the random share of each delay, from 0 to 1. With it, processes that failed at the same time retry at
    different times.
    """

    first: float
    longest: float
    jitter: float = 0.0

    def delay(self, failures: int) -> float:
        """Seconds to wait after `failures` (at least 1) failures in a row."""
        delay = min(self.longest, self.first * 2.0 ** min(failures - 1, MAX_DOUBLINGS))
        return delay * random.uniform(1 - self.jitter, 1) if self.jitter else delay


def is_worth_logging(failures: int) -> bool:
    """True for failures 1, 2, 4, 8, … in a row, so that a permanent fault does not fill the log."""
    return failures.bit_count() == 1
