"""The log in memory, for tests and first trials: its entries are lost when the process ends."""

import heapq
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Self

from msgspec.structs import replace

from oyez.errors import LogUnavailableError
from oyez.log.log import Checkpoint, Deliver, Entry, Examination, split_position
from oyez.log.subscribers import Subscribers
from oyez.settings import Settings

FOREVER = float("inf")
ENTRY_OVERHEAD = 400
"""Bytes that an entry uses in addition to its data."""


class MemoryLog:
    """Keeps entries for `retention` seconds, and at most about `max_bytes` of them."""

    def __init__(
        self, *, retention: float = 300.0, max_bytes: int = 64_000_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.epoch = secrets.token_hex(4)
        self._retention = retention
        self._max_bytes = max_bytes
        self._bytes = 0
        self._clock = clock
        self._entries: deque[tuple[float, Entry]] = deque()
        self._positions: dict[str, str] = {}
        """Positions of the kept entries that have a key, by key."""
        self._last = 0
        self._records: dict[str, tuple[float, bytes]] = {}
        self._ends: list[tuple[float, str]] = []
        """A heap of the times when records expire; it still has the times of replaced and deleted records."""
        self._subscribers = Subscribers()
        self._closed = False

    @classmethod
    def build(cls, settings: Settings, system: str) -> Self:
        """The log of a system, by the settings."""
        return cls(retention=settings.log_retention, max_bytes=settings.log_max_bytes)

    async def open(self) -> None:
        """Does nothing: there is no storage to connect to."""

    async def examine(self) -> Examination:
        return Examination("in memory: lost with the process")

    async def append(self, entries: Sequence[Entry], checkpoint: Checkpoint | None = None) -> list[str]:
        self._check_open("nothing was stored. Publish to a running server.")
        now = self._clock()
        self._evict(now)
        positions: list[str] = []
        placed: dict[str, Entry] = {}
        keyed: dict[str, str] = {}
        for entry in entries:
            position = self._positions.get(entry.key) or keyed.get(entry.key)
            if position is None:
                position = f"{self.epoch}.{self._last + len(placed) + 1}"
                placed[position] = replace(entry, position=position)
                if entry.key:
                    keyed[entry.key] = position
            positions.append(position)
        self._last += len(placed)
        self._positions |= keyed
        self._entries.extend((now, entry) for entry in placed.values())
        self._bytes += sum(map(_size, placed.values()))
        self._evict(now)
        self._subscribers.publish(list(placed.values()))
        if checkpoint is not None and placed:
            await self.put(*checkpoint, FOREVER)
        return positions

    async def broadcast(self, entry: Entry) -> None:
        self._subscribers.publish([entry])

    async def read(self, after: str, namespace: str, rooms: frozenset[str], limit: int) -> list[Entry]:
        found = (entry for entry in self._following(after) if entry.is_for(namespace, rooms))
        return list(islice(found, limit))

    async def tail(self, deliver: Deliver, after: str | None = None) -> None:
        await self._subscribers.run(deliver, () if after is None else self._following(after))

    async def position(self) -> str:
        return f"{self.epoch}.{self._last}"

    async def position_before(self, most: int) -> str:
        self._evict(self._clock())
        return f"{self.epoch}.{self._last - min(most, len(self._entries))}"

    async def size(self) -> int:
        return self._bytes

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        self._check_open("records end with it.")
        now = self._clock()
        while self._ends and self._ends[0][0] <= now:
            end, ended = heapq.heappop(self._ends)
            if ended in self._records and self._records[ended][0] <= end:
                del self._records[ended]
        self._records[key] = (now + ttl, value)
        heapq.heappush(self._ends, (now + ttl, key))

    async def put_all(self, records: Mapping[str, bytes | None], ttl: float) -> None:
        for key, value in records.items():
            if value is None:
                self._records.pop(key, None)
            else:
                await self.put(key, value, ttl)

    async def get(self, key: str) -> bytes | None:
        end, value = self._records.get(key, (0.0, None))
        return value if end > self._clock() else None

    async def get_all(self, keys: Sequence[str]) -> dict[str, bytes]:
        found = {key: await self.get(key) for key in keys}
        return {key: value for key, value in found.items() if value is not None}

    async def get_and_delete(self, key: str) -> bytes | None:
        value = await self.get(key)
        self._records.pop(key, None)
        return value

    async def put_if_absent(self, key: str, value: bytes, ttl: float) -> bytes | None:
        there = await self.get(key)
        if there is None:
            await self.put(key, value, ttl)
        return there

    async def close(self) -> None:
        self._closed = True
        self._subscribers.close()

    def _check_open(self, consequence: str) -> None:
        if self._closed:
            raise LogUnavailableError(f"The log is closed; {consequence}")

    def _evict(self, now: float) -> None:
        entries = self._entries
        while entries and (self._bytes > self._max_bytes or entries[0][0] <= now - self._retention):
            _, entry = entries.popleft()
            self._bytes -= _size(entry)
            self._positions.pop(entry.key, None)

    def _following(self, after: str) -> list[Entry]:
        self._evict(self._clock())
        epoch, number = split_position(after)
        skipped = number - (self._last - len(self._entries))
        if epoch != self.epoch or number > self._last or skipped < 0:
            raise KeyError(after)
        return [entry for _, entry in islice(self._entries, skipped, None)]


def _size(entry: Entry) -> int:
    return len(entry.data) + sum(map(len, entry.rooms)) + sum(map(len, entry.excluded)) + ENTRY_OVERHEAD
