"""The tails of one node: each hands on what it has been given, once a turn of the loop."""

import asyncio
from collections.abc import Iterable, Sequence

from oyez.log.log import Deliver, Entry


class Tails:
    """Those who hear what a log takes from now on: each gets all of it, in order, from a queue of its own."""

    def __init__(self) -> None:
        self._tails: set[_Tail] = set()
        self.closed = False

    def __len__(self) -> int:
        return len(self._tails)

    async def run(self, deliver: Deliver, waiting: Iterable[Entry] = ()) -> None:
        """Hand `waiting`, and what comes from now on, to `deliver`, until `close` or `fail`.

        It listens before it gives up control for the first time.
        """
        tail = _Tail(waiting)
        self._tails.add(tail)
        try:
            while not self.closed:
                await tail.woken.wait()
                tail.woken.clear()
                # What arrived in one turn of the loop goes out in one: sockets then share a system call.
                batch, tail.waiting = tail.waiting, []
                if batch:
                    deliver(batch)
                if tail.failure is not None:
                    raise tail.failure
        finally:
            self._tails.discard(tail)

    def hand(self, entries: Sequence[Entry]) -> None:
        """Give `entries` to all tails; each delivers them in the next turn of the loop."""
        for tail in self._tails:
            # What comes behind a failure is not what follows upon the entries before it.
            if tail.failure is None:
                tail.waiting.extend(entries)
                tail.woken.set()

    def fail(self, failure: Exception) -> None:
        """All tails raise `failure`, behind what they have been given before."""
        for tail in self._tails:
            tail.failure = failure
            tail.woken.set()

    def close(self) -> None:
        """All tails end, behind what they have been given."""
        self.closed = True
        self.hand(())


class _Tail:
    """One reader: what it has not been handed yet."""

    __slots__ = ("failure", "waiting", "woken")

    def __init__(self, waiting: Iterable[Entry]) -> None:
        self.waiting = list(waiting)
        self.failure: Exception | None = None
        self.woken = asyncio.Event()
        self.woken.set()
