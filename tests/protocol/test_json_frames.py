"""JSON frames of plain WebSocket clients, to Socket.IO packets and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oyez.protocol import socketio
from oyez.protocol.engineio import MalformedError
from oyez.protocol.json_frames import MAX_TEXT_IDS, TextIds, decode_frame, encode_event, encode_packet
from oyez.protocol.socketio import Packet, PacketType
from oyez.settings import Limits

DECODED = {
    '{"event":"e"}': '2["e"]',
    '{"event":"e","data":{"a":[1]}}': '2["e",{"a":[1]}]',
    '{"event":"e","data":[1, 2],"id":7}': '27["e",1, 2]',
    '{"event":"e","data":[]}': '2["e"]',
    '{"data":{"ok":true},"id":3}': '33[{"ok":true}]',
    '{"id":3}': "33[]",
}
MALFORMED = {
    "{}": "it has no `event`",
    '{"id":"a"}': "the `id` of an answer is a number",
    "[1]": "Expected `object`, got `array`",
    '{"event":"e","more":1}': "more",
    '{"event":"connect"}': "reserved",
    '{"event":"e","id":-1}': "id",
    '{"event":"e","data":' + "[" * 40 + "]" * 40 + "}": "nested deeper",
}


ENCODED = [
    (Packet(PacketType.CONNECT, "/", b'{"sid":"s"}'), b'{"event":"connect","data":{"sid":"s"}}'),
    (Packet(PacketType.CONNECT_ERROR, "/b", b'{"message":"no"}'), b'{"event":"connect_error","data":{"message":"no"}}'),
    (Packet(PacketType.DISCONNECT), b""),
    (Packet(PacketType.EVENT, "/", b'["e"]'), b'{"event":"e"}'),
    (Packet(PacketType.EVENT, "/b", b'["e",{"a":[1]}]'), b'{"event":"e","data":{"a":[1]}}'),
    (Packet(PacketType.EVENT, "/", b'["e",{}]', 17), b'{"event":"e","data":{},"id":17}'),
    (Packet(PacketType.ACK, "/b", b'[{"ok":true}]', 5), b'{"id":5,"data":{"ok":true}}'),
    (Packet(PacketType.ACK, "/", b"[]", 0), b'{"id":0}'),
]


@pytest.mark.parametrize(("packet", "frame"), ENCODED)
def test_a_packet_is_the_same_as_a_frame(packet: Packet, frame: bytes) -> None:
    assert encode_packet(packet, TextIds()) == frame


@pytest.mark.parametrize(("frame", "text"), DECODED.items())
def test_a_frame_is_the_same_as_a_packet(frame: str, text: str) -> None:
    packet = socketio.decode_packet(text.encode(), Limits())
    assert decode_frame(frame.encode(), "/", Limits(), TextIds()) == packet


@pytest.mark.parametrize(("frame", "reason"), MALFORMED.items())
def test_a_malformed_frame_is_refused_with_a_reason(frame: str, reason: str) -> None:
    with pytest.raises(MalformedError, match=reason):
        decode_frame(frame.encode(), "/", Limits(), TextIds())


def test_text_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(MalformedError, match="not UTF-8"):
        decode_frame(b'{"event":"e","data":"\xff"}', "/", Limits(), TextIds())


def test_a_text_as_id_comes_back_with_the_acknowledgement() -> None:
    ids = TextIds()
    packets = [decode_frame(b'{"event":"e","id":"%d"}' % number, "/", Limits(), ids) for number in range(MAX_TEXT_IDS)]
    assert len({packet.ack_id for packet in packets}) == MAX_TEXT_IDS
    with pytest.raises(MalformedError, match="still wait"):
        decode_frame(b'{"event":"e","id":"more"}', "/", Limits(), ids)
    answer = Packet(PacketType.ACK, "/", b"[1]", packets[5].ack_id)
    assert encode_packet(answer, ids) == b'{"id":"5","data":1}'
    assert decode_frame(b'{"event":"e","id":"more"}', "/", Limits(), ids).ack_id == packets[5].ack_id


def test_attachments_are_base64() -> None:
    data = b'["e",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]'
    packet = Packet(PacketType.BINARY_EVENT, "/", data, attachments=(b"a", b"b"))
    assert encode_packet(packet, TextIds()) == b'{"event":"e","data":["Yg==","YQ=="]}'


@given(st.binary() | st.text().map(str.encode) | st.from_regex(r'\{"event":.*\}', fullmatch=True).map(str.encode))
def test_any_input_is_decoded_or_refused(data: bytes) -> None:
    try:
        packet = decode_frame(data, "/", Limits(), TextIds())
    except MalformedError:
        return
    assert packet.type in (PacketType.EVENT, PacketType.ACK)


@pytest.mark.parametrize(
    ("data", "position", "frame"),
    [
        (b'["e"]', None, b'{"event":"e"}'),
        (b'["e"]', "ep.7", b'{"event":"e","offset":"ep.7"}'),
        (b'["e",{"a":1}]', "ep.7", b'{"event":"e","data":{"a":1},"offset":"ep.7"}'),
        (b'["e","a","b"]', None, b'{"event":"e","data":["a","b"]}'),
        (b'["e",[1]]', None, b'{"event":"e","data":[[1]]}'),
    ],
)
def test_an_event_has_its_argument_or_an_array_of_its_arguments(
    data: bytes, position: str | None, frame: bytes
) -> None:
    assert encode_event(data, position) == frame
