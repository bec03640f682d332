"""Events that wait for the next request of a queue, without I/O: how many may wait, and when they are sent."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from oyez.client.publications import Published
from oyez.client.publisher_errors import InvalidEventsError, UnpublishedError
from oyez.errors import TOO_LARGE


class Outcome(Protocol):
    """A future of asyncio or of threads."""

    def done(self) -> bool: ...
    def set_result(self, result: Published, /) -> None: ...
    def set_exception(self, error: Any, /) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """An event that was put into a queue."""

    body: bytes
    outcome: Outcome
    since: float


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of an event."""

    waiting: Waiting
    result: Published | Exception

    def report(self) -> None:
        """Finish the future that the program received, unless the program has cancelled it."""
        if self.waiting.outcome.done():
            return
        if isinstance(self.result, Exception):
            self.waiting.outcome.set_exception(self.result)
        else:
            self.waiting.outcome.set_result(self.result)


def fail(batch: Sequence[Waiting], error: Exception) -> list[Settled]:
    """Events that have failed with the same error."""
    return [Settled(waiting, error) for waiting in batch]


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How events are gathered into requests, and how many may wait."""

    max_events: int = 100
    """Events of one request. The server's limit is `max_events_per_publish`."""
    max_delay: float = 0.05
    """Seconds that an event waits for others."""
    max_bytes: int = 1_000_000
    """Bytes of one request. The server's limit is `max_publish_bytes`."""
    max_waiting: int = 10_000
    """Events that may wait in the queue."""


class Backlog:
    """The waiting events, in their order. It is not safe for threads: the queue of threads holds a lock."""

    def __init__(self, limits: QueueLimits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._waiting: deque[Waiting] = deque()
        self._bytes = 0
        self._unfinished = 0
        self._flushing = 0
        self._failures = 0
        self._first: Exception | None = None

    @property
    def full(self) -> bool:
        """True if no other event may wait. Those of a request under way count."""
        return self._unfinished >= self._limits.max_waiting

    @property
    def empty(self) -> bool:
        """True if each event was published, or has failed."""
        return self._unfinished == 0

    def add(self, body: bytes, outcome: Outcome) -> None:
        self._waiting.append(Waiting(body, outcome, self._clock()))
        self._bytes += len(body)
        self._unfinished += 1

    def delay(self, *, hurry: bool) -> float | None:
        """Seconds until the next request is due; None if no event waits. In a `hurry`, all events are due at once."""
        if not self._waiting:
            return None
        many = len(self._waiting) >= self._limits.max_events or self._bytes >= self._limits.max_bytes
        return 0.0 if many or hurry else max(self._waiting[0].since + self._limits.max_delay - self._clock(), 0.0)

    def take(self) -> list[Waiting]:
        """The events of the next request, in their order."""
        taken: list[Waiting] = []
        size = 0
        while self._waiting and len(taken) < self._limits.max_events:
            size += len(self._waiting[0].body)
            if taken and size > self._limits.max_bytes:
                break
            taken.append(self._waiting.popleft())
            self._bytes -= len(taken[-1].body)
        return taken

    def settle(self, settled: Sequence["Settled"]) -> None:
        """Count events that were published or have failed."""
        self._unfinished -= len(settled)
        errors = [one.result for one in settled if isinstance(one.result, Exception)]
        self._failures += len(errors)
        self._first = self._first or next(iter(errors), None)

    def take_all(self) -> list[Waiting]:
        """All events that wait."""
        taken = list(self._waiting)
        self._waiting.clear()
        self._bytes = 0
        return taken

    def raise_failures(self) -> None:
        """Raises UnpublishedError if events have failed since the last call."""
        count, first, self._failures, self._first = self._failures, self._first, 0, None
        if first is not None:
            raise UnpublishedError(count, first)


def find_refused(batch: Sequence[Waiting], error: InvalidEventsError) -> dict[int, InvalidEventsError]:
    """The errors of the refused events, by their index in the batch. Empty if the error concerns no single event."""
    indexes = {found.index for found in error.errors if found.index < len(batch)}
    return {index: _only(error, index) for index in indexes}


def is_too_long(batch: Sequence[Waiting], error: InvalidEventsError) -> bool:
    """True if the server refuses the request as too large, and its halves may be accepted."""
    return error.code == TOO_LARGE.code and len(batch) > 1


def _only(error: InvalidEventsError, index: int) -> InvalidEventsError:
    """The error with what concerns one event."""
    errors = [found for found in error.errors if found.index == index]
    single = [type(found)(0, found.field, found.expected, found.code, found.got) for found in errors]
    return InvalidEventsError(error.status, single[0].code, error.detail, single, problem=error.problem)
