"""Replay: the events that a client missed, read in pages, so that the memory for a client is bounded.

A page is sent after the client has received the page before. The last page is read up to the position of live delivery
and sent without awaiting anything in between. So live events follow it: none is missing and none comes twice.
"""

import time
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from oyez.concurrency.loop_budget import LoopBudget
from oyez.concurrency.token_bucket import Rate, TokenBucket
from oyez.log.log import Log, number_of, split_position
from oyez.server.delivery.progress import Progress
from oyez.server.delivery.replay_buffer import ReplayBuffer
from oyez.server.namespaces.event_frames import EventFrames
from oyez.server.namespaces.socket import Socket
from oyez.settings import Limits

PAGE = 500
"""Entries that are read at a time for a client that was away longer than the replay buffer covers."""
MAX_MISSED = 20_000
"""Events that are replayed to one client. A client that missed more gets its state faster by fetching it."""
COUNTED_BYTES = 1_000_000
"""Bytes that are read at a time when events are only counted: less than two milliseconds of the loop."""
REPLAY_SECONDS = 0.0005
"""Time that all replays of a process may take in one iteration of the loop, so that live events pass in between."""
EVENT_SECONDS = 0.000_001
"""Time that one replayed event takes: it is found, put into a page and written."""
BYTE_SECONDS = 0.000_000_001
"""The same for each byte."""
MINUTE = 60.0
MAX_USERS = 10_000
"""Users whose budget is kept although it may be full again: about 2 MB."""


class Page(NamedTuple):
    """Some of the events that a client missed."""

    messages: Sequence[EventFrames]
    after: str
    """The position at which the next page begins."""
    complete: bool
    """True if nothing is left: live delivery is at `after`."""
    size: int
    """Bytes, roughly."""


class Replay:
    """Reads the events that clients of one server missed, from the replay buffer if it covers them, or from the log."""

    def __init__(self, log: Log, replay_buffer: ReplayBuffer, progress: Progress, loop_budget: LoopBudget) -> None:
        """`loop_budget` is shared by all replays of the process."""
        self._log = log
        self._replay_buffer = replay_buffer
        self._progress = progress
        self._loop_budget = loop_budget

    async def read(self, socket: Socket, after: str, rooms: Collection[str], max_bytes: int) -> Page:
        """The next page of events after `after` for a client in `rooms`: about `max_bytes`, at least one event.

        The page is empty and not complete if the client has disconnected. Nothing is awaited after the last step of a
        complete page, but the client may have joined or left rooms before it. Raises KeyError if the events after
        `after` are not known, LogUnavailableError.
        """
        namespace, frame = socket.namespace, socket.context.message
        found: list[EventFrames] = []
        size = 0
        while not await self._may_find(after):
            newest = await self._log.position()
            if is_after(after, newest):
                raise KeyError(after)
            if is_after(after, self._progress.position):
                # Delivery here is later than on another node: entries on their way must not be sent twice.
                await self._progress.wait_for_position(after)
                continue
            entries = await self._log.read(after, namespace, frozenset(rooms), PAGE)
            messages = [frame(entry) for entry in entries]
            found += messages
            size += sum(message.size for message in messages)
            last = entries[-1].position if entries else None
            # Entries that were appended during the read are included.
            after = newest if last is None or (len(entries) < PAGE and is_after(newest, last)) else last
            if size > max_bytes:
                return self._cut(found, after, complete=False, max_bytes=max_bytes)
        if socket.connection.closed:
            return Page((), after, complete=False, size=0)
        found += self._replay_buffer.find_after(after, namespace, rooms, max_bytes - size)
        return self._cut(found, self._progress.position, complete=True, max_bytes=max_bytes)

    async def _may_find(self, after: str) -> bool:
        """True if the replay buffer covers `after`, and this iteration of the loop has room for one more page."""
        if not self._replay_buffer.covers(after):
            return False
        await self._loop_budget.enter()
        return self._replay_buffer.covers(after)

    def _cut(self, messages: list[EventFrames], after: str, *, complete: bool, max_bytes: int) -> Page:
        """A page of the first `messages` that fit. It is not complete if some do not fit."""
        size = sum([message.size for message in messages])
        if size > max_bytes and len(messages) > 1:
            messages, size = _take_first(messages, max_bytes)
            after, complete = messages[-1].entry.position or after, False
        self._loop_budget.charge(EVENT_SECONDS * len(messages) + BYTE_SECONDS * size)
        return Page(messages, after, complete, size)

    async def is_too_much(self, socket: Socket, page: Page, rooms: Collection[str]) -> bool:
        """True if more than MAX_MISSED events were missed, the first of which are in `page`.

        Raises KeyError, LogUnavailableError as `read` does.
        """
        count, after, complete = len(page.messages), page.after, page.complete
        # A range with fewer numbers than the allowed events need not be counted.
        while not complete and not socket.connection.closed and count + self._distance(after) > MAX_MISSED:
            following = await self.read(socket, after, rooms, COUNTED_BYTES)
            count += len(following.messages)
            after, complete = following.after, following.complete
            if count > MAX_MISSED:
                return True
        return count > MAX_MISSED

    def _distance(self, after: str) -> int:
        return number_of(self._progress.position) - number_of(after)


def _take_first(messages: list[EventFrames], max_bytes: int) -> tuple[list[EventFrames], int]:
    """The first of the messages, at least one, that have no more than `max_bytes` together; and their bytes."""
    size = 0
    for count, message in enumerate(messages):
        if count and size + message.size > max_bytes:
            return messages[:count], size
        size += message.size
    return messages, size


class ReplayBudget:
    """Bytes that may be replayed to each user in a minute on this node. Over it a replay continues more slowly."""

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = Rate(max_bytes, MINUTE)
        self._clock = clock
        self._users: dict[str, TokenBucket] = {}
        """In the order of the last replay."""

    def take(self, user: str, size: int) -> None:
        """Count `size` bytes that are replayed to `user`."""
        now = self._clock()
        bucket = self._users.pop(user, None) or TokenBucket(self._rate, now)
        bucket.charge(size, now)
        if len(self._users) >= MAX_USERS:
            self._prune(now)
        self._users[user] = bucket

    def delay(self, user: str) -> float:
        """Seconds until more may be replayed to `user`."""
        bucket = self._users.get(user)
        return bucket.debt(self._clock()) if bucket is not None else 0.0

    def _prune(self, now: float) -> None:
        """Remove the users whose budget is full; if all are in use, the one that was counted first."""
        full = [user for user, bucket in self._users.items() if bucket.is_full(now)]
        for user in full or [next(iter(self._users))]:
            del self._users[user]


def page_bytes(socket: Socket, limits: Limits) -> int:
    """Bytes of a page for one client: a page must fit into the buffer of its transport."""
    return min(limits.max_replay_page, socket.connection.max_buffer // 2)


def is_after(position: str, end: str) -> bool:
    """True if `position` is after `end`. Raises KeyError if they are of different epochs."""
    (epoch, number), (end_epoch, last) = split_position(position), split_position(end)
    if epoch != end_epoch:
        raise KeyError(position)
    return number > last
