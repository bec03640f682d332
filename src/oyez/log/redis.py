"""The log in Redis (7 or later) or Valkey: shared by the processes of many machines.

Each system has one stream. Its ids are `0-1`, `0-2`, …: Redis counts, so they have no gaps, and a gap means a loss. A
second key holds the epoch. A new epoch begins if the stream is missing, or if a node has seen a higher number than the
stream's: then Redis has lost entries, by a restart or by a failover to a replica that did not have them yet.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import islice
from typing import Any, Self

import hiredis
import redis
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoScriptError, ReadOnlyError, RedisError

from oyez.concurrency.task_set import TaskSet, cancel_tasks
from oyez.errors import LogUnavailableError, SettingsError
from oyez.log.damage import Damage
from oyez.log.entry_codec import encode_entry
from oyez.log.log import Checkpoint, Deliver, Entry, Examination, epoch_of, split_position
from oyez.log.page_cache import PAGE, PageCache
from oyez.log.redis_scripts import APPEND, DIGESTS, LOOK, TRIM
from oyez.log.subscribers import Subscribers
from oyez.logger import get_logger
from oyez.settings import Settings

logger = get_logger("oyez.log")

FORMAT = 1
"""Version of the data in Redis: names, scripts (`redis_scripts.py`) and entries (`entry_codec.py`)."""
TIMEOUT = 2.0
"""Seconds for one attempt of a call: long for Redis, short for a producer that waits."""
MAX_TOGETHER = 1_000
"""Entries of several publishers that are stored with one call: Redis handles no other call meanwhile."""
MAX_CONNECTIONS = 32
"""Concurrent calls, to limit the load on Redis; further calls wait."""
BLOCK_SECONDS = 1.0
"""Seconds that a tail waits for entries before it checks whether the log has been replaced."""
RETRY_SECONDS = 0.5
"""Seconds between two attempts of a tail during an outage of Redis: it must notice the end of the outage soon."""
REPEAT_SECONDS = 30.0
"""Seconds for which Redis remembers a call, so that its second attempt stores nothing: much longer than that takes."""
TRIM_INTERVAL = 1.0
"""Seconds between two trims, so that each deletes only a few entries."""
OLD_PAGE = 100
"""Entries read with one call when only the first one that is not too old is needed."""
MAX_NUMBER = 2**53
"""A number that no stream reaches: Lua cannot represent greater integers exactly."""
_FAILURES = (RedisError, OSError, TimeoutError)


class RedisLog:
    """Keeps entries for `retention` seconds, under names that begin with `prefix:{name}`."""

    def __init__(
        self,
        url: str,
        name: str,
        *,
        prefix: str = "oyez",
        retention: float = 300.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Raises SettingsError if `url` is not an address of Redis."""
        base = f"{prefix}:{{{name}}}"
        self._stream, self._about, self._channel = f"{base}:entries", f"{base}:about", f"{base}:volatile"
        self._base = base
        self._url = url
        self._retention = retention
        self._clock = clock
        self._redis = self._connect()
        self._free = asyncio.Semaphore(MAX_CONNECTIONS)
        self._idle: list[AbstractConnection] = []
        """Connections for scripts that are not in use."""
        self._waiting: list[tuple[list[Entry], Checkpoint | None, asyncio.Future[list[str]]]] = []
        """Entries for the next call, and the futures of the callers that wait for it."""
        self._appending: asyncio.Task[None] | None = None
        self._node, self._calls = "", 0
        """Together they identify a call among the calls of all nodes."""
        self._epoch, self._next_epoch = "", ""
        """The current epoch, and the next one if this node has to begin it."""
        self._seen = 0
        """The highest number of the epoch that this node has seen."""
        self.damage = Damage(self._stream)
        self._pages = PageCache(self._bodies, self.damage)
        self._subscribers: set[Subscribers] = set()
        self._ending = TaskSet()
        self._trimming: asyncio.Task[None] | None = None
        self._closed = False

    @classmethod
    def build(cls, settings: Settings, system: str) -> Self:
        """The log of a system, by the settings. Raises SettingsError."""
        return cls(settings.log_address, system, prefix=settings.redis_prefix, retention=settings.log_retention)

    def _connect(self, timeout: float | None = None) -> Redis:
        try:
            pool = ConnectionPool.from_url(
                self._url,
                socket_timeout=timeout,
                socket_connect_timeout=TIMEOUT,
                # `_do` and `_once` decide for each call whether it is repeated.
                retry=Retry(NoBackoff(), 0),
                protocol=2,
            )
        except ValueError as error:
            raise SettingsError(f"REDIS_URL: {error}. Give an address such as redis://HOST:6379/0.") from None
        client = Redis(connection_pool=pool)
        # Use the raw answer, because a dictionary for each entry would cost more than everything else.
        client.set_response_callback("XRANGE", lambda response, **options: response)
        return client

    async def open(self) -> None:
        if self._trimming is not None or self._closed:
            return
        # Not in `__init__`: forks of one process must not have the same names.
        self._node = self._node or secrets.token_hex(8)
        self._next_epoch = self._next_epoch or secrets.token_hex(4)
        async with self._reaching():
            about = await self._redis.info()
            check_version(about)
            await self._redis.hsetnx(self._about, "format", FORMAT)
            self._check_format(await self._redis.hget(self._about, "format"))
        for message, remedy in find_risks(about):
            logger.warning(message, remedy=remedy)
        await self._look()
        self._trimming = asyncio.create_task(self._run_trimming())

    async def examine(self) -> Examination:
        async with self._reaching():
            about = await self._redis.info()
            check_version(about)
            self._check_format(await self._redis.hget(self._about, "format"))
            seconds, microseconds = await self._redis.time()
        name, version = about.get("server_name", "redis"), about.get(f"{about.get('server_name')}_version")
        risks = tuple(f"{message}: set {remedy}" for message, remedy in find_risks(about))
        clock = seconds + microseconds / 1_000_000
        return Examination(f"{name} {version or about['redis_version']} answers", risks, clock)

    @asynccontextmanager
    async def _reaching(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(TIMEOUT):
                yield
        except AuthenticationError as error:
            raise SettingsError(f"REDIS_URL: Redis refuses access: {error}. Add user and password.") from None
        except _FAILURES as error:
            raise LogUnavailableError(
                f"REDIS_URL: Redis cannot be reached: {_reason(error)}. Start it, or give another address."
            ) from error

    def _check_format(self, found: bytes | str | None) -> None:
        written = int(found or 0)
        if written > FORMAT:
            raise SettingsError(
                f"{self._about} in Redis was written by a newer Oyez: its format is {written},"
                f" this Oyez reads {FORMAT}. Start the newer Oyez again, or set another REDIS_PREFIX."
            )

    async def close(self) -> None:
        self._closed = True
        if self._trimming is not None:
            self._trimming.cancel()
        for subscribers in self._subscribers:
            subscribers.close()
        await self._ending.drain()
        if self._appending is not None:
            await self._appending
        for connection in self._idle:
            await connection.disconnect(nowait=True)
        await _disconnect(self._redis)

    # Entries.

    async def append(self, entries: Sequence[Entry], checkpoint: Checkpoint | None = None) -> list[str]:
        if not entries and checkpoint is None:
            return []
        # During a call all other publishers wait, and then share the next call. This keeps the order at low cost.
        appended: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        # Copy the entries here, so that only this producer receives an error of its iterator.
        self._waiting.append((list(entries), checkpoint, appended))
        if self._appending is None:
            self._appending = asyncio.create_task(self._append_waiting())
        return await appended

    async def _append_waiting(self) -> None:
        while self._waiting:
            entries, sharing, checkpoint = self._take_waiting()
            try:
                positions = iter(await self._store(entries, checkpoint))
            except Exception as error:
                for _, appended in sharing:
                    if not appended.done():
                        appended.set_exception(error)
                continue
            for share, appended in sharing:
                own = list(islice(positions, share))
                if not appended.done():
                    appended.set_result(own)
        self._appending = None

    def _take_waiting(self) -> "tuple[list[Entry], list[tuple[int, asyncio.Future[list[str]]]], Checkpoint | None]":
        """The entries of the next call, and the number of positions for each caller. A checkpoint has its own call."""
        first, checkpoint, appended = self._waiting.pop(0)
        entries, sharing = first, [(len(first), appended)]
        while checkpoint is None and self._waiting:
            following, its_checkpoint, appended = self._waiting[0]
            if its_checkpoint is not None or len(entries) + len(following) > MAX_TOGETHER:
                break
            del self._waiting[0]
            entries += following
            sharing.append((len(following), appended))
        return entries, sharing, checkpoint

    async def _store(self, entries: Sequence[Entry], checkpoint: Checkpoint | None) -> list[str]:
        self._calls += 1
        marked, value = checkpoint or ("", b"")
        keys = [self._stream, self._about, f"{self._base}:call:{self._node}:{self._calls}", self._record(marked)]
        arguments: list[bytes | str | int] = [
            self._next_epoch,
            self._epoch,
            self._seen,
            int(self._clock() * 1000),
            _milliseconds(self._retention),
            _milliseconds(REPEAT_SECONDS),
            value,
        ]
        for entry in entries:
            if entry.key:
                keys.append(f"{self._base}:key:{entry.key}")
            arguments += (encode_entry(entry), len(keys) if entry.key else "")
        epoch, _, numbers = (await self._do(lambda: self._run(APPEND, keys, arguments))).decode().partition(".")
        positions = [f"{epoch}.{number}" for number in numbers.split(",")]
        self._observe(positions[-1])
        return positions

    async def broadcast(self, entry: Entry) -> None:
        await self._do(lambda: self._redis.publish(self._channel, encode_entry(entry)))

    async def read(self, after: str, namespace: str, rooms: frozenset[str], limit: int) -> list[Entry]:
        number = await self._check(after)
        return await self._pages.find(epoch_of(after), number, self._seen, namespace, rooms, limit)

    async def tail(self, deliver: Deliver, after: str | None = None) -> None:
        if self._closed:
            return
        try:
            number = await self._check(await self.position() if after is None else after)
        except LogUnavailableError:
            if self._closed:
                return
            raise
        subscribers = Subscribers()
        reader = self._make_connection()
        listener = self._connect(BLOCK_SECONDS + TIMEOUT)
        tasks = [
            asyncio.create_task(self._read_on(subscribers, reader, self._epoch, number)),
            asyncio.create_task(self._receive_volatile(subscribers, listener)),
        ]
        self._subscribers.add(subscribers)
        try:
            await subscribers.run(deliver)
        finally:
            # A cancellation alone may get lost: the library uses cancellation for its own time-outs.
            subscribers.close()
            self._subscribers.discard(subscribers)
            # A second cancellation must not leave the connections open.
            await asyncio.shield(self._ending.spawn(_end(tasks, reader, listener)))

    async def position(self) -> str:
        return await self._look()

    async def position_before(self, most: int) -> str:
        epoch, last = split_position(await self._look())
        number = max(0, last - most)
        oldest = (self._clock() - self._retention) * 1000
        # Entries that are too old are trimmed within seconds, so there are few.
        while number < last:
            rows = await self._rows(number + 1, last, OLD_PAGE)
            kept = next((row[0] for row in rows if row[1] > oldest), None)
            if kept is not None:
                number = kept - 1
                break
            number = rows[-1][0] if rows else last
        return f"{epoch}.{number}"

    async def size(self) -> int:
        return int(await self._do(lambda: self._redis.memory_usage(self._stream)) or 0)

    # Records.

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        await self._do(lambda: self._redis.set(self._record(key), value, px=_milliseconds(ttl)))

    async def put_all(self, records: Mapping[str, bytes | None], ttl: float) -> None:
        async def put_together() -> None:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for key, value in records.items():
                    if value is None:
                        pipeline.delete(self._record(key))
                    else:
                        pipeline.set(self._record(key), value, px=_milliseconds(ttl))
                await pipeline.execute()

        if records:
            await self._do(put_together)

    async def get(self, key: str) -> bytes | None:
        value: bytes | None = await self._do(lambda: self._redis.get(self._record(key)))
        return value

    async def get_all(self, keys: Sequence[str]) -> dict[str, bytes]:
        if not keys:
            return {}
        values = await self._do(lambda: self._redis.mget(map(self._record, keys)))
        return {key: value for key, value in zip(keys, values, strict=True) if value is not None}

    async def get_and_delete(self, key: str) -> bytes | None:
        value: bytes | None = await self._once(lambda: self._redis.getdel(self._record(key)))
        return value

    async def put_if_absent(self, key: str, value: bytes, ttl: float) -> bytes | None:
        there: bytes | None = await self._once(
            lambda: self._redis.set(self._record(key), value, px=_milliseconds(ttl), nx=True, get=True)
        )
        return there

    def _record(self, key: str) -> str:
        return f"{self._base}:record:{key}"

    # Reading.

    async def _look(self) -> str:
        """The position of the newest entry, after a check that the log is still the same."""
        arguments = [self._next_epoch, self._epoch, self._seen]
        position: str = (await self._do(lambda: self._run(LOOK, [self._stream, self._about], arguments))).decode()
        self._observe(position)
        return position

    def _observe(self, position: str) -> None:
        epoch, number = split_position(position)
        if epoch != self._epoch:
            if self._epoch:
                logger.error("the log in Redis has lost entries: a new epoch has begun", epoch=epoch)
            self._epoch, self._seen = epoch, 0
            self._next_epoch = secrets.token_hex(4)
        self._seen = max(self._seen, number)

    async def _check(self, after: str) -> int:
        """The number of a position after which every entry is kept. Raises KeyError for any other."""
        epoch, number = split_position(after)
        epoch_now, last = split_position(await self._look())
        if epoch != epoch_now or number > last:
            raise KeyError(after)
        if number < last:
            rows = await self._rows(number + 1, number + 1)
            if not rows or rows[0][1] <= (self._clock() - self._retention) * 1000:
                raise KeyError(after)
        return number

    async def _rows(self, first: int, last: int, most: int = PAGE) -> list[tuple[int, int, bytes]]:
        """Number, time in ms and bytes of each entry from `first` to `last`, at most `most` of them."""
        arguments = (self._stream, f"0-{first}", f"0-{last}", "COUNT", most)
        found = await self._do(lambda: _execute(self._redis, "XRANGE", *arguments))
        return [_read_row(row) for row in found]

    async def _bodies(self, epoch: str, first: int, last: int) -> list[tuple[int, bytes]]:
        rows = await self._rows(first, last)
        if epoch != self._epoch:
            raise KeyError(f"{epoch}.{first}")
        return [(number, body) for number, _, body in rows]

    # Listening.

    async def _read_on(self, subscribers: Subscribers, reader: AbstractConnection, epoch: str, number: int) -> None:
        """Publish the entries after `number` to `subscribers`, until one is missing."""
        newest: Row | None = None
        failing = False
        try:
            while not subscribers.closed:
                try:
                    # An outage may have replaced the log: check this first.
                    rows = [] if failing else await self._following(reader, number)
                    if not rows:
                        await self._check_same(epoch, newest)
                    if failing:
                        logger.info("Redis can be reached again, and no entry was lost", log=self._base)
                    failing = False
                except _LostError:
                    raise
                except (*_FAILURES, LogUnavailableError) as error:
                    if not failing:
                        logger.error("Redis cannot be reached; trying again", log=self._base, error=str(error))
                    failing = True
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                if rows and rows[0][0] != number + 1:
                    raise _LostError(f"Entries after {number} were deleted before this process has read them.")
                if rows:
                    newest = rows[-1]
                    number = newest[0]
                    if epoch == self._epoch:
                        self._seen = max(self._seen, number)
                    subscribers.publish([self.damage.decode(body, f"{epoch}.{number}") for number, _, body in rows])
        except Exception as error:
            subscribers.fail(error)

    async def _following(self, reader: AbstractConnection, number: int) -> "list[Row]":
        block = _milliseconds(BLOCK_SECONDS)
        # Each process reads the entries of all processes, and the library's client would double the cost of this.
        async with asyncio.timeout(BLOCK_SECONDS + TIMEOUT):
            await _send(reader, "XREAD", "COUNT", PAGE, "BLOCK", block, "STREAMS", self._stream, f"0-{number}")
            found = await reader.read_response(disable_decoding=True)
        return [_read_row(row) for row in found[0][1]] if found else []

    async def _check_same(self, epoch: str, newest: "Row | None") -> None:
        """Raises _LostError if the log is not the one in which `newest` was read."""
        position = await self._look()
        if newest is not None and epoch_of(position) == epoch:
            there = await self._rows(newest[0], newest[0])
            if there and there[0] != newest:
                # Redis has lost entries, and other nodes have appended since: the number now names another entry.
                self._seen = MAX_NUMBER
                position = await self._look()
        if epoch_of(position) != epoch:
            raise _LostError("The log in Redis has lost entries: a new epoch has begun.")

    async def _receive_volatile(self, subscribers: Subscribers, listener: Redis) -> None:
        """Publish the volatile entries to `subscribers`. Those that were sent during an outage are lost."""
        while not subscribers.closed:
            pubsub = listener.pubsub(ignore_subscribe_messages=True)
            with suppress(*_FAILURES):
                await pubsub.subscribe(self._channel)
                while not subscribers.closed:
                    message = await pubsub.get_message(timeout=BLOCK_SECONDS)
                    if message is not None:
                        subscribers.publish(self.damage.decode_volatile([message["data"]]))
            with suppress(*_FAILURES):
                await pubsub.aclose()  # type: ignore[no-untyped-call]
            await asyncio.sleep(RETRY_SECONDS)

    async def _run_trimming(self) -> None:
        while True:
            await asyncio.sleep(TRIM_INTERVAL)
            with suppress(LogUnavailableError):
                await self._do(self._trim)

    async def _trim(self) -> None:
        await self._run(TRIM, [self._stream], [int((self._clock() - self._retention) * 1000)])

    # Calls.

    async def _run(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Run a script without the library's client, which would be slower, because publishers wait for it."""
        connection = self._idle.pop() if self._idle else self._make_connection()
        try:
            await _send(connection, "EVALSHA", DIGESTS[script], len(keys), *keys, *arguments)
            try:
                return await connection.read_response(disable_decoding=True)
            except NoScriptError:
                await _send(connection, "EVAL", script, len(keys), *keys, *arguments)
                return await connection.read_response(disable_decoding=True)
        finally:
            # After an error the connection is closed, and the next call opens it again.
            self._idle.append(connection)

    def _make_connection(self) -> AbstractConnection:
        connection: AbstractConnection = self._redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        return connection

    async def _do(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Make a call, and repeat it if the connection was lost: it may have been closed since its last use."""
        try:
            return await self._once(call)
        except LogUnavailableError as error:
            if not isinstance(error.__cause__, redis.ConnectionError):
                raise
        return await self._once(call)

    async def _once(self, call: Callable[[], Awaitable[Any]]) -> Any:
        if self._closed:
            raise LogUnavailableError("The log is closed; nothing was stored. Publish to a running server.")
        try:
            async with asyncio.timeout(TIMEOUT), self._free:
                return await call()
        except _FAILURES as error:
            if isinstance(error, ReadOnlyError):
                await self._reconnect()
            raise _unavailable(error) from error

    async def _reconnect(self) -> None:
        """Close all connections, because after a failover they still lead to the old server."""
        for connection in self._idle:
            await connection.disconnect(nowait=True)
        await self._redis.connection_pool.disconnect(inuse_connections=False)


Row = tuple[int, int, bytes]
"""An entry in Redis: its number, its time in ms, its bytes."""


class _LostError(LogUnavailableError):
    """Entries are lost and cannot be delivered."""


def _read_row(row: Sequence[Any]) -> Row:
    identity, fields = row
    # An entry whose time cannot be read counts as new.
    time_ms = int(fields[1]) if fields[1].isdigit() else MAX_NUMBER
    return int(identity[2:]), time_ms, fields[3]


def check_version(about: Mapping[str, Any]) -> None:
    """Raises SettingsError if the server that reports `about` is too old."""
    version = str(about.get("redis_version", "0"))
    if int(version.partition(".")[0]) < 7:
        raise SettingsError(f"REDIS_URL: Redis {version} is too old. Use Redis 7 or later, or Valkey.")


def find_risks(about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Risks that the server loses the log, each with the setting that prevents it."""
    if not about.get("aof_enabled"):
        yield "Redis is not append-only: its restart loses the log", "appendonly yes"
    if about.get("maxmemory") and about.get("maxmemory_policy") != "noeviction":
        yield "Redis may evict the log when it is full", "maxmemory-policy noeviction"


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def _unavailable(error: Exception) -> LogUnavailableError:
    return LogUnavailableError(
        f"Redis cannot be used: {_reason(error)}."
        " Nothing is known to be stored: append again, with a key if an entry must be stored only once."
    )


def _reason(error: Exception) -> str:
    return str(error).rstrip(".") or f"no answer within {TIMEOUT:g} s"


async def _send(connection: AbstractConnection, *arguments: Any) -> None:
    await connection.send_packed_command(hiredis.pack_command(arguments), check_health=False)


def _execute(client: Redis, *arguments: Any) -> Awaitable[Any]:
    answer: Awaitable[Any] = client.execute_command(*arguments)  # type: ignore[no-untyped-call]
    return answer


async def _end(tasks: Sequence[asyncio.Task[None]], reader: AbstractConnection, listener: Redis) -> None:
    await cancel_tasks(*tasks)
    await reader.disconnect(nowait=True)
    await _disconnect(listener)


async def _disconnect(client: Redis) -> None:
    with suppress(*_FAILURES):
        await client.aclose()
        await client.connection_pool.disconnect()
