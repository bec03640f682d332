"""The frames of one entry of the log: an event is encoded once for each way in which clients receive its position."""

from oyez.log.log import Entry
from oyez.server.transports.outgoing import OutboundPacket

# The encodings of a durable event: one of the first three, with DEFLATED or without.
NO_POSITION = 0
"""The event as it was published."""
POSITION_EVENT = 1
"""The event as it was published, followed by an event of its own that carries its position."""
POSITION_ARGUMENT = 2
"""The event with its position as one more argument, after all others."""
POSITIONS = 0b011
"""The bits that distinguish these three."""
DEFLATED = 0b100
"""The event is deflated if it is long enough."""
ENCODINGS = 1 + POSITION_ARGUMENT + DEFLATED
"""Number of different encodings, some of them unused."""
ENTRY_BYTES = 80
"""Bytes of an event on the wire besides its data: frames and its position."""
POSITION = "oyez:position"
"""The event that carries a position. Official JavaScript clients (4.6 and later) remember the last argument of any
event if it is a string, and send it as `offset` when they reconnect: no handler of the application receives it."""


class EventFrames:
    """An entry of the log for clients: without its position, followed by it, or with it. Each is encoded once."""

    __slots__ = ("_packets", "_prefix", "entry", "number")

    def __init__(self, prefix: bytes, entry: Entry) -> None:
        """`prefix` is the beginning of every event of the entry's namespace."""
        self.entry = entry
        self.number = 0
        """The number of the entry's position; set by the replay buffer."""
        self._prefix = prefix
        self._packets: list[OutboundPacket | None] = [None] * (1 + POSITION_ARGUMENT)

    @property
    def size(self) -> int:
        """Bytes on the wire, roughly."""
        return len(self.entry.data) + ENTRY_BYTES

    def packet(self, positions: int) -> OutboundPacket:
        """The event for a client that receives positions in this way; a volatile event has no position."""
        if self.entry.position is None:
            positions = NO_POSITION
        packet = self._packets[positions]
        if packet is None:
            packet = self._packets[positions] = self._encode(positions)
        return packet

    def _encode(self, positions: int) -> OutboundPacket:
        entry = self.entry
        position = (entry.position or "").encode()
        if positions == POSITION_ARGUMENT:
            return OutboundPacket(b'%b%b,"%b"]' % (self._prefix, entry.data[:-1], position))
        follower = b""
        if positions == POSITION_EVENT:
            follower = b'%b["%b","%b"]' % (self._prefix, POSITION.encode(), position)
        return OutboundPacket(self._prefix + entry.data, volatile=entry.volatile, follower=follower)
