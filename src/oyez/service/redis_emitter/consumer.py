"""Messages that emitters publish in Redis: every node receives them, and one appends each of them to the log, once.

The node that holds a lease in Redis leads: it appends messages in the order in which Redis delivers them, and announces
which ones it has processed. The others keep what they receive until it is announced. When the leader stops, another
node takes the lease and continues with the messages that are left. A node that starts to receive sends a join message,
and the leader answers with an announcement before it processes any later message.

Two nodes may lead for a short time. Therefore the key of an entry is made of the message's number in the sequence of
processed messages, and of its content: a new leader continues to count after the last announcement, so a message that
was appended but not announced gets the same key again, and the log stores it once.
"""

import asyncio
import math
import secrets
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import Enum
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
from oyez.observer import EMITTER
from oyez.runtime.publisher import Publisher
from oyez.runtime.usage import Bucket
from oyez.service.redis_emitter.decoder import EmitterDecoder, EmitterMessageError

logger = get_logger("oyez.service")

LEASE = 4.0
"""Seconds after which a leader that does not renew its lease loses it: the longest delay when a leader is killed."""
RENEW_INTERVAL = 1.0
"""Seconds between two renewals, and between two attempts to become the leader."""
TIMEOUT = 2.0
"""Seconds for one call to Redis."""
RETRY_SECONDS = 0.25
"""Seconds between two attempts to subscribe, or to append."""
HEALTH_INTERVAL = 5
"""Seconds without a message after which the connection to Redis is checked."""
KEEP_SECONDS = 30.0
"""Seconds for which a follower keeps messages that no leader has announced: much longer than a change of leaders."""
VOLATILE_SECONDS = 2.0
"""Age in seconds at which a volatile event is too old to be published."""
MAX_WAITING_BYTES = 32_000_000
"""Bytes of received messages that wait: some seconds of what a log takes. Over it a leader refuses new messages."""
MESSAGE_COST = 300
"""Bytes that a waiting message costs besides its body."""
MAX_BATCH = 100
"""Messages that are appended together."""
WARNINGS = Limit(10, 10.0)
"""Log lines about refused messages: enough to see the cause if a back end sends thousands of them."""
_FAILURES = (RedisError, OSError, TimeoutError)


class State(Enum):
    """What a consumer does with the messages that it receives."""

    FOLLOWING = "keeps them until a leader announces them"
    LEADING = "appends them, and receives more"
    DRAINING = "appends the rest, and receives no more"
    CLOSED = "nothing"


class Input(Enum):
    """What changes the state of a consumer."""

    LEASE_ACQUIRED = "lease acquired"
    LEASE_LOST = "lease lost"
    STOP = "stop"
    DRAINED = "drained"


TRANSITIONS: Mapping[State, Mapping[Input, State]] = {
    State.FOLLOWING: {Input.LEASE_ACQUIRED: State.LEADING, Input.STOP: State.CLOSED},
    State.LEADING: {Input.LEASE_LOST: State.FOLLOWING, Input.STOP: State.DRAINING},
    State.DRAINING: {Input.DRAINED: State.CLOSED},
    State.CLOSED: {},
}
"""Other signals change nothing: an attempt to acquire the lease may end after the stop."""
RECEIVING = (State.FOLLOWING, State.LEADING)
APPENDING = (State.LEADING, State.DRAINING)


@dataclass(frozen=True, slots=True, eq=False)
class _Message:
    channel: str
    body: bytes
    received_at: float
    digest: bytes
    """Of channel and body: the same on every node."""

    @property
    def cost(self) -> int:
        return len(self.body) + MESSAGE_COST


class _Announcement(msgspec.Struct, array_like=True, frozen=True):
    """What a leader has processed: the sequence, the number of the last message in it, and the digests."""

    node: str
    sequence: str
    number: int
    digests: list[bytes]


_encode_announcement = msgspec.msgpack.Encoder().encode
_decode_announcement = msgspec.msgpack.Decoder(_Announcement).decode


class EmitterConsumer:
    """The consumer of one system in one process."""

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
        """Subscribes to emitters with one of `keys` in the Redis at `url`. Its own names there begin with `prefix`.

        `systems` are the names of all systems that are served; if given, it warns of emitters that name none of them.
        `is_away` returns True if an outage of Redis is logged elsewhere.
        """
        self._publisher = publisher
        self._decoder = EmitterDecoder(publisher, keys, systems)
        self._system = publisher.contract.name
        self._is_away = is_away
        self._clock = clock
        base = f"{prefix}:{{{self._system}}}:emitter"
        # Nodes of older versions use these names too.
        self._announcements, self._joins = f"{base}:dealt-with", f"{base}:greeting"
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
        self.state = State.FOLLOWING
        self._not_before = math.inf
        """When it may become the leader, by the clock; infinite while it receives nothing."""
        self._sequence, self._number = "", 0
        """The sequence in which processed messages are numbered, and the number of the last one."""
        self._waiting: deque[_Message] = deque()
        self._waiting_bytes = 0
        self._working = False
        self._changed = asyncio.Condition()
        self._warnings = Bucket(WARNINGS, clock())
        self._suppressed = 0
        """Refusals since the last warning."""
        self.accepted = 0
        """Number of messages that this node has published."""
        self.refused: Counter[str] = Counter()
        """Number of messages that this node has refused, by the code of the refusal."""

    @asynccontextmanager
    async def running(self, drain_timeout: float) -> AsyncIterator[None]:
        """Publish messages of emitters while inside. Entered when it receives them, or Redis has not answered in time.

        At the end, a leader publishes what it has received, in at most `drain_timeout` seconds.
        """
        # Only now: processes that are forked from one must have different ids.
        self._node = secrets.token_hex(8)
        subscribed = asyncio.Event()
        receiving = asyncio.create_task(self._receive(subscribed))
        tasks = [receiving, asyncio.create_task(self._lead(subscribed)), asyncio.create_task(self._publish())]
        try:
            with suppress(TimeoutError):
                # Otherwise the server starts without emitters; the log backend decides if it needs Redis.
                async with asyncio.timeout(0 if self._is_away() else TIMEOUT):
                    await subscribed.wait()
            yield
            # A cancellation alone may get lost: the library uses it for its own time-outs.
            self._signal(Input.STOP)
            await cancel_tasks(receiving)
            await self._drain(drain_timeout)
        finally:
            self._signal(Input.STOP)
            await cancel_tasks(*tasks)
            self._signal(Input.DRAINED)
            await self._release_lease()
            with suppress(*_FAILURES):
                await self._redis.aclose()

    # Receiving.

    async def _receive(self, subscribed: asyncio.Event) -> None:
        failing = False
        while self.state in RECEIVING:
            pubsub = self._redis.pubsub(ignore_subscribe_messages=True)
            try:
                await pubsub.psubscribe(*self._decoder.patterns)
                await pubsub.subscribe(self._announcements, self._joins)
                await self._redis.publish(self._joins, self._node)
                # After an outage, let other nodes lead first: they may have received what this one has not.
                self._not_before = self._clock() + (2 * RENEW_INTERVAL if failing else 0)
                failing = False
                subscribed.set()
                while self.state in RECEIVING:
                    message = await pubsub.get_message(timeout=RENEW_INTERVAL)
                    if message is not None:
                        await self._accept(message["channel"], message["data"])
            except _FAILURES as error:
                if not failing and not self._is_away():
                    logger.warning(
                        "messages of emitters are not received at the moment", system=self._system, error=str(error)
                    )
                failing = True
                self._not_before = math.inf
                await self._release_lease()
            finally:
                with suppress(*_FAILURES):
                    await pubsub.aclose()  # type: ignore[no-untyped-call]
            await asyncio.sleep(RETRY_SECONDS)

    async def _accept(self, channel: bytes, body: bytes) -> None:
        if channel == self._announcements.encode():
            self._handle_announcement(body)
            return
        if channel == self._joins.encode():
            if self.state in APPENDING:
                # Before it reads any message that the new node has received too.
                await self._announce([])
            return
        name = channel.decode(errors="replace")
        if not self._decoder.is_emitter_message(name, body):
            return
        digest = blake2b(b"%d %b%b" % (len(channel), channel, body), digest_size=12).digest()
        message = _Message(name, body, self._clock(), digest)
        if self.state is State.FOLLOWING:
            self._drop_old()
        elif self._waiting_bytes > MAX_WAITING_BYTES:
            self._refuse(message, UNAVAILABLE.code, "Too many messages wait: emit less, or publish over HTTP.")
            return
        self._waiting.append(message)
        self._waiting_bytes += message.cost
        async with self._changed:
            self._changed.notify_all()

    def _handle_announcement(self, body: bytes) -> None:
        try:
            announced = _decode_announcement(body)
        except (msgspec.MsgspecError, ValueError):
            logger.warning("an announcement could not be read", system=self._system, channel=self._announcements)
            return
        if announced.node == self._node:
            return
        self._advance_to(announced.sequence, announced.number)
        for digest in announced.digests:
            # Messages before it were processed too: all nodes receive the same order.
            place = next((place for place, message in enumerate(self._waiting) if message.digest == digest), -1)
            for _ in range(place + 1):
                self._next()

    def _advance_to(self, sequence: str, number: int) -> None:
        """Note how many messages of a sequence were processed. Never goes back: a key must not be used twice."""
        if sequence != self._sequence or number > self._number:
            self._sequence, self._number = sequence, number

    def _drop_old(self) -> None:
        oldest = self._clock() - KEEP_SECONDS
        while self._waiting and (self._waiting[0].received_at < oldest or self._waiting_bytes > MAX_WAITING_BYTES):
            self._next()

    def _next(self) -> _Message:
        message = self._waiting.popleft()
        self._waiting_bytes -= message.cost
        return message

    # Leading.

    async def _lead(self, subscribed: asyncio.Event) -> None:
        await subscribed.wait()
        while self.state in RECEIVING:
            try:
                if self.state is State.LEADING:
                    await self._lease.reacquire()
                    # Again, because an announcement may have been lost.
                    await self._announce([])
                elif self._clock() >= self._not_before and await self._lease.acquire():
                    self._drop_old()
                    self._sequence = self._sequence or secrets.token_hex(4)
                    await self._announce([])
                    async with self._changed:
                        self._signal(Input.LEASE_ACQUIRED)
                        self._changed.notify_all()
            except LockError:
                self._signal(Input.LEASE_LOST)
            except _FAILURES:
                # Two leaders do no harm, so this one leads until it knows that it has lost the lease.
                pass
            await asyncio.sleep(RENEW_INTERVAL)

    async def _release_lease(self) -> None:
        """Stop to lead. Does nothing if this node has no lease."""
        self._signal(Input.LEASE_LOST)
        # `release` raises LockError, which is a RedisError, if this node has no lease.
        with suppress(*_FAILURES):
            await self._lease.release()

    def _signal(self, signal: Input) -> None:
        self.state = TRANSITIONS[self.state].get(signal, self.state)

    async def _publish(self) -> None:
        while True:
            async with self._changed:
                self._working = False
                self._changed.notify_all()
                await self._changed.wait_for(lambda: self.state in APPENDING and self._waiting)
                self._working = True
            # These are appended also if the lease is lost meanwhile.
            taken = [self._next() for _ in range(min(MAX_BATCH, len(self._waiting)))]
            await self._process(taken)

    async def _drain(self, timeout: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(lambda: not (self._working or (self.state in APPENDING and self._waiting)))

    async def _process(self, messages: Sequence[_Message]) -> None:
        sequence, first = self._sequence, self._number + 1
        digests = [message.digest for message in messages]
        prepared = [
            self._prepare(message, f"emitter:{sequence}:{number}:{digest.hex()}")
            for number, (message, digest) in enumerate(zip(messages, digests, strict=True), first)
        ]
        # A published list sends its volatile events last, but these messages have an order.
        for volatile, entries in groupby(filter(None, prepared), key=lambda entries: entries[0].volatile):
            await self._append(list(entries), volatile)
        self._advance_to(sequence, first + len(messages) - 1)
        await self._announce(digests)

    async def _announce(self, digests: list[bytes]) -> None:
        announcement = _Announcement(self._node, self._sequence, self._number, digests)
        with suppress(*_FAILURES):
            # A node that does not receive it appends the same entries with the same keys.
            await self._redis.publish(self._announcements, _encode_announcement(announcement))

    def _prepare(self, message: _Message, key: str) -> list[Entry]:
        most = self._publisher.limits.max_publish_bytes
        if len(message.body) > most:
            self._refuse(message, TOO_LARGE.code, f"It is over {most} bytes.")
            return []
        try:
            entries = self._decoder.read(message.channel, message.body)
        except EmitterMessageError as error:
            self._refuse(message, error.refusal.code, str(error), error.what)
            return []
        except Exception:
            # An error in Oyez: later messages are published nevertheless.
            logger.exception("a message failed", system=self._system, channel=message.channel)
            self._refuse(message, INTERNAL.code, INTERNAL.message)
            return []
        if entries and entries[0].volatile and self._clock() - message.received_at > VOLATILE_SECONDS:
            return []
        self.accepted += bool(entries)
        return [replace(entry, key=f"{key}:{place}") for place, entry in enumerate(entries)]

    async def _append(self, prepared: Sequence[list[Entry]], volatile: bool) -> None:
        waited = False
        while True:
            try:
                await self._publisher.append(prepared, origin=EMITTER)
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
            self._suppressed += 1
        else:
            details: dict[str, Any] = {"suppressed": self._suppressed} if self._suppressed else {}
            self._suppressed = 0
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
