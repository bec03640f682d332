"""The subscribers of one node: each delivers its entries once in an iteration of the event loop."""

import asyncio
from collections.abc import Iterable, Sequence

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
        subscriber = _Subscriber(waiting)
        self._subscribers.add(subscriber)
        try:
            while not self.closed:
                await subscriber.woken.wait()
                subscriber.woken.clear()
                # Deliver the entries of one iteration together, so that each socket needs one system call.
                batch, subscriber.waiting = subscriber.waiting, []
                if batch:
                    deliver(batch)
                if subscriber.failure is not None:
                    raise subscriber.failure
        finally:
            self._subscribers.discard(subscriber)

    def publish(self, entries: Sequence[Entry]) -> None:
        """Queue `entries` for all subscribers; each delivers them in the next iteration of the loop."""
        for subscriber in self._subscribers:
            # After a failure, entries between the queued ones and `entries` may be missing.
            if subscriber.failure is None:
                subscriber.waiting.extend(entries)
                subscriber.woken.set()

    def fail(self, failure: Exception) -> None:
        """All subscribers deliver their queued entries and then raise `failure`."""
        for subscriber in self._subscribers:
            subscriber.failure = failure
            subscriber.woken.set()

    def close(self) -> None:
        """All subscribers deliver their queued entries and then end."""
        self.closed = True
        self.publish(())


class _Subscriber:
    """One subscriber, with the entries that have not been delivered to it yet."""

    __slots__ = ("failure", "waiting", "woken")

    def __init__(self, waiting: Iterable[Entry]) -> None:
        self.waiting = list(waiting)
        self.failure: Exception | None = None
        self.woken = asyncio.Event()
        self.woken.set()
