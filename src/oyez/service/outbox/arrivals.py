"""Notifies commands that wait until the relay has appended what was committed before they asked."""

import asyncio
from collections.abc import Iterable


class Arrivals:
    """The relay's rounds, and the commands that wait for them.

    All rows that were committed before a round began are in the log when it has ended.
    """

    def __init__(self) -> None:
        self._begun = 0
        self._ended = 0
        self._position: str | None = None
        """A position that comes after the events of all rounds that have ended; None if the last one moved none."""
        self._waiting: list[tuple[int, asyncio.Future[str | None]]] = []
        self._works = False
        """True if the last round was appended, in good time for the commands that waited for it."""

    @property
    def awaited(self) -> bool:
        """True if a command waits."""
        return bool(self._waiting)

    @property
    def next_round(self) -> int:
        """The number of the first round that begins after this."""
        return self._begun + 1

    def begin_round(self) -> int:
        """Count a round, and return its number."""
        self._begun += 1
        return self._begun

    def end_round(self, number: int, position: str | None) -> None:
        """All rows of a round are in the log, up to `position` (None: there were none, and no command waited)."""
        self._works = True
        self._ended = number
        self._position = position
        ready = [future for wanted, future in self._waiting if wanted <= number]
        self._waiting = [(wanted, future) for wanted, future in self._waiting if wanted > number]
        _resolve(ready, position)

    def fail(self) -> None:
        """The log or the database is away, or the relay ends: commands do not wait until a round has ended."""
        self._works = False
        waiting, self._waiting = self._waiting, []
        _resolve([future for _, future in waiting], None)

    def find(self, number: int) -> str | None:
        """A position that comes after the events of round `number`; None if it has not ended, or none is known."""
        return self._position if number <= self._ended else None

    async def wait(self, number: int, seconds: float) -> str | None:
        """Wait for the end of a round, at least `number`, and return a position that comes after its events.

        Return None if it does not end within `seconds`.
        """
        if not self._works:
            return None
        future: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((number if number > self._ended else self.next_round, future))
        done, _ = await asyncio.wait([future], timeout=max(0.0, seconds))
        if not done:
            self.fail()
        return future.result()


def _resolve(futures: Iterable[asyncio.Future[str | None]], position: str | None) -> None:
    for future in futures:
        if not future.done():
            future.set_result(position)
