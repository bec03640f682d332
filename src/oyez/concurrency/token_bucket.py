"""Token buckets: how often something may happen.

A bucket bounds what happens at once and what happens in the long run, at the cost of two numbers. Within one period it
permits what it held and what flowed in meanwhile, so `10/s` does not promise at most ten in every single second.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` tokens at once, refilled evenly over `period` seconds."""

    count: int
    period: float


class TokenBucket:
    """The tokens that are left of a rate. `now` is any clock in seconds that never goes back."""

    __slots__ = ("_filled_at", "_left", "_rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._left = float(rate.count)
        self._filled_at = now

    def take(self, now: float, credit: float = 0.0) -> bool:
        """Use up one token; False if none is left, and more than `credit` tokens would be owed."""
        rate = self._rate
        left = self._left + (now - self._filled_at) * rate.count / rate.period
        self._filled_at = now
        if left < 1 - credit:
            self._left = left
            return False
        # Not `min`: a call costs more than the rest of this.
        self._left = (left if left < rate.count else rate.count) - 1
        return True

    def charge(self, count: float, now: float) -> None:
        """Use up `count` tokens, which have been spent already; what is not there is owed."""
        self._left = self._refilled(now) - count
        self._filled_at = now

    def wait(self) -> float:
        """Seconds from the last call of `take` or `charge` until one token is left."""
        return max(0.0, (1 - self._left) * self._rate.period / self._rate.count)

    def debt(self, now: float) -> float:
        """Seconds until no token is owed."""
        return max(0.0, -self._refilled(now) * self._rate.period / self._rate.count)

    def is_full(self, now: float) -> bool:
        """True if every token has flowed in again, so that a new bucket would be the same."""
        return self._refilled(now) >= self._rate.count

    def _refilled(self, now: float) -> float:
        rate = self._rate
        return min(rate.count, self._left + (now - self._filled_at) * rate.count / rate.period)
