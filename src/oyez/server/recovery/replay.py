"""Replay: what a client missed, read and sent in pages, so that the memory for a client is bounded.

A page is sent when the client has taken the one before. The last page is read up to where live delivery stands and sent
without waiting for anything in between, so live events follow it with nothing missing and nothing twice.
"""

import time
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

from oyez.concurrency.token_bucket import Rate, TokenBucket
from oyez.log.log import Log, number_of, split_position
from oyez.server.namespaces.event_frames import EventFrames

if TYPE_CHECKING:
    from oyez.server.delivery.consumer import LogConsumer
    from oyez.server.namespaces.namespace import Namespace
    from oyez.server.namespaces.socket import Socket
    from oyez.settings import Limits

PAGE = 500
"""Entries that are read at a time for a client that was away longer than the buffer reaches."""
MAX_MISSED = 20_000
"""Events that are sent again to one client. For a client that missed more, fetching its state is the shorter answer."""
ENTRY_BYTES = 80
"""What an event costs on the wire besides its data: frames, and its position."""
COUNTED_BYTES = 4_000_000
"""What is read at a time where events are only counted."""
MINUTE = 60.0
MAX_USERS = 10_000
"""Users whose budget is kept although it may be full again: some 2 MB."""


class Page(NamedTuple):
    """Some of what a client missed."""

    messages: Sequence[EventFrames]
    after: str
    """The position at which the next page begins."""
    complete: bool
    """True if nothing is left: live delivery stands at `after`."""

    @property
    def size(self) -> int:
        """Bytes, roughly."""
        return sum(map(_size, self.messages))


class Replay:
    """Reads what clients of one server missed. `consumer` says where live delivery stands."""

    def __init__(self, log: Log, consumer: "LogConsumer") -> None:
        self._log = log
        self._consumer = consumer

    async def read(self, namespace: "Namespace", after: str, rooms: Collection[str], max_bytes: int) -> Page:
        """The next page of what followed `after` for a client in `rooms`, of about `max_bytes`, at least one event.

        Nothing is waited for after the last step of a page that is complete. Raises KeyError if what followed is not
        known, LogUnavailableError.
        """
        buffer = self._consumer.replay_buffer
        found: list[EventFrames] = []
        while not buffer.covers(after):
            newest = await self._log.position()
            if is_beyond(after, newest):
                raise KeyError(after)
            if is_beyond(after, self._consumer.position):
                # Another node was quicker, or the log is: what is on its way here must not be sent twice.
                await self._consumer.wait_for_position(after)
                continue
            entries = await self._log.read(after, namespace.name, frozenset(rooms), PAGE)
            found += map(namespace.message, entries)
            last = entries[-1].position if entries else None
            # What was appended while it was read is in it as well.
            after = newest if last is None or (len(entries) < PAGE and is_beyond(newest, last)) else last
            if sum(map(_size, found)) > max_bytes:
                return _cut(found, after, complete=False, max_bytes=max_bytes)
        found += buffer.find_after(after, namespace.name, rooms)
        return _cut(found, self._consumer.position, complete=True, max_bytes=max_bytes)

    async def is_too_much(self, namespace: "Namespace", page: Page, rooms: Collection[str]) -> bool:
        """True if more than MAX_MISSED events were missed, the first of which are in `page`.

        Raises KeyError, LogUnavailableError as `read` does.
        """
        missed, after, complete = len(page.messages), page.after, page.complete
        # What has no more numbers than events are allowed need not be counted.
        while not complete and missed + self._distance(after) > MAX_MISSED:
            following = await self.read(namespace, after, rooms, COUNTED_BYTES)
            missed += len(following.messages)
            after, complete = following.after, following.complete
            if missed > MAX_MISSED:
                return True
        return missed > MAX_MISSED

    def _distance(self, after: str) -> int:
        return number_of(self._consumer.position) - number_of(after)


class ReplayBudget:
    """How many bytes each user may be sent again in a minute, on this node; over it a replay continues more slowly."""

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = Rate(max_bytes, MINUTE)
        self._clock = clock
        self._users: dict[str, TokenBucket] = {}
        """The user whose bytes were counted last is the last."""

    def take(self, user: str, size: int) -> None:
        """Count `size` bytes that are sent to `user` again."""
        now = self._clock()
        bucket = self._users.pop(user, None) or TokenBucket(self._rate, now)
        bucket.charge(size, now)
        if len(self._users) >= MAX_USERS:
            self._prune(now)
        self._users[user] = bucket

    def delay(self, user: str) -> float:
        """Seconds until more may be sent to `user`."""
        bucket = self._users.get(user)
        return bucket.debt(self._clock()) if bucket is not None else 0.0

    def _prune(self, now: float) -> None:
        """Forget the users whose budget is full; if all are in use, the one that was noted first."""
        full = [user for user, bucket in self._users.items() if bucket.is_full(now)]
        for user in full or [next(iter(self._users))]:
            del self._users[user]


def page_bytes(socket: "Socket", limits: "Limits") -> int:
    """Bytes of a page for one client: it must also fit where messages wait."""
    room = limits.max_polling_buffer if socket.connection.polling is not None else limits.max_send_buffer
    return min(limits.max_replay_page, room // 2)


def is_beyond(position: str, end: str) -> bool:
    """True if `position` comes after `end`. Raises KeyError if they are of different epochs."""
    (epoch, number), (end_epoch, last) = split_position(position), split_position(end)
    if epoch != end_epoch:
        raise KeyError(position)
    return number > last


def _cut(messages: Sequence[EventFrames], after: str, *, complete: bool, max_bytes: int) -> Page:
    """A page of the first `messages` that fit, which is not complete if some do not."""
    size = 0
    for count, message in enumerate(messages):
        size += _size(message)
        if size > max_bytes and count:
            kept = messages[:count]
            return Page(kept, kept[-1].entry.position or after, complete=False)
    return Page(messages, after, complete)


def _size(message: EventFrames) -> int:
    return len(message.entry.data) + ENTRY_BYTES
