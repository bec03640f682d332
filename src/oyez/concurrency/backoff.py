"""How long to wait before something that failed is tried again."""

import random
from dataclasses import dataclass

MAX_DOUBLINGS = 30
"""Failures after which the delay is not computed anew, so that it stays a finite number."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays that double with each failure, from `first` up to `longest` seconds.

    The part `jitter` of each delay is random, from 0 (none of it) to 1 (all of it), so that processes which failed
    together do not try again together.
    """

    first: float
    longest: float
    jitter: float = 0.0

    def delay(self, failures: int) -> float:
        """Seconds to wait after `failures` (at least 1) failures in a row."""
        delay = min(self.longest, self.first * 2.0 ** min(failures - 1, MAX_DOUBLINGS))
        return delay * random.uniform(1 - self.jitter, 1) if self.jitter else delay


def is_worth_logging(failures: int) -> bool:
    """True for the first, second, fourth, eighth, … failure in a row: a fault that stays does not fill the log."""
    return failures.bit_count() == 1
