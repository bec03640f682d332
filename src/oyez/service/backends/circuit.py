"""A circuit breaker: it stops requests to a back end that is away, and lets one request at a time find out when it is
back. It does no I/O, and its times are monotonic seconds.
"""

from enum import Enum

from oyez.concurrency.backoff import Backoff

MAX_PAUSE = 60.0
"""Seconds without requests at most: a back end that is back is noticed within a minute."""
PROBE_WAIT = 1.0
"""Seconds that a caller is asked to wait while a probe is on its way."""


class State(Enum):
    CLOSED = "closed"
    """Requests pass."""
    OPEN = "open"
    """No request passes until the pause is over."""
    PROBING = "probing"
    """One request is on its way; its outcome decides."""


class Circuit:
    """The circuit of one back end."""

    def __init__(self, most_failures: int, pause: float) -> None:
        """It opens after `most_failures` in a row, first for `pause` seconds."""
        self._most_failures = most_failures
        self._pauses = Backoff(pause, max(MAX_PAUSE, pause))
        self._failures = 0
        self._openings = 0
        """Number of times that it has opened since the last success."""
        self._open_until = 0.0
        self.state = State.CLOSED

    def try_acquire(self, now: float) -> float:
        """0.0 if a request may be sent; its outcome must be reported. Otherwise the seconds to wait."""
        wait = self.find_wait(now)
        if self.state is State.OPEN and wait <= 0.0:
            self.state = State.PROBING
            return 0.0
        return wait

    def find_wait(self, now: float) -> float:
        """Seconds until a request may be sent, 0.0 or less if it may be sent now."""
        if self.state is State.OPEN:
            return self._open_until - now
        return PROBE_WAIT if self.state is State.PROBING else 0.0

    def succeed(self) -> bool:
        """The back end has answered a request. True if it was away before."""
        was_away = self.state is not State.CLOSED
        self.state, self._failures, self._openings = State.CLOSED, 0, 0
        return was_away

    def fail(self, now: float) -> bool:
        """A request has failed. True if the circuit opens because of it."""
        self._failures += 1
        if self.state is State.OPEN or (self.state is State.CLOSED and self._failures < self._most_failures):
            return False
        first = self.state is State.CLOSED
        self._openings += 1
        self.state, self._open_until = State.OPEN, now + self._pauses.delay(self._openings)
        return first

    def abandon(self, now: float) -> None:
        """A request has ended without an outcome: the next one may probe at once."""
        if self.state is State.PROBING:
            self.state, self._open_until = State.OPEN, now
