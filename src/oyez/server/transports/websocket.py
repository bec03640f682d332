"""The WebSocket transport on picows: frames in, shared frames out, back-pressure by callback.

picows parses frames in C and calls `on_ws_frame`. This module does the rest: reassembly and the size of whole messages,
reserved bits, interleaved and tiny fragments, UTF-8, inflating, and the closing handshake.
"""

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, cast

from picows import WSFrame, WSListener, WSTransport

from oyez.logger import get_logger
from oyez.protocol import engineio
from oyez.protocol.engineio import CloseReason, MalformedError
from oyez.protocol.websocket import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    encode_close,
    encode_frame,
    inflate,
    may_be_received,
)
from oyez.server.transports.budget import InputGate
from oyez.server.transports.outgoing import OutboundPacket
from oyez.server.transports.send_buffer import SendBuffer
from oyez.server.transports.transport import TransportListener, WebSocketTransport

if TYPE_CHECKING:
    from oyez.server.transports.picows import QuietTransport

logger = get_logger("oyez.server")

OFFENDER_SECONDS = 1.0
"""Seconds after which the network of a client that was closed for sending too much is cut: it may read the CLOSE."""
INFLATED_SMALL = 65_536
"""Bytes of an inflated message that count once, however small the compressed message was."""
WRITE_HIGH_WATER = 65_536
"""Bytes in the buffer of the network transport from which on messages are kept in a SendBuffer."""

_CONTROL = 0x8
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: on, no time."""
_PING_FRAME = encode_frame(PING, b"")
_PICOWS_REASONS = {1002: engineio.PARSE_ERROR, 1007: engineio.INVALID_TEXT, 1009: engineio.TOO_LARGE}
"""The reason for which picows has sent a CLOSE of its own, by the code."""


class WebSocket(WSListener, WebSocketTransport):
    """The WebSocket of one client."""

    # No dict: most of an idle client's memory is this object and its attributes.
    __slots__ = (
        "_buffer",
        "_context",
        "_fragment_bytes",
        "_fragment_deflated",
        "_fragment_opcode",
        "_fragments",
        "_gated",
        "_handshake_answer",
        "_limits",
        "_listener",
        "_network",
        "_paused",
        "_timer",
        "_unfinished",
        "budget",
        "close_reason",
        "deflate",
        "write",
    )

    def __init__(self, listener: TransportListener, *, deflate: bool) -> None:
        """`deflate`: the client has agreed to permessage-deflate."""
        self._listener = listener
        self.deflate = deflate
        self._context = listener.context
        self._limits = self._context.limits
        self.budget = listener.budget
        self._network: asyncio.Transport | None = None
        self._fragments: list[bytes] | None = None
        self._fragment_opcode = 0
        self._fragment_deflated = False
        self._fragment_bytes = 0
        self._buffer: SendBuffer[bytes] | None = None
        """Frames that wait while the client does not read; None while it does."""
        self._unfinished = 0
        """Bytes of a frame that has not ended, roughly."""
        self._gated = False
        """True while bytes that were read wait at the gate: nothing is read until they are parsed."""
        self._paused = False
        """True if nothing is read because handlers do not keep up."""
        self._timer: asyncio.TimerHandle | None = None
        """Ends a connection that is being closed."""
        self.close_reason: CloseReason | None = None
        """Why the WebSocket is being closed; None if it is not."""
        self._handshake_answer = b""
        """The answer to the handshake: written with the open packet."""
        self.write = None

    # picows' callbacks.

    def on_ws_connected(self, transport: WSTransport) -> None:
        # picows would keep the handshake until the client disconnects.
        del transport.request.headers, transport.response.headers
        if self._network is not None:
            # A new protocol of picows' for the same network: the one before had a large buffer.
            return
        quiet = cast("QuietTransport", transport.underlying_transport)
        self._network = network = quiet.network
        network.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        self.write = network.write
        self._handshake_answer = quiet.take_answer()
        self._listener.on_open(self)
        if self._handshake_answer:
            network.write(self._handshake_answer)
            self._handshake_answer = b""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        # An IntEnum at run time; the library's stub does not declare that.
        opcode: int = frame.msg_type  # type: ignore[assignment]
        self._unfinished = 0
        budget = self.budget
        budget.packets += 1
        try:
            if self.close_reason is not None:
                # The client may still have been sending; only its answer to our CLOSE matters.
                if opcode == CLOSE and self._network is not None:
                    self._network.close()
            elif budget.packets > budget.rates.packets_at_once:
                self._protocol_error(engineio.RATE_LIMIT, "too many packets of a client that no namespace has accepted")
            elif frame.rsv2 or frame.rsv3 or (frame.rsv1 and not self._may_be_deflated(opcode)):
                self._protocol_error(engineio.PARSE_ERROR, "reserved bits")
            elif opcode & _CONTROL:
                self._receive_control(opcode, transport, frame)
            elif frame.fin and opcode and self._fragments is None:
                payload = frame.get_payload_as_bytes()
                if opcode == TEXT and payload.isascii() and not frame.rsv1:
                    # Most messages: the common case of `_receive_message`.
                    self._listener.on_text(payload)
                else:
                    self._receive_message(opcode, payload, bool(frame.rsv1))
            else:
                self._receive_fragment(opcode, frame)
        except Exception:
            # picows would close the connection and log nothing.
            logger.exception("receiving failed", connection=self._listener.public_id)
            self._protocol_error(engineio.TRANSPORT_ERROR, "an error of the server's")

    def after_read(self, size: int, more: bool, kept: int) -> None:
        """picows has read `size` bytes and dealt with the frames that they ended; `more` may be waiting.

        `kept` is the size of picows' buffer if it is a large one that cannot be given back yet, otherwise 0.
        """
        if more and self._network is not None:
            # Otherwise the loop would continue to read this one client, some half a megabyte at a time.
            self._network.pause_reading()
            asyncio.get_running_loop().call_soon(self._read_on)
        self._unfinished += size
        budget, listener = self.budget, self._listener
        budget.bytes += size
        if (
            budget.bytes < budget.unsettled_bytes
            and budget.packets < budget.rates.unsettled_packets
            and not (kept or listener.holds_memory)
        ):
            # A small command of a client that sends few costs more to account for than to handle.
            return
        if self._unfinished > self._limits.max_unauthenticated_bytes and not listener.authenticated:
            self._protocol_error(engineio.TOO_LARGE, "an unfinished frame of a client that no namespace has accepted")
            if self._network is not None:
                # The client's answer to the CLOSE would come after the rest of the frame.
                self._network.close()
        if self.close_reason is not None or self._network is None:
            return
        # A buffer of picows' has been half full: otherwise it would not have grown.
        unfinished = max(self._unfinished, kept // 2)
        listener.on_read(unfinished if self._fragments is None else unfinished + self._fragment_bytes)

    @property
    def busy(self) -> bool:
        """True if what this client sends has to pass the gate, however small it is."""
        return self.budget.busy or self.close_reason is not None

    @property
    def gate(self) -> InputGate:
        """The gate that the input of all clients passes."""
        return self._context.gate

    def hold_reading(self) -> None:
        """Bytes that were read wait at the gate."""
        self._gated = True
        if self._network is not None:
            self._network.pause_reading()

    def release_reading(self) -> bool:
        """True if the bytes that waited at the gate can be parsed: the client is still there."""
        self._gated = False
        return self._network is not None

    def _read_on(self) -> None:
        if self._network is not None and not self._paused and not self._gated:
            self._network.resume_reading()

    def closes_later(self) -> bool:
        """The client has ended its network connection. True if the disconnect queue closes this side of it later."""
        if self._network is None or self._network.get_extra_info("sslcontext") is not None:
            # TLS ends by itself.
            return False
        queue = self._context.disconnect_queue
        return not queue.try_acquire() and queue.submit(self._close_network, 0)

    def _close_network(self) -> None:
        if self._network is not None:
            self._network.close()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.write = None
        self._network = None
        self._drop_buffer()
        if self._timer is not None:
            self._timer.cancel()
        self._listener.on_disconnected(self)
        self._listener.on_closed(self, self.close_reason or _find_reason(transport))
        # Break the reference cycle: the garbage collector would pause the loop.
        del self._listener

    def pause_writing(self) -> None:
        self._buffer = SendBuffer()
        self.write = None
        self._listener.on_writable(None)

    def resume_writing(self) -> None:
        buffer, self._buffer = self._buffer, None
        if self._network is None or self.close_reason is not None:
            return
        self.write = self._network.write
        for frames in buffer.take() if buffer is not None else ():
            if self._buffer is not None:
                # Paused again by what was just written.
                self._keep(frames)
            else:
                self._network.write(frames)
        if self.write is not None:
            self._listener.on_writable(self.write)

    async def drained(self) -> None:
        while self._buffer is not None and self.close_reason is None:
            await self._buffer.drained()

    def _drop_buffer(self) -> None:
        if self._buffer is not None:
            self._buffer.clear()
            self._buffer = None

    # What the connection calls.

    @property
    def closing(self) -> bool:
        return self._network is None or self.close_reason is not None

    @property
    def max_buffer(self) -> int:
        return self._limits.max_send_buffer

    @property
    def unsent(self) -> int:
        return self._buffer.size if self._buffer is not None else 0

    def send(self, packet: OutboundPacket) -> None:
        if self._network is None or self.close_reason is not None:
            return
        if self._buffer is None:
            if self._handshake_answer:
                self._network.write(self._handshake_answer + self._encode(packet))
                self._handshake_answer = b""
            else:
                self._network.write(self._encode(packet))
        elif not packet.volatile:
            self._keep(self._encode(packet))

    def close(self, reason: CloseReason) -> None:
        if self._network is None or self.close_reason is not None:
            return
        for frames in self._buffer.take() if self._buffer is not None else ():
            self._network.write(frames)
        ignores_close = self._listener.ignores_close
        self._start_close(reason, b"" if ignores_close else encode_close(reason.code, reason.text))
        if ignores_close or (reason is engineio.SERVER_BUSY and self._unfinished):
            # The client would not answer the CLOSE, or only after the rest of a long frame.
            self._network.close()
        elif reason is engineio.RATE_LIMIT:
            # To find the answer, all that the client still sends would have to be read.
            self.pause_reading()
        else:
            # Read the answer even if reading was paused because handlers did not keep up.
            self.resume_reading()

    def refuse(self, reason: CloseReason) -> None:
        self.close(reason)
        self._close_network()

    def abort(self) -> None:
        if self._network is not None:
            self._network.abort()

    def pause_reading(self) -> None:
        self._paused = True
        if self._network is not None:
            self._network.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        self._read_on()

    def ping(self) -> bool:
        if self._network is not None and self.close_reason is None and self._buffer is None:
            self._network.write(self._handshake_answer + _PING_FRAME)
            self._handshake_answer = b""
        return True

    def take_over(self, listener: TransportListener) -> None:
        self._listener = listener

    # Receiving.

    def _may_be_deflated(self, opcode: int) -> bool:
        # RFC 7692 section 6.1: only the first frame of a data message carries the bit.
        return self.deflate and opcode in (TEXT, BINARY)

    def _receive_control(self, opcode: int, transport: WSTransport, frame: WSFrame) -> None:
        if opcode == CLOSE:
            self._answer_close(transport, bare=frame.payload_size == 0)
        elif opcode == PING and self.write is not None:
            # Not to a client that does not read: what waits for it is bounded.
            self.write(encode_frame(PONG, frame.get_payload_as_bytes()))
        elif opcode == PONG:
            self._listener.on_pong()

    def _answer_close(self, transport: WSTransport, *, bare: bool) -> None:
        received = transport.close_handshake.recv
        code: int = received.code if received else 0  # type: ignore[assignment]
        if not bare and not may_be_received(code):
            self._protocol_error(engineio.PARSE_ERROR, f"close code {code}")
        elif self._network is not None:
            self._start_close(engineio.TRANSPORT_CLOSE, encode_frame(CLOSE, b"") if bare else encode_close(code))
            self._network.close()
            self._listener.on_closed(self, engineio.TRANSPORT_CLOSE)

    def _receive_fragment(self, opcode: int, frame: WSFrame) -> None:
        if (opcode == 0) != (self._fragments is not None):
            self._protocol_error(engineio.PARSE_ERROR, "a continuation of nothing, or a message inside a message")
            return
        if self._fragments is None:
            self._fragments, self._fragment_bytes = [], 0
            self._fragment_opcode, self._fragment_deflated = opcode, bool(frame.rsv1)
        self._fragments.append(frame.get_payload_as_bytes())
        self._fragment_bytes += frame.payload_size
        most = self._listener.max_message
        if self._fragment_bytes > most:
            self._protocol_error(engineio.TOO_LARGE, f"a message over {most} bytes")
        elif len(self._fragments) > (most := self._limits.max_fragments):
            self._protocol_error(engineio.TOO_MANY_FRAGMENTS, f"a message in over {most} fragments")
        elif frame.fin:
            payload, self._fragments = b"".join(self._fragments), None
            self._receive_message(self._fragment_opcode, payload, self._fragment_deflated)

    def _receive_message(self, opcode: int, payload: bytes, deflated: bool) -> None:
        if deflated:
            inflated = self._inflate(payload)
            if inflated is None:
                return
            payload = inflated
        if opcode == TEXT and not payload.isascii() and not _is_utf8(payload):
            self._protocol_error(engineio.INVALID_TEXT, "text that is not UTF-8")
        elif opcode == TEXT:
            self._listener.on_text(payload)
        else:
            self._listener.on_binary(payload)

    def _inflate(self, payload: bytes) -> bytes | None:
        most = self._listener.max_message
        try:
            inflated = inflate(payload, most)
        except MalformedError as error:
            self._protocol_error(engineio.INVALID_TEXT, str(error))
            return None
        if len(inflated) > most:
            self._protocol_error(engineio.TOO_LARGE, f"a message over {most} bytes when inflated")
            return None
        self._charge_inflated(len(payload), len(inflated))
        return inflated

    def _charge_inflated(self, size: int, inflated: int) -> None:
        """Count the bytes of a compressed message; one that grows more than `max_inflate_ratio` counts for more."""
        if inflated > INFLATED_SMALL:
            grown = inflated / (size * self._limits.max_inflate_ratio)
            inflated = int(inflated * max(1.0, grown))
        self.budget.bytes += inflated

    # Sending and ending.

    def _encode(self, packet: OutboundPacket) -> bytes:
        return packet.choose_frames(self._context.compression_threshold) if self.deflate else packet.frames

    def _keep(self, frames: bytes) -> None:
        buffer = self._buffer
        if buffer is None:
            return
        buffer.append(frames, len(frames))
        if buffer.size > self._limits.max_send_buffer:
            # The client does not read, so it would not read a CLOSE either. `on_closed` follows when the network
            # connection has ended, not now: the sender may be iterating over the room that the socket leaves.
            self.close_reason = engineio.SLOW_CONSUMER
            buffer.clear()
            if self._network is not None:
                # By a reset: otherwise the kernel would continue to offer the client what was written before.
                self._network.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.abort()

    def _start_close(self, reason: CloseReason, frame: bytes) -> None:
        """Send the last frame, and close the network in time even if the client does not answer."""
        self.write = None
        self.close_reason = reason
        self._fragments = None
        if self._buffer is not None:
            self._buffer.report()
        if self._network is not None and frame:
            self._network.write(frame)
        if self._timer is not None:
            self._timer.cancel()
        most = OFFENDER_SECONDS if reason is engineio.RATE_LIMIT else self._limits.close_timeout
        self._timer = asyncio.get_running_loop().call_later(min(most, self._limits.close_timeout), self.abort)

    def _protocol_error(self, reason: CloseReason, detail: str) -> None:
        """The client has broken the protocol, or a limit."""
        self._listener.on_closed(self, reason, detail)


def _find_reason(transport: WSTransport) -> CloseReason:
    """Why the network connection has ended: picows closes it by itself if it cannot parse a frame."""
    sent = transport.close_handshake.sent if transport.close_handshake else None
    code: int = sent.code if sent else 0  # type: ignore[assignment]
    return _PICOWS_REASONS.get(code, engineio.TRANSPORT_CLOSE)


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
