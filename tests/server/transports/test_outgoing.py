"""Packets that leave the server: encoded once, for WebSocket, compressed WebSocket and polling."""

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Opcode

from oyez.server.transports.outgoing import OutboundPacket
from tests.protocol.test_websocket import inflating, read


@given(st.binary(min_size=1, max_size=70_000), st.lists(st.binary(max_size=300), max_size=3))
def test_a_message_and_its_attachments(text: bytes, attachments: list[bytes]) -> None:
    outgoing = OutboundPacket(text, tuple(attachments))
    expected = [(Opcode.TEXT, text), *((Opcode.BINARY, data) for data in attachments)]
    assert [(frame.opcode, bytes(frame.data)) for frame in read(outgoing.frames)] == expected
    deflated = read(outgoing.deflated_frames, inflating())
    assert [(frame.opcode, bytes(frame.data)) for frame in deflated] == expected
    assert outgoing.size == len(text) + sum(map(len, attachments))


def test_everything_is_encoded_once() -> None:
    outgoing = OutboundPacket(b"4" + b"x" * 2_000, (b"attached",))
    assert outgoing.frames is outgoing.frames
    assert outgoing.deflated_frames is outgoing.deflated_frames
    assert len(outgoing.deflated_frames) < 100


def test_packets_of_a_polling_payload() -> None:
    assert OutboundPacket(b"42[]").polling_packets() == [b"42[]"]
    assert OutboundPacket(b"452-[]", (b"\0\1\2", b"")).polling_packets() == [b"452-[]", b"bAAEC", b"b"]
