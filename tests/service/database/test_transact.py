"""Transactions of SQLite that share a commit: each succeeds or fails alone, whatever the others do."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Connection,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    event,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.exc import IntegrityError

from oyez.errors import DatabaseUnavailableError
from oyez.service.database.database import Database
from oyez.settings import Limits
from tests.support.clock import PATIENCE
from tests.support.tasks import Spawn, own_tasks

METADATA = MetaData()
numbers = Table("numbers", METADATA, Column("value", Integer, primary_key=True))
later = Table(
    "later",
    METADATA,
    # Checked at the commit.
    Column("value", Integer, ForeignKey("numbers.value", deferrable=True, initially="DEFERRED"), primary_key=True),
)


class Group:
    """A database, and functions that wait for the writer together, so that they share a commit."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self._started, self._may_end = threading.Event(), threading.Event()
        self.commits = 0

    def _hold(self, connection: Connection) -> None:
        """Keep the writer until all functions wait."""
        self._started.set()
        assert self._may_end.wait(PATIENCE)

    async def run(self, *functions: Callable[[Connection], Any]) -> list[Any]:
        """What each function returns or raises."""
        self._started.clear()
        self._may_end.clear()
        async with own_tasks() as spawn:
            held = spawn(self.db.run(self._hold))
            await asyncio.to_thread(self._started.wait)
            running = [spawn(self.db.run(function)) for function in functions]
            await asyncio.sleep(0)
            self._may_end.set()
            await held
            return await asyncio.gather(*running, return_exceptions=True)

    async def list_numbers(self) -> list[int]:
        return await self.db.read(lambda c: list(c.execute(select(numbers.c.value)).scalars()))


@pytest.fixture
async def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Group]:
    # However slow the machine is, the functions of a test share a commit.
    monkeypatch.setattr("oyez.service.database.transact.GROUP_SECONDS", PATIENCE)
    db = Database(f"sqlite:///{tmp_path / 'domain.sqlite'}", Limits(database_statement_timeout=0.2))
    db.create(METADATA)
    yield Group(db)
    db.close()


def put(value: int) -> Callable[[Connection], int]:
    def put_value(connection: Connection) -> int:
        connection.execute(insert(numbers), {"value": value})
        return value

    return put_value


def count(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(numbers)).scalar_one()


def hang(connection: Connection) -> None:
    """A statement that writes and does not end. SQLite rolls back the whole transaction when it is interrupted."""
    endless = "WITH RECURSIVE n(x) AS (SELECT 1000 UNION ALL SELECT x + 1 FROM n) INSERT INTO numbers SELECT x FROM n"
    connection.execute(text(endless))


async def test_transactions_that_wait_share_a_commit(group: Group) -> None:
    commits = []

    def note(connection: Connection) -> int:
        @event.listens_for(connection.engine, "commit", once=True)
        def count_commit(connection: Connection) -> None:
            commits.append(connection)

        return count(connection)

    assert await group.run(note, put(1), put(2), count) == [0, 1, 2, 2]
    assert len(commits) == 1
    assert await group.list_numbers() == [1, 2]


async def test_one_that_fails_does_not_undo_the_others(group: Group) -> None:
    def put_and_fail(connection: Connection) -> None:
        put(2)(connection)
        raise KeyError("own")

    first, failed, doubled, last = await group.run(put(1), put_and_fail, put(1), put(3))
    assert (first, last) == (1, 3)
    assert isinstance(failed, KeyError)
    assert isinstance(doubled, IntegrityError)
    assert await group.list_numbers() == [1, 3]


async def test_one_whose_failure_undoes_all_is_the_only_one_that_fails(group: Group) -> None:
    one, hung, two = await group.run(put(1), hang, put(2))
    assert (one, two) == (1, 2)
    assert isinstance(hung, DatabaseUnavailableError)
    assert await group.list_numbers() == [1, 2]


async def test_one_that_fails_at_the_commit_is_the_only_one_that_fails(group: Group) -> None:
    def refer_to_nothing(connection: Connection) -> None:
        connection.execute(insert(later), {"value": 99})

    one, failed, two = await group.run(put(1), refer_to_nothing, put(2))
    assert (one, two) == (1, 2)
    assert isinstance(failed, IntegrityError)
    assert await group.list_numbers() == [1, 2]


@pytest.mark.parametrize("end", [Connection.commit, Connection.rollback])
async def test_one_that_ends_the_transaction_is_refused(group: Group, end: Callable[[Connection], None]) -> None:
    def put_and_end(connection: Connection) -> None:
        put(2)(connection)
        end(connection)

    one, failed, three = await group.run(put(1), put_and_end, put(3))
    assert (one, three) == (1, 3)
    assert isinstance(failed, RuntimeError)
    assert "must not commit" in str(failed)
    assert await group.list_numbers() == [1, 3]


async def test_a_savepoint_of_its_own(group: Group) -> None:
    def try_twice(connection: Connection) -> int:
        with pytest.raises(IntegrityError), connection.begin_nested():
            put(1)(connection)
        with connection.begin_nested():
            return put(2)(connection)

    assert await group.run(put(1), try_twice, put(3)) == [1, 2, 3]
    assert await group.list_numbers() == [1, 2, 3]


async def test_a_savepoint_that_stays_open_is_refused(group: Group) -> None:
    one, failed, two = await group.run(put(1), lambda connection: connection.begin_nested() and None, put(2))
    assert (one, two) == (1, 2)
    assert isinstance(failed, RuntimeError)
    assert await group.list_numbers() == [1, 2]


async def test_one_that_was_cancelled_before_its_turn_is_not_run(group: Group, spawn: Spawn) -> None:
    held = threading.Event()
    holding = spawn(group.db.run(lambda connection: held.wait(PATIENCE)))
    waiting = [spawn(group.db.run(put(value))) for value in (1, 2, 3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    await asyncio.sleep(0)
    held.set()
    await holding
    await asyncio.gather(*waiting, return_exceptions=True)
    assert await group.list_numbers() == [1, 3]


async def test_a_file_that_is_locked_by_another_process(tmp_path: Path) -> None:
    file = tmp_path / "locked.sqlite"
    db = Database(f"sqlite:///{file}", Limits(database_lock_timeout=0.1))
    db.create(METADATA)
    with ThreadPoolExecutor(1) as pool, sqlite3.connect(file, check_same_thread=False) as other:
        await asyncio.wrap_future(pool.submit(other.execute, "BEGIN IMMEDIATE"))
        outcomes = await asyncio.gather(*(db.run(put(value)) for value in (1, 2)), return_exceptions=True)
        assert all(isinstance(outcome, DatabaseUnavailableError) for outcome in outcomes)
        other.rollback()
        assert await db.run(put(3)) == 3
    db.close()
