"""How SQLite and PostgreSQL are opened: how transactions begin, how long they wait, and what they survive."""

import random
import sqlite3
import time
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL

from oyez.settings import Limits

OPEN_TIMEOUT = 10.0
"""Seconds to wait for another process while an SQLite file is opened: that process may be migrating the file."""
BUSY_TIMEOUT = 5
"""Milliseconds for which SQLite itself waits for the lock to write before it is asked again. Its own pauses grow to
100 ms, and a process that waits so long is overtaken by another one that writes again and again."""
LOCKED_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
"""SQLite's codes of a locked file. Waiting does not help against a full disk or a missing right."""
MAX_WAL_BYTES = 8_000_000
"""Bytes to which SQLite's WAL shrinks when it has been copied into the file: otherwise it would stay as large as the
largest transaction has made it."""
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
MUST_NOT_COMMIT = "The function of a transaction must not commit: Oyez does so after it has returned."
UNHURRIED = {"unhurried": True}
"""The execution options of transactions that create and migrate tables: they may take as long as they need, and wait
OPEN_TIMEOUT for another process that does the same."""


def open_sqlite(url: URL, limits: Limits, connections: int, begin: str, *pragmas: str) -> Engine:
    """An engine for SQLite that begins each transaction by the statement `begin`."""
    # Parameters are what users sent: an error, which may be logged, does not show them.
    engine = create_engine(
        url, pool_size=connections, max_overflow=0, hide_parameters=True, connect_args={"timeout": OPEN_TIMEOUT}
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: Any) -> None:
        # The driver would begin transactions by itself, late and without the lock; `begin` below does it instead.
        connection.isolation_level = None
        _enter_wal(connection)
        for pragma in ("PRAGMA foreign_keys = ON", f"PRAGMA journal_size_limit = {MAX_WAL_BYTES}", *pragmas):
            connection.execute(pragma)
        patience = BUSY_TIMEOUT if begin == "BEGIN IMMEDIATE" else round(limits.database_lock_timeout * 1_000)
        connection.execute(f"PRAGMA busy_timeout = {patience}")
        ends = record.info
        connection.set_progress_handler(lambda: time.monotonic() > ends.get("ends", NEVER), STEPS_A_LOOK)

    @event.listens_for(engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        now, unhurried = time.monotonic(), connection.get_execution_options().get("unhurried")
        connection.info["seconds"] = NEVER if unhurried else limits.database_statement_timeout
        restart_timeout(connection)
        # IMMEDIATE takes the write lock first, and waits for it. A transaction that reads and then wants to write
        # cannot wait (SQLITE_BUSY_SNAPSHOT): it would fail.
        _wait_for_lock(connection, begin, now + (OPEN_TIMEOUT if unhurried else limits.database_lock_timeout))

    @event.listens_for(engine, "commit")
    def check_owner(connection: Connection) -> None:
        if connection.info.get("shared"):
            raise RuntimeError(MUST_NOT_COMMIT)

    return engine


def restart_timeout(connection: Connection) -> None:
    """Give SQLite's statements on `connection` the full time again, because another transaction begins."""
    connection.info["ends"] = time.monotonic() + connection.info["seconds"]


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


def open_postgresql(url: URL, limits: Limits, connections: int) -> Engine:
    """An engine for PostgreSQL, with the limits on waiting and on statements."""
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
