"""Failed sign-ins by network address: whoever tries credentials that others might have is slowed down."""

import time
from collections.abc import Callable

from oyez.concurrency.token_bucket import Rate, TokenBucket
from oyez.errors import RATE_LIMITED, RefusedError

MAX_ADDRESSES = 10_000
"""Addresses whose failures are counted: about 3 MB."""


class FailedSignIns:
    """Counts failed sign-ins by network address, up to a rate. `clock` is monotonic, in seconds."""

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._buckets: dict[str, TokenBucket] = {}

    def check(self, network: str) -> None:
        """Raises RefusedError (rate_limited) if the address has failed too often."""
        bucket = self._buckets.get(network)
        if bucket is not None and not bucket.has(self._clock()):
            wait = bucket.wait()
            raise RefusedError(RATE_LIMITED, f"Too many failed sign-ins: wait {wait:.0f} seconds.", retry_after=wait)

    def count(self, network: str) -> None:
        """The address has failed once more."""
        now = self._clock()
        bucket = self._buckets.pop(network, None) or TokenBucket(self._rate, now)
        bucket.charge(1.0, now)
        if len(self._buckets) >= MAX_ADDRESSES:
            # The address whose last failure is the oldest.
            del self._buckets[next(iter(self._buckets))]
        self._buckets[network] = bucket
