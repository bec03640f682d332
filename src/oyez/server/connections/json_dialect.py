"""Connections of plain WebSocket clients, which send JSON frames (`protocol/json_frames.py`).

A frame that is not understood is answered with the event `error`, which describes what is expected. Rights and
limits are those of other connections. The server sends WebSocket pings.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

import msgspec

from oyez.errors import MALFORMED, RefusedError
from oyez.protocol import engineio, json_frames, socketio
from oyez.protocol.engineio import MalformedError
from oyez.protocol.json_frames import EXPECTED, TextIds
from oyez.protocol.session import Signal
from oyez.protocol.socketio import PacketType
from oyez.server.connections.admission import MINUTE
from oyez.server.connections.connection import Connection
from oyez.server.namespaces.socket import Socket, encode_error
from oyez.server.transports.outgoing import OutboundPacket
from oyez.server.transports.transport import WebSocketTransport

MAX_PENDING_FRAMES = 16
"""Frames that wait until the application has accepted the client: more than a program sends at once."""
MAX_FAULT = 200
"""Characters of the explanation for a malformed frame."""


class JsonConnection(Connection):
    """A connection whose client speaks JSON frames. It is in one namespace, from its opening to its end."""

    __slots__ = ("_asked", "_faults", "_faults_end", "_pending")

    _pending: list[bytes]
    _asked: TextIds
    _faults: int
    _faults_end: float

    def open(self) -> None:
        """Ask the application about the client. The query of the address takes the place of a CONNECT's `auth`."""
        self._pending, self._asked = [], TextIds()
        self._faults, self._faults_end = 0, self.context.clock() + MINUTE
        query = self.handshake.query
        cast(WebSocketTransport, self.transport).ping()
        self.context.wheel.schedule(self, min(self._next_ping, self._connect_deadline))
        self.pause_reading()
        namespace = query.get("namespace") or next(iter(self.context.namespaces))
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
        # Frames that are written to sockets directly are Engine.IO's.
        socket.set_write(None, deflate=False)
        # The application must have begun with the client before its frames are handled.
        asyncio.get_running_loop().call_soon(self._receive_pending)

    def on_writable(self, write: Callable[[bytes], None] | None) -> None:
        """Do nothing: every packet has to be translated by `send`."""

    def go_live(self, socket: Socket) -> None:
        super().go_live(socket)
        socket.set_write(None, deflate=False)

    def send(self, outgoing: OutboundPacket) -> None:
        if outgoing.plain is None:
            # Only an acknowledgement depends on what this client has asked, and no other client receives that.
            outgoing.plain = translate(outgoing, self._asked)
        if outgoing.plain.text:
            super().send(outgoing.plain)

    def send_all(self, messages: Sequence[OutboundPacket]) -> None:
        for message in messages:
            self.send(message)

    def forget_namespace(self, name: str) -> None:
        """Close the connection: its client is in one namespace only."""
        self.close(engineio.SERVER_DISCONNECT)

    def _receive_pending(self) -> None:
        pending, self._pending = self._pending, []
        for encoded in pending:
            if not self.closed:
                self._receive_frame(encoded)
        self.resume_reading()

    def _receive_frame(self, encoded: bytes) -> None:
        self._received_since_ping = True
        try:
            namespace = next(iter(self.sockets), "/")
            packet = json_frames.decode_frame(encoded, namespace, self.context.limits, self._asked)
        except MalformedError as error:
            self._answer_fault(str(error))
        else:
            self._handle(packet)

    def _send_connect_error(self, namespace: str, refused: RefusedError) -> None:
        # The name came in the address and may be anything: it must not become part of a packet.
        super()._send_connect_error("/", refused)

    def _answer_fault(self, fault: str) -> None:
        """Notify the client that a frame was not understood; one that sends many such frames is closed."""
        now = self.context.clock()
        if now >= self._faults_end:
            self._faults, self._faults_end = 0, now + MINUTE
        self._faults += 1
        if self._faults > self.context.limits.max_malformed_frames:
            self.close(engineio.FORCED_CLOSE, f"too many frames that are not understood: {fault[:MAX_FAULT]}")
        else:
            error = encode_error(MALFORMED.code, f"The frame is not understood: {fault[:MAX_FAULT]}. {EXPECTED}")
            self.send(OutboundPacket(b"42" + error))

    def _close_after_refusal(self, namespace: str, farewell: OutboundPacket | None = None) -> None:
        """Close now: the client can enter no other namespace over this connection."""
        self.close(engineio.REFUSED)

    def _send_ping(self) -> bool:
        # An ASGI server sends WebSocket pings by itself.
        return cast(WebSocketTransport, self.transport).ping()


def translate(outgoing: OutboundPacket, asked: TextIds) -> OutboundPacket:
    """The JSON frame for a Socket.IO packet; empty if plain clients are sent nothing.

    `asked` has the ids of the client's frames, if the packet is an acknowledgement.
    """
    frame = json_frames.encode_packet(_parse(outgoing), asked, has_position=outgoing.has_position)
    return OutboundPacket(frame, volatile=outgoing.volatile)


def _parse(outgoing: OutboundPacket) -> socketio.Packet:
    text = outgoing.text[2:]
    kind = PacketType(int(outgoing.text[1:2]))
    if kind in (PacketType.BINARY_EVENT, PacketType.BINARY_ACK):
        text = text.partition(b"-")[2]
    if text.startswith(b"/"):
        text = text.partition(b",")[2]
    data = text.lstrip(b"0123456789")
    ack_id = text[: len(text) - len(data)]
    return socketio.Packet(kind, "/", data, int(ack_id) if ack_id else None, attachments=outgoing.attachments)
