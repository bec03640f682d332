"""Transactions that emit: committed means sent, once and in order; rolled back means never; also if processes die."""

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.exc import DBAPIError

from oyez.contract.rooms import NamedRoom
from oyez.errors import InvalidDataError, LogUnavailableError, RefusedError
from oyez.log.log import Checkpoint, Entry
from oyez.service.database import tables
from oyez.service.database.database import MIGRATIONS, Database
from oyez.service.outbox import relay as relay_module
from oyez.service.outbox.transaction import Transaction
from tests.service.ticket_system import Harness, Moved, Said, Solved, Typing, open_harness, say, say_next, ticket
from tests.support.clock import PATIENCE, WALL_TIME, Clock
from tests.support.ledger import Ledger
from tests.support.logged import capture_logs
from tests.support.postgres import PostgreSQL
from tests.support.tasks import Spawn


@pytest.fixture
async def desk(database_url: str) -> AsyncIterator[Harness]:
    async with open_harness(database_url) as desk:
        yield desk


async def waiting(desk: Harness) -> int:
    """How many entries have not been moved to the log."""
    return await desk.database.read(lambda c: c.execute(select(func.count()).select_from(tables.outbox)).scalar_one())


# Committed, or not.


async def test_what_is_committed_is_sent_in_order(desk: Harness) -> None:
    await desk.outbox.run(say, 1, 2)
    await desk.outbox.run(say, 3)
    await desk.expect_said(1, 2, 3)
    await desk.outbox.drained()
    assert await waiting(desk) == 0


async def test_a_transaction_returns_what_its_function_does(desk: Harness) -> None:
    assert [await desk.outbox.run(say_next) for _ in range(3)] == [1, 2, 3]


async def test_what_is_rolled_back_is_never_sent(desk: Harness) -> None:
    def say_and_fail(tx: Transaction) -> None:
        say_next(tx)
        raise LookupError("no such order")

    with pytest.raises(LookupError):
        await desk.outbox.run(say_and_fail)
    assert await desk.outbox.run(say_next) == 1
    await desk.outbox.drained()
    await desk.expect_said(1)


async def test_an_event_that_does_not_fit_rolls_back(desk: Harness) -> None:
    def say_wrongly(tx: Transaction, payload: Said, room: NamedRoom) -> None:
        say_next(tx)
        tx.emit(payload, room)

    with pytest.raises(InvalidDataError, match="number"):
        await desk.outbox.run(say_wrongly, Said(number="two"), ticket("1"))  # type: ignore[arg-type]
    with pytest.raises(RefusedError, match="There is no room"):
        await desk.outbox.run(say_wrongly, Said(number=2), NamedRoom("/", "nowhere"))
    assert await desk.outbox.run(say_next) == 1


async def test_whom_an_event_does_not_go_to_is_kept(desk: Harness) -> None:
    def emit(tx: Transaction) -> None:
        tx.emit(Said(number=1), ticket("1"), ticket("2"), excluding=[ticket("3"), "a-socket"])

    await desk.outbox.run(emit)
    await desk.expect_said(1)
    (entry,) = desk.log.stored.values()
    assert (entry.namespace, entry.rooms, entry.excluded) == ("/", ("ticket:1", "ticket:2"), ("ticket:3", "a-socket"))
    assert entry.data == b'["said",{"timestamp":"2023-11-14T22:13:20.000Z","number":1}]'


async def test_events_with_no_argument_and_with_several_are_sent(desk: Harness) -> None:
    def emit(tx: Transaction) -> None:
        tx.emit(Solved(), ticket("1"))
        tx.emit(Moved(before="ada", after="bob", reason="a holiday"), ticket("1"))
        tx.emit(Moved(before="bob", after="eve"), ticket("1"))

    await desk.outbox.run(emit)
    await desk.outbox.drained()
    found = [(entry.name, entry.data) for entry in desk.log.stored.values()]
    assert found == [
        ("solved", b'["solved"]'),
        ("moved", b'["moved","ada","bob","a holiday"]'),
        ("moved", b'["moved","bob","eve"]'),
    ]


async def test_a_transaction_that_is_run_again_emits_once(postgresql: PostgreSQL) -> None:
    class SerializationFailure(Exception):
        sqlstate = "40001"

    attempts = 0

    def fail_twice(tx: Transaction) -> None:
        nonlocal attempts
        attempts += 1
        say(tx, attempts)
        tx.emit(Typing(number=attempts), ticket("1"))
        if attempts < 3:
            raise DBAPIError("INSERT", None, SerializationFailure())

    async with open_harness(postgresql.make_database()) as desk:
        await desk.outbox.run(fail_twice)
        await desk.outbox.drained()
        await desk.expect_said(3)


# At once.


async def test_no_task_waits_for_the_next_check(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "LOOK_INTERVAL", 3600.0)
    async with open_harness(database_url) as desk:
        for number in range(1, 20):
            await desk.outbox.run(say_next)
            await desk.expect_said(*range(1, number + 1))


async def test_a_caller_that_is_cancelled_does_not_keep_its_events_back(
    database_url: str, monkeypatch: pytest.MonkeyPatch, spawn: Spawn
) -> None:
    monkeypatch.setattr(relay_module, "LOOK_INTERVAL", 3600.0)
    started, may_commit = threading.Event(), threading.Event()

    def say_slowly(tx: Transaction) -> None:
        started.set()
        assert may_commit.wait(PATIENCE)
        say(tx, 1)

    async with open_harness(database_url) as desk:
        running = spawn(desk.outbox.run(say_slowly))
        await asyncio.to_thread(started.wait)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        may_commit.set()
        await desk.outbox.drained()
        await desk.expect_said(1)


# Volatile events.


class Overheard(Ledger):
    """A log that remembers what was broadcast, and may not be able to."""

    broken = False

    def __init__(self) -> None:
        super().__init__()
        self.broadcasts: list[Entry] = []

    async def broadcast(self, entry: Entry) -> None:
        if self.broken:
            raise LogUnavailableError("broken")
        self.broadcasts.append(entry)


def type_and_say(tx: Transaction, number: int) -> None:
    tx.emit(Typing(number=number), ticket("1"))
    say(tx, number)
    if number == 0:
        raise LookupError


async def test_a_volatile_event_follows_the_commit_and_is_not_stored(database_url: str) -> None:
    log = Overheard()
    async with open_harness(database_url, log) as desk:
        with pytest.raises(LookupError):
            await desk.outbox.run(type_and_say, 0)
        await desk.outbox.run(type_and_say, 1)
        assert [entry.data for entry in log.broadcasts] == [b'["typing",{"number":1}]']
        log.broken = True
        await desk.outbox.run(type_and_say, 2)
        await desk.expect_said(1, 2)
    assert len(log.broadcasts) == 1


# Without the log, and after a crash.


class Frail(Ledger):
    """A log that fails for a while: before it stores, or after that, when it is only the answer that is lost."""

    fails = 0
    stores = False

    async def append(self, entries: Sequence[Entry], checkpoint: Checkpoint | None = None) -> list[str]:
        if self.fails:
            self.fails -= 1
            if self.stores:
                await super().append(entries, checkpoint)
            raise LogUnavailableError("broken")
        return await super().append(entries, checkpoint)


@pytest.mark.parametrize("stores", [False, True])
async def test_without_the_log_changes_are_made_and_their_events_come_later(database_url: str, stores: bool) -> None:
    log = Frail()
    log.fails, log.stores = 3, stores
    async with open_harness(database_url, log) as desk:
        assert [await desk.outbox.run(say_next) for _ in range(5)] == [1, 2, 3, 4, 5]
        await desk.outbox.drained()
        await desk.expect_said(1, 2, 3, 4, 5)
        assert await waiting(desk) == 0


async def test_events_that_could_not_be_sent_are_sent_by_the_next_process(database_url: str) -> None:
    log = Frail()
    log.fails = 1_000
    async with open_harness(database_url, log) as desk:
        await desk.outbox.run(say, 1, 2)
    log.fails = 0
    async with open_harness(database_url, log) as desk:
        await desk.expect_said(1, 2)


async def test_what_was_appended_is_known_when_its_key_is_forgotten(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay dies between appending and deleting, and nothing runs for longer than the log keeps anything."""

    def die(*_: object) -> None:
        raise OSError("killed")

    clock = Clock(WALL_TIME)
    log = Ledger(clock)
    with monkeypatch.context() as patched:
        patched.setattr(relay_module, "delete_rows", die)
        async with open_harness(database_url, log, clock=clock) as desk:
            await desk.outbox.run(say, 1, 2)
            await desk.expect_said(1, 2)
    async with open_harness(database_url, log, clock=clock, relays=False) as desk:
        await desk.outbox.run(say, 3)
        assert await waiting(desk) == 3
    clock.now += 3_600
    async with open_harness(database_url, log, clock=clock) as desk:
        await desk.outbox.drained()
        await desk.expect_said(1, 2, 3)
        assert await waiting(desk) == 0


async def test_what_a_stopped_process_left_another_one_sends(database_url: str) -> None:
    log = Ledger()
    async with open_harness(database_url, log) as alive, open_harness(database_url, log, relays=False) as dead:
        await dead.outbox.run(say, 1, 2)
        await alive.expect_said(1, 2)


async def test_several_processes_keep_one_order(database_url: str) -> None:
    class Slow(Ledger):
        """Gives the others time to do the same."""

        async def append(self, entries: Sequence[Entry], checkpoint: Checkpoint | None = None) -> list[str]:
            await asyncio.sleep(0.001)
            return await super().append(entries, checkpoint)

    log = Slow()
    async with open_harness(database_url, log) as one, open_harness(database_url, log) as two:
        await asyncio.gather(*(desk.outbox.run(say_next) for desk in [one, two] * 100))
        await asyncio.gather(one.outbox.drained(), two.outbox.drained())
        await one.expect_said(*range(1, 201))


async def test_numbers_that_start_over_are_a_new_epoch(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The log outlives a database that is deleted."""
    log = Ledger()
    for number in (1, 2):
        url = f"sqlite:///{tmp_path_factory.mktemp('data') / 'domain.sqlite'}"
        async with open_harness(url, log) as desk:
            desk.clock.now += number
            await desk.outbox.run(say, number)
            await desk.outbox.drained()
    await desk.expect_said(1, 2)


# Rows that are no entries of a log.


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("rooms", None),
        ("rooms", [1]),
        ("excluded", {"ticket": 1}),
        ("data", b"not JSON"),
        ("data", b'{"name": "said"}'),
        ("data", b"[]"),
        ("data", b"[1]"),
        ("data", b'["said", "\xff"]'),
        ("control", "leave"),
    ],
)
async def test_a_row_that_is_no_entry_is_set_aside_and_the_others_go_on(
    database_url: str, column: str, value: Any
) -> None:
    async with open_harness(database_url, relays=False) as desk:
        for number in (1, 2, 3):
            await desk.outbox.run(say, number)
        whole = await desk.database.run(spoil, column, value)
    with capture_logs() as logs:
        async with open_harness(database_url) as desk:
            await desk.expect_said(1, 3)
            await desk.outbox.run(say, 4)
            await desk.outbox.drained()
            await desk.expect_said(1, 3, 4)
            ((error,),) = await desk.database.read(lambda c: c.execute(select(tables.outbox.c.error)).all())
            mended = update(tables.outbox).values({column: whole, "error": None})
            await desk.database.run(lambda c: c.execute(mended).rowcount)
            await desk.outbox.drained()
            await desk.expect_said(1, 3, 4, 2)
    (line,) = [line for line in logs if "was set aside" in line["event"]]
    assert (line["log_level"], line["system"], line["error"]) == ("error", "desk", error)
    assert "oyez_outbox" in line["remedy"]


def spoil(connection: Connection, column: str, value: Any) -> Any:
    """Break the second row; what it held."""
    second = select(tables.outbox).order_by(tables.outbox.c.id).offset(1).limit(1)
    row = connection.execute(second).one()
    changed = update(tables.outbox).where(tables.outbox.c.id == row.id).values({column: value})
    connection.execute(changed)
    return getattr(row, column)


async def test_two_relays_set_a_row_aside_once(database_url: str) -> None:
    async with open_harness(database_url, relays=False) as desk:
        await desk.outbox.run(say, 1, 2, 3)
        await desk.database.run(spoil, "data", b"not JSON")
    log = Ledger()
    with capture_logs() as logs:
        async with open_harness(database_url, log) as one, open_harness(database_url, log) as two:
            await asyncio.gather(one.outbox.drained(), two.outbox.drained())
            await one.expect_said(1, 3)
    assert len([line for line in logs if "was set aside" in line["event"]]) == 1


# Versions without traces.


async def test_rows_of_a_version_without_traces_are_sent_before_and_after_the_migration(
    database_url: str, tmp_path: Path
) -> None:
    for path in (MIGRATIONS / "versions").glob("*.py"):
        if path.name < "0011":
            shutil.copy(path, tmp_path)
    database = Database(database_url)
    database.migrate("oyez", tmp_path)
    await database.run(store_earlier, 1)
    database.close()
    async with open_harness(database_url) as desk:
        await desk.expect_said(1)
        # A node of that version runs at the same time.
        await desk.database.run(store_earlier, 2)
        await desk.outbox.drained()
        await desk.expect_said(1, 2)
        assert [entry.trace for entry in desk.log.stored.values()] == ["", ""]


def store_earlier(connection: Connection, number: int) -> None:
    """What the version without traces does."""
    row = {
        "system": "desk",
        "namespace": "/",
        "rooms": ["ticket:1"],
        "excluded": [],
        "data": b'["said",{"number":%d,"timestamp":"2026-01-31T12:00:00Z"}]' % number,
        "control": "",
        "created": WALL_TIME,
    }
    connection.execute(insert(tables.outbox), row)


async def test_a_trace_stays_with_an_event_that_another_process_sends(database_url: str) -> None:
    async with open_harness(database_url, relays=False) as desk:
        await desk.outbox.run(say, 1)
        await desk.database.run(lambda c: c.execute(update(tables.outbox).values(trace="00-ab")).rowcount)
    async with open_harness(database_url) as desk:
        await desk.expect_said(1)
        assert [entry.trace for entry in desk.log.stored.values()] == ["00-ab"]


# Members.


async def test_a_removal_is_applied_before_later_events(desk: Harness) -> None:
    def let_go(tx: Transaction) -> list[bool]:
        say(tx, 1)
        removed = [tx.remove_member(ticket("1"), "user:ada") for _ in range(2)]
        say(tx, 2)
        return removed

    assert await desk.outbox.run(Transaction.add_member, ticket("1"), "user:ada") is True
    assert await desk.outbox.run(Transaction.add_member, ticket("1"), "user:ada") is False
    assert await desk.outbox.run(let_go) == [True, False]
    await desk.expect_said(1, "member_removed", 2)


async def test_sockets_are_moved_in_order(desk: Harness) -> None:
    def move(tx: Transaction) -> None:
        tx.join(ticket("1"), ticket("2"))
        say(tx, 1)
        tx.leave(ticket("1"), ticket("2"))

    await desk.outbox.run(move)
    await desk.expect_said("join", 1, "leave")
