"""One Engine.IO session as a state machine without I/O: packets in, signals and Socket.IO packets out.

A session starts on the transport that opened it. On polling a second transport, the *candidate*, may send a probe
(`2probe`), receive its answer (`3probe`) and complete the upgrade (`5`); until then all packets use polling. Some
clients upgrade without a probe, which official servers accept. Every input that a state does not list in TRANSITIONS is
against the protocol: the session is then closed, `reason` has the cause, and no error is raised.
"""

from collections.abc import Iterator
from enum import Enum, auto
from typing import ClassVar

import msgspec

from oyez.protocol import engineio, socketio
from oyez.protocol.engineio import CloseReason, MalformedError
from oyez.settings import Limits


class State(Enum):
    """The state of a session."""

    POLLING = auto()
    PROBED = auto()
    """The session uses polling, and a WebSocket has sent a probe."""
    WEBSOCKET = auto()
    CLOSED = auto()


class Input(Enum):
    """The inputs of a client whose effect depends on the state of its session."""

    MESSAGE = auto()
    PONG = auto()
    NOISE = auto()
    """Packets without meaning in this direction, ignored as official servers do: open, upgrade, noop."""
    PROBE = auto()
    UPGRADE = auto()
    CANDIDATE_LOST = auto()
    CLOSE = auto()


TRANSITIONS: dict[State, dict[Input, State]] = {
    State.POLLING: {
        Input.MESSAGE: State.POLLING,
        Input.PONG: State.POLLING,
        Input.NOISE: State.POLLING,
        Input.PROBE: State.PROBED,
        Input.UPGRADE: State.WEBSOCKET,
        Input.CANDIDATE_LOST: State.POLLING,
        Input.CLOSE: State.CLOSED,
    },
    State.PROBED: {
        Input.MESSAGE: State.PROBED,
        Input.PONG: State.PROBED,
        Input.NOISE: State.PROBED,
        Input.PROBE: State.PROBED,
        Input.UPGRADE: State.WEBSOCKET,
        Input.CANDIDATE_LOST: State.POLLING,
        Input.CLOSE: State.CLOSED,
    },
    State.WEBSOCKET: {
        Input.MESSAGE: State.WEBSOCKET,
        Input.PONG: State.WEBSOCKET,
        Input.NOISE: State.WEBSOCKET,
        Input.CANDIDATE_LOST: State.WEBSOCKET,
        Input.CLOSE: State.CLOSED,
    },
    State.CLOSED: {},
}


class Signal(Enum):
    """What the owner of the transports must do after an input that was not a Socket.IO packet."""

    PONG = auto()
    """The client has answered a ping."""
    CLOSED = auto()
    """The session has ended; `Session.reason` has the cause."""
    ANSWER_PROBE = auto()
    """Send PROBE_PONG over the candidate, and a NOOP to a waiting poll so that it ends."""
    SWITCH = auto()
    """The candidate is now the session's transport."""
    REFUSE_CANDIDATE = auto()
    """Close the candidate; the session continues."""
    REFUSE_PARSER = auto()
    """The client sent a msgpack CONNECT to `Session.msgpack_namespace`: refuse it in msgpack. The session continues."""
    EXPLAIN_FAULT = auto()
    """Send the client `Session.detail`, which says what was wrong with its frame. The session continues."""


_INPUTS = {
    engineio.PacketType.OPEN: Input.NOISE,
    engineio.PacketType.CLOSE: Input.CLOSE,
    engineio.PacketType.PONG: Input.PONG,
    engineio.PacketType.UPGRADE: Input.NOISE,
    engineio.PacketType.NOOP: Input.NOISE,
}


_CLOSED = State.CLOSED
"""A global name is found faster than a member of an Enum, and every packet needs it."""


class Session:
    """The state of one session, and its binary packet whose attachments have not all arrived."""

    __slots__ = ("_limits", "_partial", "connect", "detail", "msgpack_namespace", "probed", "reason", "state")

    json: ClassVar[bool] = False
    """True if the client sends and receives JSON frames, in one namespace and with WebSocket's pings (JsonSession)."""

    def __init__(self, limits: Limits, state: State) -> None:
        self.state = state
        self.reason: CloseReason | None = None
        self.probed = False
        """True if the session was closed between `3probe` and `5`: the client may have stopped polling by then."""
        self.detail = ""
        """The exact fault of the input that closed the session, or of the last frame that was not understood."""
        self.msgpack_namespace = ""
        self.connect: str | None = None
        """The namespace of the CONNECT that closed the session; None if another packet closed it."""
        self._limits = limits
        self._partial: socketio.Packet | None = None

    @property
    def upgraded(self) -> bool:
        return self.state is State.WEBSOCKET

    @property
    def incomplete(self) -> bool:
        """True if attachments of a packet have not arrived yet."""
        return self._partial is not None

    @property
    def incomplete_bytes(self) -> int:
        """Bytes of an incomplete packet and of its attachments that have arrived."""
        packet = self._partial
        return len(packet.data) + sum(map(len, packet.attachments)) if packet is not None else 0

    def receive_text(self, encoded: bytes) -> socketio.Packet | Signal | None:
        """Handle the content of one WebSocket text frame."""
        if encoded[:1] == b"4" and self.state is not _CLOSED:
            return self._receive_message(encoded[1:])
        try:
            return self.receive_packet(engineio.decode_packet(encoded))
        except MalformedError as error:
            return self.close(engineio.PARSE_ERROR, str(error))

    def receive_packet(self, packet: engineio.Packet) -> socketio.Packet | Signal | None:
        """Handle one decoded packet of the session's own transport."""
        if packet.type is engineio.PacketType.MESSAGE:
            if self.state is State.CLOSED:
                return Signal.CLOSED
            return self.receive_binary(packet.data) if packet.binary else self._receive_message(packet.data)
        kind = _INPUTS.get(packet.type)
        if kind is None:
            # Since revision 4 only servers send pings.
            return self.close(engineio.PARSE_ERROR, "a ping from the client")
        return self._step(kind)

    def receive_payload(self, body: bytes) -> Iterator[socketio.Packet | Signal]:
        """Handle one polling body: yield the result of each packet, up to the packet that closes the session.

        Each packet is handled when the caller asks for the next result, because the result before it may have closed
        the session.
        """
        try:
            packets = engineio.decode_payload(body, self._limits.max_packets_per_payload)
        except MalformedError as error:
            is_limit = isinstance(error, engineio.TooManyPacketsError)
            yield self.close(engineio.FORCED_CLOSE if is_limit else engineio.PARSE_ERROR, str(error))
            return
        for packet in packets:
            result = self.receive_packet(packet)
            if result is not None:
                yield result
            if result is Signal.CLOSED:
                return

    def receive_binary(self, data: bytes) -> socketio.Packet | Signal | None:
        """Handle one binary message, which is an attachment of the packet before it."""
        packet = self._partial
        if packet is None or self.state is State.CLOSED:
            namespace = socketio.read_msgpack_connect(data, self._limits)
            if namespace is not None and self.state is not State.CLOSED:
                self.msgpack_namespace = namespace
                return Signal.REFUSE_PARSER
            return self.close(engineio.FORCED_CLOSE, "binary data that no packet announced")
        packet.attachments = (*packet.attachments, data)
        if sum(map(len, packet.attachments)) > self._limits.max_attachment_bytes:
            return self.close(
                engineio.TOO_LARGE, f"attachments over {self._limits.max_attachment_bytes} bytes together"
            )
        packet.missing_attachments -= 1
        if packet.missing_attachments:
            return None
        self._partial = None
        try:
            socketio.find_placeholders(msgspec.json.decode(packet.data), packet.attachments)
        except (MalformedError, msgspec.MsgspecError) as error:
            return self.close(engineio.FORCED_CLOSE, str(error))
        return packet

    def enter(self, namespace: str) -> Iterator[socketio.Packet | Signal | None]:
        """The client was accepted in `namespace`: yield the result of each input that has waited for that."""
        return iter(())

    def encode(self, packet: socketio.Packet) -> tuple[bytes, tuple[bytes, ...]]:
        """The text and the attachments of a packet to the client. An empty text is not sent."""
        return b"4" + socketio.encode_packet(packet), packet.attachments

    def receive_candidate(self, encoded: bytes) -> Signal:
        """Handle one text frame of the candidate."""
        kind = {engineio.PROBE_PING: Input.PROBE, engineio.UPGRADE: Input.UPGRADE}.get(encoded)
        if kind is None or kind not in TRANSITIONS[self.state]:
            self.lose_candidate()
            return Signal.REFUSE_CANDIDATE
        self.state = TRANSITIONS[self.state][kind]
        return Signal.SWITCH if kind is Input.UPGRADE else Signal.ANSWER_PROBE

    def lose_candidate(self) -> None:
        """The candidate has been closed, or has not completed the upgrade in time."""
        self.state = TRANSITIONS[self.state].get(Input.CANDIDATE_LOST, self.state)

    def close(self, reason: CloseReason, detail: str = "") -> Signal:
        """End the session. A later call does not change the reason."""
        if self.state is not State.CLOSED:
            self.probed = self.state is State.PROBED
            self.state = State.CLOSED
            self.reason = reason
            self.detail = detail
            self._partial = None
        return Signal.CLOSED

    def _step(self, kind: Input) -> Signal | None:
        following = TRANSITIONS[self.state].get(kind)
        if following is None:
            return self.close(engineio.PARSE_ERROR, f"{kind.name.lower()} while {self.state.name.lower()}")
        if following is State.CLOSED:
            return self.close(engineio.TRANSPORT_CLOSE)
        self.state = following
        return Signal.PONG if kind is Input.PONG else None

    def _receive_message(self, text: bytes) -> socketio.Packet | Signal | None:
        if self._partial is not None:
            return self.close(engineio.FORCED_CLOSE, "text where an attachment was announced")
        try:
            packet = socketio.decode_packet(text, self._limits)
        except MalformedError as error:
            # Official servers close with "forced close" too, after which a client may resume its session.
            self.connect = error.connect
            return self.close(engineio.FORCED_CLOSE, str(error))
        if packet.missing_attachments:
            self._partial = packet
            return None
        return packet
