"""What is special to the log in a file: killed processes, other processes, and damage to the file."""
# ruff: noqa: ASYNC240 - what is done to the files is done by the test

import asyncio
import os
import resource
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from oyez.concurrency.unix_folder import UnixFolder
from oyez.errors import LogUnavailableError, SettingsError
from oyez.log import sqlite, sqlite_file
from oyez.log.entry_codec import decode_stored, encode_entry, encode_stored
from oyez.log.local_bus import MAX_MESSAGE_BYTES, MAX_SENT_BYTES
from oyez.log.log import epoch_of
from oyez.log.sqlite import SqliteLog
from oyez.log.sqlite_file import FORMATS, SqliteFile
from tests.log.backends import RETENTION, Clock
from tests.log.verbs import Received, entry, numbers, read_all, tailing, volatile
from tests.support.clock import PATIENCE, until
from tests.support.logged import capture_logs
from tests.support.tasks import Spawn

Open = Callable[..., Awaitable[SqliteLog]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite"


@pytest.fixture
async def open_node(path: Path, clock: Clock) -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:

        async def open_node(**options: object) -> SqliteLog:
            log = SqliteLog(path, retention=RETENTION, clock=clock, **options)  # type: ignore[arg-type]
            stack.push_async_callback(log.close)
            await log.open()
            return log

        yield open_node


@pytest.fixture
async def node(open_node: Open) -> SqliteLog:
    return await open_node()


@pytest.fixture
def quick_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "WATCH_INTERVAL", 0.02)


# Processes.


APPENDER = """
import asyncio, sys
from pathlib import Path
from oyez.log.log import Entry
from oyez.log.sqlite import SqliteLog

async def main() -> None:
    log = SqliteLog(Path(sys.argv[1]), sync=sys.argv[3])
    await log.open()
    number = int(sys.argv[2])
    while True:
        count = number % 7 + 1
        batch = [Entry(namespace="/", rooms=(), data=b'["event",%d]' % n) for n in range(number, number + count)]
        for position in await log.append(batch):
            print("accepted", number, position)
            number += 1
        sys.stdout.flush()

asyncio.run(main())
"""


@contextmanager
def appending(path: Path, first: int, sync: str = "normal") -> Iterator[subprocess.Popen[str]]:
    """A process that appends without end, and prints what was accepted."""
    command = [sys.executable, "-c", APPENDER, str(path), str(first), sync]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def read_accepted(process: subprocess.Popen[str], count: int) -> list[tuple[int, str]]:
    """Wait for at least `count` lines, kill the process, and return what it had printed."""
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(count)]
    process.kill()
    lines += process.stdout.read().splitlines(keepends=True)
    # The last line may have been cut short with its process.
    words = [line.split() for line in lines if line.startswith("accepted ") and line.endswith("\n")]
    return [(int(number), position) for _, number, position in words]


async def test_what_was_accepted_before_a_kill_is_there(path: Path) -> None:
    log = SqliteLog(path)
    start = await log.position()
    accepted: list[tuple[int, str]] = []
    for life in range(4):
        with appending(path, life * 1_000_000) as process:
            accepted += read_accepted(process, 500)
    found = await log.read(start, "/", frozenset(), 1_000_000)
    stored = {kept.position: number for kept, number in zip(found, numbers(found), strict=True)}
    assert len(accepted) >= 2_000
    assert all(stored[position] == number for number, position in accepted)
    # Each process stored at most one list without printing it.
    assert len(stored) - len(accepted) <= 4 * 7
    assert [kept.position for kept in found] == [f"{epoch_of(start)}.{number}" for number in range(1, len(found) + 1)]
    await log.close()


async def test_several_processes_append_in_one_order_and_all_entries_are_received(path: Path) -> None:
    log = SqliteLog(path)
    async with tailing(log) as received:
        with appending(path, 0) as first, appending(path, 1_000_000) as second:
            for number in range(200):
                await log.append([entry(2_000_000 + number)])
                await asyncio.sleep(0)
            accepted = await asyncio.gather(
                asyncio.to_thread(read_accepted, first, 300), asyncio.to_thread(read_accepted, second, 300)
            )
        newest = await log.position()
        await received.wait_until(lambda: bool(received.entries) and received.entries[-1].position == newest)
    said = {position: number for lines in accepted for number, position in lines}
    by_position = dict(zip([kept.position for kept in received.entries], numbers(received.entries), strict=True))
    assert list(by_position) == [f"{epoch_of(newest)}.{number}" for number in range(1, len(by_position) + 1)]
    assert said.items() <= by_position.items()
    own = [number for number in by_position.values() if number >= 2_000_000]
    assert own == list(range(2_000_000, 2_000_200))
    await log.close()


async def test_others_are_woken_and_not_left_to_the_watch(open_node: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "WATCH_INTERVAL", 1_000.0)
    here, there = await open_node(), await open_node()
    async with tailing(there) as received:
        for number in range(50):
            await here.append([entry(number)])
            await received.wait_for(number + 1)


async def test_short_and_long_appends_reach_others_in_their_order(
    open_node: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short ones are sent; those that are too long for a message are read from the file."""
    monkeypatch.setattr(sqlite, "WATCH_INTERVAL", 1_000.0)
    here, there = await open_node(), await open_node()
    async with tailing(there) as received:
        for number in range(0, 60, 3):
            await here.append([entry(number)])
            await here.append([replace(entry(number + 1), data=b'["x","%b"]' % (b"x" * MAX_SENT_BYTES))])
            await here.append([entry(number + 2)])
            if number % 9 == 0:
                await asyncio.sleep(0)
        await received.wait_for(60)
        epoch = epoch_of(await here.position())
        assert [kept.position for kept in received.entries] == [f"{epoch}.{number}" for number in range(1, 61)]
        # Each is the one that the file holds at its position.
        assert received.entries == await here.read(f"{epoch}.0", "/", frozenset(), 100)


async def test_a_peer_of_an_earlier_version_is_only_woken(path: Path, open_node: Open) -> None:
    """It would take a stored entry in a message for a volatile one, and deliver it twice."""
    folder = UnixFolder(path.with_suffix(".peers"))
    with (
        closing(folder),
        folder.bind("0123456789abcdef", socket.SOCK_DGRAM) as old,
        folder.bind("e-0123", socket.SOCK_DGRAM) as new,
    ):
        here = await open_node()
        await here.append([entry(1)])
        assert await read_messages(old) == []
        (message,) = await read_messages(new)
        assert decode_stored(message) == (epoch_of(await here.position()), 1, [encode_entry(entry(1))])


async def test_sent_entries_that_do_not_come_next_are_read_from_the_file(path: Path, open_node: Open) -> None:
    here = await open_node()
    epoch = epoch_of(await here.position())
    async with tailing(here) as received:
        await here.append([entry(1)])
        await received.wait_for(1)
        folder = UnixFolder(path.with_suffix(".peers"))
        (name,) = folder.names()
        with closing(folder), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
            for wrong in ((epoch, 1), (epoch, 5), ("another", 2)):
                peer.sendto(
                    msgspec.msgpack.encode([encode_stored(*wrong, [encode_entry(entry(9))])]), folder.path(name)
                )
        await here.append([entry(2)])
        assert numbers(await received.wait_for(2)) == [1, 2]


async def read_messages(peer: socket.socket) -> list[bytes]:
    """The messages of the next datagram that is no announcement."""
    while not (datagram := await asyncio.get_running_loop().sock_recv(peer, 200_000)):
        pass
    return msgspec.msgpack.decode(datagram, type=list[bytes])


async def test_a_wake_up_that_is_lost_is_made_up_for(
    path: Path, open_node: Open, quick_watch: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await open_node()
    async with tailing(here) as received:
        (other,) = path.with_suffix(".peers").iterdir()
        other.unlink()
        there = await open_node()
        await there.append([entry(1)])
        assert numbers(await received.wait_for(1)) == [1]


async def test_many_volatile_entries_reach_a_peer_that_reads(open_node: Open) -> None:
    """Linux takes ten datagrams at a time; all others wait their turn."""
    here, there = await open_node(), await open_node()
    async with tailing(there) as received:
        for number in range(500):
            await here.broadcast(volatile(number))
            if number % 20 == 0:
                await asyncio.sleep(0)
        assert numbers(await received.wait_for(500)) == list(range(500))


async def test_what_a_killed_process_left_among_the_peers_is_removed(path: Path, open_node: Open) -> None:
    with appending(path, 0) as process:
        read_accepted(process, 1)
    node = await open_node()
    assert len(list(path.with_suffix(".peers").iterdir())) == 1
    await node.append([entry(1)])


async def test_a_volatile_entry_that_is_too_large_is_refused(node: SqliteLog) -> None:
    with pytest.raises(LogUnavailableError, match="at most 100000"):
        await node.broadcast(replace(volatile(1), data=b"x" * (MAX_MESSAGE_BYTES + 1)))


async def test_a_long_path_is_no_obstacle(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / ("x" * 120) / "log.sqlite")
    await log.append([entry(1)])
    await log.close()


# The file.


async def test_closed_and_opened_again_it_is_the_same_log(path: Path) -> None:
    first = SqliteLog(path)
    start = await first.position()
    await first.append([entry(1, key="k")])
    await first.put("record", b"value", 100)
    await first.close()
    second = SqliteLog(path)
    assert await read_all(second, start) == [1]
    assert await second.append([entry(2, key="k")]) == [await second.position()]
    assert await second.get("record") == b"value"
    await second.close()


async def test_a_deleted_file_is_a_new_epoch(path: Path, node: SqliteLog, spawn: Spawn) -> None:
    (before,) = await node.append([entry(1)])
    received = Received()
    tail = spawn(node.tail(received.deliver))
    await asyncio.sleep(0.01)
    for file in path.parent.glob("log.sqlite*"):
        file.unlink()
    (after,) = await node.append([entry(2)])
    assert epoch_of(after) != epoch_of(before)
    with pytest.raises(KeyError):
        await node.read(before, "/", frozenset(), 10)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(LogUnavailableError, match="a new epoch has begun"):
            await tail


async def test_a_node_that_only_reads_notices_that_the_file_is_gone(
    path: Path, open_node: Open, quick_watch: None, spawn: Spawn
) -> None:
    here, there = await open_node(), await open_node()
    async with asyncio.timeout(PATIENCE):
        tails = [spawn(log.tail(Received().deliver)) for log in (here, there)]
        await asyncio.sleep(0.01)
        path.unlink()
        for tail in tails:
            with pytest.raises(LogUnavailableError, match="a new epoch has begun"):
                await tail
    assert epoch_of(await here.position()) == epoch_of(await there.position())


async def test_a_broken_file_is_set_aside_and_a_new_log_begins(path: Path) -> None:
    path.write_bytes(b"This is not a database, and it never was one." * 100)
    with capture_logs() as logs:
        log = SqliteLog(path)
        await log.open()
        await log.append([entry(1)])
    assert next(line["event"] for line in logs if line["log_level"] == "error").startswith("the log's file is broken")
    (aside,) = path.parent.glob("log.sqlite.broken-*")
    assert aside.read_bytes().startswith(b"This is not")
    await log.close()


async def test_a_file_that_breaks_while_it_is_used_is_set_aside(path: Path, open_node: Open) -> None:
    log = SqliteLog(path)
    for first in range(0, 3_000, 100):
        (*_, before) = await log.append([entry(number) for number in range(first, first + 100)])
    await log.close()
    with path.open("r+b") as file:
        # Not the head, nor the newest entries, so that it is not noticed when it is opened.
        file.seek(40 * sqlite_file.PAGE_BYTES)
        file.write(os.urandom(40 * sqlite_file.PAGE_BYTES))
    log = await open_node()
    with pytest.raises(LogUnavailableError, match="cannot be used"):
        await log.read(f"{epoch_of(before)}.1", "/", frozenset(), 10_000)
    (after,) = await log.append([entry(1)])
    assert epoch_of(after) != epoch_of(before)
    assert list(path.parent.glob("log.sqlite.broken-*"))


async def test_a_newer_format_is_refused(path: Path) -> None:
    log = SqliteLog(path)
    await log.open()
    await log.close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {len(FORMATS) + 1}")
    db.close()
    with pytest.raises(SettingsError, match=f"its format is {len(FORMATS) + 1}, this Oyez reads {len(FORMATS)}"):
        await SqliteLog(path).open()


async def test_an_older_format_is_migrated(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = SqliteLog(path)
    start = await log.position()
    await log.append([entry(1)])
    await log.close()
    monkeypatch.setattr(sqlite_file, "FORMATS", (*FORMATS, "CREATE TABLE tenants (name TEXT);"))
    log = SqliteLog(path)
    await log.append([entry(2)])
    assert await read_all(log, start) == [1, 2]
    await log.close()
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(FORMATS) + 1,)
        assert db.execute("SELECT count(*) FROM tenants").fetchone() == (0,)
    db.close()


async def test_a_database_of_another_program_is_not_changed(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (value)")
    db.close()
    with pytest.raises(SettingsError, match="not a log of Oyez"):
        await SqliteLog(path).open()


# Power loss.


async def test_after_power_loss_there_is_a_new_epoch(path: Path, open_node: Open) -> None:
    with appending(path, 0) as process:
        (*_, (_, before)) = read_accepted(process, 10)
    node = await open_node(boot=lambda: "another boot")
    assert epoch_of(await node.position()) != epoch_of(before)
    again = await open_node(boot=lambda: "another boot")
    assert epoch_of(await again.position()) == epoch_of(await node.position())


@pytest.mark.parametrize("how", ["closed", "full"])
async def test_what_cannot_be_lost_by_power_loss_stays_the_same_epoch(path: Path, open_node: Open, how: str) -> None:
    if how == "closed":
        log = SqliteLog(path)
        (before,) = await log.append([entry(1)])
        await log.close()
    else:
        with appending(path, 0, sync="full") as process:
            (*_, (_, before)) = read_accepted(process, 10)
    node = await open_node(boot=lambda: "another boot")
    assert epoch_of(await node.position()) == epoch_of(before)


# What stands in the way, and goes again.


async def test_a_lock_that_lasts_is_logged_and_so_is_its_end(
    path: Path, node: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "LOCK_TIMEOUT", 0.05)
    start = await node.position()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LogUnavailableError, match="has been locked"):
        await node.append([entry(1)])
    other.execute("ROLLBACK")
    await node.append([entry(2)])
    assert await read_all(node, start) == [2]
    other.close()


async def test_a_short_lock_is_waited_for(path: Path, node: SqliteLog, spawn: Spawn) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    appended = spawn(node.append([entry(1)]))
    await asyncio.sleep(0.02)
    assert not appended.done()
    other.execute("ROLLBACK")
    await appended
    other.close()


async def test_a_full_disk_stores_nothing_and_is_got_over(node: SqliteLog) -> None:
    start = await node.position()
    await node.append([entry(0)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Over its limit a file cannot grow, which is what a full disk looks like.
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with capture_logs() as logs:
            for _ in range(2):
                with pytest.raises(LogUnavailableError):
                    await node.append([replace(entry(1), data=b'["event",1,"%s"]' % (b"x" * 400_000))])
                assert await read_all(node, start) == [0]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [line["event"] for line in logs] == ["the log cannot be used"], "it can be read all the time"
    await node.append([entry(2)])
    assert await read_all(node, start) == [0, 2]


async def test_over_max_bytes_the_oldest_are_given_up(open_node: Open) -> None:
    log = await open_node(max_bytes=200_000)
    start = await log.position()
    for first in range(0, 5_000, 100):
        (*_, newest) = await log.append([entry(number) for number in range(first, first + 100)])
    with pytest.raises(KeyError):
        await log.read(start, "/", frozenset(), 10)
    assert await read_all(log, f"{epoch_of(newest)}.4900") == list(range(4_900, 5_000))


async def test_the_wal_of_a_small_log_stays_small(path: Path, open_node: Open, quick_watch: None) -> None:
    most = 2_000_000
    log, wal = await open_node(max_bytes=most), Path(f"{path}-wal")
    reader = sqlite3.connect(path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM entries").fetchall()
    # While a reader is open, no checkpoint can reset the WAL.
    for first in range(0, 1_000, 100):
        await log.append([replace(entry(number), data=b"x" * 10_000) for number in range(first, first + 100)])
    assert wal.stat().st_size > 2 * most
    reader.close()
    await until(lambda: wal.stat().st_size <= 2 * most)


async def test_many_small_entries_leave_no_large_wal(
    path: Path, open_node: Open, quick_watch: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "MAX_WAL_BYTES", 200_000)
    log, wal = await open_node(), Path(f"{path}-wal")
    for number in range(200):
        await log.append([entry(number)])
    await until(lambda: wal.stat().st_size == 0)
    assert path.stat().st_size < 200_000, "the entries need less than a tenth of what the commits wrote"


async def test_a_backup_that_takes_long_does_not_stop_appends(
    path: Path, open_node: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "CHECKPOINT_TIMEOUT", 1_000.0)
    log = await open_node(max_bytes=1_000_000)
    reader = sqlite3.connect(path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM entries").fetchall()
    large = replace(entry(0), data=b"x" * 2_000 * sqlite_file.PAGE_BYTES)
    await log.append([large])
    file = SqliteFile(path, max_bytes=1_000_000, sync="normal", boot=sqlite_file.read_boot, on_open=lambda *_: None)
    await file.use(lambda db: None)
    async with asyncio.timeout(PATIENCE):
        await file.checkpoint()
    await log.append([entry(1)])
    reader.close()
    await file.checkpoint()
    assert Path(f"{path}-wal").stat().st_size == 0
    file.close()


async def test_what_is_forgotten_leaves_the_file_bit_by_bit(
    path: Path, open_node: Open, clock: Clock, quick_watch: None
) -> None:
    log = await open_node()
    for first in range(0, 2_000, 100):
        await log.append([entry(number, f"room:{number}") for number in range(first, first + 100)])
    clock.advance(RETENTION + 1)
    db = sqlite3.connect(path)
    await until(lambda: db.execute("SELECT count(*) FROM entries").fetchone()[0] <= 1)
    db.close()
