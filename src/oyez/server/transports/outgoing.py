"""Packets that the server sends, encoded once for all recipients: Engine.IO text, WebSocket frames, deflated frames.

Source of the framing: RFC 6455, section 5.2; of the compression: RFC 7692, section 7.2.1, without context takeover on
either side, so that the deflated frame is the same for every client.
"""

import zlib
from base64 import b64encode
from collections.abc import Sequence

TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA
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
    """A close frame (RFC 6455, section 5.5.1), which holds 125 bytes at most: a longer reason is cut."""
    return encode_frame(CLOSE, code.to_bytes(2, "big") + reason.encode()[:123])


def deflate(payload: bytes) -> bytes:
    """`payload` compressed for permessage-deflate without context, so that all recipients can share it."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    # RFC 7692: the sender removes the empty block that ends a sync flush.
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


class OutboundPacket:
    """One Engine.IO packet with its attachments, and each of its encodings once a client has needed it."""

    __slots__ = ("_deflated", "_frames", "attachments", "follower", "plain", "text", "volatile")

    def __init__(
        self, text: bytes, attachments: tuple[bytes, ...] = (), volatile: bool = False, follower: bytes = b""
    ) -> None:
        self.text = text
        """The packet with its type digit, as in a WebSocket text frame; empty for a binary message alone."""
        self.attachments = attachments
        self.volatile = volatile
        self.follower = follower
        """A second packet, sent after this one in the same write; mostly empty."""
        self.plain: OutboundPacket | None = None
        """The same event for clients that speak plain WebSocket, after one of them has received it; see plain.py."""
        self._frames: bytes | None = None
        self._deflated: bytes | None = None

    @property
    def size(self) -> int:
        """Bytes that the packet adds to a send buffer."""
        return len(self.text) + sum(map(len, self.attachments)) + len(self.follower)

    @property
    def frames(self) -> bytes:
        """The WebSocket frames, one after the other."""
        if self._frames is None:
            self._frames = (encode_frame(TEXT, self.text) if self.text else b"") + self._following_frames()
        return self._frames

    @property
    def deflated_frames(self) -> bytes:
        """The frames for clients that agreed to permessage-deflate."""
        if self._deflated is None:
            self._deflated = encode_frame(TEXT, deflate(self.text), deflated=True) + self._following_frames()
        return self._deflated

    def choose_frames(self, compression_threshold: int) -> bytes:
        """The frames for such clients: deflated if the text has at least `compression_threshold` bytes."""
        return self.frames if len(self.text) < compression_threshold else self.deflated_frames

    def polling_packets(self) -> list[bytes]:
        """The packets of a polling payload, attachments in Base64."""
        packets = [*([self.text] if self.text else []), *(b"b" + b64encode(data) for data in self.attachments)]
        return [*packets, self.follower] if self.follower else packets

    def _following_frames(self) -> bytes:
        follower = encode_frame(TEXT, self.follower) if self.follower else b""
        return b"".join(encode_frame(BINARY, data) for data in self.attachments) + follower


def join_frames(packets: Sequence[OutboundPacket], compression_threshold: int | None) -> bytes:
    """The frames of all `packets`; without `compression_threshold`, for clients that cannot inflate."""
    if compression_threshold is None:
        return b"".join([packet.frames for packet in packets])
    return b"".join([packet.choose_frames(compression_threshold) for packet in packets])
