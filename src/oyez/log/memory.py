"""The log in memory: lost with the process, so for tests and for trying things out."""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from msgspec.structs import replace

from oyez.errors import LogUnavailableError
from oyez.log.log import Deliver, Entry

ENTRY_OVERHEAD = 400
"""Bytes that an entry costs besides its data."""


class MemoryLog:
    """Keeps entries for `retention` seconds, and never more of them than about `max_bytes`."""

    def __init__(
        self, *, retention: float = 300.0, max_bytes: int = 64_000_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.epoch = secrets.token_hex(4)
        self._retention = retention
        self._max_bytes = max_bytes
        self._bytes = 0
        self._clock = clock
        self._entries: deque[tuple[float, Entry]] = deque()
        self._last = 0
        self._tails: set[_Tail] = set()
        self._closed = False

    async def append(self, entries: Sequence[Entry]) -> list[str]:
        if self._closed:
            raise LogUnavailableError("The log is closed; nothing was stored. Publish to a running server.")
        now = self._clock()
        placed = [
            replace(entry, position=f"{self.epoch}.{number}") for number, entry in enumerate(entries, self._last + 1)
        ]
        self._last += len(placed)
        self._entries.extend((now, entry) for entry in placed)
        self._bytes += sum(map(_size, placed))
        self._forget(now)
        self._wake(placed)
        return [entry.position or "" for entry in placed]

    async def broadcast(self, entry: Entry) -> None:
        self._wake([entry])

    async def read(self, after: str, rooms: frozenset[str], limit: int) -> list[Entry]:
        self._forget(self._clock())
        first_kept = self._last - len(self._entries) + 1
        number = self._number(after)
        if number + 1 < first_kept:
            raise KeyError(after)
        following = islice(self._entries, number + 1 - first_kept, None)
        found = (entry for _, entry in following if not entry.rooms or not rooms.isdisjoint(entry.rooms))
        return list(islice(found, limit))

    async def tail(self, deliver: Deliver) -> None:
        tail = _Tail()
        self._tails.add(tail)
        try:
            while not self._closed:
                await tail.woken.wait()
                tail.woken.clear()
                # What arrived in one turn of the loop goes out in one: sockets then share a system call.
                batch, tail.waiting = tail.waiting, []
                if batch:
                    deliver(batch)
        finally:
            self._tails.discard(tail)

    async def position(self) -> str:
        return f"{self.epoch}.{self._last}"

    async def close(self) -> None:
        self._closed = True
        self._wake([])

    def _wake(self, entries: list[Entry]) -> None:
        for tail in self._tails:
            tail.waiting.extend(entries)
            tail.woken.set()

    def _forget(self, now: float) -> None:
        entries = self._entries
        while entries and (self._bytes > self._max_bytes or entries[0][0] <= now - self._retention):
            self._bytes -= _size(entries.popleft()[1])

    def _number(self, position: str) -> int:
        epoch, _, number = position.partition(".")
        if epoch != self.epoch or not number.isdecimal() or len(number) > 18 or int(number) > self._last:
            raise KeyError(position)
        return int(number)


def _size(entry: Entry) -> int:
    return len(entry.data) + sum(map(len, entry.rooms)) + sum(map(len, entry.excluded)) + ENTRY_OVERHEAD


class _Tail:
    """One reader: what it has not been handed yet."""

    __slots__ = ("waiting", "woken")

    def __init__(self) -> None:
        self.waiting: list[Entry] = []
        self.woken = asyncio.Event()
