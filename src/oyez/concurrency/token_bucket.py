"""Token buckets: limits on how often an action may happen.

A bucket limits bursts and the average rate, and stores only two numbers. Within one period it permits the tokens that
it held and the tokens that were refilled, so with `10/s` a single second may have more than ten.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` tokens at once, refilled evenly over `period` seconds."""

    count: int
    period: float


class TokenBucket:
    """The tokens that are left of a rate. `now` is the time of a monotonic clock in seconds."""

    __slots__ = ("_filled_at", "_left", "_rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._left = float(rate.count)
        self._filled_at = now

    def take(self, now: float, credit: float = 0.0) -> bool:
        """Take one token, of which up to `credit` may be owed. Returns False, and takes none, if that is not enough."""
        rate = self._rate
        left = self._left + (now - self._filled_at) * rate.count / rate.period
        self._filled_at = now
        if left < 1 - credit:
            self._left = left
            return False
        # Not `min`: its call would take longer than the rest of this method.
        self._left = (left if left < rate.count else rate.count) - 1
        return True

    def charge(self, count: float, now: float) -> None:
        """Remove `count` tokens, which have been used already. If fewer are left, the rest is owed."""
        self._left = self._refilled(now) - count
        self._filled_at = now

    def wait(self) -> float:
        """Seconds from the last call of `take` or `charge` until one token is left."""
        return max(0.0, (1 - self._left) * self._rate.period / self._rate.count)

    def debt(self, now: float) -> float:
        """Seconds until no token is owed."""
        return max(0.0, -self._refilled(now) * self._rate.period / self._rate.count)

    def has(self, now: float) -> bool:
        """True if `take` would take a token. Refills the tokens, so `wait` counts from now."""
        self._left, self._filled_at = self._refilled(now), now
        return self._left >= 1

    def is_full(self, now: float) -> bool:
        """True if all tokens have been refilled, so that a new bucket would be the same."""
        return self._refilled(now) >= self._rate.count

    def _refilled(self, now: float) -> float:
        rate = self._rate
        return min(rate.count, self._left + (now - self._filled_at) * rate.count / rate.period)
