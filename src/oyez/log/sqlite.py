"""The log in a SQLite file: durable, and shared by all processes of one machine (`sqlite_file.py`).

Entries that this process stores go to its own subscribers directly, and over the local bus to the other processes.
Those read the file if an entry is missing. A message may get lost, so the file is also checked once in WATCH_INTERVAL
seconds.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Self

from msgspec.structs import replace

from oyez.errors import LogUnavailableError, SettingsError
from oyez.log.damage import Damage
from oyez.log.entry_codec import STORED, decode_stored, encode_entry, encode_stored
from oyez.log.local_bus import LocalBus
from oyez.log.log import Checkpoint, Deliver, Entry, Examination, epoch_of, split_position
from oyez.log.page_cache import PAGE, PageCache, Row
from oyez.log.sqlite_file import LockedError, SqliteFile, Sync, find_last, read_boot
from oyez.log.subscribers import Subscribers
from oyez.settings import Settings

WATCH_INTERVAL = 1.0
"""Seconds between two checks of the file, for lost notifications and for a deleted file."""
TRIM_EVERY = 64
"""Entries between two trims. Each trim deletes at most four times as many, so that it never takes long."""
FOREVER = 2.0**62
"""A time that is never reached, and a number that no entry has."""
FIND_ENTRIES = "SELECT number, coalesce(CAST(entry AS BLOB), x'') FROM entries"
"""The cast returns bytes for a column of any type, because one flipped bit can change the type to text or NULL."""
FIND_RECORD = "SELECT value, ends FROM records WHERE key = ?"
PUT_ENTRY = "INSERT INTO entries VALUES (NULL, ?, NULL, ?)"
"""Without a number: SQLite gives the entry the number after that of the last one."""
PUT_RECORD = "INSERT OR REPLACE INTO records VALUES (?, ?, ?)"
DELETE_RECORD = "DELETE FROM records WHERE key = ? RETURNING value, ends"
NEW_EPOCH = "The log has lost entries: a new epoch has begun."

Encoded = Sequence[tuple[Entry, bytes]]
"""Entries with their stored form."""
Stored = tuple[int, Entry, bytes]
"""An entry that was just stored, with its number and its stored form."""


class SqliteLog:
    """Keeps entries for `retention` seconds, and at most about `max_bytes` of them, in the file `path`."""

    def __init__(
        self,
        path: Path,
        *,
        retention: float = 300.0,
        max_bytes: int = 1_000_000_000,
        sync: Sync = "normal",
        clock: Callable[[], float] = time.time,
        boot: Callable[[], str] = read_boot,
    ) -> None:
        self._path = path
        self._retention = retention
        self._max_bytes = max_bytes
        self._clock = clock
        self._file = SqliteFile(path, max_bytes=max_bytes, sync=sync, boot=boot, on_open=self._on_open)
        self._epoch = ""
        self.damage = Damage(str(path))
        self._pages = PageCache(self._rows, self.damage)
        self._subscribers = Subscribers()
        self._published = 0
        """The number of the last entry that was published to the subscribers."""
        self._untrimmed = 0
        """Entries stored since the last trim."""
        self._bus: LocalBus | None = None
        self._watch: asyncio.Task[None] | None = None
        self._closed = False

    @classmethod
    def build(cls, settings: Settings, system: str) -> Self:
        """The log of a system, in a file of the data folder."""
        return cls(
            settings.data_folder / f"log-{system}.sqlite",
            retention=settings.log_retention,
            max_bytes=settings.log_max_bytes,
            sync=settings.log_sync,
        )

    async def open(self) -> None:
        if self._watch is None and not self._closed:
            try:
                await self._file.use(lambda db: None)
            except LogUnavailableError as error:
                if isinstance(error.__cause__, SettingsError):
                    raise error.__cause__ from None
                raise

    async def examine(self) -> Examination:
        return Examination(f"in files of {self._path.parent}")

    async def close(self) -> None:
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
        self._subscribers.close()
        if self._bus is not None:
            self._bus.close()
        self._file.close()

    def _on_open(self, created: bool, last: int) -> None:
        """Called when the file has been opened: open the bus, and end the subscriptions if entries were lost."""
        if self._bus is not None and created:
            # The folder of its sockets may have been removed with the file.
            self._bus.close()
            self._bus = None
        if self._bus is None:
            bus = LocalBus(self._path.with_suffix(".peers"), self._receive)
            bus.open()
            self._bus = bus
        if self._watch is None:
            self._watch = asyncio.create_task(self._run_watch())
        if self._epoch and self._epoch != self._file.epoch:
            self._subscribers.fail(_LostError(NEW_EPOCH))
            self._published = last
        self._epoch = self._file.epoch

    # Entries.

    async def append(self, entries: Sequence[Entry], checkpoint: Checkpoint | None = None) -> list[str]:
        encoded = [(entry, encode_entry(entry)) for entry in entries]
        if not encoded:
            return []
        entry, body = encoded[0]
        if len(encoded) == 1 and checkpoint is None and not entry.key and self._untrimmed < TRIM_EVERY:
            number = await self._file.use(partial(self._store_one, body))
            numbers, stored = [number], [(number, entry, body)]
        else:
            numbers, stored = await self._file.transact(partial(self._store, encoded, checkpoint))
        if stored:
            self._publish(stored)
        return [f"{self._epoch}.{number}" for number in numbers]

    async def broadcast(self, entry: Entry) -> None:
        if self._watch is None:
            await self._file.use(lambda db: None)
        if self._bus is not None:
            self._bus.send(encode_entry(entry))
        self._subscribers.publish([entry])

    async def read(self, after: str, namespace: str, rooms: frozenset[str], limit: int) -> list[Entry]:
        number, last = await self._file.use(lambda db: (self._check(db, after), find_last(db)))
        return await self._pages.find(epoch_of(after), number, last, namespace, rooms, limit)

    async def tail(self, deliver: Deliver, after: str | None = None) -> None:
        if self._closed:
            return
        if after is None:
            after = await self.position()
        number = await self._file.use(partial(self._check, after=after))
        if not self._subscribers:
            self._published = number
        # Read a long backlog in pages, to keep the loop responsive.
        while number != self._published:
            if number < self._published:
                batch = await self._file.use(partial(self._following, number=number, most=self._published))
                number += len(batch)
                deliver(batch)
            else:
                await self._file.use(lambda db: self._publish_new())
            await asyncio.sleep(0)
        if epoch_of(after) != self._epoch:
            raise _LostError(NEW_EPOCH)
        asyncio.get_running_loop().call_soon(self._publish_new)
        await self._subscribers.run(deliver)

    async def position(self) -> str:
        number = await self._file.use(find_last)
        return f"{self._epoch}.{number}"

    async def position_before(self, most: int) -> str:
        def work(db: sqlite3.Connection) -> int:
            kept = "SELECT number FROM entries WHERE time > ? ORDER BY number LIMIT 1"
            row = db.execute(kept, (self._clock() - self._retention,)).fetchone()
            last = find_last(db)
            return max(last - most, row[0] - 1 if row else last)

        number = await self._file.use(work)
        return f"{self._epoch}.{number}"

    async def size(self) -> int:
        return await self._file.use(self._file.count_bytes)

    # Records.

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        await self._file.use(lambda db: db.execute(PUT_RECORD, (key, value, self._clock() + ttl)))

    async def put_all(self, records: Mapping[str, bytes | None], ttl: float) -> None:
        ends = self._clock() + ttl
        rows = [(key, value, ends) for key, value in records.items() if value is not None]
        gone = [(key,) for key, value in records.items() if value is None]

        def work(db: sqlite3.Connection) -> None:
            db.executemany(PUT_RECORD, rows)
            db.executemany("DELETE FROM records WHERE key = ?", gone)

        if records:
            await self._file.transact(work)

    async def get(self, key: str) -> bytes | None:
        return await self._file.use(lambda db: self._value(db.execute(FIND_RECORD, (key,))))

    async def get_all(self, keys: Sequence[str]) -> dict[str, bytes]:
        # One statement for all keys would be slower, because there are only a few keys.
        found = await self._file.use(lambda db: [self._value(db.execute(FIND_RECORD, (key,))) for key in keys])
        return {key: value for key, value in zip(keys, found, strict=True) if value is not None}

    async def get_and_delete(self, key: str) -> bytes | None:
        return await self._file.use(lambda db: self._value(db.execute(DELETE_RECORD, (key,))))

    async def put_if_absent(self, key: str, value: bytes, ttl: float) -> bytes | None:
        def work(db: sqlite3.Connection) -> bytes | None:
            existing = self._value(db.execute(FIND_RECORD, (key,)))
            if existing is None:
                db.execute(PUT_RECORD, (key, value, self._clock() + ttl))
            return existing

        return await self._file.transact(work)

    def _value(self, found: sqlite3.Cursor) -> bytes | None:
        row = next(iter(found.fetchall()), None)
        return row[0] if row is not None and row[1] > self._clock() else None

    # Storing and finding.

    def _store_one(self, body: bytes, db: sqlite3.Connection) -> int:
        """`_store` for one entry without a key: a single statement, which is a transaction of its own. Its number."""
        number = db.execute(PUT_ENTRY, (self._clock(), body)).lastrowid
        assert number is not None
        self._untrimmed += 1
        return number

    def _store(
        self, encoded: Encoded, checkpoint: Checkpoint | None, db: sqlite3.Connection
    ) -> tuple[list[int], list[Stored]]:
        """The number of every entry, and the entries that were not stored before."""
        now = self._clock()
        last = find_last(db)
        numbers: list[int] = []
        stored: list[Stored] = []
        rows: list[tuple[int, float, str | None, bytes]] = []
        keyed: dict[str, int] = {}
        for entry, body in encoded:
            number = (keyed.get(entry.key) or self._find_key(db, entry.key, now)) if entry.key else None
            if number is None:
                number = last + len(rows) + 1
                rows.append((number, now, entry.key or None, body))
                stored.append((number, entry, body))
                if entry.key:
                    keyed[entry.key] = number
            numbers.append(number)
        db.executemany("INSERT INTO entries VALUES (?, ?, ?, ?)", rows)
        if checkpoint is not None and rows:
            db.execute(PUT_RECORD, (*checkpoint, FOREVER))
        self._untrimmed += len(rows)
        if self._untrimmed >= TRIM_EVERY:
            self._trim(db, 4 * self._untrimmed)
        return numbers, stored

    def _find_key(self, db: sqlite3.Connection, key: str, now: float) -> int | None:
        row = db.execute("SELECT number, time FROM entries WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        if row[1] <= now - self._retention:
            db.execute("UPDATE entries SET key = NULL WHERE number = ?", (row[0],))
            return None
        return int(row[0])

    def _trim(self, db: sqlite3.Connection, most: int) -> bool:
        """Delete up to `most` entries that are too old or too many, but never the last one, which holds the number.

        True if there may be more to delete.
        """
        self._untrimmed = 0
        oldest = FOREVER if self._file.count_bytes(db) > self._max_bytes else self._clock() - self._retention
        found = db.execute("SELECT number, time FROM entries ORDER BY number LIMIT ?", (most,)).fetchall()
        last = find_last(db)
        ending = [number for number, _ in takewhile(lambda row: row[1] <= oldest and row[0] < last, found)]
        if ending:
            db.execute("DELETE FROM entries WHERE number <= ?", (ending[-1],))
        db.execute(
            "DELETE FROM records WHERE key IN (SELECT key FROM records WHERE ends <= ? LIMIT ?)", (self._clock(), most)
        )
        return len(ending) == most

    def _check(self, db: sqlite3.Connection, after: str) -> int:
        """The number of a position after which every entry is kept. Raises KeyError for any other."""
        epoch, number = split_position(after)
        if epoch != self._epoch or number > find_last(db):
            raise KeyError(after)
        row = db.execute(
            "SELECT number, time FROM entries WHERE number > ? ORDER BY number LIMIT 1", (number,)
        ).fetchone()
        if row is not None and (row[0] != number + 1 or row[1] <= self._clock() - self._retention):
            raise KeyError(after)
        return number

    async def _rows(self, epoch: str, first: int, last: int) -> list[Row]:
        statement = f"{FIND_ENTRIES} WHERE number BETWEEN ? AND ? ORDER BY number"
        rows = await self._file.use(lambda db: db.execute(statement, (first, last)).fetchall())
        # Keep the loop responsive between the pages of a long backlog.
        await asyncio.sleep(0)
        if epoch != self._epoch:
            raise KeyError(f"{epoch}.{first}")
        return rows

    def _following(self, db: sqlite3.Connection, number: int, most: int) -> list[Entry]:
        statement = f"{FIND_ENTRIES} WHERE number > ? AND number <= ? ORDER BY number LIMIT ?"
        rows = db.execute(statement, (number, most, PAGE)).fetchall()
        if rows and rows[0][0] != number + 1:
            raise _LostError(f"Entries after {number} were deleted before this process has read them.")
        return [self.damage.decode(body, f"{self._epoch}.{number}") for number, body in rows]

    # Publishing.

    def _publish(self, stored: Sequence[Stored]) -> None:
        """Publish entries that this process has just stored to its subscribers, and send them to other processes."""
        assert self._bus is not None
        first = stored[0][0]
        if self._bus.has_peers:
            self._bus.notify(encode_stored(self._epoch, first, [body for _, _, body in stored]))
        if self._subscribers:
            if first == self._published + 1:
                epoch = self._epoch
                self._subscribers.publish([replace(entry, position=f"{epoch}.{number}") for number, entry, _ in stored])
                self._published = stored[-1][0]
            else:
                self._publish_new()

    def _publish_new(self) -> None:
        """Publish the entries of the file that have not been published to the subscribers yet."""
        if not self._subscribers:
            return
        try:
            batch = self._file.attempt(partial(self._following, number=self._published, most=int(FOREVER)))
        except _LostError as error:
            self._subscribers.fail(error)
            return
        except (LockedError, LogUnavailableError):
            # `_run_watch` tries again.
            return
        self._published += len(batch)
        self._subscribers.publish(batch)
        if len(batch) == PAGE:
            asyncio.get_running_loop().call_soon(self._publish_new)

    def _receive(self, messages: Sequence[bytes]) -> None:
        """Called when another process has stored entries or has sent volatile ones. Without messages: read the file."""
        volatile = [message for message in messages if not message.startswith(STORED)]
        if volatile or not messages:
            # Earlier versions send no wake-up if they send volatile entries.
            self._publish_new()
            self._subscribers.publish(self.damage.decode_volatile(volatile))
        for message in messages:
            if message.startswith(STORED):
                self._publish_sent(message)

    def _publish_sent(self, message: bytes) -> None:
        """Publish entries that another process has stored and sent: from the file, if they do not come next."""
        epoch, first, bodies = decode_stored(message)
        if epoch != self._epoch or first != self._published + 1:
            self._publish_new()
        elif self._subscribers:
            self._published += len(bodies)
            self._subscribers.publish(
                [self.damage.decode(body, f"{epoch}.{number}") for number, body in enumerate(bodies, first)]
            )

    async def _run_watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_INTERVAL)
            with suppress(LogUnavailableError, OSError):
                more = True
                while more:
                    more = await self._file.transact(partial(self._trim, most=4 * TRIM_EVERY))
                    await asyncio.sleep(0)
                if self._bus is not None:
                    self._bus.refresh()
                self._publish_new()
                await self._file.checkpoint()


class _LostError(LogUnavailableError):
    """Entries are lost and cannot be delivered."""
