"""What is special to the log in Redis: a server that dies, has lost entries afterwards, hangs, or cannot be used."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ConnectionError

from oyez.errors import LogUnavailableError, SettingsError
from oyez.log import redis
from oyez.log.log import epoch_of, number_of
from oyez.log.redis import RedisLog
from tests.log.backends import RETENTION, Clock
from tests.log.verbs import entry, numbers, read_all, tailing, volatile
from tests.support.clock import PATIENCE, until
from tests.support.logged import capture_logs
from tests.support.proxy import Proxy
from tests.support.tasks import Spawn
from tests.support.valkey import ValkeyServer, serve_valkey

Open = Callable[[], Awaitable[RedisLog]]


@pytest.fixture
def server(own_valkey: ValkeyServer) -> ValkeyServer:
    return own_valkey


@pytest.fixture
async def open_node(server: ValkeyServer, clock: Clock) -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:

        async def open_node() -> RedisLog:
            log = RedisLog(server.url, "market", retention=RETENTION, clock=clock)
            stack.push_async_callback(log.close)
            await log.open()
            return log

        yield open_node


@pytest.fixture
async def node(open_node: Open) -> RedisLog:
    return await open_node()


# The server dies and is started again.


async def test_without_redis_appending_fails_soon_and_works_again_with_it(node: RedisLog, server: ValkeyServer) -> None:
    start = await node.position()
    await node.append([entry(1)])
    server.kill()
    began = time.monotonic()
    with pytest.raises(LogUnavailableError, match="Redis cannot be used"):
        await node.append([entry(2)])
    assert time.monotonic() - began < redis.TIMEOUT + 10
    server.start()
    await node.append([entry(3)])
    assert await read_all(node, start) == [1, 3]


async def test_a_tail_goes_on_where_it_was_when_redis_comes_back(node: RedisLog, server: ValkeyServer) -> None:
    async with tailing(node) as received:
        await node.append([entry(1)])
        await received.wait_for(1)
        server.restart()
        (position,) = await node.append([entry(2)])
        assert numbers(await received.wait_for(2)) == [1, 2]
        await node.append([entry(3)])
        assert numbers(await received.wait_for(3)) == [1, 2, 3]
        async with asyncio.timeout(PATIENCE):
            while not any(kept.volatile for kept in received.entries):
                await node.broadcast(volatile(4))
                await asyncio.sleep(0.05)
    assert epoch_of(position) == epoch_of(await node.position())


async def test_a_producer_that_repeats_with_its_keys_loses_and_doubles_nothing(
    node: RedisLog, server: ValkeyServer, spawn: Spawn
) -> None:
    start = await node.position()
    killer = spawn(_restart_often(server, 3))
    for number in range(300):
        while True:
            try:
                await node.append([entry(number, key=f"key:{number}")])
                break
            except LogUnavailableError:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.002)
    await killer
    assert await read_all(node, start) == list(range(300))


async def _restart_often(server: ValkeyServer, times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(0.1)
        await asyncio.to_thread(server.restart)


async def test_a_call_that_is_repeated_after_a_cut_is_done_once(
    node: RedisLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is lost, not the call: the second attempt of the same call finds what the first one did."""
    start = await node.position()
    run = node._run
    answers: list[object] = []

    async def lose_the_first_answer(script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        answers.append(await run(script, keys, arguments))
        if len(answers) == 1:
            raise ConnectionError("cut on purpose")
        return answers[-1]

    monkeypatch.setattr(node, "_run", lose_the_first_answer)
    positions = await node.append([entry(1), entry(2, key="k")])
    assert [f"{epoch_of(start)}.{number_of(start) + 1}", f"{epoch_of(start)}.{number_of(start) + 2}"] == positions
    assert await read_all(node, start) == [1, 2]


async def test_a_redis_that_hangs_is_not_waited_for(
    node: RedisLog, server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis, "TIMEOUT", 0.2)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(LogUnavailableError, match="no answer within"):
                await node.append([entry(1)])
    finally:
        os.kill(server.pid, signal.SIGCONT)


# The server has lost entries when it is back.


async def test_an_emptied_redis_is_a_new_epoch(node: RedisLog, server: ValkeyServer) -> None:
    (before,) = await node.append([entry(1)])
    async with tailing_that_fails(node) as failed:
        with server.connect() as client:
            client.flushall()
        (after,) = await node.append([entry(2)])
        await failed()
    assert epoch_of(after) != epoch_of(before)
    with pytest.raises(KeyError):
        await node.read(before, "/", frozenset(), 10)


async def test_a_redis_that_forgot_the_newest_is_a_new_epoch(node: RedisLog, server: ValkeyServer) -> None:
    start = await node.position()
    (*_, before) = await node.append([entry(number) for number in range(10)])
    aof = list(server.folder.rglob("*.incr.aof"))
    contents = aof[0].read_bytes()
    (lost,) = await node.append([entry(10)])
    server.kill()
    aof[0].write_bytes(contents)
    server.start()
    (after,) = await node.append([entry(11)])
    assert number_of(after) == number_of(lost)
    assert epoch_of(after) != epoch_of(lost)
    for position in (start, before, lost):
        with pytest.raises(KeyError):
            await node.read(position, "/", frozenset(), 10)


async def test_a_node_that_only_reads_notices_that_numbers_were_reused(open_node: Open, server: ValkeyServer) -> None:
    here = await open_node()
    await here.append([entry(1)])
    aof = list(server.folder.rglob("*.incr.aof"))
    contents = aof[0].read_bytes()
    async with tailing(here) as received:
        await here.append([entry(2)])
        await received.wait_for(1)
    async with tailing_that_fails(here) as failed:
        (lost,) = await here.append([entry(3)])
        await asyncio.sleep(0.1)
        server.kill()
        aof[0].write_bytes(contents)
        server.start()
        # A node that has just started does not know of the lost entries, and appends after them.
        other = await open_node()
        for number in range(10, 15):
            await other.append([entry(number)])
        await failed()
    with pytest.raises(KeyError):
        await here.read(lost, "/", frozenset(), 10)


def tailing_that_fails(log: RedisLog) -> "Failing":
    return Failing(log)


class Failing:
    """A tail that is expected to end because history was lost."""

    def __init__(self, log: RedisLog) -> None:
        self._log = log

    async def __aenter__(self) -> Callable[[], Awaitable[None]]:
        self._started = asyncio.Event()
        self._task = asyncio.create_task(self._log.tail(lambda batch: self._started.set()))
        async with asyncio.timeout(PATIENCE):
            while not self._started.is_set():
                await self._log.broadcast(volatile(0))
                await asyncio.sleep(0.01)
        return self._fails

    async def _fails(self) -> None:
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(LogUnavailableError, match="a new epoch has begun"):
                await self._task

    async def __aexit__(self, *raised: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


# Retention.


async def test_a_failover_behind_the_same_address(server: ValkeyServer, tmp_path: Path) -> None:
    """An open connection stays with the server that is a replica now; only a new connection reaches the other."""
    async with Proxy.run(server.port) as proxy, AsyncExitStack() as stack:
        heir = stack.enter_context(serve_valkey(tmp_path / "heir"))
        log = RedisLog(f"redis://127.0.0.1:{proxy.port}/0", "market")
        stack.push_async_callback(log.close)
        await log.open()
        start = await log.position()
        await log.append([entry(1)])
        with server.connect() as old, heir.connect() as new:
            new.replicaof("127.0.0.1", str(server.port))
            while new.info("replication")["master_link_status"] != "up":  # noqa: ASYNC110 - nothing says when
                await asyncio.sleep(0.01)
            new.replicaof("NO", "ONE")
            old.replicaof("127.0.0.1", str(heir.port))
        proxy.target = heir.port
        stored, failures = [1], 0
        for number in (2, 3, 4):
            try:
                await log.put("record", b"kept", 60.0)
                await log.append([entry(number)])
                stored.append(number)
            except LogUnavailableError as error:
                # Usually the first write. A connection that was replaced in the meantime reaches the other server.
                assert "read only" in str(error)
                failures += 1
        # A failure replaces all connections.
        assert failures <= 1
        assert await read_all(log, start) == stored


async def test_what_is_forgotten_leaves_redis(
    node: RedisLog, server: ValkeyServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis, "TRIM_INTERVAL", 0.02)
    await node.append([entry(number) for number in range(1_000)])
    clock.advance(RETENTION / 2)
    (*_, newest) = await node.append([entry(number) for number in range(10)])
    clock.advance(RETENTION / 2 + 1)
    with server.connect() as client:
        await until(lambda: client.xlen("oyez:{market}:entries") == 10)
        clock.advance(RETENTION)
        await until(lambda: client.xlen("oyez:{market}:entries") == 0)
    (next_one,) = await node.append([entry(1)])
    assert number_of(next_one) == number_of(newest) + 1


# What is not to be used.


async def test_two_systems_and_two_prefixes_are_apart(server: ValkeyServer) -> None:
    logs = [RedisLog(server.url, "a"), RedisLog(server.url, "b"), RedisLog(server.url, "a", prefix="other")]
    for number, log in enumerate(logs):
        await log.open()
        await log.put("k", b"%d" % number, 10)
        await log.append([entry(number, key="k")])
    assert [await log.get("k") for log in logs] == [b"0", b"1", b"2"]
    assert [number_of(await log.position()) for log in logs] == [2, 2, 2]
    for log in logs:
        await log.close()


async def test_a_newer_format_is_refused(node: RedisLog, open_node: Open, server: ValkeyServer) -> None:
    with server.connect() as client:
        client.hset("oyez:{market}:about", "format", redis.FORMAT + 1)
    with pytest.raises(SettingsError, match=f"its format is {redis.FORMAT + 1}, this Oyez reads {redis.FORMAT}"):
        await open_node()


def test_what_is_no_address_is_a_settings_error() -> None:
    with pytest.raises(SettingsError, match="REDIS_URL"):
        RedisLog("localhost:6379", "market")


async def test_a_missing_redis_at_the_start_is_reported() -> None:
    log = RedisLog("redis://127.0.0.1:1/0", "market")
    with pytest.raises(LogUnavailableError, match="REDIS_URL: Redis cannot be reached"):
        await log.open()
    await log.close()


async def test_a_redis_with_a_password_is_a_settings_error(server: ValkeyServer) -> None:
    with server.connect() as client:
        client.config_set("requirepass", "secret")
    log = RedisLog(server.url, "market")
    with pytest.raises(SettingsError, match="Redis refuses access"):
        await log.open()
    await log.close()
    log = RedisLog(server.url.replace("redis://", "redis://:secret@"), "market")
    await log.open()
    await log.close()


async def test_a_redis_that_may_lose_the_log_is_warned_of(valkey: ValkeyServer) -> None:
    with capture_logs() as logs:
        log = RedisLog(valkey.url, "warned")
        await log.open()
        await log.close()
    assert "Redis is not append-only: its restart loses the log" in [line["event"] for line in logs]


async def test_a_full_redis_stores_nothing_and_is_got_over(node: RedisLog, server: ValkeyServer) -> None:
    start = await node.position()
    with server.connect() as client:
        client.config_set("maxmemory", 1)
        with pytest.raises(LogUnavailableError, match="maxmemory"):
            await node.append([entry(1), entry(2)])
        client.config_set("maxmemory", 0)
    await node.append([entry(3)])
    assert await read_all(node, start) == [3]
