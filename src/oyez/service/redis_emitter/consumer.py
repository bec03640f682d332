"""The intake: what emitters say in Redis is heard by every node, and appended to the log once.

One node at a time leads, by a lease in Redis: it appends what it hears, in the order in which Redis said it, and
announces what it has dealt with. The others keep what they have heard until they hear that. When the leader has gone,
another one takes the lease and goes on with what was left. A node that begins to hear says so, and is told by the
leader how far it is before that one deals with anything that is said from then on.

So that it does not matter who appends, or whether two do for a while, an entry's key says what it is: the messages
are numbered in the order in which they are dealt with, and a key is made of the number and of what was said. Whoever
takes over goes on counting where the last announcement was, and what had been appended without being announced is
found to be there.
"""

import asyncio
import math
import secrets
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from itertools import groupby
from typing import Any

import msgspec
from msgspec.structs import replace
from redis.asyncio import Redis
from redis.asyncio.lock import Lock
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import LockError, RedisError

from oyez.concurrency.task_set import cancel_tasks
from oyez.contract.limits import Limit
from oyez.errors import INTERNAL, TOO_LARGE, UNAVAILABLE, LogUnavailableError
from oyez.log.log import Entry
from oyez.logger import get_logger
from oyez.runtime.publisher import Publisher
from oyez.runtime.usage import Bucket
from oyez.service.redis_emitter.decoder import EmissionError, EmitterReader

logger = get_logger("oyez.service")

LEASE = 4.0
"""Seconds after which a leader that does not renew its lease has lost it: so late comes what was emitted meanwhile."""
RENEW_INTERVAL = 1.0
"""Between two renewals, and between two attempts to become the leader."""
TIMEOUT = 2.0
"""Seconds for one call to Redis."""
RETRY_SECONDS = 0.25
"""Between two attempts to hear, or to append."""
HEALTH_INTERVAL = 5
"""Seconds of silence after which it is looked whether Redis is still there."""
KEEP_SECONDS = 30.0
"""How long a node that does not lead keeps what nobody has announced: much longer than it takes to become leader."""
VOLATILE_SECONDS = 2.0
"""The age at which a volatile event is not published any more: whoever was typing then is not now."""
MAX_WAITING_BYTES = 32_000_000
"""Of what is heard and not dealt with: some seconds of what a log takes. Over it a leader refuses what is new."""
MESSAGE_COST = 300
"""What one of them costs beside its bytes."""
MAX_BATCH = 100
"""Messages that are appended together."""
WARNINGS = Limit(10, 10.0)
"""Lines about refused messages: enough to see what is wrong, while a back end does it wrong a thousand times."""
_FAILURES = (RedisError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True, eq=False)
class _Message:
    channel: str
    body: bytes
    heard_at: float
    digest: bytes
    """The same on every node, and for all messages that say the same."""

    @property
    def cost(self) -> int:
        return len(self.body) + MESSAGE_COST


class _Announcement(msgspec.Struct, array_like=True, frozen=True):
    """What a leader has dealt with: the last message's number in its row, and what they said."""

    node: str
    row: str
    number: int
    digests: list[bytes]


_encode_announcement = msgspec.msgpack.Encoder().encode
_decode_announcement = msgspec.msgpack.Decoder(_Announcement).decode


class Intake:
    """The intake of one system in one process."""

    def __init__(
        self,
        url: str,
        publisher: Publisher,
        keys: Sequence[str],
        *,
        prefix: str,
        systems: Sequence[str] = (),
        is_away: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Listens in the Redis at `url` to emitters with one of `keys`; names of its own begin with `prefix`.

        With `systems`, it also warns of emitters that name none of them. `is_away` is true if it is known that Redis
        is away: then this is not logged once more.
        """
        self._publisher = publisher
        self._reader = EmitterReader(publisher, keys, systems)
        self._system = publisher.contract.name
        self._is_away = is_away
        self._clock = clock
        base = f"{prefix}:{{{self._system}}}:emitter"
        self._channel, self._greeting = f"{base}:dealt-with", f"{base}:greeting"
        self._node = ""
        self._redis = Redis.from_url(
            url,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            health_check_interval=HEALTH_INTERVAL,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        self._lease = Lock(self._redis, f"{base}:lease", timeout=LEASE, blocking=False, thread_local=False)
        self._leads = False
        self._not_before = math.inf
        """When it may become the leader; not while it does not hear."""
        self._row, self._number = "", 0
        """The messages that were dealt with are numbered in a row; the last one's number."""
        self._waiting: deque[_Message] = deque()
        self._waiting_bytes = 0
        self._working = False
        self._closed = False
        self._changed = asyncio.Condition()
        self._warnings = Bucket(WARNINGS, clock())
        self._untold = 0
        """Refusals since the last warning."""
        self.accepted = 0
        """Messages that this node has published."""
        self.refused: Counter[str] = Counter()
        """Messages that this node has not, by the refusal's code."""

    @asynccontextmanager
    async def running(self, drain_timeout: float) -> AsyncIterator[None]:
        """Publish what emitters say, while inside; entered when it is heard.

        At the end, what a leader has heard is published, in at most `drain_timeout` seconds.
        """
        # Not before: processes that are forks of one must not have the same name.
        self._node = secrets.token_hex(8)
        heard = asyncio.Event()
        hearing = asyncio.create_task(self._hear(heard))
        tasks = [hearing, asyncio.create_task(self._lead(heard)), asyncio.create_task(self._publish())]
        try:
            with suppress(TimeoutError):
                # Without it the server starts all the same: the log says whether it can do without Redis.
                async with asyncio.timeout(0 if self._is_away() else TIMEOUT):
                    await heard.wait()
            yield
            # A cancellation alone may get lost: the library uses it for its own time-outs.
            self._closed = True
            await cancel_tasks(hearing)
            await self._drain(drain_timeout)
        finally:
            self._closed = True
            await cancel_tasks(*tasks)
            await self._give_up()
            with suppress(*_FAILURES):
                await self._redis.aclose()

    # Hearing.

    async def _hear(self, heard: asyncio.Event) -> None:
        failing = False
        while not self._closed:
            pubsub = self._redis.pubsub(ignore_subscribe_messages=True)
            try:
                await pubsub.psubscribe(*self._reader.patterns)
                await pubsub.subscribe(self._channel, self._greeting)
                await self._redis.publish(self._greeting, self._node)
                # Who has been away is not the first: others may have heard what it has not.
                self._not_before = self._clock() + (2 * RENEW_INTERVAL if failing else 0)
                failing = False
                heard.set()
                while not self._closed:
                    message = await pubsub.get_message(timeout=RENEW_INTERVAL)
                    if message is not None:
                        await self._take(message["channel"], message["data"])
            except _FAILURES as error:
                if not failing and not self._is_away():
                    logger.warning(
                        "messages of emitters are not received at the moment", system=self._system, error=str(error)
                    )
                failing = True
                self._not_before = math.inf
                await self._give_up()
            finally:
                with suppress(*_FAILURES):
                    await pubsub.aclose()  # type: ignore[no-untyped-call]
            await asyncio.sleep(RETRY_SECONDS)

    async def _take(self, channel: bytes, body: bytes) -> None:
        if channel == self._channel.encode():
            self._note(body)
            return
        if channel == self._greeting.encode():
            if self._leads:
                # Before anything is read that the newcomer has heard too.
                await self._announce([])
            return
        name = channel.decode(errors="replace")
        if not self._reader.concerns(name, body):
            return
        digest = blake2b(b"%d %b%b" % (len(channel), channel, body), digest_size=12).digest()
        message = _Message(name, body, self._clock(), digest)
        if not self._leads:
            self._forget_old()
        elif self._waiting_bytes > MAX_WAITING_BYTES:
            self._refuse(message, UNAVAILABLE.code, "Too many messages wait: emit less, or publish over HTTP.")
            return
        self._waiting.append(message)
        self._waiting_bytes += message.cost
        async with self._changed:
            self._changed.notify_all()

    def _note(self, body: bytes) -> None:
        """Somebody has announced what was dealt with."""
        try:
            announced = _decode_announcement(body)
        except (msgspec.MsgspecError, ValueError):
            logger.warning("an announcement could not be read", system=self._system, channel=self._channel)
            return
        if announced.node == self._node:
            return
        self._reach(announced.row, announced.number)
        for digest in announced.digests:
            # What stands before it was dealt with too: all hear the same order.
            place = next((place for place, message in enumerate(self._waiting) if message.digest == digest), -1)
            for _ in range(place + 1):
                self._next()

    def _reach(self, row: str, number: int) -> None:
        """That many messages of a row have been dealt with. There is no way back: a key must not come again."""
        if row != self._row or number > self._number:
            self._row, self._number = row, number

    def _forget_old(self) -> None:
        oldest = self._clock() - KEEP_SECONDS
        while self._waiting and (self._waiting[0].heard_at < oldest or self._waiting_bytes > MAX_WAITING_BYTES):
            self._next()

    def _next(self) -> _Message:
        message = self._waiting.popleft()
        self._waiting_bytes -= message.cost
        return message

    # Leading.

    async def _lead(self, heard: asyncio.Event) -> None:
        await heard.wait()
        while not self._closed:
            try:
                if self._leads:
                    await self._lease.reacquire()
                    # An announcement may have got lost.
                    await self._announce([])
                elif self._clock() >= self._not_before and await self._lease.acquire():
                    self._forget_old()
                    self._row = self._row or secrets.token_hex(4)
                    await self._announce([])
                    async with self._changed:
                        self._leads = True
                        self._changed.notify_all()
            except LockError:
                self._leads = False
            except _FAILURES:
                # Whether another one leads now is not known, and does not matter.
                pass
            await asyncio.sleep(RENEW_INTERVAL)

    async def _give_up(self) -> None:
        if self._leads:
            self._leads = False
            with suppress(*_FAILURES):
                await self._lease.release()

    async def _publish(self) -> None:
        while True:
            async with self._changed:
                self._working = False
                self._changed.notify_all()
                await self._changed.wait_for(lambda: self._leads and self._waiting)
                self._working = True
            # What was taken is dealt with, whoever leads by then.
            taken = [self._next() for _ in range(min(MAX_BATCH, len(self._waiting)))]
            await self._deal_with(taken)

    async def _drain(self, timeout: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(lambda: not (self._working or (self._leads and self._waiting)))

    async def _deal_with(self, messages: Sequence[_Message]) -> None:
        row, first = self._row, self._number + 1
        digests = [message.digest for message in messages]
        prepared = [
            self._prepare(message, f"emitter:{row}:{number}:{digest.hex()}")
            for number, (message, digest) in enumerate(zip(messages, digests, strict=True), first)
        ]
        # A list that is published goes out with its volatile events last; these have an order.
        for volatile, entries in groupby(filter(None, prepared), key=lambda entries: entries[0].volatile):
            await self._append(list(entries), volatile)
        self._reach(row, first + len(messages) - 1)
        await self._announce(digests)

    async def _announce(self, digests: list[bytes]) -> None:
        announcement = _Announcement(self._node, self._row, self._number, digests)
        with suppress(*_FAILURES):
            # Whoever does not hear it appends the same under the same keys.
            await self._redis.publish(self._channel, _encode_announcement(announcement))

    def _prepare(self, message: _Message, key: str) -> list[Entry]:
        most = self._publisher.limits.max_publish_bytes
        if len(message.body) > most:
            self._refuse(message, TOO_LARGE.code, f"It is over {most} bytes.")
            return []
        try:
            entries = self._reader.read(message.channel, message.body)
        except EmissionError as error:
            self._refuse(message, error.refusal.code, str(error), error.what)
            return []
        except Exception:
            # A mistake of ours: what comes behind it is published all the same.
            logger.exception("a message failed", system=self._system, channel=message.channel)
            self._refuse(message, INTERNAL.code, INTERNAL.message)
            return []
        if entries and entries[0].volatile and self._clock() - message.heard_at > VOLATILE_SECONDS:
            return []
        self.accepted += bool(entries)
        return [replace(entry, key=f"{key}:{place}") for place, entry in enumerate(entries)]

    async def _append(self, prepared: Sequence[list[Entry]], volatile: bool) -> None:
        waited = False
        while True:
            try:
                await self._publisher.append(prepared)
                return
            except LogUnavailableError as error:
                if volatile:
                    logger.warning("volatile events lost", system=self._system, count=len(prepared))
                    return
                if not waited:
                    logger.warning("what was emitted waits for the log", system=self._system, error=str(error))
                waited = True
                await asyncio.sleep(RETRY_SECONDS)

    def _refuse(self, message: _Message, code: str, reason: str, what: str = "a message") -> None:
        self.refused[code] += 1
        if not self._warnings.take(self._clock()):
            self._untold += 1
        else:
            details: dict[str, Any] = {"untold": self._untold} if self._untold else {}
            self._untold = 0
            logger.warning(
                "an emitter was refused",
                system=self._system,
                what=what,
                channel=message.channel,
                code=code,
                reason=reason,
                refused=self.refused.total(),
                **details,
            )
