"""The log in Redis (7 or later) or Valkey: shared by the processes of many machines.

One stream a system. Its ids are `0-1`, `0-2`, …: Redis counts, so they have no gaps, and a gap is a loss. The epoch is
kept beside the stream and begins anew where the stream has gone, or where somebody has seen a higher number than the
stream's: then Redis came back with less than it had, after a restart or on a replica that was behind.

What changes several things at once is a script, and so happens whole or not at all.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from hashlib import sha1
from itertools import islice
from typing import Any

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
from oyez.log.log import Checkpoint, Deliver, Entry, epoch_of, split_position
from oyez.log.page_cache import PAGE, PageCache
from oyez.log.subscribers import Subscribers
from oyez.logger import get_logger

logger = get_logger("oyez.log")

FORMAT = 1
"""Of what is kept in Redis. Everything another version must understand is in this file."""
TIMEOUT = 2.0
"""Seconds for one call, a second attempt included: long for Redis, short for a producer that waits."""
MAX_TOGETHER = 1_000
"""Entries of several publishers that are stored with one call: Redis does nothing else meanwhile."""
MAX_CONNECTIONS = 32
"""Calls under way at a time; more wait for one of them."""
BLOCK_SECONDS = 1.0
"""How long a tail waits for entries before it looks whether the log is still the same."""
RETRY_SECONDS = 0.5
"""Between two attempts of a tail whose Redis has gone."""
REPEAT_SECONDS = 30.0
"""How long it is known that a call has been done: much longer than its second attempt takes."""
TRIM_INTERVAL = 1.0
"""Seconds between two rounds of forgetting."""
OLD_PAGE = 100
"""Entries read in one go where only the first that is young enough is looked for."""
MAX_NUMBER = 2**53
"""No stream comes near; Lua knows no greater integers."""
_FAILURES = (RedisError, OSError, TimeoutError)

_BEGIN = """
local epoch = redis.call('HGET', KEYS[2], 'epoch')
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('XADD', KEYS[1], 'MAXLEN', 0, '0-1', 'e', '')
  redis.call('HSET', KEYS[2], 'stream', ARGV[1])
  epoch = false
end
if not epoch then
  epoch = ARGV[1]
  redis.call('HSET', KEYS[2], 'epoch', epoch)
end
"""
"""Where there is no log one begins, which has already counted to 1: an empty stream that is there is no lost one."""

LOOK = (
    _BEGIN
    + """
local about = redis.call('XINFO', 'STREAM', KEYS[1])
local last
for i = 1, #about, 2 do
  if about[i] == 'last-generated-id' then last = string.match(about[i + 1], '-(%d+)') end
end
if epoch == ARGV[2] and tonumber(last) < tonumber(ARGV[3]) then
  epoch = ARGV[1]
  redis.call('HSET', KEYS[2], 'epoch', epoch)
end
return epoch .. '.' .. last
"""
)
"""KEYS: stream, about. ARGV: a new epoch, the epoch and the number that are known. Returns the position."""

APPEND = (
    "local done = redis.call('GET', KEYS[3])\nif done then return done end\n"
    + _BEGIN
    + """
local stream
local stored = false
local numbers = {}
for i = 8, #ARGV, 2 do
  local key = ARGV[i + 1] ~= '' and KEYS[tonumber(ARGV[i + 1])]
  local number
  if key then
    stream = stream or redis.call('HGET', KEYS[2], 'stream') .. '.'
    local known = redis.call('GET', key)
    if known and string.sub(known, 1, #stream) == stream then number = string.sub(known, #stream + 1) end
  end
  if not number then
    number = string.sub(redis.call('XADD', KEYS[1], '0-*', 't', ARGV[4], 'e', ARGV[i]), 3)
    stored = true
    if epoch == ARGV[2] and tonumber(number) <= tonumber(ARGV[3]) then
      epoch = ARGV[1]
      redis.call('HSET', KEYS[2], 'epoch', epoch)
    end
    if key then redis.call('SET', key, stream .. number, 'PX', ARGV[5]) end
  end
  numbers[#numbers + 1] = number
end
if stored and ARGV[7] ~= '' then redis.call('SET', KEYS[4], ARGV[7]) end
done = epoch .. '.' .. table.concat(numbers, ',')
redis.call('SET', KEYS[3], done, 'PX', ARGV[6])
return done
"""
)
"""KEYS: stream, about, this call's, the checkpoint's, then those of the entries. ARGV: a new epoch, epoch and number
that are known, now, retention, how long this call is known, the checkpoint or nothing, and of each entry its bytes and
which of KEYS is its. Times are ms."""

TRIM = """
local function time_of(number)
  local found = redis.call('XRANGE', KEYS[1], '0-' .. number, '+', 'COUNT', 1)[1]
  return found and tonumber(found[2][2])
end
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if not first then return 0 end
local low = tonumber(string.sub(first[1], 3))
local high = tonumber(string.sub(last[1], 3)) + 1
while low < high do
  local middle = math.floor((low + high) / 2)
  if time_of(string.format('%.0f', middle)) > tonumber(ARGV[1]) then high = middle else low = middle + 1 end
end
return redis.call('XTRIM', KEYS[1], 'MINID', string.format('0-%.0f', low))
"""
"""KEYS: stream. ARGV: the ms up to which entries are forgotten. Times only grow, so their place is found by halving."""


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
        """Raises SettingsError where `url` is none."""
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
        """What is to be appended with the next call, and who waits for it."""
        self._appending: asyncio.Task[None] | None = None
        self._node, self._calls = "", 0
        """What tells the calls of all nodes apart."""
        self._epoch, self._next_epoch = "", ""
        """This one's name, and that of the next where this node has to begin one."""
        self._seen = 0
        """The highest number of the epoch that this node knows of."""
        self.damage = Damage(self._stream)
        self._pages = PageCache(self._bodies, self.damage)
        self._subscribers: set[Subscribers] = set()
        self._ending = TaskSet()
        self._trimming: asyncio.Task[None] | None = None
        self._closed = False

    def _connect(self, timeout: float | None = None) -> Redis:
        try:
            pool = ConnectionPool.from_url(
                self._url,
                socket_timeout=timeout,
                socket_connect_timeout=TIMEOUT,
                # What may be repeated is decided here, call by call.
                retry=Retry(NoBackoff(), 0),
                protocol=2,
            )
        except ValueError as error:
            raise SettingsError(f"REDIS_URL: {error}. Give an address such as redis://HOST:6379/0.") from None
        client = Redis(connection_pool=pool)
        # As Redis says it: nobody needs each entry as a dictionary.
        client.set_response_callback("XRANGE", lambda response, **options: response)
        return client

    async def open(self) -> None:
        if self._trimming is not None or self._closed:
            return
        # Not before: processes that are forks of one must not have the same names.
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

    async def examine(self) -> str:
        """Describe the server, without a change. Raises as `open` does."""
        async with self._reaching():
            about = await self._redis.info()
            check_version(about)
            self._check_format(await self._redis.hget(self._about, "format"))
        name, version = about.get("server_name", "redis"), about.get(f"{about.get('server_name')}_version")
        risks = "".join(f". {message}: set {remedy}" for message, remedy in find_risks(about))
        return f"{name} {version or about['redis_version']} answers{risks}"

    @asynccontextmanager
    async def _reaching(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(TIMEOUT):
                yield
        except AuthenticationError as error:
            raise SettingsError(f"REDIS_URL: Redis lets nobody in: {error}. Put user and password into it.") from None
        except _FAILURES as error:
            raise LogUnavailableError(
                f"REDIS_URL: Redis cannot be reached: {_reason(error)}. Start it, or give another address."
            ) from error

    def _check_format(self, found: bytes | str | None) -> None:
        written = int(found or 0)
        if written > FORMAT:
            raise SettingsError(
                f"{self._about} in Redis was written by a newer Oyez: its format is {written}, this one knows {FORMAT}."
                " Start the newer Oyez again, or give this one another REDIS_PREFIX."
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
        # While a call is under way all others wait, and then share the next: the order stays, and the way is paid once.
        appended: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        # Taken as they are now: a producer that breaks while it hands them over is told at once.
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
        """What the next call stores, and who gets how many of its positions. A checkpoint is set alone."""
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
        self._note(positions[-1])
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
            asyncio.create_task(self._feed(subscribers, reader, self._epoch, number)),
            asyncio.create_task(self._hear(subscribers, listener)),
        ]
        self._subscribers.add(subscribers)
        try:
            await subscribers.run(deliver)
        finally:
            # A cancellation alone may get lost: the library uses it for its own time-outs.
            subscribers.close()
            self._subscribers.discard(subscribers)
            # Who cancels a tail that is ending already must not leave its connections open.
            await asyncio.shield(self._ending.spawn(_end(tasks, reader, listener)))

    async def position(self) -> str:
        return await self._look()

    async def position_before(self, most: int) -> str:
        epoch, last = split_position(await self._look())
        number = max(0, last - most)
        oldest = (self._clock() - self._retention) * 1000
        # What is too old is trimmed within seconds, so there is little of it.
        while number < last:
            rows = await self._rows(number + 1, last, OLD_PAGE)
            kept = next((row[0] for row in rows if row[1] > oldest), None)
            if kept is not None:
                number = kept - 1
                break
            number = rows[-1][0] if rows else last
        return f"{epoch}.{number}"

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
        """The position of the newest entry, behind a look whether the log is still the same."""
        arguments = [self._next_epoch, self._epoch, self._seen]
        position: str = (await self._do(lambda: self._run(LOOK, [self._stream, self._about], arguments))).decode()
        self._note(position)
        return position

    def _note(self, position: str) -> None:
        epoch, number = split_position(position)
        if epoch != self._epoch:
            if self._epoch:
                logger.error("the log in Redis has begun anew: what was in it is lost", epoch=epoch)
            self._epoch, self._seen = epoch, 0
            self._next_epoch = secrets.token_hex(4)
        self._seen = max(self._seen, number)

    async def _check(self, after: str) -> int:
        """The number of a position behind which everything is kept. Raises KeyError for any other."""
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
        """Number, time in ms and bytes of each entry from `first` to `last`, of the first `most`."""
        arguments = (self._stream, f"0-{first}", f"0-{last}", "COUNT", most)
        found = await self._do(lambda: _execute(self._redis, "XRANGE", *arguments))
        return [_read_row(row) for row in found]

    async def _bodies(self, epoch: str, first: int, last: int) -> list[tuple[int, bytes]]:
        rows = await self._rows(first, last)
        if epoch != self._epoch:
            raise KeyError(f"{epoch}.{first}")
        return [(number, body) for number, _, body in rows]

    # Listening.

    async def _feed(self, subscribers: Subscribers, reader: AbstractConnection, epoch: str, number: int) -> None:
        """Give `subscribers` what is stored behind `number`, for as long as nothing is missing."""
        newest: Row | None = None
        failing = False
        try:
            while not subscribers.closed:
                try:
                    # A Redis that was away is only trusted behind a look at it.
                    rows = [] if failing else await self._following(reader, number)
                    if not rows:
                        await self._check_same(epoch, newest)
                    if failing:
                        logger.info("Redis is back, and nothing is lost", log=self._base)
                    failing = False
                except _LostError:
                    raise
                except (*_FAILURES, LogUnavailableError) as error:
                    if not failing:
                        logger.error("Redis has gone; its log is waited for", log=self._base, error=str(error))
                    failing = True
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                if rows and rows[0][0] != number + 1:
                    raise _LostError(f"Entries behind {number} were forgotten before this process has read them.")
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
        # Without the library's client, which would take as long again: each process does so for what all append.
        async with asyncio.timeout(BLOCK_SECONDS + TIMEOUT):
            await _send(reader, "XREAD", "COUNT", PAGE, "BLOCK", block, "STREAMS", self._stream, f"0-{number}")
            found = await reader.read_response(disable_decoding=True)
        return [_read_row(row) for row in found[0][1]] if found else []

    async def _check_same(self, epoch: str, newest: "Row | None") -> None:
        """Raises _LostError where the log is not the one in which `newest` was read."""
        position = await self._look()
        if newest is not None and epoch_of(position) == epoch:
            there = await self._rows(newest[0], newest[0])
            if there and there[0] != newest:
                # It came back with less, and others have appended since: the same number now means something else.
                self._seen = MAX_NUMBER
                position = await self._look()
        if epoch_of(position) != epoch:
            raise _LostError("The log in Redis has begun anew: what was in it is lost.")

    async def _hear(self, subscribers: Subscribers, listener: Redis) -> None:
        """Give `subscribers` the volatile entries. Those of a time without Redis are lost."""
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

    # Talking to Redis.

    async def _run(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Run a script by the shortest way: publishers wait for it."""
        connection = self._idle.pop() if self._idle else self._make_connection()
        try:
            await _send(connection, "EVALSHA", _DIGESTS[script], len(keys), *keys, *arguments)
            try:
                return await connection.read_response(disable_decoding=True)
            except NoScriptError:
                await _send(connection, "EVAL", script, len(keys), *keys, *arguments)
                return await connection.read_response(disable_decoding=True)
        finally:
            # After an error on the way it is disconnected, and connects anew with its next call.
            self._idle.append(connection)

    def _make_connection(self) -> AbstractConnection:
        connection: AbstractConnection = self._redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        return connection

    async def _do(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Make a call that may be made twice, for a connection may have been cut since it was used last."""
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
                await self._hang_up()
            raise _unavailable(error) from error

    async def _hang_up(self) -> None:
        """Connect anew with the next call: behind a failover the address is another's, but who is connected stays."""
        for connection in self._idle:
            await connection.disconnect(nowait=True)
        await self._redis.connection_pool.disconnect(inuse_connections=False)


Row = tuple[int, int, bytes]
"""An entry in Redis: its number, its time in ms, its bytes."""


class _LostError(LogUnavailableError):
    """Entries were missed for good."""


_DIGESTS = {script: sha1(script.encode(), usedforsecurity=False).hexdigest() for script in (LOOK, APPEND, TRIM)}


def _read_row(row: Sequence[Any]) -> Row:
    identity, fields = row
    # A time that cannot be read makes nothing too old.
    time_ms = int(fields[1]) if fields[1].isdigit() else MAX_NUMBER
    return int(identity[2:]), time_ms, fields[3]


def check_version(about: Mapping[str, Any]) -> None:
    """Raises SettingsError if the server that says this of itself is too old."""
    version = str(about.get("redis_version", "0"))
    if int(version.partition(".")[0]) < 7:
        raise SettingsError(f"REDIS_URL: Redis {version} is too old. Use Redis 7 or later, or Valkey.")


def find_risks(about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Settings of the server by which it may lose the log, each with the setting that mends it."""
    if not about.get("aof_enabled"):
        yield "Redis is not append-only: its restart loses the log", "appendonly yes"
    if about.get("maxmemory") and about.get("maxmemory_policy") != "noeviction":
        yield "Redis may evict the log when it is full", "maxmemory-policy noeviction"


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def _unavailable(error: Exception) -> LogUnavailableError:
    return LogUnavailableError(
        f"Redis cannot be used: {_reason(error)}."
        " Nothing is known to be stored: append again, with a key where once matters."
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
