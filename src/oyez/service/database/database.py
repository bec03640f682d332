"""The domain database: plain synchronous functions, each run as one transaction in a worker thread.

Each system has threads and connections of its own, some of them for reads alone, so that one system, one user or one
locked table cannot make the others wait. A transaction that takes too long is cancelled and raises
DatabaseUnavailableError. This module knows SQLAlchemy Core and the options of SQLite and PostgreSQL; it knows no
table.
"""

import asyncio
import copy
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Concatenate, Literal, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, MetaData, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from oyez.concurrency.file_lock import make_private
from oyez.errors import DatabaseUnavailableError, SettingsError
from oyez.logger import get_logger
from oyez.runtime.awaiting import must_await
from oyez.runtime.current import current_user
from oyez.service.data_folder import check_usable
from oyez.service.database.engines import TIMEOUTS, UNHURRIED, open_postgresql, open_sqlite
from oyez.service.database.fair_pool import FairPool, RunItem, run_alone
from oyez.service.database.revisions import find_newest
from oyez.service.database.transact import Task, run_together
from oyez.settings import Limits, Settings

logger = get_logger("oyez.service")

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")

READERS = 2
"""Threads for SQLite's read transactions, which never wait for the writer. One thread is the fastest (measured: 5,800
reads/s, with four threads 4,300, because they share the interpreter); the second is for quick queries beside a slow
one."""
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

    def __init__(
        self, url: str, limits: Limits | None = None, connections: int = 6, sync: Literal["normal", "full"] = "normal"
    ) -> None:
        """Open `url` (`sqlite:///PATH` or `postgresql://…`) and connect once, to fail early.

        `connections` is for PostgreSQL, and for each part. `sync` is for SQLite: what a commit survives. Raises
        SettingsError if that cannot be done; the message never holds the password.
        """
        self._url = parsed = parse_url(url)
        self._limits = limits or Limits()
        self._connections = connections
        self._sync = sync
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
            reading = open_sqlite(self._url, limits, READERS, "BEGIN", "PRAGMA query_only = ON")
            readers = self._open_pool(f"oyez-db-{name}-read", READERS)
            if whole is not None:
                return replace(whole, reading=reading, readers=readers)
            writing = open_sqlite(self._url, limits, 1, "BEGIN IMMEDIATE", f"PRAGMA synchronous = {self._sync}")
            return _Ways(writing, writing, reading, self._open_pool("oyez-db", 1, run_together), readers)
        readers_count = max(1, self._connections // 3)
        writers_count = self._connections - readers_count
        engine = open_postgresql(self._url, limits, writers_count)
        return _Ways(
            # As on SQLite: a transaction never sees unfinished changes of another one.
            engine.execution_options(isolation_level="SERIALIZABLE"),
            engine.execution_options(isolation_level="READ COMMITTED"),
            open_postgresql(self._url, limits, readers_count).execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            ),
            self._open_pool(f"oyez-db-{name}", writers_count),
            self._open_pool(f"oyez-db-{name}-read", readers_count),
        )

    def _open_pool(self, name: str, threads: int, run: RunItem = run_alone) -> FairPool:
        limits = self._limits
        return FairPool(name, threads, limits.max_database_queue, limits.max_database_queue_per_user, run)

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
        run again: on PostgreSQL if it collides with another transaction, on SQLite if a commit fails.
        """
        ways = self._ways
        return await self._run(ways.writers, ways.writing, lambda c: function(c, *args, **kwargs), Future.result)

    async def run_then(self, work: Callable[[Connection], T], finish: Callable[[Future[T]], R]) -> R:
        """Run `work` as `run` does, and return what `finish` returns for it.

        `finish` is called when the transaction has ended, on SQLite in the order of the commits, and also if the caller
        no longer waits.
        """
        return await self._run(self._ways.writers, self._ways.writing, work, finish)

    async def _run(
        self, pool: FairPool, engine: Engine, work: Callable[[Connection], T], finish: Callable[[Future[T]], R]
    ) -> R:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[R] = loop.create_future()
        try:
            future = pool.submit(Task(engine, work), self._name, current_user.get())
        except Exception as error:  # `finish` learns of it too.
            future = Future()
            future.set_exception(error)
        future.add_done_callback(lambda future: loop.call_soon_threadsafe(_finish, future, finish, answer))
        return await self._wait(future, answer)

    async def _wait(self, future: Future[T], answer: asyncio.Future[R]) -> R:
        """`answer`, which follows from `future`.

        Raises DatabaseUnavailableError if the transaction does not begin, or does not end, in time.
        """
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
            future.cancel()
            # Nobody reads the result of an overdue transaction.
            answer.cancel()

    async def run_maintenance(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `run`, for one statement on rows that no other transaction uses.

        On PostgreSQL it is READ COMMITTED, so that it causes no repetition of transactions of `run`.
        """
        ways = self._ways
        return await self._run(ways.writers, ways.maintenance, lambda c: function(c, *args, **kwargs), Future.result)

    @must_await
    async def read(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `run` for a function that only reads: it sees one state of the database and does not wait for writers.

        A statement that writes raises sqlalchemy.exc.DBAPIError.
        """
        ways = self._ways
        return await self._run(ways.readers, ways.reading, lambda c: function(c, *args, **kwargs), Future.result)

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


def _finish(future: Future[T], finish: Callable[[Future[T]], R], answer: asyncio.Future[R]) -> None:
    """Answer the caller, if it still waits."""
    try:
        result = finish(future)
    except BaseException as error:
        if not answer.done():
            answer.cancel() if isinstance(error, CancelledError) else answer.set_exception(error)
    else:
        if not answer.done():
            answer.set_result(result)


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
        return Database(settings.database_url, settings.limits, settings.database_connections, settings.database_sync)
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
    return Database(url, settings.limits, settings.database_connections, settings.database_sync)


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
