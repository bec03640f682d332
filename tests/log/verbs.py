"""Helpers of the log's tests: build entries, listen with a tail, wait for what it receives."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec

from oyez.log.log import Entry, Log
from tests.support.clock import PATIENCE, Change

EVERYBODY: tuple[str, ...] = ()
MANY = 10_000
_MARKER = "/started"


def entry(number: int, *rooms: str, namespace: str = "/", excluded: tuple[str, ...] = (), key: str = "") -> Entry:
    """An entry that differs from all others; without `rooms` it goes to all clients."""
    return Entry(
        namespace=namespace, rooms=rooms, excluded=excluded, data=b'["event",%d]' % number, key=key, name="event"
    )


def control(number: int, *rooms: str) -> Entry:
    return Entry(namespace="/", rooms=rooms, data=b'["control",%d]' % number, control="leave")


def volatile(number: int) -> Entry:
    return Entry(namespace="/", rooms=EVERYBODY, data=b'["volatile",%d]' % number, volatile=True, name="volatile")


def numbers(entries: Sequence[Entry]) -> list[int]:
    """The numbers that `entries` were built with."""
    return [msgspec.json.decode(found.data)[1] for found in entries]


async def read_all(log: Log, after: str, *rooms: str, namespace: str = "/") -> list[int]:
    return numbers(await log.read(after, namespace, frozenset(rooms), MANY))


def count_of(position: str) -> int:
    """The number in a position, for comparing two of one epoch."""
    return int(position.rpartition(".")[2].partition("-")[0])


class Received:
    """What a tail has been handed."""

    def __init__(self) -> None:
        self.batches: list[list[Entry]] = []
        self.started = asyncio.Event()
        self._changed = Change()

    @property
    def entries(self) -> list[Entry]:
        return [found for batch in self.batches for found in batch]

    def deliver(self, batch: Sequence[Entry]) -> None:
        kept = [found for found in batch if found.namespace != _MARKER]
        if len(kept) < len(batch):
            self.started.set()
        if kept or not batch:
            self.batches.append(kept)
        self._changed.set()

    async def wait_for(self, count: int) -> list[Entry]:
        """The entries, once there are `count` of them."""
        await self.wait_until(lambda: len(self.entries) >= count)
        return self.entries

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        await self._changed.until(condition)


@asynccontextmanager
async def tailing(log: Log, after: str | None = None) -> AsyncIterator[Received]:
    """A tail that listens for certain: it has received a volatile marker, which is left out of the result."""
    received = Received()
    task = asyncio.create_task(log.tail(received.deliver, after))
    try:
        async with asyncio.timeout(PATIENCE):
            for marker in _markers():
                await asyncio.sleep(0)
                await log.broadcast(marker)
                with suppress(TimeoutError):
                    await asyncio.wait_for(received.started.wait(), 0.02)
                if received.started.is_set():
                    break
        yield received
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _markers() -> Iterator[Entry]:
    while True:
        yield Entry(namespace=_MARKER, rooms=EVERYBODY, data=b'["started",0]', volatile=True)
