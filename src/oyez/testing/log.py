"""A log that a test can take away, and that knows what was not delivered yet."""

import asyncio
from collections.abc import Mapping, Sequence

from oyez.errors import LogUnavailableError
from oyez.log.log import Checkpoint, Deliver, Entry, Examination, Log, split_position

REASON = "The test has taken the log away."


class WatchedLog:
    """Passes every call to a real log, unless it is away."""

    def __init__(self, log: Log, entries: list[Entry]) -> None:
        """Every event that is published is added to `entries`."""
        self._log = log
        self._entries = entries
        self.away = False
        self._lost = asyncio.Event()
        self._stored = ""
        """The position of the newest entry that was appended here."""
        self._delivered = ""
        self._appended: set[str] = set()
        """The positions of all entries that were appended here."""

    @property
    def delivered(self) -> bool:
        """True if the server has delivered everything that was appended here.

        Volatile events are delivered in the next turn of the event loop.
        """
        if self.away or not self._stored:
            return True
        return bool(self._delivered) and not _is_newer(self._stored, self._delivered)

    def lose(self) -> None:
        """Be unavailable from now on."""
        self.away = True
        self._lost.set()

    def restore(self) -> None:
        """Be available again."""
        self.away = False
        self._lost.clear()

    async def open(self) -> None:
        self._check()
        await self._log.open()

    async def examine(self) -> Examination:
        return await self._log.examine()

    async def append(self, entries: Sequence[Entry], checkpoint: Checkpoint | None = None) -> list[str]:
        self._check()
        positions = await self._log.append(entries, checkpoint)
        for position, entry in zip(positions, entries, strict=True):
            # An entry that was appended before, with the same key, has its old position.
            if position in self._appended:
                continue
            self._appended.add(position)
            self._record([entry])
            if not self._stored or _is_newer(position, self._stored):
                self._stored = position
        return positions

    async def broadcast(self, entry: Entry) -> None:
        self._check()
        self._record([entry])
        await self._log.broadcast(entry)

    async def read(self, after: str, namespace: str, rooms: frozenset[str], limit: int) -> list[Entry]:
        self._check()
        return await self._log.read(after, namespace, rooms, limit)

    async def tail(self, deliver: Deliver, after: str | None = None) -> None:
        self._check()

        def count(entries: Sequence[Entry]) -> None:
            deliver(entries)
            self._delivered = next((one.position for one in reversed(entries) if one.position), self._delivered)

        tail = asyncio.ensure_future(self._log.tail(count, after))
        lost = asyncio.ensure_future(self._lost.wait())
        try:
            await asyncio.wait({tail, lost}, return_when=asyncio.FIRST_COMPLETED)
            if not tail.done():
                raise LogUnavailableError(REASON)
            tail.result()
        finally:
            tail.cancel()
            lost.cancel()
            await asyncio.gather(tail, lost, return_exceptions=True)

    async def position(self) -> str:
        self._check()
        return await self._log.position()

    async def position_before(self, most: int) -> str:
        self._check()
        return await self._log.position_before(most)

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        self._check()
        await self._log.put(key, value, ttl)

    async def put_all(self, records: Mapping[str, bytes | None], ttl: float) -> None:
        self._check()
        await self._log.put_all(records, ttl)

    async def get(self, key: str) -> bytes | None:
        self._check()
        return await self._log.get(key)

    async def get_all(self, keys: Sequence[str]) -> dict[str, bytes]:
        self._check()
        return await self._log.get_all(keys)

    async def get_and_delete(self, key: str) -> bytes | None:
        self._check()
        return await self._log.get_and_delete(key)

    async def put_if_absent(self, key: str, value: bytes, ttl: float) -> bytes | None:
        self._check()
        return await self._log.put_if_absent(key, value, ttl)

    async def size(self) -> int:
        return await self._log.size()

    async def close(self) -> None:
        await self._log.close()

    def _record(self, entries: Sequence[Entry]) -> None:
        self._entries += [entry for entry in entries if not entry.control]

    def _check(self) -> None:
        if self.away:
            raise LogUnavailableError(REASON)


def _is_newer(position: str, other: str) -> bool:
    """True if `position` comes after `other`, or is in another epoch."""
    (epoch, number), (other_epoch, other_number) = split_position(position), split_position(other)
    return epoch != other_epoch or number > other_number
