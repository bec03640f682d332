"""Plain WebSocket: clients that speak JSON text frames and know nothing of Engine.IO and Socket.IO.

    {"event": "subscribe", "data": {"channel": "orders"}, "id": 7}      from the client; `id` asks for an answer
    {"id": 7, "data": {"ok": true, …}}                                  the answer
    {"event": "order_status_update", "data": {…}}                       from the server

A frame that is not understood is answered with the event `error`, which says what is expected.
A frame is put into the words of Socket.IO and back, once for all who get it; everything else is the same connection,
with the same rights and limits. Its pings are WebSocket's own.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, cast

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from oyez.errors import MALFORMED
from oyez.protocol import engineio, socketio
from oyez.protocol.engineio import MalformedError
from oyez.protocol.session import Signal
from oyez.protocol.socketio import PacketType
from oyez.server.connections.connection import MINUTE, Connection
from oyez.server.namespaces.socket import Socket, encode_error
from oyez.server.transports.outgoing import OutboundPacket
from oyez.server.transports.transport import WebSocketTransport
from oyez.settings import Limits

if TYPE_CHECKING:
    pass

MAX_PENDING_FRAMES = 16
"""Frames that may come while it is decided whether the client is let in: more than a program sends at once."""


MAX_TEXT_IDS = 1_000
"""Questions with a text as id that wait for their answers at a time; each has a number here."""
FIRST_TEXT_ID = socketio.MAX_ACK_ID - MAX_TEXT_IDS + 1
MAX_FAULT = 200
"""Characters of the explanation for a malformed frame."""
EXPECTED = 'Send text frames, each a JSON object: {"event": "name", "data": …, "id": 1}; data and id may be left out.'


class Frame(msgspec.Struct, forbid_unknown_fields=True):
    """What a client sends: an event, or its answer to one."""

    event: str | UnsetType = UNSET
    data: Raw | UnsetType = UNSET
    """The event's argument; an array holds several. In an answer, the answer."""
    id: Annotated[int, Meta(ge=0, lt=FIRST_TEXT_ID)] | Annotated[str, Meta(max_length=128)] | UnsetType = UNSET


_decode_frame = msgspec.json.Decoder(Frame).decode
_decode_array = msgspec.json.Decoder(list[Raw]).decode


class TextIds:
    """The texts that a client has given as ids of questions: in Socket.IO ids are numbers, and numbers stand for them.

    These are above those that a client may use itself, and there are MAX_TEXT_IDS of them.
    """

    __slots__ = ("_last", "_texts")

    def __init__(self) -> None:
        self._texts: dict[int, bytes] = {}
        self._last = 0

    def number(self, text: str) -> int:
        """A free number, which stands for `text` from now on. Raises MalformedError if there is none."""
        if len(self._texts) >= MAX_TEXT_IDS:
            raise MalformedError(f"{MAX_TEXT_IDS} earlier frames with a text as `id` still wait for their answers")
        while True:
            self._last = (self._last + 1) % MAX_TEXT_IDS
            number = FIRST_TEXT_ID + self._last
            if number not in self._texts:
                self._texts[number] = msgspec.json.encode(text)
                return number

    def take(self, number: int) -> bytes | None:
        """The text for which `number` has stood, as JSON; None if there is none."""
        return self._texts.pop(number, None)


class JsonConnection(Connection):
    """A connection whose client speaks JSON frames. It is in one namespace, from its opening to its end."""

    __slots__ = ("_asked", "_faults", "_faults_end", "_pending")

    _pending: list[bytes]
    _asked: TextIds
    _faults: int
    _faults_end: float

    def open(self) -> None:
        """Begin to let the client in: what it would say in a CONNECT is in the address."""
        self._pending, self._asked = [], TextIds()
        self._faults, self._faults_end = 0, self.server.clock() + MINUTE
        query = self.handshake.query
        cast(WebSocketTransport, self.transport).ping()
        self.server.wheel.schedule(self, min(self._next_ping, self._connect_deadline))
        self.pause_reading()
        namespace = query.get("namespace") or next(iter(self.server.namespaces))
        self._connect(socketio.Packet(PacketType.CONNECT, namespace, msgspec.json.encode(query)))

    def on_text(self, text: bytes) -> None:
        if self.authenticated:
            self._receive_frame(text)
            return
        self._pending.append(text)
        if len(self._pending) > MAX_PENDING_FRAMES:
            self.close(engineio.FORCED_CLOSE, "too many frames before it was let in")

    def on_binary(self, data: bytes) -> None:
        self._answer_fault("the frame is binary")

    def on_pong(self) -> None:
        self._handle(Signal.PONG)

    def accept(self, socket: Socket, answer: socketio.Packet) -> None:
        super().accept(socket, answer)
        # What is written to sockets directly is Engine.IO's.
        socket.write = None
        # Not before the application has begun with the client.
        asyncio.get_running_loop().call_soon(self._receive_pending)

    def on_writable(self, write: Callable[[bytes], None] | None) -> None:
        """Nothing is written past `send`."""

    def go_live(self, socket: Socket) -> None:
        super().go_live(socket)
        socket.write = None

    def send(self, outgoing: OutboundPacket) -> None:
        if outgoing.plain is None:
            # Only an answer, which no other client gets, depends on what this one has asked.
            outgoing.plain = translate(outgoing, self._asked)
        if outgoing.plain.text:
            super().send(outgoing.plain)

    def send_all(self, messages: Sequence[OutboundPacket]) -> None:
        for message in messages:
            self.send(message)

    def forget_namespace(self, name: str) -> None:
        """There is no other namespace to go on in."""
        self.close(engineio.SERVER_DISCONNECT)

    def _receive_pending(self) -> None:
        pending, self._pending = self._pending, []
        for encoded in pending:
            if not self.closed:
                self._receive_frame(encoded)
        self.resume_reading()

    def _receive_frame(self, encoded: bytes) -> None:
        self._heard = True
        try:
            text = read_frame(encoded, next(iter(self.sockets), "/"), self.server.limits, self._asked)
            packet = socketio.decode_packet(text, self.server.limits)
        except MalformedError as error:
            self._answer_fault(str(error))
        else:
            self._handle(packet)

    def _send_connect_error(self, namespace: str, code: str, message: str, **details: float) -> None:
        # The name came in the address and may be anything: it must not become part of a packet.
        super()._send_connect_error("/", code, message, **details)

    def _answer_fault(self, fault: str) -> None:
        """Notify the client that a frame was not understood; one that sends many such frames is closed."""
        now = self.server.clock()
        if now >= self._faults_end:
            self._faults, self._faults_end = 0, now + MINUTE
        self._faults += 1
        if self._faults > self.server.limits.max_malformed_frames:
            self.close(engineio.FORCED_CLOSE, f"too many frames that are not understood: {fault[:MAX_FAULT]}")
        else:
            error = encode_error(MALFORMED.code, f"The frame is not understood: {fault[:MAX_FAULT]}. {EXPECTED}")
            self.send(OutboundPacket(b"42" + error))

    def _await_leaving(self, namespace: str, farewell: OutboundPacket | None = None) -> None:
        """The client can ask for nothing else over this connection."""
        self.close(engineio.REFUSED)

    def _send_ping(self) -> bool:
        # An ASGI server has pings of its own.
        return cast(WebSocketTransport, self.transport).ping()


def read_frame(encoded: bytes, namespace: str, limits: Limits, asked: TextIds) -> bytes:
    """A client's frame as the Socket.IO packet that says the same. Raises MalformedError.

    A text as id is kept in `asked`.
    """
    frame = _read_json(encoded, limits)
    data = b"" if frame.data is UNSET else bytes(frame.data)
    if frame.event is UNSET:
        if not isinstance(frame.id, int):
            raise MalformedError("it has no `event`" if frame.id is UNSET else "the `id` of an answer is a number")
        return b"3%b%d[%b]" % (socketio.encode_namespace(namespace), frame.id, data)
    ack_id = b"" if frame.id is UNSET else b"%d" % (asked.number(frame.id) if isinstance(frame.id, str) else frame.id)
    arguments = data[1:-1].strip() if data.startswith(b"[") else data
    name = msgspec.json.encode(frame.event)
    array = b"[%b,%b]" % (name, arguments) if arguments else b"[%b]" % name
    return b"2%b%b%b" % (socketio.encode_namespace(namespace), ack_id, array)


def _read_json(encoded: bytes, limits: Limits) -> Frame:
    try:
        return _decode_frame(encoded)
    except (msgspec.MsgspecError, RecursionError) as error:
        if not socketio.may_be_mended(encoded, limits):
            raise MalformedError(str(error)) from None
    try:
        return _decode_frame(socketio.mend_halves(encoded))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise MalformedError(str(error)) from None


def translate(outgoing: OutboundPacket, asked: TextIds | None = None) -> OutboundPacket:
    """What plain clients get instead of a Socket.IO packet; empty if they get nothing.

    `asked` has the questions of the client, if it is an answer.
    """
    kind, ack_id, data = _take_apart(outgoing)
    if kind in (PacketType.CONNECT, PacketType.CONNECT_ERROR):
        name = b"connect" if kind is PacketType.CONNECT else b"connect_error"
        return OutboundPacket(b'{"event":"%b","data":%b}' % (name, data))
    if kind is PacketType.DISCONNECT:
        # The CLOSE that follows says so.
        return OutboundPacket(b"")
    array = _decode_array(data)
    members = []
    if kind in (PacketType.ACK, PacketType.BINARY_ACK):
        given = asked.take(int(ack_id)) if asked is not None else None
        members = [b'"id":' + (given or ack_id), b'"data":' + bytes(array[0]) if array else b""]
    else:
        members = [b'"event":' + bytes(array[0]), b'"data":' + bytes(array[1]) if len(array) > 1 else b""]
        # A third element is the position in the log, for clients that ask for it.
        members.append(b'"offset":' + bytes(array[2]) if len(array) > 2 else b"")
        members.append(b'"id":' + ack_id if ack_id else b"")
    text = b"{" + b",".join(member for member in members if member) + b"}"
    return OutboundPacket(text, volatile=outgoing.volatile)


def _take_apart(outgoing: OutboundPacket) -> tuple[PacketType, bytes, bytes]:
    """The type, the acknowledgement's id, and the JSON of a packet, with its attachments as base64."""
    text = outgoing.text[2:]
    kind = PacketType(int(outgoing.text[1:2]))
    if kind in (PacketType.BINARY_EVENT, PacketType.BINARY_ACK):
        text = text.partition(b"-")[2]
    if text.startswith(b"/"):
        text = text.partition(b",")[2]
    data = text.lstrip(b"0123456789")
    ack_id = text[: len(text) - len(data)]
    if outgoing.attachments:
        filled = socketio.find_placeholders(msgspec.json.decode(data), outgoing.attachments)
        data = msgspec.json.encode(filled)
    return kind, ack_id, data
