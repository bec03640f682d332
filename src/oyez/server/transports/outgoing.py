"""Packets that the server sends, encoded once for all recipients: text, WebSocket frames, deflated frames."""

from base64 import b64encode
from collections.abc import Sequence

from oyez.protocol.websocket import BINARY, TEXT, deflate, encode_frame, encode_text


class OutboundPacket:
    """One Engine.IO packet with its attachments, or one JSON frame; and each of its encodings that was needed."""

    __slots__ = ("_deflated", "_frames", "attachments", "follower", "text", "volatile")

    def __init__(
        self, text: bytes, attachments: tuple[bytes, ...] = (), volatile: bool = False, follower: bytes = b""
    ) -> None:
        self.text = text
        """The packet with its type digit, as in a WebSocket text frame; empty for a binary message alone."""
        self.attachments = attachments
        self.volatile = volatile
        self.follower = follower
        """A second packet, sent after this one in the same write; mostly empty."""
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
            self._frames = (encode_text(self.text) if self.text else b"") + self._following_frames()
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
        follower = encode_text(self.follower) if self.follower else b""
        if not self.attachments:
            return follower
        return b"".join(encode_frame(BINARY, data) for data in self.attachments) + follower


def join_frames(packets: Sequence[OutboundPacket], compression_threshold: int | None) -> bytes:
    """The frames of all `packets`; without `compression_threshold`, for clients that cannot inflate."""
    if compression_threshold is None:
        return b"".join([packet.frames for packet in packets])
    return b"".join([packet.choose_frames(compression_threshold) for packet in packets])
