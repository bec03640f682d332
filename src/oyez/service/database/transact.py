"""Runs functions as transactions: one at a time, or several with one commit."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError

from oyez.concurrency.backoff import Backoff
from oyez.errors import DatabaseUnavailableError
from oyez.service.database.engines import restart_timeout
from oyez.service.database.fair_pool import Item, Poll

T = TypeVar("T")

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
GROUP_SECONDS = 0.005
"""Seconds after which a group is committed: quick transactions do not wait for many others."""
ENDED = "The function of a transaction must not commit or roll back: Oyez does so after it has returned or raised."


def transact(engine: Engine, work: Callable[[Connection], T]) -> T:
    """The result of `work`, run as one transaction: committed when it returns, rolled back when it raises. Blocks.

    Raises DatabaseUnavailableError if the database cannot be used.
    """
    attempt = 1
    while True:
        try:
            with _begin(engine) as connection:
                return work(connection)
        except (DBAPIError, StopIteration) as error:
            if attempt == MAX_ATTEMPTS or not _may_succeed_later(error):
                raise _translate(error) from error
        time.sleep(COLLISION_BACKOFF.delay(attempt))
        attempt += 1


@contextmanager
def _begin(engine: Engine) -> Iterator[Connection]:
    """A transaction: committed at the end, rolled back after an error, also one of the commit itself."""
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        try:
            with connection.begin():
                yield connection
        except BaseException:
            # SQLAlchemy takes a transaction for ended whose commit was refused. SQLite keeps it.
            if isinstance(driver, sqlite3.Connection):
                driver.rollback()
            raise


def _may_succeed_later(error: Exception) -> bool:
    """True if PostgreSQL has rolled the transaction back because of other transactions."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in RETRIED_STATES


def _translate(error: BaseException) -> BaseException:
    """The error that the caller of a transaction receives."""
    if isinstance(error, DBAPIError) and _is_unavailable(error):
        return DatabaseUnavailableError(f"The database cannot be used: {error.orig}.")
    if isinstance(error, StopIteration):
        # A future cannot hold a StopIteration: the caller would wait forever (before Python 3.12).
        return RuntimeError("the function of a transaction raised StopIteration")
    return error


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


@dataclass(frozen=True, slots=True)
class Task(Generic[T]):
    """A function that runs as a transaction on an engine."""

    engine: Engine
    work: Callable[[Connection], T]

    def __call__(self) -> T:
        return transact(self.engine, self.work)


class _GroupLostError(Exception):
    """SQLite has rolled back the whole group, not only the transaction that failed."""


class _Outcome(NamedTuple):
    """What a transaction of a group did. It counts only after the common commit."""

    item: Item
    result: Any
    error: BaseException | None

    def report(self) -> None:
        if self.error is None:
            self.item.future.set_result(self.result)
        else:
            self.item.future.set_exception(self.error)


class _Group:
    """Transactions that run in savepoints of one transaction of SQLite."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._outcomes: list[_Outcome] = []

    def run(self, first: Item, poll: Poll) -> None:
        """Run `first`, which has begun, and others that wait, for GROUP_SECONDS at most. Report their results."""
        try:
            with _begin(self._engine) as connection:
                connection.info["shared"] = True
                try:
                    self._run_in_savepoints(connection, first, poll)
                finally:
                    connection.info["shared"] = False
        except _GroupLostError:
            *others, failed = self._outcomes
            for outcome in others:
                outcome.item.run()
            failed.report()
        except BaseException as error:  # The caller waits for it.
            if not self._outcomes:
                # The group could not begin. Only the first one fails: the others wait for their own turn.
                first.future.set_exception(_translate(error))
            for outcome in self._outcomes:
                outcome.item.run()
        else:
            for outcome in self._outcomes:
                outcome.report()

    def _run_in_savepoints(self, connection: Connection, first: Item, poll: Poll) -> None:
        driver: Any = connection.connection.driver_connection
        until = time.monotonic() + GROUP_SECONDS
        self._run_in_savepoint(connection, driver, first)
        while time.monotonic() < until and (item := poll()) is not None:
            if item.begin():
                self._run_in_savepoint(connection, driver, item)

    def _run_in_savepoint(self, connection: Connection, driver: Any, item: Item) -> None:
        transaction = connection.get_transaction()
        driver.execute("SAVEPOINT one")
        restart_timeout(connection)
        result, error = None, None
        try:
            result = _task(item).work(connection)
        except BaseException as raised:  # The caller waits for it.
            error = _translate(raised)
        is_whole = (
            connection.get_transaction() is transaction
            and transaction is not None
            and transaction.is_active
            and not connection.in_nested_transaction()
        )
        if not is_whole or not driver.in_transaction:
            self._outcomes.append(_Outcome(item, None, error or RuntimeError(ENDED)))
            raise _GroupLostError
        if error is not None:
            driver.execute("ROLLBACK TO one")
        driver.execute("RELEASE one")
        self._outcomes.append(_Outcome(item, result, error))


def run_together(item: Item, poll: Poll) -> None:
    """Run transactions of SQLite, which are Tasks, in groups. Each group has one commit.

    A commit costs more than most transactions. Each transaction has a savepoint of its own, so that it succeeds or
    fails alone. Its result is reported after the common commit. If a group cannot be committed, its transactions are
    run again, one by one.
    """
    waiting: Item | None = item
    while waiting is not None:
        if waiting.begin():
            _Group(_task(waiting).engine).run(waiting, poll)
        waiting = poll()


def _task(item: Item) -> Task[Any]:
    assert isinstance(item.work, Task)
    return item.work
