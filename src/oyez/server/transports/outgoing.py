"""What leaves the server, encoded once for all who get it: packets, WebSocket frames, deflated frames.

Source of the framing: RFC 6455 section 5.2; of the compression: RFC 7692 section 7.2.1, without context takeover on
either side, so that the deflated frame is the same for every client.
"""

import zlib
from base64 import b64encode
from collections.abc import Sequence

from oyez.log.log import Entry

TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA
# The encodings of a durable event: one of the first three, with DEFLATED or without.
NO_POSITION = 0
"""The event as it was published."""
POSITION_EVENT = 1
"""The event as it was published, followed by an event of its own that carries its position."""
POSITION_ARGUMENT = 2
"""The position is one more argument of the event, after all others."""
POSITIONS = 0b011
"""The bits that say which of these three it is."""
DEFLATED = 0b100
"""The event is deflated if that is worth it."""
ENCODINGS = 1 + POSITION_ARGUMENT + DEFLATED
"""Number of different encodings, some of them unused."""
POSITION = "oyez:position"
"""The event that carries a position. Official JavaScript clients (4.6 and later) remember the last argument of any
event if it is a string, and send it as `offset` when they reconnect: no handler of the application sees it."""
_FIN = 0x80
_RSV1 = 0x40


def encode_frame(opcode: int, payload: bytes, *, deflated: bool = False) -> bytes:
    """One unmasked, unfragmented WebSocket frame."""
    first = _FIN | (_RSV1 if deflated else 0) | opcode
    length = len(payload)
    if length < 126:
        return bytes((first, length)) + payload
    if length < 65_536:
        return bytes((first, 126)) + length.to_bytes(2, "big") + payload
    return bytes((first, 127)) + length.to_bytes(8, "big") + payload


def encode_close(code: int, reason: str = "") -> bytes:
    """A close frame (RFC 6455, section 5.5.1): 125 bytes at most, so a long reason is cut."""
    return encode_frame(CLOSE, code.to_bytes(2, "big") + reason.encode()[:123])


def deflate(payload: bytes) -> bytes:
    """`payload` compressed for permessage-deflate without context, so that all recipients can share it."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    # RFC 7692: the empty block that a sync flush ends with is left out.
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


class Outgoing:
    """One message (an Engine.IO packet and its attachments) with every encoding that has been asked for so far."""

    __slots__ = ("_deflated", "_frames", "attachments", "follower", "plain", "text", "volatile")

    def __init__(
        self, text: bytes, attachments: tuple[bytes, ...] = (), volatile: bool = False, follower: bytes = b""
    ) -> None:
        self.text = text
        """The Engine.IO packet with its type digit, as in a WebSocket text frame; empty for a binary message alone."""
        self.attachments = attachments
        self.volatile = volatile
        self.follower = follower
        """A second packet that is sent with the message, in the same write and after it; mostly empty."""
        self.plain: Outgoing | None = None
        """The same for clients that speak plain WebSocket, once one of them has got it; see plain.py."""
        self._frames: bytes | None = None
        self._deflated: bytes | None = None

    @property
    def size(self) -> int:
        """What it counts for where bytes that wait are counted."""
        return len(self.text) + sum(map(len, self.attachments)) + len(self.follower)

    @property
    def frames(self) -> bytes:
        """The WebSocket frames, one behind the other."""
        if self._frames is None:
            self._frames = (encode_frame(TEXT, self.text) if self.text else b"") + self._following_frames()
        return self._frames

    @property
    def deflated_frames(self) -> bytes:
        """The same for clients that agreed to permessage-deflate."""
        if self._deflated is None:
            self._deflated = encode_frame(TEXT, deflate(self.text), deflated=True) + self._following_frames()
        return self._deflated

    def choose_frames(self, plain_below: int) -> bytes:
        """For such clients, what is worth it: a message shorter than `plain_below` is not deflated."""
        return self.frames if len(self.text) < plain_below else self.deflated_frames

    def polling_packets(self) -> list[bytes]:
        """As packets of a polling payload, attachments in Base64."""
        packets = [*([self.text] if self.text else []), *(b"b" + b64encode(data) for data in self.attachments)]
        return [*packets, self.follower] if self.follower else packets

    def _following_frames(self) -> bytes:
        follower = encode_frame(TEXT, self.follower) if self.follower else b""
        return b"".join(encode_frame(BINARY, data) for data in self.attachments) + follower


def join_frames(messages: Sequence[Outgoing], plain_below: int | None) -> bytes:
    """What all of them are on a WebSocket; `plain_below` is for clients that understand deflated frames."""
    if plain_below is None:
        return b"".join([message.frames for message in messages])
    return b"".join([message.choose_frames(plain_below) for message in messages])


class Message:
    """An entry of the log as it is sent: without its position, followed by it, or with it; each encoded once."""

    __slots__ = ("_encoded", "_prefix", "entry", "number")

    def __init__(self, prefix: bytes, entry: Entry) -> None:
        """`prefix` is what an event of the entry's namespace begins with."""
        self.entry = entry
        self.number = 0
        """That of its position; set by the window."""
        self._prefix = prefix
        self._encoded: list[Outgoing | None] = [None] * (1 + POSITION_ARGUMENT)

    def outgoing(self, positions: int) -> Outgoing:
        """The event for a client that gets positions in this way; a volatile event has none."""
        if self.entry.position is None:
            positions = NO_POSITION
        outgoing = self._encoded[positions]
        if outgoing is None:
            outgoing = self._encoded[positions] = self._encode(positions)
        return outgoing

    def _encode(self, positions: int) -> Outgoing:
        entry = self.entry
        position = (entry.position or "").encode()
        if positions == POSITION_ARGUMENT:
            return Outgoing(b'%b%b,"%b"]' % (self._prefix, entry.data[:-1], position))
        follower = b""
        if positions == POSITION_EVENT:
            follower = b'%b["%b","%b"]' % (self._prefix, POSITION.encode(), position)
        return Outgoing(self._prefix + entry.data, volatile=entry.volatile, follower=follower)
