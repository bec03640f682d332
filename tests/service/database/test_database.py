"""Transactions in threads: complete or not at all, one after the other, despite cancellations and concurrent calls."""

import asyncio
import multiprocessing
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Literal

import psycopg
import pytest
from sqlalchemy import Column, Connection, ForeignKey, Integer, MetaData, Table, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from oyez.errors import DatabaseUnavailableError, SettingsError
from oyez.runtime.current import current_user
from oyez.service.database import engines
from oyez.service.database.database import Database, build_database
from oyez.service.database.engines import OPEN_TIMEOUT
from oyez.service.database.transact import MAX_ATTEMPTS
from oyez.settings import Limits, Settings
from tests.support.logged import capture_logs
from tests.support.postgres import PostgreSQL
from tests.support.tasks import Spawn

METADATA = MetaData()
counters = Table(
    "counters", METADATA, Column("id", Integer, primary_key=True), Column("value", Integer, nullable=False)
)
children = Table("children", METADATA, Column("id", Integer, primary_key=True), Column("of", ForeignKey("counters.id")))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "domain.sqlite"


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    db = Database(database_url)
    db.create(METADATA)
    yield db
    db.close()


@pytest.fixture
def sqlite(file: Path) -> Iterator[Database]:
    """With its one writer, for what depends on who waits."""
    db = Database(f"sqlite:///{file}")
    db.create(METADATA)
    yield db
    db.close()


def add(connection: Connection, value: int) -> None:
    connection.execute(insert(counters).values(value=value))


def count(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(counters)).scalar_one()


def total(connection: Connection) -> int:
    return connection.execute(select(func.sum(counters.c.value))).scalar() or 0


class Hang:
    """A transaction that does not end before it is allowed to."""

    def __init__(self) -> None:
        self.started, self.may_end = threading.Event(), threading.Event()

    def __call__(self, connection: Connection) -> None:
        self.started.set()
        self.may_end.wait()


def increment(connection: Connection) -> None:
    """Reads, then writes what it read: lost or refused wherever two of them overlap."""
    value = connection.execute(select(counters.c.value).where(counters.c.id == 1)).scalar_one()
    connection.execute(update(counters).where(counters.c.id == 1).values(value=value + 1))


async def test_what_returns_is_committed_and_handed_back(db: Database) -> None:
    def add_and_count(connection: Connection, value: int, *, times: int) -> int:
        for _ in range(times):
            add(connection, value)
        return count(connection)

    assert await db.run(add_and_count, 1, times=3) == 3
    assert await db.read(count) == 3


async def test_what_raises_is_rolled_back_and_raised(db: Database) -> None:
    def add_and_fail(connection: Connection) -> None:
        add(connection, 1)
        raise LookupError("no such order")

    with pytest.raises(LookupError, match="no such order"):
        await db.run(add_and_fail)
    with pytest.raises(IntegrityError):
        await db.run(lambda connection: connection.execute(insert(counters), [{"value": 1}, {"value": None}]))
    assert await db.read(count) == 0


async def test_stop_iteration_does_not_hang(db: Database) -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        await db.run(lambda connection: next(iter(connection.execute(select(counters)).all())))


async def test_transactions_that_read_and_write_do_not_overlap(db: Database) -> None:
    await db.run(add, 0)

    await asyncio.gather(*(db.run(increment) for _ in range(200)))

    assert await db.read(total) == 200


def work_beside_others(url: str) -> None:
    db = Database(url)
    db.create(METADATA)

    async def work() -> None:
        await asyncio.gather(*(db.run(add, 1) for _ in range(50)))

    asyncio.run(work())
    db.close()


async def test_processes_share_a_file_that_neither_had_made(file: Path) -> None:
    url = f"sqlite:///{file}"
    with ProcessPoolExecutor(3, multiprocessing.get_context("spawn")) as pool:
        await asyncio.to_thread(lambda: list(pool.map(work_beside_others, [url] * 3)))

    db = Database(url)
    assert await db.read(count) == 150
    db.close()


async def test_a_reader_does_not_wait_for_a_writer_and_sees_one_state(db: Database, spawn: Spawn) -> None:
    await db.run(add, 1)
    written, may_commit = threading.Event(), threading.Event()

    def write_slowly(connection: Connection) -> None:
        add(connection, 10)
        written.set()
        may_commit.wait()

    writing = spawn(db.run(write_slowly))
    await asyncio.to_thread(written.wait)
    assert await db.read(total) == 1

    seen, committed = threading.Event(), threading.Event()

    def read_twice(connection: Connection) -> tuple[int, int]:
        before = total(connection)
        seen.set()
        committed.wait()
        return before, total(connection)

    reading = spawn(db.read(read_twice))
    await asyncio.to_thread(seen.wait)
    may_commit.set()
    await writing
    committed.set()
    assert await reading == (1, 1)
    assert await db.read(total) == 11


async def test_a_reader_cannot_write(db: Database) -> None:
    with pytest.raises(DBAPIError, match=r"read-?only"):
        await db.read(add, 1)
    await db.run(add, 1)
    assert await db.read(count) == 1


async def test_foreign_keys_hold(db: Database) -> None:
    with pytest.raises(IntegrityError):
        await db.run(lambda connection: connection.execute(insert(children).values(of=99)))


@pytest.mark.parametrize(("sync", "level"), [("normal", 1), ("full", 2)])
async def test_what_a_commit_outlives(file: Path, sync: Literal["normal", "full"], level: int) -> None:
    pragmas = ("journal_mode", "synchronous", "foreign_keys")

    def look(connection: Connection) -> list[object]:
        return [connection.execute(text(f"PRAGMA {name}")).scalar() for name in pragmas]

    with closing(Database(f"sqlite:///{file}", sync=sync)) as db:
        assert await db.run(look) == ["wal", level, 1]


async def test_the_wal_shrinks_after_a_large_transaction(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "MAX_WAL_BYTES", 100_000)

    def fill(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE large (bytes BLOB)"))
        connection.execute(text("INSERT INTO large VALUES (zeroblob(6000000))"))

    def read_size() -> int:
        return Path(f"{file}-wal").stat().st_size

    with closing(Database(f"sqlite:///{file}")) as db:
        await db.run(fill)
        assert read_size() > 6_000_000
        for _ in range(2):
            await db.run(lambda connection: connection.execute(text("INSERT INTO large VALUES (x'00')")))
        assert read_size() <= 100_000


# Cancelled.


async def test_a_cancelled_caller_leaves_whole_transactions(sqlite: Database, spawn: Spawn) -> None:
    hang = Hang()

    def add_two(connection: Connection) -> None:
        add(connection, 1)
        hang(connection)
        add(connection, 1)

    running = spawn(sqlite.run(add_two))
    await asyncio.to_thread(hang.started.wait)
    waiting = spawn(sqlite.run(add, 100))
    await asyncio.sleep(0)
    running.cancel()
    waiting.cancel()
    results = await asyncio.gather(running, waiting, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError] * 2

    hang.may_end.set()
    # The one that ran is whole, the one that waited never began.
    assert await sqlite.run(total) == 2


async def test_close_waits_for_what_was_begun(file: Path, spawn: Spawn) -> None:
    db = Database(f"sqlite:///{file}")
    db.create(METADATA)
    begun = [spawn(db.run(add, 1)) for _ in range(20)]
    await asyncio.sleep(0)
    db.close()
    await asyncio.gather(*begun)
    with pytest.raises(RuntimeError):
        await db.run(add, 1)

    again = Database(f"sqlite:///{file}")
    assert await again.read(count) == 20
    again.close()


# What PostgreSQL asks for.


class SerializationFailure(Exception):
    sqlstate = "40001"


async def test_a_transaction_without_a_place_in_the_order_is_run_again(postgresql: PostgreSQL) -> None:
    attempts = 0

    def fail_twice(connection: Connection) -> int:
        nonlocal attempts
        attempts += 1
        add(connection, 1)
        if attempts < 3:
            raise DBAPIError("INSERT", None, SerializationFailure())
        return attempts

    with closing(Database(postgresql.make_database())) as db:
        db.create(METADATA)
        assert await db.run(fail_twice) == 3
        assert await db.read(count) == 1


async def test_other_failures_are_not_tried_again(db: Database) -> None:
    attempts = 0

    def fail(connection: Connection) -> None:
        nonlocal attempts
        attempts += 1
        raise DBAPIError("INSERT", None, Exception())

    with pytest.raises(DBAPIError):
        await db.run(fail)
    assert attempts == 1 < MAX_ATTEMPTS


# Opening.


async def test_a_database_that_is_locked_for_long_is_unavailable(file: Path) -> None:
    db = Database(f"sqlite:///{file}", Limits(database_lock_timeout=0.05))
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnavailableError, match="locked"):
            await db.run(lambda connection: None)
        other.execute("ROLLBACK")
        await db.run(lambda connection: None)
    db.close()


async def test_a_server_that_cuts_the_connection_is_unavailable_and_got_over(
    postgresql: PostgreSQL,
) -> None:
    db = Database(postgresql.make_database())
    with pytest.raises(DatabaseUnavailableError, match="terminating connection"):
        await db.run(lambda connection: connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())")))
    assert await db.run(lambda connection: connection.execute(text("SELECT 1")).scalar_one()) == 1
    db.close()


async def test_a_wrong_statement_is_reported_as_the_callers_error(db: Database) -> None:
    with pytest.raises(DBAPIError):
        await db.run(lambda connection: connection.execute(text("SELECT * FROM nowhere")))


async def test_create_keeps_what_is_there(db: Database) -> None:
    await db.run(add, 1)
    more = MetaData()
    Table("more", more, Column("id", Integer, primary_key=True))

    db.create(METADATA)
    db.create(more)

    assert await db.read(count) == 1
    assert await db.read(lambda connection: connection.execute(text("SELECT count(*) FROM more")).scalar()) == 0


def test_the_default_is_a_file_in_the_data_folder(tmp_path: Path) -> None:
    folder = tmp_path / "data ü%41"
    build_database(Settings(oyez_data=str(folder))).close()

    assert (folder / "domain.sqlite").exists()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_setting_names_another(tmp_path: Path) -> None:
    build_database(Settings(database_url=f"sqlite:///{tmp_path / 'other.sqlite'}", oyez_data="/nowhere")).close()

    assert (tmp_path / "other.sqlite").exists()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "no address"),
        ("domain.sqlite", "no address"),
        ("sqlite://", "Name a file"),
        ("sqlite:///:memory:", "Name a file"),
        ("sqlite:///file:x?mode=memory&uri=true", "Name a file"),
        ("sqlite:////nowhere/at/all.sqlite", "unable to open"),
        ("mysql://ada:hush@db/x", "Set DATABASE_URL to sqlite"),
        ("postgresql+psycopg2://ada:hush@db/x", "Set DATABASE_URL to sqlite"),
        ("postgresql://ada:hush@127.0.0.1:1/x?password=hush", "cannot be used"),
        ("postgres://ada:hush@127.0.0.1:1/x", "cannot be used"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason) as caught:
        Database(url)
    assert "hush" not in str(caught.value)


def test_a_file_that_is_no_database_is_refused(file: Path) -> None:
    file.write_text("Dear diary, " * 100)

    with pytest.raises(SettingsError, match="not a database"):
        Database(f"sqlite:///{file}")


def test_a_permanent_refusal_is_reported_at_once(file: Path) -> None:
    file.mkdir()
    began = time.monotonic()

    with pytest.raises(SettingsError, match=r"unable to open database file\. Its folder has to exist"):
        Database(f"sqlite:///{file}")
    assert time.monotonic() - began < OPEN_TIMEOUT


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(SettingsError, match="OYEZ_DATA"):
        build_database(Settings(oyez_data=str(tmp_path / "file")))


# Time-outs, and others that want something too.


def slow_statement(connection: Connection) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    connection.execute(text("SELECT pg_sleep(60)" if connection.dialect.name == "postgresql" else endless))


async def test_a_statement_that_takes_too_long_is_given_up(database_url: str) -> None:
    db = Database(database_url, Limits(database_statement_timeout=0.2))
    db.create(METADATA)
    for way in (db.run, db.read):
        with pytest.raises(DatabaseUnavailableError, match=r"time|interrupted"):
            await way(slow_statement)
    await db.run(add, 1)
    assert await db.read(count) == 1
    db.close()


async def test_what_does_not_begin_in_time_is_never_done_and_what_does_not_end_is_given_up(
    file: Path, spawn: Spawn
) -> None:
    db = Database(f"sqlite:///{file}", Limits(database_queue_timeout=0.1, database_timeout=0.2))
    db.create(METADATA)
    hang = Hang()
    hanging = spawn(db.run(hang))
    await asyncio.to_thread(hang.started.wait)
    with pytest.raises(DatabaseUnavailableError, match=r"begin within 0\.1 s"):
        await db.run(add, 1)
    with pytest.raises(DatabaseUnavailableError, match=r"end within 0\.2 s"):
        await hanging
    # Reads go their own way.
    assert await db.read(count) == 0
    hang.may_end.set()
    await db.run(add, 1)
    assert await db.read(count) == 1
    db.close()


async def test_a_time_out_of_the_functions_own_is_its_own(db: Database) -> None:
    def fail(connection: Connection) -> None:
        raise TimeoutError("of another server")

    with pytest.raises(TimeoutError, match="of another server"):
        await db.run(fail)


async def test_one_users_flood_does_not_keep_another_user_waiting(database_url: str, spawn: Spawn) -> None:
    db = Database(database_url, Limits(max_database_queue_per_user=300), connections=2)
    db.create(METADATA)
    done: list[str] = []

    async def work(user: str) -> None:
        def add_slowly(connection: Connection) -> None:
            time.sleep(0.002)
            add(connection, 1)

        current_user.set(user)
        await db.run(add_slowly)
        done.append(user)

    flood = [spawn(work("ada")) for _ in range(300)]
    await asyncio.sleep(0.02)
    before = len(done)
    await spawn(work("bob"))
    assert len(done) - before < 100, "as long as a few transactions, and not as long as 300"
    await asyncio.gather(*flood)
    assert await db.read(count) == 301
    db.close()


async def test_a_locked_table_stops_only_its_own_users(postgresql: PostgreSQL, spawn: Spawn) -> None:
    url = postgresql.make_database()
    db = Database(url, Limits(database_lock_timeout=9.0), connections=2)
    db.create(METADATA)
    books, fruit = db.part("books"), db.part("fruit")
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE counters IN ACCESS EXCLUSIVE MODE")
        blocked = [spawn(way(count)) for way in (books.run, books.read) for _ in range(3)]
        for _ in range(10):
            for way in (fruit.run, fruit.read):
                await way(lambda connection: connection.execute(select(children)).all())
        assert not any(task.done() for task in blocked)
        other.rollback()
    assert await asyncio.gather(*blocked) == [0] * 6
    db.close()


async def test_a_table_that_is_locked_for_long_is_unavailable(postgresql: PostgreSQL) -> None:
    url = postgresql.make_database()
    db = Database(url, Limits(database_lock_timeout=0.2), connections=2)
    db.create(METADATA)
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE counters IN ACCESS EXCLUSIVE MODE")
        results = await asyncio.gather(*(way(count) for way in (db.run, db.read)), return_exceptions=True)
        assert {type(result) for result in results} == {DatabaseUnavailableError}
        other.rollback()
    assert await db.run(count) == 0
    db.close()


async def test_a_process_that_hangs_in_a_transaction_does_not_keep_its_locks(
    postgresql: PostgreSQL, spawn: Spawn
) -> None:
    db = Database(postgresql.make_database(), Limits(database_statement_timeout=0.3, database_lock_timeout=5.0))
    db.create(METADATA)
    started, goes_on = threading.Event(), threading.Event()

    def hang(connection: Connection) -> None:
        connection.execute(text("LOCK TABLE counters IN ACCESS EXCLUSIVE MODE"))
        started.set()
        goes_on.wait()
        count(connection)

    hanging = spawn(db.run(hang))
    await asyncio.to_thread(started.wait)
    with suppress(DatabaseUnavailableError):
        # Done after the lock was taken away, or given up just before.
        await db.run(count)
    assert await db.run(count) == 0
    goes_on.set()
    with pytest.raises(DatabaseUnavailableError, match="idle-in-transaction"):
        await hanging
    db.close()


async def test_another_process_that_writes_nearly_all_the_time_leaves_turns_to_this_one(
    sqlite: Database, file: Path
) -> None:
    stop = threading.Event()
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as other:

        def write_all_the_time() -> None:
            while not stop.is_set():
                other.execute("BEGIN IMMEDIATE")
                time.sleep(0.005)
                other.execute("COMMIT")
                # What a process does between two transactions, at the least.
                time.sleep(0.0003)

        thread = threading.Thread(target=write_all_the_time)
        thread.start()
        try:
            for _ in range(10):
                await sqlite.run(add, 1)
        finally:
            stop.set()
            thread.join()


async def test_a_database_that_hangs_is_closed_all_the_same(file: Path, spawn: Spawn) -> None:
    db = Database(f"sqlite:///{file}", Limits(database_timeout=0.1))
    hang = Hang()
    hanging = spawn(db.run(hang))
    await asyncio.to_thread(hang.started.wait)
    with capture_logs() as logs:
        await asyncio.to_thread(db.close)
    assert "does not answer" in logs[0]["event"]
    hang.may_end.set()
    await hanging
