"""The domain database: plain synchronous functions, each run as one transaction in a worker thread.

Knows SQLAlchemy Core and how SQLite and PostgreSQL want to be opened; knows no table.
"""

import asyncio
import random
import shlex
import sqlite3
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, MetaData, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, SQLAlchemyError

from oyez.errors import DatabaseUnavailableError, SettingsError
from oyez.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")

WRITERS = {"sqlite": 1, "postgresql": 8}
"""Threads, and connections, for transactions that write. SQLite has one writer at a time: a second thread would only
poll for its lock. PostgreSQL keeps about two transactions a core busy, and 8 of its usual 100 connections let a dozen
processes share it."""
READERS = 2
"""Threads for SQLite's read transactions, which never wait for the writer. One alone is the fastest (measured: 5,800
reads/s, 4,300 with four that take turns in the interpreter); the second is for quick queries beside a slow one."""
BUSY_TIMEOUT = 10.0
"""Seconds to wait while another process writes to the same SQLite file; a transaction takes milliseconds."""
LOCKED_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
"""SQLite's codes for that; a full disk or a missing right is not over by waiting."""
CONNECT_TIMEOUT = 10
"""Seconds for PostgreSQL to accept a connection."""
MAX_ATTEMPTS = 30
"""Times a transaction is begun that PostgreSQL cannot place in a serial order with the others. Where two nodes do
nothing but change one row, three of five attempts fail and the unluckiest transaction takes 15 (measured)."""
FIRST_PAUSE = 0.004
"""Most seconds between the first two attempts, at random so that those that collided part ways, then twice as many …"""
LONGEST_PAUSE = 0.25
"""… up to these: time for some dozens of transactions to be done one after the other."""
RETRIED_STATES = ("40001", "40P01")
"""Its SQLSTATEs: serialization_failure, deadlock_detected. The transaction was rolled back and may be begun again."""
UNAVAILABLE_CODES = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOTADB,
    }
)
"""What SQLite says where the file is to blame, and not the statement."""
UNAVAILABLE_CLASSES = ("08", "53", "57", "58")
"""Classes of PostgreSQL's SQLSTATEs that say the same: connection, resources, shutdown, input and output."""
MIGRATIONS = Path(__file__).parent / "migrations"
"""How migrations are run (`env.py`), and those of the service layer's own tables (`versions`)."""
DRIVERS = {
    "sqlite": "sqlite+pysqlite",
    "sqlite+pysqlite": "sqlite+pysqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
"""What a URL may begin with, and the driver it means."""
ADDRESSES = "sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME"
REMEDIES = {
    "sqlite": "Its folder has to exist and to have room, and this user has to be allowed to write there.",
    "postgresql": "See that it runs and lets this user in, or set DATABASE_URL to another.",
}
"""What to do where a database does not open, by its kind."""


class Database:
    """One domain database and the threads that work on it.

    ```python
    def rename(connection: Connection, user_id: str, name: str) -> bool:
        return connection.execute(update(users).where(users.c.id == user_id).values(name=name)).rowcount == 1

    renamed = await db.run(rename, "u1", "Ada")
    ```
    """

    def __init__(self, url: str) -> None:
        """Open `url` (`sqlite:///PATH` or `postgresql://…`) and connect once, to fail early.

        Raises SettingsError where that cannot be done; the message never holds the password.
        """
        parsed = _parse(url)
        try:
            if parsed.get_backend_name() == "sqlite":
                writers = WRITERS["sqlite"]
                self._engine = self._writing = _open_sqlite(parsed, writers, "BEGIN IMMEDIATE")
                # Without waiting for the disk: what is lost with the power is tidied again.
                self._tidying = _open_sqlite(parsed, writers, "BEGIN IMMEDIATE", "PRAGMA synchronous = NORMAL")
                self._reading = _open_sqlite(parsed, READERS, "BEGIN", "PRAGMA query_only = ON")
            else:
                self._engine = _open_postgresql(parsed)
                # What SQLite gives by nature: transactions that cannot see each other's halves.
                self._writing = self._engine.execution_options(isolation_level="SERIALIZABLE")
                self._tidying = self._engine.execution_options(isolation_level="READ COMMITTED")
                self._reading = self._engine.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            self._engine.connect().close()
        except SQLAlchemyError as error:
            raise _unusable(parsed, str(getattr(error, "orig", error)), REMEDIES[parsed.get_backend_name()]) from None
        except ImportError:
            install = f"{shlex.quote(sys.executable)} -m pip install 'psycopg[binary]'"
            raise _unusable(parsed, "PostgreSQL needs a driver", f"Install it with `{install}`.") from None
        backend = self._engine.dialect.name
        self._writers = ThreadPoolExecutor(WRITERS[backend], "oyez-db")
        self._readers = ThreadPoolExecutor(READERS, "oyez-db-read") if backend == "sqlite" else self._writers

    def create(self, metadata: MetaData) -> None:
        """Create the tables of `metadata` that are missing; existing ones are left as they are. Blocks."""
        with self._engine.begin() as connection:
            _wait_for_others(connection)
            metadata.create_all(connection)

    def migrate(self, name: str, versions: Path) -> None:
        """Bring the tables of `name` up to the newest of the Alembic revisions in the folder `versions`. Blocks.

        Whoever has migrations has a line of revisions of its own, and a table `{name}_migrations` that says how far it
        is. Raises SettingsError where the database was made by a newer program than this.
        """
        # Only here: it takes longer to import than most commands to do what they are for.
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config(attributes={"version_table": f"{name}_migrations"})
        config.set_main_option("script_location", _escape(MIGRATIONS))
        config.set_main_option("version_locations", _escape(versions))
        config.set_main_option("path_separator", "newline")
        with self._engine.begin() as connection:
            _wait_for_others(connection)
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise SettingsError(
                    f"The tables of {name} in the database cannot be migrated: {error}. They were made by a newer"
                    " program: install that one, or name another database by DATABASE_URL."
                ) from None

    async def run(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function(connection, …)` as one transaction: committed when it returns, rolled back when it raises.

        What it raises is raised here, and DatabaseUnavailableError where the database cannot be used. A caller that is
        cancelled does not cut the transaction in two: it has not begun and never will, or it runs to its own end
        unseen. `function` must not commit, nor return unread results, nor do anything but SQL: PostgreSQL may ask for
        it to be run again.
        """
        return await asyncio.wrap_future(self.submit(lambda connection: function(connection, *args, **kwargs)))

    def submit(self, work: Callable[[Connection], T]) -> Future[T]:
        """As `run`, for a caller that wants to know how it ended even when nobody waits for it any more."""
        return self._writers.submit(_transact, self._writing, work)

    async def tidy(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `run`, for one statement on rows that are nobody else's business, which does no harm if it is undone.

        It may not outlive a power cut. On PostgreSQL it is READ COMMITTED, so that no transaction of `run` has to be
        begun again on account of it.
        """
        future = self._writers.submit(
            _transact, self._tidying, lambda connection: function(connection, *args, **kwargs)
        )
        return await asyncio.wrap_future(future)

    async def read(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `run` for a function that only reads: it sees one state of the database and does not wait for writers.

        A statement that writes raises sqlalchemy.exc.DBAPIError.
        """
        future = self._readers.submit(
            _transact, self._reading, lambda connection: function(connection, *args, **kwargs)
        )
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Wait for running and queued transactions, then close the connections. Blocks; `run` fails from then on."""
        self._writers.shutdown()
        self._readers.shutdown()
        self._reading.dispose()
        self._tidying.dispose()
        self._engine.dispose()


def build_database(settings: Settings) -> Database:
    """The database at `database_url`, or `domain.sqlite` in the data folder, which is made where it is missing.

    Raises SettingsError where it cannot be used.
    """
    if settings.database_url is not None:
        return Database(settings.database_url)
    folder = settings.data_folder
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"The data folder {folder} cannot be made: {error.strerror}. Set OYEZ_DATA to another."
        ) from None
    return Database(URL.create("sqlite", database=str(folder / "domain.sqlite")).render_as_string())


def _transact(engine: Engine, work: Callable[[Connection], T]) -> T:
    # The thread owns the transaction from beginning to end; whoever awaits only waits for the result.
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
            # A future cannot carry it: whoever awaits would wait for ever (before Python 3.12).
            raise RuntimeError("the function of a transaction raised StopIteration") from error
        time.sleep(random.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempt - 1))))
        attempt += 1


def _is_unavailable(error: DBAPIError) -> bool:
    """Whether the database is to blame: then the same may succeed later."""
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        return (getattr(cause, "sqlite_errorcode", 0) & 0xFF) in UNAVAILABLE_CODES
    state = getattr(cause, "sqlstate", None)
    # Who cannot reach PostgreSQL is told nothing by it.
    return error.connection_invalidated or (
        state[:2] in UNAVAILABLE_CLASSES if state else isinstance(error, OperationalError)
    )


def _wait_for_others(connection: Connection) -> None:
    """Two nodes that start together would both find a table missing. SQLite has taken its lock already."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('oyez:create'))")


def _escape(path: Path) -> str:
    """A path as Alembic's configuration holds it, where % means something."""
    return str(path).replace("%", "%%")


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise SettingsError(f"DATABASE_URL is no address of a database. Set it to {ADDRESSES}.") from None
    if parsed.drivername not in DRIVERS:
        raise _unusable(parsed, "it is of another kind", f"Set DATABASE_URL to {ADDRESSES}.")
    in_memory = parsed.database in (None, "", ":memory:") or parsed.query.get("mode") == "memory"
    if parsed.get_backend_name() == "sqlite" and in_memory:
        raise _unusable(parsed, "SQLite in memory is a database a connection", "Name a file.")
    return parsed.set(drivername=DRIVERS[parsed.drivername])


def _unusable(url: URL, reason: str, remedy: str) -> SettingsError:
    # Without the query, which may hold a password too.
    shown = url.set(drivername=url.get_backend_name(), query={}).render_as_string(hide_password=True)
    return SettingsError(f"The database {shown} cannot be used: {' '.join(reason.split()).rstrip('.')}. {remedy}")


def _open_sqlite(url: URL, connections: int, begin: str, *pragmas: str) -> Engine:
    # Parameters are what users sent: an error, which may be logged, does not show them.
    engine = create_engine(
        url, pool_size=connections, max_overflow=0, hide_parameters=True, connect_args={"timeout": BUSY_TIMEOUT}
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        # The driver would begin transactions by itself, late and without the lock; `begin` below does it instead.
        connection.isolation_level = None
        # FULL: money moves here, so a commit outlives a power cut too. The fsync costs a thread's time, not the loop's.
        _enter_wal(connection)
        for pragma in ("PRAGMA synchronous = FULL", "PRAGMA foreign_keys = ON", *pragmas):
            connection.execute(pragma)

    @event.listens_for(engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        # IMMEDIATE takes the write lock first, and waits for it. A transaction that reads and then wants to write
        # cannot wait (SQLITE_BUSY_SNAPSHOT): it would fail.
        connection.exec_driver_sql(begin)

    return engine


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Write-ahead logging. The time-out does not cover this: two that open a new file together can meet."""
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in LOCKED_CODES or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _open_postgresql(url: URL) -> Engine:
    # pre_ping: a connection that did not survive a restart of the server is replaced before it is used.
    return create_engine(
        url,
        pool_size=WRITERS["postgresql"],
        max_overflow=0,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={"connect_timeout": CONNECT_TIMEOUT},
    )
