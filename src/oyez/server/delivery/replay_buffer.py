"""The replay buffer: the newest events of the log in memory, by room, for clients that reconnect.

Most clients that lost their connection return within seconds, and many at once. The events that they missed are here,
encoded once, so the log is read only for clients that were away longer. The buffer ends at the last delivered entry.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from heapq import merge
from itertools import islice
from operator import attrgetter

from oyez.log.damage import DAMAGED
from oyez.log.log import Entry, split_position
from oyez.server.namespaces.event_frames import EventFrames

MAX_BYTES = 16_000_000
"""Bytes that the buffer of one system may hold: the last 20,000 events of 500 bytes."""
ENTRY_OVERHEAD = 600
"""Bytes that an event costs besides its data, with its places in the lists of the rooms."""
MERGED_ROOMS = 8
"""Events of more rooms than this are merged one by one: taking a page of each room would take longer."""

_number = attrgetter("number")


class ReplayBuffer:
    """Holds the newest events in the order of the log, up to `max_bytes`."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.position = ""
        """Position of the newest entry; empty before the start."""
        self._max_bytes = max_bytes
        self._bytes = 0
        self._epoch = ""
        self._before = 0
        """Number of the last entry before the buffer. The buffer knows nothing about it or earlier entries."""
        self._last = 0
        self._damaged = 0
        """Number of the last entry that could not be read. It may have been for any client."""
        self._messages: deque[EventFrames] = deque()
        self._rooms: dict[tuple[str, str], deque[EventFrames]] = {}

    def start_after(self, position: str) -> None:
        """Empty the buffer. The next entry is the one after `position`."""
        self._epoch, self._before = split_position(position)
        self._last = self._before
        self._damaged = 0
        self.position = position
        self._messages.clear()
        self._rooms.clear()
        self._bytes = 0

    def add(self, message: EventFrames) -> None:
        """Add the event that follows all others."""
        self.advance(message.entry)
        message.number = self._last
        self._messages.append(message)
        self._bytes += _memory(message)
        for place in _places(message.entry):
            listed = self._rooms.get(place)
            if listed is None:
                listed = self._rooms[place] = deque()
            listed.append(message)
        while self._bytes > self._max_bytes:
            self._evict_first()

    def advance(self, entry: Entry) -> None:
        """Record the position of an entry that is not kept. A volatile entry has none."""
        if entry.position is None:
            return
        # The log has made the position, so it is valid.
        epoch, _, text = entry.position.partition(".")
        number = int(text)
        if epoch != self._epoch:
            self.start_after(f"{epoch}.{number - 1}")
        self._last, self.position = number, entry.position
        if entry.control == DAMAGED:
            self._damaged = number

    def covers(self, position: str) -> bool:
        """True if the buffer has every event after `position`."""
        try:
            epoch, number = split_position(position)
        except KeyError:
            return False
        return epoch == self._epoch and max(self._before, self._damaged) <= number <= self._last

    def find_after(
        self, position: str, namespace: str, rooms: Collection[str], max_bytes: int = MAX_BYTES
    ) -> list[EventFrames]:
        """The events after `position` for a client that is in `rooms` of `namespace`, in order.

        If they have more than `max_bytes`, the result is only the first of them, and has more than `max_bytes` too: a
        page costs the same for a client that missed much more. The buffer must cover `position`.
        """
        _, after = split_position(position)
        lists = [self._rooms.get((namespace, room)) for room in ("", *rooms)]
        following = [_iterate_after(listed, after) for listed in lists if listed and listed[-1].number > after]
        found: dict[int, EventFrames] = {}
        if len(following) > MERGED_ROOMS:
            _collect(found, merge(*following, key=_number), rooms, max_bytes)
            return list(found.values())
        for messages in following:
            _collect(found, messages, rooms, max_bytes)
        return [message for _, message in sorted(found.items())]

    def _evict_first(self) -> None:
        message = self._messages.popleft()
        self._before = message.number
        self._bytes -= _memory(message)
        for place in _places(message.entry):
            listed = self._rooms[place]
            listed.popleft()
            if not listed:
                del self._rooms[place]


def _iterate_after(listed: deque[EventFrames], after: int) -> Iterator[EventFrames]:
    """The events of a room after number `after`, in order, from the end of the list that is nearer."""
    first = bisect_right(listed, after, key=_number)
    count = len(listed) - first
    if first < count:
        return islice(listed, first, None)
    return reversed(list(islice(reversed(listed), count)))


def _collect(
    found: dict[int, EventFrames], messages: Iterable[EventFrames], rooms: Collection[str], max_bytes: int
) -> None:
    """Add events that do not exclude `rooms`, until those that are new have more than `max_bytes`."""
    left = max_bytes
    for message in messages:
        entry = message.entry
        if message.number in found:
            continue
        if entry.excluded and any(room in rooms for room in entry.excluded):
            continue
        found[message.number] = message
        left -= message.size
        if left < 0:
            break


def _places(entry: Entry) -> list[tuple[str, str]]:
    rooms = entry.rooms
    if len(rooms) > 1:
        return [(entry.namespace, room) for room in dict.fromkeys(rooms)]
    return [(entry.namespace, rooms[0] if rooms else "")]


def _memory(message: EventFrames) -> int:
    entry = message.entry
    size = len(entry.data) + ENTRY_OVERHEAD
    for room in entry.rooms:
        size += len(room)
    for room in entry.excluded:
        size += len(room)
    return size
