"""The subscribers of one node: each delivers its entries once in an iteration of the event loop."""

import asyncio
from collections.abc import Iterable, Sequence
from contextvars import copy_context

from oyez.log.log import Deliver, Entry


class Subscribers:
    """The subscribers of a log: each receives all entries from now on, in order, from a queue of its own."""

    def __init__(self) -> None:
        self._subscribers: set[_Subscriber] = set()
        self.closed = False

    def __len__(self) -> int:
        return len(self._subscribers)

    async def run(self, deliver: Deliver, waiting: Iterable[Entry] = ()) -> None:
        """Call `deliver` with `waiting` and with all entries that are published from now on, until `close` or `fail`.

        The subscription starts before the first `await`.
        """
        if self.closed:
            return
        subscriber = _Subscriber(deliver, waiting)
        self._subscribers.add(subscriber)
        try:
            await subscriber.end
        finally:
            self._subscribers.discard(subscriber)

    def publish(self, entries: Sequence[Entry]) -> None:
        """Queue `entries` for all subscribers; each delivers them in the next iteration of the loop."""
        for subscriber in self._subscribers:
            subscriber.add(entries)

    def fail(self, failure: Exception) -> None:
        """All subscribers deliver their queued entries and then raise `failure`."""
        for subscriber in self._subscribers:
            subscriber.fail(failure)

    def close(self) -> None:
        """All subscribers deliver their queued entries and then end."""
        self.closed = True
        for subscriber in self._subscribers:
            subscriber.close()


class _Subscriber:
    """One subscriber, with the entries that have not been delivered to it yet."""

    __slots__ = ("_closed", "_context", "_deliver", "_failure", "_loop", "_scheduled", "_waiting", "end")

    def __init__(self, deliver: Deliver, waiting: Iterable[Entry]) -> None:
        self._deliver = deliver
        self._waiting = list(waiting)
        self._failure: Exception | None = None
        self._closed = False
        self._scheduled = False
        self._loop = asyncio.get_running_loop()
        # Entries are delivered in the context of the subscriber, and not in that of their publisher.
        self._context = copy_context()
        self.end: asyncio.Future[None] = self._loop.create_future()
        """Done when the subscription ends."""
        if self._waiting:
            self._schedule()

    def add(self, entries: Sequence[Entry]) -> None:
        # After a failure, entries between the queued ones and `entries` may be missing.
        if entries and self._failure is None:
            self._waiting.extend(entries)
            self._schedule()

    def fail(self, failure: Exception) -> None:
        self._failure = failure
        self._schedule()

    def close(self) -> None:
        self._closed = True
        self._schedule()

    def _schedule(self) -> None:
        # No task waits for entries: waking it would cost more than delivering one of them.
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush, context=self._context)

    def _flush(self) -> None:
        """Deliver the entries of one iteration together, so that each socket needs one system call."""
        self._scheduled = False
        if self.end.done():
            return
        batch, self._waiting = self._waiting, []
        try:
            if batch:
                self._deliver(batch)
        except BaseException as error:
            self.end.set_exception(error)
            return
        if self._failure is not None:
            self.end.set_exception(self._failure)
        elif self._closed:
            self.end.set_result(None)
