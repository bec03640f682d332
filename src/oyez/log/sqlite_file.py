"""The SQLite file of a log, which the processes of one machine share. A broken file is replaced.

All statements run in the event loop and not in a thread: a commit takes about 20 µs, less than a change of thread. The
file is in WAL mode and holds only the log, so only appends of other processes lock it. With `synchronous=NORMAL`,
entries survive a killed process; only power loss can remove the newest entries, and then a new epoch begins. With
`full` they survive power loss too.

Every fault, such as a deleted or broken file or a full disk, raises LogUnavailableError at once. The next use opens the
file again.
"""

import asyncio
import secrets
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeVar

from oyez.concurrency.file_lock import lock_folder, make_private
from oyez.errors import LogUnavailableError, SettingsError
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
"""The statements that make each format of the file from the format before it; the first one from an empty file."""
APPLICATION_ID = 0x4F59455A
"""Marks the file as a log of Oyez, in SQLite's header."""
PAGE_BYTES = 1_024
"""Bytes of a page: small, because each commit writes whole pages and an entry has a few hundred bytes."""
MAX_WAL_BYTES = 8_000_000
"""Bytes of the WAL until a thread copies it into the file: several, so that the disk is not always busy. Counted in
bytes, because a commit of one small row writes several pages."""
MAX_WAL_PAGES = 100_000
"""Pages in the WAL above which it is copied in the event loop, which blocks it: only if the thread is too slow."""
MIN_WAL_PAGES = 250
"""Pages in the WAL (250 KB) below which it is never copied in the event loop, even if the log is small."""
MAX_READER_PAGES = 1_000
"""Pages (1 MB) left in the WAL above which another program must be reading an old state of the file."""
CHECKPOINT_TIMEOUT = 1.0
"""Seconds that the thread waits for a moment without an append; it tries again after the next check."""
LOCK_TIMEOUT = 2.0
"""Seconds to wait for the appends of other processes. An append takes microseconds, so a process that locks the file
for longer hangs."""
BOOT = Path("/proc/sys/kernel/random/boot_id")
"""A file whose content changes when the machine starts again. On systems without it, use `full` against power loss."""

Sync = Literal["normal", "full"]


def read_boot() -> str:
    """The id of this start of the machine; empty if it is not known."""
    return BOOT.read_text().strip() if BOOT.exists() else ""


class SqliteFile:
    """The file at `path`.

    `on_open` is called after each opening: with True if there was no file before, and with the number of the newest
    entry.
    """

    def __init__(
        self, path: Path, *, max_bytes: int, sync: Sync, boot: Callable[[], str], on_open: Callable[[bool, int], None]
    ) -> None:
        self.path = path
        self.epoch = ""
        self._max_bytes = max_bytes
        self._sync = sync
        self._boot = boot
        self._on_open = on_open
        self._db: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        """Device and inode of the open file."""
        self._failing = False
        self._closed = False

    # Use.

    async def transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` in a transaction. Raises LogUnavailableError."""

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

        return await self.use(transact)

    async def use(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work`, which is one statement or reads only; waits while another process locks the file.

        Raises LogUnavailableError.
        """
        deadline: float | None = None
        while True:
            try:
                return self.attempt(work)
            except LockedError:
                loop = asyncio.get_running_loop()
                deadline = deadline or loop.time() + LOCK_TIMEOUT
                if loop.time() > deadline:
                    raise LogUnavailableError(
                        f"{self.path} has been locked for {LOCK_TIMEOUT} s; nothing was stored."
                        " Find the process that locks it."
                    ) from None
                await asyncio.sleep(0.001)

    def attempt(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """`use` without waiting. Raises LockedError or LogUnavailableError."""
        if self._closed:
            raise LogUnavailableError("The log is closed; nothing was stored. Publish to a running server.")
        try:
            db = self._connect()
            changes = db.total_changes if self._failing else 0
            result = work(db)
        except SettingsError as error:
            # A process that is already running cannot end because of it; `SqliteLog.open` raises it at the start.
            raise LogUnavailableError(str(error)) from error
        except (sqlite3.Error, OSError) as error:
            raise self._handle(error) from error
        # A full disk can still be read.
        if self._failing and db.total_changes > changes:
            self._failing = False
            logger.info("the log can be used again", file=str(self.path))
        return result

    def count_bytes(self, db: sqlite3.Connection) -> int:
        """Bytes of the pages in use."""
        return (_pragma(db, "page_count") - _pragma(db, "freelist_count")) * PAGE_BYTES

    async def checkpoint(self) -> None:
        """Copy the WAL into the file, and empty it, if it has grown."""
        if self._db is not None and _wal_size(self.path) > min(MAX_WAL_BYTES, self._max_bytes):
            await asyncio.to_thread(_checkpoint, self.path)

    def close(self) -> None:
        """Close the file; every further use raises LogUnavailableError."""
        self._closed = True
        self._disconnect()

    # Faults.

    def _handle(self, error: Exception) -> Exception:
        """The error to raise for `error`. A connection that may be unusable is closed, and a broken file set aside."""
        code = _code(error)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or isinstance(error, BlockingIOError):
            return LockedError()
        identity = self._identity
        if code != sqlite3.SQLITE_FULL:
            self._disconnect()
        if _is_broken(error):
            with suppress(OSError), lock_folder(self.path.parent, wait=False):
                # Unless another process has done so already.
                if identity == _identify(self.path):
                    self._set_aside(error)
        if not self._failing:
            self._failing = True
            logger.error("the log cannot be used", file=str(self.path), error=str(error))
        return LogUnavailableError(f"{self.path} cannot be used: {error}. Nothing was stored.")

    def _set_aside(self, error: Exception) -> None:
        """Keep a broken file under another name, so that an operator can examine it, and begin a new one.

        The log holds only the events of a few minutes. It is better to continue, and to notify clients that they must
        fetch their state again, than to stop until an operator repairs the file.
        """
        aside = self.path.with_name(f"{self.path.name}.broken-{time.time_ns()}")
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
        logger.error("the log's file is broken: it is set aside, a new one begins", aside=str(aside), error=str(error))

    # Opening.

    def _connect(self) -> sqlite3.Connection:
        """The connection to the file that is at the path now."""
        if self._db is not None:
            try:
                found = self.path.stat()
                if (found.st_dev, found.st_ino) == self._identity:
                    return self._db
            except FileNotFoundError:
                pass
            self._disconnect()
            logger.error("the log's file was removed or replaced", file=str(self.path))
        created = not self.path.exists()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        make_private(self.path)
        # Opening, converting and setting aside are for one process at a time.
        with lock_folder(self.path.parent, wait=False):
            try:
                db, last = self._open()
            except sqlite3.DatabaseError as error:
                if not _is_broken(error):
                    raise
                self._set_aside(error)
                db, last = self._open()
        try:
            self._on_open(created, last)
        except BaseException:
            self._disconnect()
            raise
        return db

    def _open(self) -> tuple[sqlite3.Connection, int]:
        """A connection, and the number of the newest entry."""
        wal = Path(f"{self.path}-wal")
        unclean = wal.exists() and wal.stat().st_size > 0
        db = sqlite3.connect(self.path, timeout=0, isolation_level=None, cached_statements=64)
        try:
            self._prepare(db, unclean)
            ((self.epoch,),) = db.execute("SELECT epoch FROM about").fetchall()
            last = find_last(db)
        except BaseException:
            db.close()
            raise
        self._db, self._identity = db, _identify(self.path)
        return db, last

    def _prepare(self, db: sqlite3.Connection, unclean: bool) -> None:
        """Convert the file to the current format, and begin a new epoch if entries may have been lost."""
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        written = _pragma(db, "user_version")
        self._check_format(db, written)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {self._sync}")
        # Limit the WAL, so that a small log does not have a WAL of many times its size.
        pages = min(MAX_WAL_PAGES, max(MIN_WAL_PAGES, self._max_bytes // _pragma(db, "page_size")))
        db.execute(f"PRAGMA wal_autocheckpoint = {pages}")
        for number, script in enumerate(FORMATS[written:], written + 1):
            begin = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number};"
            db.executescript(f"BEGIN IMMEDIATE; {script} {begin} COMMIT;")
        self._note_boot(db, unclean)

    def _check_format(self, db: sqlite3.Connection, written: int) -> None:
        """Raises SettingsError if the file is not a log, or was written by a newer version."""
        tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if tables and _pragma(db, "application_id") != APPLICATION_ID:
            raise SettingsError(f"{self.path} is not a log of Oyez. Move it away, or set OYEZ_DATA to another folder.")
        if written > len(FORMATS):
            raise SettingsError(
                f"{self.path} was written by a newer Oyez: its format is {written}, this Oyez reads {len(FORMATS)}."
                " Start the newer Oyez again, or move the file away: events that clients have not received yet are"
                " lost then."
            )

    def _note_boot(self, db: sqlite3.Connection, unclean: bool) -> None:
        boot = self._boot()
        rows = db.execute("SELECT boot, sync FROM about").fetchall()
        if not rows:
            db.execute("INSERT INTO about VALUES (?, ?, ?)", (secrets.token_hex(4), boot, self._sync))
        elif rows[0] != (boot, self._sync):
            db.execute("UPDATE about SET boot = ?, sync = ?", (boot, self._sync))
            if rows[0][0] != boot and unclean and rows[0][1] != "full":
                # The machine has started again, and no process had closed the file before.
                db.execute("UPDATE about SET epoch = ?", (secrets.token_hex(4),))
                logger.warning("the log was not closed before the machine stopped: its newest entries may be lost")

    def _disconnect(self) -> None:
        db, self._db, self._identity = self._db, None, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()


class LockedError(Exception):
    """Another process is writing."""


def find_last(db: sqlite3.Connection) -> int:
    """The number of the newest entry; 0 if there is none."""
    row = db.execute("SELECT number FROM entries ORDER BY number DESC LIMIT 1").fetchone()
    return int(row[0]) if row else 0


def _wal_size(path: Path) -> int:
    try:
        return Path(f"{path}-wal").stat().st_size
    except OSError:
        return 0


def _checkpoint(path: Path) -> None:
    """Write the WAL into its file and empty it, over a connection of this thread's own.

    Most pages are written while others append; the second pass writes what they appended during the first. The rest, a
    few pages, is written while appends wait for the lock, without stopping their loops. Another program that reads an
    old state of the file, such as a backup, keeps the WAL from being emptied: appends do not wait for it.
    """
    with suppress(sqlite3.Error):
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=CHECKPOINT_TIMEOUT)
        try:
            for _ in range(2):
                ((_, pages, written),) = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            if pages - written <= MAX_READER_PAGES:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            db.close()


def _code(error: Exception) -> int:
    """SQLite's primary code for an error; 0 for errors of other origin."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _is_broken(error: Exception) -> bool:
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _identify(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])
