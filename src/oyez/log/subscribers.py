"""The subscribers of one node: each hands on what it has been given, once a turn of the loop."""

import asyncio
from collections.abc import Iterable, Sequence

from oyez.log.log import Deliver, Entry


class Subscribers:
    """Those who hear what a log takes from now on: each gets all of it, in order, from a queue of its own."""

    def __init__(self) -> None:
        self._subscribers: set[_Subscriber] = set()
        self.closed = False

    def __len__(self) -> int:
        return len(self._subscribers)

    async def run(self, deliver: Deliver, waiting: Iterable[Entry] = ()) -> None:
        """Hand `waiting`, and what comes from now on, to `deliver`, until `close` or `fail`.

        It listens before it gives up control for the first time.
        """
        subscriber = _Subscriber(waiting)
        self._subscribers.add(subscriber)
        try:
            while not self.closed:
                await subscriber.woken.wait()
                subscriber.woken.clear()
                # What arrived in one turn of the loop goes out in one: sockets then share a system call.
                batch, subscriber.waiting = subscriber.waiting, []
                if batch:
                    deliver(batch)
                if subscriber.failure is not None:
                    raise subscriber.failure
        finally:
            self._subscribers.discard(subscriber)

    def publish(self, entries: Sequence[Entry]) -> None:
        """Give `entries` to all subscribers; each delivers them in the next turn of the loop."""
        for subscriber in self._subscribers:
            # What comes behind a failure is not what follows upon the entries before it.
            if subscriber.failure is None:
                subscriber.waiting.extend(entries)
                subscriber.woken.set()

    def fail(self, failure: Exception) -> None:
        """All subscribers raise `failure`, behind what they have been given before."""
        for subscriber in self._subscribers:
            subscriber.failure = failure
            subscriber.woken.set()

    def close(self) -> None:
        """All subscribers end, behind what they have been given."""
        self.closed = True
        self.publish(())


class _Subscriber:
    """One reader: what it has not been handed yet."""

    __slots__ = ("failure", "waiting", "woken")

    def __init__(self, waiting: Iterable[Entry]) -> None:
        self.waiting = list(waiting)
        self.failure: Exception | None = None
        self.woken = asyncio.Event()
        self.woken.set()
