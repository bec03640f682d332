"""The domain database: plain synchronous functions, each run as one transaction in a worker thread.

Each system has threads and connections of its own, some of them for reads alone, so that one system, one user or one
locked table cannot make the others wait. A transaction that takes too long is cancelled and raises
DatabaseUnavailableError. This module knows SQLAlchemy Core and the options of SQLite and PostgreSQL; it knows no
table.
"""

import asyncio
import copy
import random
import shlex
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, MetaData, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, SQLAlchemyError

from oyez.concurrency.backoff import Backoff
from oyez.concurrency.file_lock import make_private
from oyez.errors import DatabaseUnavailableError, SettingsError
from oyez.logger import get_logger
from oyez.runtime.awaiting import must_await
from oyez.runtime.current import current_user
from oyez.service.data_folder import check_usable
from oyez.service.database.fair_pool import FairPool
from oyez.service.database.revisions import find_newest
from oyez.settings import Limits, Settings

logger = get_logger("oyez.service")

P = ParamSpec("P")
T = TypeVar("T")

READERS = 2
"""Threads for SQLite's read transactions, which never wait for the writer. One thread is the fastest (measured: 5,800
reads/s, with four threads 4,300, because they share the interpreter); the second is for quick queries beside a slow
one."""
OPEN_TIMEOUT = 10.0
"""Seconds to wait for another process while an SQLite file is opened: that process may be migrating the file."""
BUSY_TIMEOUT = 5
"""Milliseconds for which SQLite itself waits for the lock to write before it is asked again. Its own pauses grow to
100 ms, and a process that waits so long is overtaken by another one that writes again and again."""
LOCKED_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
"""SQLite's codes of a locked file. Waiting does not help against a full disk or a missing right."""
STEPS_A_LOOK = 20_000
"""Instructions of SQLite's virtual machine, about a millisecond, between two checks for an overdue transaction."""
CONNECT_TIMEOUT = 3
"""Seconds for PostgreSQL to accept a connection: it normally takes milliseconds, and a client is waiting."""
TIMEOUTS = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
"""PostgreSQL's settings for how long a transaction may wait for a lock, for a statement, and for its next statement.
The last one frees the locks of a process that hangs in a transaction."""
LOCK_PAUSE = 0.002
"""Longest time in seconds between two attempts to get SQLite's lock."""
NEVER = float("inf")
UNHURRIED = {"unhurried": True}
"""The execution options of transactions that create and migrate tables: they may take as long as they need, and wait
OPEN_TIMEOUT for another process that does the same."""
MAX_ATTEMPTS = 30
"""Attempts for a transaction that PostgreSQL cannot place in a serial order with the others. If two nodes only change
the same row, three of five attempts fail, and one transaction needed 15 (measured)."""
COLLISION_BACKOFF = Backoff(0.004, 0.25, jitter=1.0)
"""Between two attempts; random, so that the same transactions do not collide again. In the longest delay, some dozens
of transactions can be done one after the other."""
RETRIED_STATES = ("40001", "40P01")
"""Its SQLSTATEs: serialization_failure, deadlock_detected. The transaction was rolled back and may be begun again."""
UNAVAILABLE_CODES = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOTADB,
    }
)
"""SQLite's errors that are about the file and not about the statement."""
UNAVAILABLE_CLASSES = ("08", "53", "55", "57", "58")
"""Classes of PostgreSQL's SQLSTATEs that are about the server: connection, resources, locks, shutdown and time-out of
a statement, input and output."""
UNAVAILABLE_STATES = (*RETRIED_STATES, "25P03")
"""Further SQLSTATEs of that kind: no serial order after MAX_ATTEMPTS, and idle for too long in a transaction."""
MIGRATIONS = Path(__file__).parent / "migrations"
"""How migrations are run (`env.py`), and those of the service layer's own tables (`versions`)."""
DRIVERS = {
    "sqlite": "sqlite+pysqlite",
    "sqlite+pysqlite": "sqlite+pysqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
"""The schemes of URLs, and the driver of each."""
ADDRESSES = "sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME"
REMEDIES = {
    "sqlite": "Its folder has to exist and to have room, and this user has to be allowed to write there.",
    "postgresql": "Check that it runs and accepts this user, or set DATABASE_URL to another.",
}
"""By the kind of database, what to do if it does not open."""


@dataclass(frozen=True)
class _Ways:
    """The engines of one system, and the threads that use them."""

    writing: Engine
    maintenance: Engine
    reading: Engine
    writers: FairPool
    readers: FairPool

    def close(self, deadline: float) -> bool:
        """True if no transaction is running."""
        ended = [pool.shutdown(max(0.0, deadline - time.monotonic())) for pool in (self.writers, self.readers)]
        self.release()
        return all(ended)

    def release(self) -> None:
        """Close unused connections; engines open others when they need them."""
        for engine in (self.reading, self.maintenance, self.writing):
            engine.dispose()


class Database:
    """One domain database and the threads that work on it.

    ```python
    def rename(connection: Connection, user_id: str, name: str) -> bool:
        return connection.execute(update(users).where(users.c.id == user_id).values(name=name)).rowcount == 1

    renamed = await db.run(rename, "u1", "Ada")
    ```
    """

    def __init__(self, url: str, limits: Limits | None = None, connections: int = 6) -> None:
        """Open `url` (`sqlite:///PATH` or `postgresql://…`) and connect once, to fail early.

        `connections` is for PostgreSQL, and for each part. Raises SettingsError if that cannot be done; the message
        never holds the password.
        """
        self._url = parsed = parse_url(url)
        self._limits = limits or Limits()
        self._connections = connections
        self._name = "oyez"
        try:
            self._ways = self._open_ways()
            self._ways.writing.connect().close()
        except SQLAlchemyError as error:
            raise unusable(parsed, str(getattr(error, "orig", error)), REMEDIES[parsed.get_backend_name()]) from None
        except ImportError:
            install = f"{shlex.quote(sys.executable)} -m pip install 'psycopg[binary]'"
            raise unusable(parsed, "PostgreSQL needs a driver", f"Install it with `{install}`.") from None
        self._opened = [self._ways]
        """The engines and threads of all parts, including this one."""

    def part(self, name: str) -> "Database":
        """The same database for the system `name`, with threads and connections of its own. Closed with the whole.

        SQLite has one writer at a time: there the parts share the thread that writes, and take turns.
        """
        part = copy.copy(self)
        part._name = name
        part._ways = self._open_ways(name, self._ways)
        self._opened.append(part._ways)
        return part

    def _open_ways(self, name: str = "oyez", whole: _Ways | None = None) -> _Ways:
        limits = self._limits
        if self._url.get_backend_name() == "sqlite":
            reading = _open_sqlite(self._url, limits, READERS, "BEGIN", "PRAGMA query_only = ON")
            readers = self._open_pool(f"oyez-db-{name}-read", READERS)
            if whole is not None:
                return replace(whole, reading=reading, readers=readers)
            writing = _open_sqlite(self._url, limits, 1, "BEGIN IMMEDIATE")
            # Without waiting for the disk: after a power loss, the work is only done again.
            maintenance = _open_sqlite(self._url, limits, 1, "BEGIN IMMEDIATE", "PRAGMA synchronous = NORMAL")
            return _Ways(writing, maintenance, reading, self._open_pool("oyez-db", 1), readers)
        readers_count = max(1, self._connections // 3)
        writers_count = self._connections - readers_count
        engine = _open_postgresql(self._url, limits, writers_count)
        return _Ways(
            # As on SQLite: a transaction never sees unfinished changes of another one.
            engine.execution_options(isolation_level="SERIALIZABLE"),
            engine.execution_options(isolation_level="READ COMMITTED"),
            _open_postgresql(self._url, limits, readers_count).execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            ),
            self._open_pool(f"oyez-db-{name}", writers_count),
            self._open_pool(f"oyez-db-{name}-read", readers_count),
        )

    def _open_pool(self, name: str, threads: int) -> FairPool:
        return FairPool(name, threads, self._limits.max_database_queue, self._limits.max_database_queue_per_user)

    def create(self, metadata: MetaData) -> None:
        """Create the missing tables of `metadata`; existing tables are not changed. Blocks."""
        with self._ways.writing.execution_options(**UNHURRIED).begin() as connection:
            _wait_for_others(connection)
            metadata.create_all(connection)

    def connect(self) -> Connection:
        """A connection for examining the tables, outside of the threads. Blocks."""
        return self._ways.reading.connect()

    def check_tables(self, name: str, metadata: MetaData) -> None:
        """Raises SettingsError if the database lacks tables or columns of `metadata`, which `name` uses. Blocks."""
        with self.connect() as connection:
            check_columns(name, metadata, find_columns(connection, metadata))

    def migrate(self, name: str, versions: Path) -> None:
        """Bring the tables of `name` up to the newest of the Alembic revisions in the folder `versions`. Blocks.

        Each name has its own revisions, and a table `{name}_migrations` with the current one. Raises SettingsError if
        a newer version has made the database.
        """
        if self._is_migrated(name, versions):
            return
        # Imported here, because the import takes a third of a second, and mostly there is nothing to migrate.
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config(attributes={"version_table": f"{name}_migrations"})
        config.set_main_option("script_location", _escape(MIGRATIONS))
        config.set_main_option("version_locations", _escape(versions))
        config.set_main_option("path_separator", "newline")
        with self._ways.writing.execution_options(**UNHURRIED).begin() as connection:
            _wait_for_others(connection)
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise SettingsError(
                    f"The tables of {name} in the database cannot be migrated: {error}. They were made by a newer"
                    " program: install that one, or name another database by DATABASE_URL."
                ) from None

    def _is_migrated(self, name: str, versions: Path) -> bool:
        """True if the tables of `name` are certainly at the newest revision in the folder `versions`."""
        newest = find_newest(versions)
        try:
            with self.connect() as connection:
                versions_table = f"{name}_migrations"
                if newest is None or not inspect(connection).has_table(versions_table):
                    return False
                found = connection.scalars(text(f'SELECT version_num FROM "{versions_table}"')).all()
        except SQLAlchemyError:
            # The migration reports the same failure.
            return False
        return found == [newest]

    @must_await
    async def run(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function(connection, …)` as one transaction: committed when it returns, rolled back when it raises.

        Raises the errors of `function`, and DatabaseUnavailableError if the database cannot be used. If the caller is
        cancelled, a transaction that has begun runs to its end, and one that has not begun is
        dropped. `function` must not commit, must not return unread results, and must only use SQL, because it may be
        run again on PostgreSQL.
        """
        return await self.wait(self.submit(lambda connection: function(connection, *args, **kwargs)))

    def submit(self, work: Callable[[Connection], T]) -> Future[T]:
        """As `run`, for callers that need the result also after they have stopped waiting.

        Raises DatabaseUnavailableError if too many transactions wait already.
        """
        return self._submit(self._ways.writers, self._ways.writing, work)

    def _submit(self, pool: FairPool, engine: Engine, work: Callable[[Connection], T]) -> Future[T]:
        return pool.submit(lambda: _transact(engine, work), self._name, current_user.get())

    async def wait(self, future: Future[T]) -> T:
        """The result of a `submit`. Raises DatabaseUnavailableError if it does not begin, or does not end, in time."""
        answer = asyncio.wrap_future(future)
        most, to_begin = self._limits.database_timeout, self._limits.database_queue_timeout
        try:
            with suppress(_OverdueError):
                return await _await(answer, to_begin)
            if future.cancel():
                raise DatabaseUnavailableError(f"A transaction could not begin within {to_begin:g} s.")
            with suppress(_OverdueError):
                return await _await(answer, most - to_begin)
            raise DatabaseUnavailableError(f"A transaction did not end within {most:g} s.")
        finally:
            # Has no effect on a transaction that has begun.
            answer.cancel()

    async def run_maintenance(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `run`, for one statement on rows that no other transaction uses, which may be lost.

        A power loss may undo it. On PostgreSQL it is READ COMMITTED, so that it causes no repetition of transactions
        of `run`.
        """
        ways = self._ways
        future = self._submit(ways.writers, ways.maintenance, lambda connection: function(connection, *args, **kwargs))
        return await self.wait(future)

    @must_await
    async def read(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `run` for a function that only reads: it sees one state of the database and does not wait for writers.

        A statement that writes raises sqlalchemy.exc.DBAPIError.
        """
        ways = self._ways
        future = self._submit(ways.readers, ways.reading, lambda connection: function(connection, *args, **kwargs))
        return await self.wait(future)

    def release(self) -> None:
        """Close unused connections: a process that forks must not share them. `run` opens others."""
        for ways in self._opened:
            ways.release()

    def close(self, timeout: float | None = None) -> None:
        """Wait for running and queued transactions, then close the connections, also those of all parts.

        Blocks, for `timeout` seconds (`database_timeout` if None) at most: unfinished work is then abandoned. `run`
        fails from then on.
        """
        deadline = time.monotonic() + (self._limits.database_timeout if timeout is None else timeout)
        ended = [ways.close(deadline) for ways in self._opened]
        if not all(ended):
            logger.warning("the database does not answer: running transactions are answered `unavailable`")


class _OverdueError(Exception):
    """The awaited work takes too long."""


async def _await(answer: asyncio.Future[T], seconds: float) -> T:
    """The result of `answer`, which continues if it is overdue. Raises _OverdueError, and what the work raises."""
    try:
        async with asyncio.timeout(seconds) as waiting:
            return await asyncio.shield(answer)
    except TimeoutError:
        # The work may raise TimeoutError too.
        if waiting.expired() and not answer.done():
            raise _OverdueError from None
        raise


def build_database(settings: Settings, *, make: bool = True) -> Database:
    """The database at `database_url`, or `domain.sqlite` in the data folder, which is created if it is missing.

    Raises SettingsError if it cannot be used, or, without `make`, if it is missing.
    """
    if settings.database_url is not None:
        return Database(settings.database_url, settings.limits, settings.database_connections)
    folder = settings.data_folder
    check_usable(folder)
    try:
        if not make and not (folder / "domain.sqlite").exists():
            raise SettingsError(
                f"There is no database in {folder.resolve()}, where this command looks for the server's data. Run it"
                " in the folder in which `oyez serve` was started, or name the server's folder with --oyez-data."
            )
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"The data folder {folder} cannot be used: {error.strerror}. Set OYEZ_DATA to another."
        ) from None
    make_private(folder / "domain.sqlite")
    url = URL.create("sqlite", database=str(folder / "domain.sqlite")).render_as_string()
    return Database(url, settings.limits, settings.database_connections)


def _transact(engine: Engine, work: Callable[[Connection], T]) -> T:
    # The thread owns the transaction from beginning to end; the caller only waits for the result.
    attempt = 1
    while True:
        try:
            with engine.begin() as connection:
                return work(connection)
        except DBAPIError as error:
            if attempt == MAX_ATTEMPTS or getattr(error.orig, "sqlstate", None) not in RETRIED_STATES:
                if _is_unavailable(error):
                    raise DatabaseUnavailableError(f"The database cannot be used: {error.orig}.") from error
                raise
        except StopIteration as error:
            # A future cannot hold a StopIteration: the caller would wait forever (before Python 3.12).
            raise RuntimeError("the function of a transaction raised StopIteration") from error
        time.sleep(COLLISION_BACKOFF.delay(attempt))
        attempt += 1


def _is_unavailable(error: DBAPIError) -> bool:
    """True if the error is about the database, so that a repetition may succeed later."""
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        return (getattr(cause, "sqlite_errorcode", 0) & 0xFF) in UNAVAILABLE_CODES
    state = getattr(cause, "sqlstate", None)
    if error.connection_invalidated:
        return True
    if state:
        return state in UNAVAILABLE_STATES or state[:2] in UNAVAILABLE_CLASSES
    # If PostgreSQL cannot be reached, there is no SQLSTATE.
    return isinstance(error, OperationalError)


def find_columns(connection: Connection, metadata: MetaData) -> dict[str, frozenset[str]]:
    """The columns that the database has of the tables of `metadata`; tables that it does not have are left out."""
    found = {}
    for schema in {table.schema for table in metadata.tables.values()}:
        names = [table.name for table in metadata.tables.values() if table.schema == schema]
        for (_, name), columns in inspect(connection).get_multi_columns(schema=schema, filter_names=names).items():
            key = f"{schema}.{name}" if schema else name
            found[key] = frozenset(column["name"] for column in columns)
    return found


def check_columns(name: str, metadata: MetaData, found: Mapping[str, frozenset[str]]) -> None:
    """Raises SettingsError if `found` lacks tables or columns of `metadata`, which `name` uses."""
    missing = [f"the table {table}" for table in metadata.tables if table not in found]
    for table, columns in found.items():
        lacking = [column.name for column in metadata.tables[table].columns if column.name not in columns]
        missing += [f"the column {column} of {table}" for column in lacking]
    if missing:
        raise SettingsError(
            f"The database lacks {' and '.join(missing)}, which the code of {name} has. Write a migration with"
            " `oyez migrate new`, and give it the file of the system."
        )


def _wait_for_others(connection: Connection) -> None:
    """Take a lock: two nodes that start together would both find a table missing. SQLite has its lock already."""
    if connection.dialect.name == "postgresql":
        for name in TIMEOUTS:
            connection.exec_driver_sql(f"SET LOCAL {name} = 0")
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('oyez:create'))")


def _escape(path: Path) -> str:
    """A path as Alembic's configuration holds it, where % means something."""
    return str(path).replace("%", "%%")


def parse_url(url: str) -> URL:
    """The address of a database with the driver that Oyez uses. Raises SettingsError."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise SettingsError(f"DATABASE_URL is no address of a database. Set it to {ADDRESSES}.") from None
    if parsed.drivername not in DRIVERS:
        raise unusable(parsed, "it is of another kind", f"Set DATABASE_URL to {ADDRESSES}.")
    in_memory = parsed.database in (None, "", ":memory:") or parsed.query.get("mode") == "memory"
    if parsed.get_backend_name() == "sqlite" and in_memory:
        raise unusable(parsed, "SQLite in memory is a database a connection", "Name a file.")
    return parsed.set(drivername=DRIVERS[parsed.drivername])


def unusable(url: URL, reason: str, remedy: str) -> SettingsError:
    """The error for a database that cannot be used; it never shows the password."""
    # Without the query, which may hold a password too.
    shown = url.set(drivername=url.get_backend_name(), query={}).render_as_string(hide_password=True)
    return SettingsError(f"The database {shown} cannot be used: {' '.join(reason.split()).rstrip('.?')}. {remedy}")


def _open_sqlite(url: URL, limits: Limits, connections: int, begin: str, *pragmas: str) -> Engine:
    # Parameters are what users sent: an error, which may be logged, does not show them.
    engine = create_engine(
        url, pool_size=connections, max_overflow=0, hide_parameters=True, connect_args={"timeout": OPEN_TIMEOUT}
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: Any) -> None:
        # The driver would begin transactions by itself, late and without the lock; `begin` below does it instead.
        connection.isolation_level = None
        # FULL: money moves here, so a commit outlives a power cut too. The fsync costs a thread's time, not the loop's.
        _enter_wal(connection)
        for pragma in ("PRAGMA synchronous = FULL", "PRAGMA foreign_keys = ON", *pragmas):
            connection.execute(pragma)
        patience = BUSY_TIMEOUT if begin == "BEGIN IMMEDIATE" else round(limits.database_lock_timeout * 1_000)
        connection.execute(f"PRAGMA busy_timeout = {patience}")
        ends = record.info
        connection.set_progress_handler(lambda: time.monotonic() > ends.get("ends", NEVER), STEPS_A_LOOK)

    @event.listens_for(engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        now, unhurried = time.monotonic(), connection.get_execution_options().get("unhurried")
        connection.info["ends"] = NEVER if unhurried else now + limits.database_statement_timeout
        # IMMEDIATE takes the write lock first, and waits for it. A transaction that reads and then wants to write
        # cannot wait (SQLITE_BUSY_SNAPSHOT): it would fail.
        _wait_for_lock(connection, begin, now + (OPEN_TIMEOUT if unhurried else limits.database_lock_timeout))

    return engine


def _wait_for_lock(connection: Connection, begin: str, deadline: float) -> None:
    """Begin a transaction as soon as no other process has SQLite's lock."""
    driver: Any = connection.connection.driver_connection
    while time.monotonic() < deadline:
        try:
            driver.execute(begin)
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in LOCKED_CODES:
                break
        time.sleep(random.uniform(0, LOCK_PAUSE))
    # The last try, by which SQLAlchemy learns of the error.
    connection.exec_driver_sql(begin)


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Write-ahead logging. The time-out does not cover this: two that open a new file together can meet."""
    deadline = time.monotonic() + OPEN_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in LOCKED_CODES or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _open_postgresql(url: URL, limits: Limits, connections: int) -> Engine:
    # pre_ping: a connection that did not survive a restart of the server is replaced before it is used.
    engine = create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_pre_ping=True,
        hide_parameters=True,
        # The kernel notices a machine that has failed; by default this takes a quarter of an hour.
        connect_args={"connect_timeout": CONNECT_TIMEOUT, "tcp_user_timeout": round(limits.database_timeout * 1000)},
    )
    seconds = (limits.database_lock_timeout, limits.database_statement_timeout, limits.database_statement_timeout)
    settings = "".join(f"SET {name} = {round(value * 1000)};" for name, value in zip(TIMEOUTS, seconds, strict=True))

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        # Not as a parameter of the connection: poolers between Oyez and PostgreSQL refuse those.
        connection.execute(settings)
        connection.commit()

    return engine
