"""When a delivery is repeated, and when a receiver is left alone: the numbers of the Standard Webhooks rules."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from oyez.concurrency.backoff import Backoff

JITTER = 0.1
"""Share of each delay that is random, so that receivers that failed together are not tried together."""
BREAK_AFTER = 5
"""Failures in a row after which a receiver rests: its other events wait, and their attempts are not used up."""
REST = Backoff(first=10.0, longest=300.0, jitter=JITTER)
"""Seconds for which a receiver rests between two attempts."""
MAX_RETRY_AFTER = 3600.0
"""Seconds that a receiver may ask to wait, with 429 or 503."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The delays between the attempts of a delivery."""

    delays: Sequence[float]
    rest: Backoff = REST

    def find_delay(self, attempts: int, asked: float = 0.0) -> float | None:
        """Seconds until the next attempt, after so many attempts; None after the last one.

        `asked` is the number of seconds that the receiver asks to wait.
        """
        if attempts > len(self.delays):
            return None
        delay = self.delays[attempts - 1] * random.uniform(1 - JITTER, 1 + JITTER)
        return max(delay, min(asked, MAX_RETRY_AFTER))

    def find_rest(self, failures: int) -> float:
        """Seconds for which a receiver rests after so many failures in a row."""
        return self.rest.delay(failures - BREAK_AFTER + 1) if failures >= BREAK_AFTER else 0.0
