"""The newest entries of the log, at hand for clients that come back: by room, encoded once for all of them.

Most who lost their connection return within seconds, and many at once. What they missed is here already, so the log is
read only for those who were away for longer. Everything in it has been handed to the sockets: it ends where live
delivery stands.
"""

from collections import deque
from collections.abc import Collection

from oyez.log.damage import DAMAGED
from oyez.log.log import Entry, split_position
from oyez.server.transports.outgoing import Message

MAX_BYTES = 16_000_000
"""What the window of one system may hold; at 500 bytes an event this is the last 20,000."""
ENTRY_OVERHEAD = 600
"""Bytes that an entry costs besides its data, with its places in the rooms' lists."""


class Window:
    """Holds entries in the order of the log, the newest `max_bytes` of them."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.position = ""
        """Where it ends: the position of the newest entry; empty before it has begun."""
        self._max_bytes = max_bytes
        self._bytes = 0
        self._epoch = ""
        self._before = 0
        """The number before the first one that is held: what came up to it is not known here."""
        self._last = 0
        self._damaged = 0
        """The number of the last entry that could not be read: it may have been for any client."""
        self._messages: deque[Message] = deque()
        self._rooms: dict[tuple[str, str], deque[Message]] = {}

    def begin(self, position: str) -> None:
        """Forget everything: what comes next follows `position`."""
        self._epoch, self._before = split_position(position)
        self._last = self._before
        self._damaged = 0
        self.position = position
        self._messages.clear()
        self._rooms.clear()
        self._bytes = 0

    def add(self, message: Message) -> None:
        """Hold an event that follows all others."""
        self.advance(message.entry)
        message.number = self._last
        self._messages.append(message)
        self._bytes += _size(message)
        for place in _places(message.entry):
            listed = self._rooms.get(place)
            if listed is None:
                listed = self._rooms[place] = deque()
            listed.append(message)
        while self._bytes > self._max_bytes:
            self._forget_first()

    def advance(self, entry: Entry) -> None:
        """Take note of an entry's position, where it has one."""
        if entry.position is None:
            return
        epoch, number = split_position(entry.position)
        if epoch != self._epoch:
            self.begin(f"{epoch}.{number - 1}")
        self._last, self.position = number, entry.position
        if entry.control == DAMAGED:
            self._damaged = number

    def covers(self, position: str) -> bool:
        """True if everything that followed `position` is held."""
        try:
            epoch, number = split_position(position)
        except KeyError:
            return False
        return epoch == self._epoch and max(self._before, self._damaged) <= number <= self._last

    def since(self, position: str, namespace: str, rooms: Collection[str]) -> list[Message]:
        """The events behind `position`, which is covered, for who is in `rooms` of `namespace`, in order."""
        _, after = split_position(position)
        found: dict[int, Message] = {}
        for room in ("", *rooms):
            for message in reversed(self._rooms.get((namespace, room), ())):
                if message.number <= after:
                    break
                found[message.number] = message
        return [
            message
            for _, message in sorted(found.items())
            if not message.entry.excluded or not any(room in rooms for room in message.entry.excluded)
        ]

    def _forget_first(self) -> None:
        message = self._messages.popleft()
        self._before = message.number
        self._bytes -= _size(message)
        for place in _places(message.entry):
            listed = self._rooms[place]
            listed.popleft()
            if not listed:
                del self._rooms[place]


def _places(entry: Entry) -> list[tuple[str, str]]:
    return [(entry.namespace, room) for room in dict.fromkeys(entry.rooms or ("",))]


def _size(message: Message) -> int:
    entry = message.entry
    return len(entry.data) + sum(map(len, entry.rooms)) + sum(map(len, entry.excluded)) + ENTRY_OVERHEAD
