"""The dialect of plain WebSocket clients: JSON text frames, without Engine.IO and Socket.IO.

    {"event": "subscribe", "data": {"channel": "orders"}, "id": 7}      from the client; `id` requests an answer
    {"id": 7, "data": {"ok": true, …}}                                  the answer
    {"event": "order_status_update", "data": {…}}                       from the server

A frame is decoded to a Socket.IO packet, and a packet is encoded as a frame.
"""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from oyez.protocol import socketio
from oyez.protocol.engineio import MalformedError, check_text
from oyez.protocol.socketio import Packet, PacketType
from oyez.settings import Limits

MAX_TEXT_IDS = 1_000
"""Text ids of one client that wait for acknowledgements at a time: far more than a client uses, and a small table."""
FIRST_TEXT_ID = socketio.MAX_ACK_ID - MAX_TEXT_IDS + 1
EXPECTED = 'Send text frames, each a JSON object: {"event": "name", "data": …, "id": 1}; data and id may be left out.'


class Frame(msgspec.Struct, forbid_unknown_fields=True):
    """A frame of a client: an event, or its acknowledgement of one."""

    event: str | UnsetType = UNSET
    data: Raw | UnsetType = UNSET
    """The event's argument; an array holds several. In an acknowledgement, its argument."""
    id: Annotated[int, Meta(ge=0, lt=FIRST_TEXT_ID)] | Annotated[str, Meta(max_length=128)] | UnsetType = UNSET


class TextIds:
    """The text ids of one client. Socket.IO has only numbers as ids, so a number represents each text.

    These MAX_TEXT_IDS numbers are above the numbers that a client may use itself.
    """

    __slots__ = ("_last", "_texts")

    def __init__(self) -> None:
        self._texts: dict[int, bytes] = {}
        self._last = 0

    def add(self, text: str) -> int:
        """Represent `text` by a free number, which is returned. Raises MalformedError if no number is free."""
        if len(self._texts) >= MAX_TEXT_IDS:
            raise MalformedError(f"{MAX_TEXT_IDS} earlier frames with a text as `id` still wait for their answers")
        while True:
            self._last = (self._last + 1) % MAX_TEXT_IDS
            number = FIRST_TEXT_ID + self._last
            if number not in self._texts:
                self._texts[number] = msgspec.json.encode(text)
                return number

    def pop(self, number: int) -> bytes:
        """Free `number`. Returns the text that it represented, as JSON, or `number` itself if there is none."""
        return self._texts.pop(number, None) or b"%d" % number


_decode = msgspec.json.Decoder(Frame).decode
_decode_array = msgspec.json.Decoder(list[Raw]).decode


def decode_frame(encoded: bytes, namespace: str, limits: Limits, ids: TextIds) -> Packet:
    """Decode a client's frame to a packet of `namespace`. Raises MalformedError.

    `ids` stores a text id.
    """
    if not encoded.isascii():
        check_text(encoded)
    frame = _decode_json(encoded, limits)
    data = b"" if frame.data is UNSET else bytes(frame.data)
    if frame.event is UNSET:
        if not isinstance(frame.id, int):
            raise MalformedError("it has no `event`" if frame.id is UNSET else "the `id` of an answer is a number")
        packet = Packet(PacketType.ACK, namespace, b"[%b]" % data, frame.id)
    else:
        arguments = data[1:-1].strip() if data.startswith(b"[") else data
        name = msgspec.json.encode(frame.event)
        array = b"[%b,%b]" % (name, arguments) if arguments else b"[%b]" % name
        ack_id = None if frame.id is UNSET else ids.add(frame.id) if isinstance(frame.id, str) else frame.id
        packet = Packet(PacketType.EVENT, namespace, array, ack_id)
    socketio.check_packet(packet, limits)
    return packet


def _decode_json(encoded: bytes, limits: Limits) -> Frame:
    try:
        return _decode(encoded)
    except (msgspec.MsgspecError, RecursionError) as error:
        if not socketio.may_be_mended(encoded, limits):
            raise MalformedError(str(error)) from None
    try:
        return _decode(socketio.mend_halves(encoded))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise MalformedError(str(error)) from None


def encode_packet(packet: Packet, ids: TextIds) -> bytes:
    """Encode a packet as a frame, with attachments as base64. Empty if the packet is not sent in this dialect.

    If `ids` has a text for the id of an acknowledgement, the frame has that text.
    """
    if packet.type is PacketType.CONNECT:
        return b'{"event":"connect","data":%b}' % packet.data
    if packet.type is PacketType.CONNECT_ERROR:
        return b'{"event":"connect_error","data":%b}' % packet.data
    if packet.type is PacketType.DISCONNECT:
        # The WebSocket's CLOSE frame follows and has the same meaning.
        return b""
    array = _fill_in(packet)
    if packet.type in (PacketType.ACK, PacketType.BINARY_ACK):
        assert packet.ack_id is not None
        return _encode_frame([b'"id":' + ids.pop(packet.ack_id), *_data(_decode_array(array))])
    return encode_event(array, ack_id=packet.ack_id)


def encode_event(array: bytes, position: str | None = None, ack_id: int | None = None) -> bytes:
    """Encode an event as a frame. `array` is JSON: the name and the arguments.

    With `position`, the frame has this position in the log; with `ack_id`, it asks for an acknowledgement.
    """
    name, *arguments = _decode_array(array)
    offset = [] if position is None else [b'"offset":"%b"' % position.encode()]
    id = [] if ack_id is None else [b'"id":%d' % ack_id]
    return _encode_frame([b'"event":' + bytes(name), *_data(arguments), *offset, *id])


def _data(arguments: list[Raw]) -> list[bytes]:
    """The member `data`: the argument, or an array of the arguments, as in the frames of clients. None: no member."""
    if not arguments:
        return []
    if len(arguments) == 1 and not bytes(arguments[0]).startswith(b"["):
        return [b'"data":' + bytes(arguments[0])]
    return [b'"data":[%b]' % b",".join(map(bytes, arguments))]


def _encode_frame(members: list[bytes]) -> bytes:
    return b"{" + b",".join(members) + b"}"


def _fill_in(packet: Packet) -> bytes:
    """The packet's data with its attachments."""
    if not packet.attachments:
        return packet.data
    return msgspec.json.encode(socketio.find_placeholders(msgspec.json.decode(packet.data), packet.attachments))
