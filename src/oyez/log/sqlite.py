"""The log in a SQLite file: durable, and shared by all processes of one machine.

It writes at once, in the loop and not in a thread: a commit takes about 20 µs, less than a change of thread. The file
is in WAL mode and is nobody else's, so nothing but another process' append ever locks it. `synchronous=NORMAL`
survives a killed process; only power loss can take the newest entries, and then there is a new epoch. `full` survives
that too.

Whatever is found wrong while it runs, a deleted or broken file, a full disk, ends at once in LogUnavailableError; the
next call, or the next turn of a second's watch, reaches for the file anew.
"""

import asyncio
import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Literal, TypeVar

from msgspec.structs import replace

from oyez.concurrency.file_lock import lock_folder
from oyez.errors import LogUnavailableError, SettingsError
from oyez.log.damage import Damage
from oyez.log.entry_codec import encode_entry
from oyez.log.local_bus import LocalBus
from oyez.log.log import Checkpoint, Deliver, Entry, epoch_of, split_position
from oyez.log.page_cache import PAGE, PageCache, Row
from oyez.log.subscribers import Subscribers
from oyez.logger import get_logger

logger = get_logger("oyez.log")
T = TypeVar("T")

FORMATS = (
    """
    CREATE TABLE about (epoch TEXT NOT NULL, boot TEXT NOT NULL, sync TEXT NOT NULL);
    CREATE TABLE entries (number INTEGER PRIMARY KEY, time REAL NOT NULL, key TEXT, entry BLOB NOT NULL);
    CREATE UNIQUE INDEX keys ON entries (key) WHERE key IS NOT NULL;
    CREATE TABLE records (key TEXT PRIMARY KEY, value BLOB NOT NULL, ends REAL NOT NULL) WITHOUT ROWID;
    CREATE INDEX ends ON records (ends);
    """,
)
"""What makes each format of the file from the one before it; the first from an empty file."""
APPLICATION_ID = 0x4F59455A
"""Marks the file as a log of Oyez, for SQLite's header."""
PAGE_BYTES = 1_024
"""A small page: each commit writes whole pages, and an entry has a few hundred bytes."""
CHECKPOINT_CHANGES = 5_000
"""Rows written before the WAL goes into the file itself, in a thread: some MB, so that the disk is not always busy."""
MAX_WAL_PAGES = 100_000
"""Pages in the WAL before that happens in the loop, which stops meanwhile: only where the thread cannot keep up."""
MIN_WAL_PAGES = 250
"""Pages below which the loop is not stopped for that, however small the log: a MB."""
CHECKPOINT_TIMEOUT = 1.0
"""Seconds that the thread waits for a moment without an append."""
LOCK_TIMEOUT = 2.0
"""Seconds to wait for the others' appends, which take microseconds; a lock that lasts is somebody's who hangs."""
WATCH_INTERVAL = 1.0
"""Seconds between two looks at the file: for wake-ups that were lost, for a file that was deleted."""
FORGET_EVERY = 64
"""Entries between two rounds of forgetting, each of which forgets at most four times as many: never a long stop."""
BOOT = Path("/proc/sys/kernel/random/boot_id")
"""Another content means that the machine was started again. Where there is no such file, only `full` can tell."""


FOREVER = 2.0**62
"""A time that does not come."""
FIND_ENTRIES = "SELECT number, coalesce(CAST(entry AS BLOB), x'') FROM entries"
"""As bytes, of any type: one flipped bit can make SQLite take them for text, or for nothing."""
FIND_RECORD = "SELECT value, ends FROM records WHERE key = ?"
PUT_RECORD = "INSERT OR REPLACE INTO records VALUES (?, ?, ?)"
TAKE_RECORD = "DELETE FROM records WHERE key = ? RETURNING value, ends"
BEGUN_ANEW = "The log has begun anew: what was in it is lost."


class SqliteLog:
    """Keeps entries for `retention` seconds, and at most about `max_bytes` of them, in the file `path`."""

    def __init__(
        self,
        path: Path,
        *,
        retention: float = 300.0,
        max_bytes: int = 1_000_000_000,
        sync: Literal["normal", "full"] = "normal",
        clock: Callable[[], float] = time.time,
        boot: Callable[[], str] = lambda: BOOT.read_text().strip() if BOOT.exists() else "",
    ) -> None:
        self._path = path
        self._retention = retention
        self._max_bytes = max_bytes
        self._sync = sync
        self._clock = clock
        self._boot = boot
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._epoch = ""
        self.damage = Damage(str(path))
        self._pages = PageCache(self._rows, self.damage)
        self._subscribers = Subscribers()
        self._heard = 0
        """The number up to which the subscribers were given everything."""
        self._unforgotten = 0
        self._checkpointed = 0
        """Rows written over the connection when its WAL was last brought into the file."""
        self._bus: LocalBus | None = None
        self._watch: asyncio.Task[None] | None = None
        self._failing = False
        self._closed = False

    async def open(self) -> None:
        if self._watch is None and not self._closed:
            try:
                await self._use(lambda db: None)
            except LogUnavailableError as error:
                if isinstance(error.__cause__, SettingsError):
                    raise error.__cause__ from None
                raise

    async def close(self) -> None:
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
        self._subscribers.close()
        if self._bus is not None:
            self._bus.close()
        self._leave()

    # Entries.

    async def append(self, entries: Sequence[Entry], checkpoint: Checkpoint | None = None) -> list[str]:
        encoded = [(entry, encode_entry(entry)) for entry in entries]
        if not encoded:
            return []
        numbers, stored = await self._write(partial(self._store, encoded, checkpoint))
        if stored:
            self._pass_on(stored)
        return [f"{self._epoch}.{number}" for number in numbers]

    async def broadcast(self, entry: Entry) -> None:
        if self._watch is None:
            await self._use(lambda db: None)
        if self._bus is not None:
            self._bus.send(encode_entry(entry))
        self._subscribers.publish([entry])

    async def read(self, after: str, namespace: str, rooms: frozenset[str], limit: int) -> list[Entry]:
        number, last = await self._use(lambda db: (self._check(db, after), _last_number(db)))
        return await self._pages.find(epoch_of(after), number, last, namespace, rooms, limit)

    async def tail(self, deliver: Deliver, after: str | None = None) -> None:
        if self._closed:
            return
        if after is None:
            after = await self.position()
        number = await self._use(partial(self._check, after=after))
        if not self._subscribers:
            self._heard = number
        # A long way is gone in pieces, so that everybody else gets on meanwhile.
        while number != self._heard:
            if number < self._heard:
                batch = await self._use(partial(self._following, number=number, most=self._heard))
                number += len(batch)
                deliver(batch)
            else:
                await self._use(lambda db: self._catch_up())
            await asyncio.sleep(0)
        if epoch_of(after) != self._epoch:
            raise _LostError(BEGUN_ANEW)
        asyncio.get_running_loop().call_soon(self._catch_up)
        await self._subscribers.run(deliver)

    async def position(self) -> str:
        number = await self._use(_last_number)
        return f"{self._epoch}.{number}"

    async def position_before(self, most: int) -> str:
        def work(db: sqlite3.Connection) -> int:
            kept = "SELECT number FROM entries WHERE time > ? ORDER BY number LIMIT 1"
            row = db.execute(kept, (self._clock() - self._retention,)).fetchone()
            last = _last_number(db)
            return max(last - most, row[0] - 1 if row else last)

        number = await self._use(work)
        return f"{self._epoch}.{number}"

    # Records.

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        await self._use(lambda db: db.execute(PUT_RECORD, (key, value, self._clock() + ttl)))

    async def put_all(self, records: Mapping[str, bytes | None], ttl: float) -> None:
        ends = self._clock() + ttl
        rows = [(key, value, ends) for key, value in records.items() if value is not None]
        gone = [(key,) for key, value in records.items() if value is None]

        def work(db: sqlite3.Connection) -> None:
            db.executemany(PUT_RECORD, rows)
            db.executemany("DELETE FROM records WHERE key = ?", gone)

        if records:
            await self._write(work)

    async def get(self, key: str) -> bytes | None:
        return await self._use(lambda db: self._value(db.execute(FIND_RECORD, (key,))))

    async def get_all(self, keys: Sequence[str]) -> dict[str, bytes]:
        # One statement for all of them would cost more, where they are a few.
        found = await self._use(lambda db: [self._value(db.execute(FIND_RECORD, (key,))) for key in keys])
        return {key: value for key, value in zip(keys, found, strict=True) if value is not None}

    async def get_and_delete(self, key: str) -> bytes | None:
        return await self._use(lambda db: self._value(db.execute(TAKE_RECORD, (key,))))

    async def put_if_absent(self, key: str, value: bytes, ttl: float) -> bytes | None:
        def work(db: sqlite3.Connection) -> bytes | None:
            there = self._value(db.execute(FIND_RECORD, (key,)))
            if there is None:
                db.execute(PUT_RECORD, (key, value, self._clock() + ttl))
            return there

        return await self._write(work)

    def _value(self, found: sqlite3.Cursor) -> bytes | None:
        row = next(iter(found.fetchall()), None)
        return row[0] if row is not None and row[1] > self._clock() else None

    # Storing and finding.

    def _store(
        self, encoded: Sequence[tuple[Entry, bytes]], checkpoint: Checkpoint | None, db: sqlite3.Connection
    ) -> tuple[list[int], list[tuple[int, Entry]]]:
        """The number of every entry, and those that were not there yet."""
        now = self._clock()
        last = _last_number(db)
        numbers: list[int] = []
        stored: list[tuple[int, Entry]] = []
        rows: list[tuple[int, float, str | None, bytes]] = []
        keyed: dict[str, int] = {}
        for entry, body in encoded:
            number = (keyed.get(entry.key) or self._find_key(db, entry.key, now)) if entry.key else None
            if number is None:
                number = last + len(rows) + 1
                rows.append((number, now, entry.key or None, body))
                stored.append((number, entry))
                if entry.key:
                    keyed[entry.key] = number
            numbers.append(number)
        db.executemany("INSERT INTO entries VALUES (?, ?, ?, ?)", rows)
        if checkpoint is not None and rows:
            db.execute(PUT_RECORD, (*checkpoint, FOREVER))
        self._unforgotten += len(rows)
        if self._unforgotten >= FORGET_EVERY:
            self._forget(db, 4 * self._unforgotten)
        return numbers, stored

    def _find_key(self, db: sqlite3.Connection, key: str, now: float) -> int | None:
        row = db.execute("SELECT number, time FROM entries WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        if row[1] <= now - self._retention:
            db.execute("UPDATE entries SET key = NULL WHERE number = ?", (row[0],))
            return None
        return int(row[0])

    def _forget(self, db: sqlite3.Connection, most: int) -> bool:
        """Delete what is too old or too much, `most` entries at a time, but never the last one: it holds the count.

        Whether there may be more.
        """
        self._unforgotten = 0
        used = (_pragma(db, "page_count") - _pragma(db, "freelist_count")) * PAGE_BYTES
        oldest = 2.0**62 if used > self._max_bytes else self._clock() - self._retention
        found = db.execute("SELECT number, time FROM entries ORDER BY number LIMIT ?", (most,)).fetchall()
        last = _last_number(db)
        ending = [number for number, _ in takewhile(lambda row: row[1] <= oldest and row[0] < last, found)]
        if ending:
            db.execute("DELETE FROM entries WHERE number <= ?", (ending[-1],))
        db.execute(
            "DELETE FROM records WHERE key IN (SELECT key FROM records WHERE ends <= ? LIMIT ?)", (self._clock(), most)
        )
        return len(ending) == most

    def _check(self, db: sqlite3.Connection, after: str) -> int:
        """The number of a position behind which everything is kept. Raises KeyError for any other."""
        epoch, number = split_position(after)
        if epoch != self._epoch or number > _last_number(db):
            raise KeyError(after)
        row = db.execute(
            "SELECT number, time FROM entries WHERE number > ? ORDER BY number LIMIT 1", (number,)
        ).fetchone()
        if row is not None and (row[0] != number + 1 or row[1] <= self._clock() - self._retention):
            raise KeyError(after)
        return number

    async def _rows(self, epoch: str, first: int, last: int) -> list[Row]:
        statement = f"{FIND_ENTRIES} WHERE number BETWEEN ? AND ? ORDER BY number"
        rows = await self._use(lambda db: db.execute(statement, (first, last)).fetchall())
        # Whoever has a long way to go lets everybody else get on.
        await asyncio.sleep(0)
        if epoch != self._epoch:
            raise KeyError(f"{epoch}.{first}")
        return rows

    def _following(self, db: sqlite3.Connection, number: int, most: int) -> list[Entry]:
        statement = f"{FIND_ENTRIES} WHERE number > ? AND number <= ? ORDER BY number LIMIT ?"
        rows = db.execute(statement, (number, most, PAGE)).fetchall()
        if rows and rows[0][0] != number + 1:
            raise _LostError(f"Entries behind {number} were forgotten before this process has read them.")
        return [self.damage.decode(body, f"{self._epoch}.{number}") for number, body in rows]

    # Handing on.

    def _pass_on(self, stored: Sequence[tuple[int, Entry]]) -> None:
        """What this process has just stored goes to its own subscribers without being read again."""
        assert self._bus is not None
        self._bus.wake()
        if self._subscribers:
            if stored[0][0] == self._heard + 1:
                self._subscribers.publish(
                    [replace(entry, position=f"{self._epoch}.{number}") for number, entry in stored]
                )
                self._heard = stored[-1][0]
            else:
                self._catch_up()

    def _catch_up(self) -> None:
        """Give the subscribers what they have not been given yet."""
        if not self._subscribers:
            return
        try:
            batch = self._attempt(partial(self._following, number=self._heard, most=2**62))
        except _LostError as error:
            self._subscribers.fail(error)
            return
        except (_LockedError, LogUnavailableError):
            # The watch will try again.
            return
        self._heard += len(batch)
        self._subscribers.publish(batch)
        if len(batch) == PAGE:
            asyncio.get_running_loop().call_soon(self._catch_up)

    def _listen(self, messages: Sequence[bytes]) -> None:
        """A peer has something: entries that it stored, or volatile ones."""
        self._catch_up()
        self._subscribers.publish(self.damage.decode_volatile(list(messages)))

    async def _run_watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_INTERVAL)
            with suppress(LogUnavailableError, OSError):
                more = True
                while more:
                    more = await self._write(partial(self._forget, most=4 * FORGET_EVERY))
                    await asyncio.sleep(0)
                if self._bus is not None:
                    self._bus.refresh()
                self._catch_up()
                await self._checkpoint()

    async def _checkpoint(self) -> None:
        """Bring the WAL into the file where it has grown."""
        if self._db is None:
            return
        large = _wal_size(self._path) > self._max_bytes
        if not large and self._db.total_changes - self._checkpointed < CHECKPOINT_CHANGES:
            return
        self._checkpointed = self._db.total_changes
        await asyncio.to_thread(_checkpoint, self._path, truncate=large)

    # Reaching the file.

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` in a transaction of its own."""

        def transact(db: sqlite3.Connection) -> T:
            db.execute("BEGIN IMMEDIATE")
            try:
                result = work(db)
                db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise
            return result

        return await self._use(transact)

    async def _use(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work`, waiting a little for another process to let go of the file."""
        deadline: float | None = None
        while True:
            try:
                return self._attempt(work)
            except _LockedError:
                loop = asyncio.get_running_loop()
                deadline = deadline or loop.time() + LOCK_TIMEOUT
                if loop.time() > deadline:
                    raise LogUnavailableError(
                        f"{self._path} has been locked for {LOCK_TIMEOUT} s; nothing was stored. See who holds it."
                    ) from None
                await asyncio.sleep(0.001)

    def _attempt(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._closed:
            raise LogUnavailableError("The log is closed; nothing was stored. Publish to a running server.")
        try:
            db = self._reach()
            changes = db.total_changes
            result = work(db)
        except SettingsError as error:
            # Found by somebody who is at work already and cannot end for it; `open` tells who begins.
            raise LogUnavailableError(str(error)) from error
        except (sqlite3.Error, OSError) as error:
            raise self._explain(error) from error
        # A full disk can still be read.
        if self._failing and db.total_changes > changes:
            self._failing = False
            logger.info("the log can be used again", file=str(self._path))
        return result

    def _explain(self, error: Exception) -> Exception:
        """What to raise for `error`. A connection that may be no good is given up."""
        code = _code(error)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or isinstance(error, BlockingIOError):
            return _LockedError()
        file = self._file
        if code != sqlite3.SQLITE_FULL:
            self._leave()
        if _is_broken(error):
            with suppress(OSError), lock_folder(self._path.parent, wait=False):
                # Unless another process has done so already.
                if file == _identity(self._path):
                    self._set_aside(error)
        if not self._failing:
            self._failing = True
            logger.error("the log cannot be used", file=str(self._path), error=str(error))
        return LogUnavailableError(f"{self._path} cannot be used: {error}. Nothing was stored.")

    def _reach(self) -> sqlite3.Connection:
        """The connection to the file that is there."""
        if self._db is not None:
            with suppress(FileNotFoundError):
                if _identity(self._path) == self._file:
                    return self._db
            self._leave()
            logger.error("the log's file was removed or replaced", file=str(self._path))
        return self._open_file()

    def _open_file(self) -> sqlite3.Connection:
        if self._bus is not None and not self._path.exists():
            # Its folder may have gone as well.
            self._bus.close()
            self._bus = None
        if self._bus is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        # Opening, converting and setting aside are for one process at a time.
        with lock_folder(self._path.parent, wait=False):
            try:
                self._connect()
            except sqlite3.DatabaseError as error:
                if not _is_broken(error):
                    raise
                self._set_aside(error)
                self._connect()
        if self._bus is None:
            bus = LocalBus(self._path.with_suffix(".peers"), self._listen)
            bus.open()
            self._bus = bus
        if self._watch is None:
            self._watch = asyncio.create_task(self._run_watch())
        assert self._db is not None
        return self._db

    def _connect(self) -> None:
        wal = Path(f"{self._path}-wal")
        unclean = wal.exists() and wal.stat().st_size > 0
        db = sqlite3.connect(self._path, timeout=0, isolation_level=None, cached_statements=64)
        try:
            self._prepare(db, unclean)
            ((epoch,),) = db.execute("SELECT epoch FROM about").fetchall()
            last = _last_number(db)
        except BaseException:
            db.close()
            raise
        self._db, self._file = db, _identity(self._path)
        self._checkpointed = 0
        if self._epoch and epoch != self._epoch:
            self._subscribers.fail(_LostError(BEGUN_ANEW))
            self._heard = last
        self._epoch = epoch

    def _prepare(self, db: sqlite3.Connection, unclean: bool) -> None:
        """Bring the file into today's form, and begin a new epoch where entries may have been lost."""
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        written = _pragma(db, "user_version")
        tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if tables and _pragma(db, "application_id") != APPLICATION_ID:
            raise SettingsError(f"{self._path} is no log of Oyez. Move it away, or set OYEZ_DATA to another folder.")
        if written > len(FORMATS):
            raise SettingsError(
                f"{self._path} was written by a newer Oyez: its format is {written}, this one knows {len(FORMATS)}."
                " Start the newer Oyez again, or move the file away: what clients have not got yet is lost then."
            )
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {self._sync}")
        # A small log does not have a WAL of many times its size.
        pages = min(MAX_WAL_PAGES, max(MIN_WAL_PAGES, self._max_bytes // _pragma(db, "page_size")))
        db.execute(f"PRAGMA wal_autocheckpoint = {pages}")
        boot = self._boot()
        for number, script in enumerate(FORMATS[written:], written + 1):
            begin = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number};"
            db.executescript(f"BEGIN IMMEDIATE; {script} {begin} COMMIT;")
        rows = db.execute("SELECT boot, sync FROM about").fetchall()
        if not rows:
            db.execute("INSERT INTO about VALUES (?, ?, ?)", (secrets.token_hex(4), boot, self._sync))
        elif rows[0] != (boot, self._sync):
            db.execute("UPDATE about SET boot = ?, sync = ?", (boot, self._sync))
            if rows[0][0] != boot and unclean and rows[0][1] != "full":
                # The machine was started anew, and nobody had closed the file before.
                db.execute("UPDATE about SET epoch = ?", (secrets.token_hex(4),))
                logger.warning("the log was not closed before the machine stopped: its newest entries may be lost")

    def _set_aside(self, error: Exception) -> None:
        """A broken file is kept for whoever wants to look into it, and a new one begins.

        The log is a buffer of some minutes, so going on and telling clients that they have to fetch their state again
        is better than to stand still until somebody comes.
        """
        aside = self._path.with_name(f"{self._path.name}.broken-{time.time_ns()}")
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{self._path}{suffix}").rename(f"{aside}{suffix}")
        logger.error("the log's file is broken: it is set aside, a new one begins", aside=str(aside), error=str(error))

    def _leave(self) -> None:
        db, self._db, self._file = self._db, None, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()


class _LockedError(Exception):
    """Another process is writing."""


class _LostError(LogUnavailableError):
    """Entries were missed for good."""


def _wal_size(path: Path) -> int:
    try:
        return Path(f"{path}-wal").stat().st_size
    except OSError:
        return 0


def _checkpoint(path: Path, *, truncate: bool = False) -> None:
    """Write the WAL into its file, over a connection of this thread's own.

    The most goes while others append. The rest, a few pages, is written while appends wait for the lock, without
    stopping their loops: the WAL starts from its beginning only if nothing is left. `truncate` also shrinks the file.
    """
    with suppress(sqlite3.Error):
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=CHECKPOINT_TIMEOUT)
        try:
            db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            db.execute(f"PRAGMA wal_checkpoint({'TRUNCATE' if truncate else 'FULL'})").fetchall()
        finally:
            db.close()


def _last_number(db: sqlite3.Connection) -> int:
    row = db.execute("SELECT number FROM entries ORDER BY number DESC LIMIT 1").fetchone()
    return int(row[0]) if row else 0


def _code(error: Exception) -> int:
    """SQLite's primary code for an error; 0 for others."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _is_broken(error: Exception) -> bool:
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])
