"""Failed sign-ins by network address: whoever tries credentials that others might have is slowed down."""

import time
from collections.abc import Callable

from oyez.concurrency.token_bucket import Rate
from oyez.contract.limits import Limit
from oyez.errors import RATE_LIMITED, RefusedError
from oyez.runtime.usage import SharedBuckets

PLACE = ("", "failed sign-ins")
"""The namespace and the name of the limit, for other nodes: no namespace of a contract has this name."""


class FailedSignIns:
    """Counts failed sign-ins by network address, up to a rate. `clock` is monotonic, in seconds.

    The counts are in `buckets`: those of a system's users, which its nodes exchange, or buckets of its own.
    """

    def __init__(
        self, rate: Rate, clock: Callable[[], float] = time.monotonic, buckets: SharedBuckets | None = None
    ) -> None:
        self._clock = clock
        self._buckets = SharedBuckets() if buckets is None else buckets
        self._buckets.add_limit(*PLACE, Limit(rate.count, rate.period))

    def check(self, network: str) -> None:
        """Raises RefusedError (rate_limited) if the address has failed too often."""
        bucket = self._buckets.find(network, *PLACE)
        if bucket is not None and not bucket.has(self._clock()):
            wait = bucket.wait()
            raise RefusedError(RATE_LIMITED, f"Too many failed sign-ins: wait {wait:.0f} seconds.", retry_after=wait)

    def count(self, network: str) -> None:
        """The address has failed once more. Raises RefusedError (rate_limited) if it has failed too often before."""
        self.check(network)
        now = self._clock()
        self._buckets.get(network, *PLACE, now).take(now)
