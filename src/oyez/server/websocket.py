"""The WebSocket transport on picows: frames in, shared frames out, back-pressure by callback.

picows parses frames in C and calls `on_ws_frame`. Left to this side are reassembly and the size of whole messages,
reserved bits, interleaved and tiny fragments, UTF-8, inflating, and the closing handshake.
"""

import asyncio
import zlib
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import structlog
from picows import WSFrame, WSListener, WSTransport

from oyez.protocol import engineio
from oyez.protocol.engineio import CloseReason
from oyez.server.outgoing import BINARY, CLOSE, TEXT, Outgoing, encode_close

if TYPE_CHECKING:
    from oyez.server.connection import Connection

logger = structlog.get_logger("oyez.server")

WRITE_HIGH_WATER = 65_536
"""Bytes in the network's own buffer from which on messages are kept here, where they are counted."""

PING = 0x9
_CONTROL = 0x8
_EMPTY_CLOSE = b"\x88\x00"
_INFLATE_TAIL = b"\x00\x00\xff\xff"


class WebSocket(WSListener):
    """One client's WebSocket: the transport of a connection, or the candidate of one that polls."""

    # An idle client is mostly this object and what hangs on it: no dict.
    __slots__ = (
        "_candidate",
        "_closing",
        "_connection",
        "_deflate",
        "_fragment_bytes",
        "_fragment_deflated",
        "_fragment_opcode",
        "_fragments",
        "_kept",
        "_kept_bytes",
        "_limits",
        "_network",
        "_receive_text",
        "_timer",
        "write",
    )

    def __init__(self, connection: "Connection", *, candidate: bool, deflate: bool) -> None:
        self._connection = connection
        self._receive_text: Callable[[bytes], None] = (
            connection.receive_candidate if candidate else connection.receive_text
        )
        self._candidate = candidate
        self._deflate = deflate
        self._limits = connection.server.limits
        self._network: asyncio.Transport | None = None
        self._fragments: list[bytes] | None = None
        self._fragment_opcode = 0
        self._fragment_deflated = False
        self._fragment_bytes = 0
        self._kept: deque[bytes] | None = None
        """Frames that wait while the client does not read; None while it does."""
        self._kept_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False
        self.write: Callable[[bytes], None] | None = None

    # picows' callbacks.

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._network = network = transport.underlying_transport
        network.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        self.write = network.write
        self._connection.server.websocket_opened()
        if self._candidate:
            self._timer = asyncio.get_running_loop().call_later(self._limits.upgrade_timeout, self._time_out_upgrade)
        else:
            self._connection.open(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if self._closing:
            # The client may still have been sending; only its answer to our CLOSE matters.
            if _opcode(frame) == CLOSE:
                self._cut()
            return
        opcode = _opcode(frame)
        if frame.rsv2 or frame.rsv3 or (frame.rsv1 and not self._may_be_deflated(opcode)):
            self._fail(engineio.PARSE_ERROR, "reserved bits")
        elif opcode & _CONTROL:
            self._receive_control(opcode, transport, frame)
        elif frame.fin and opcode and self._fragments is None:
            self._receive_message(opcode, frame.get_payload_as_bytes(), bool(frame.rsv1))
        else:
            self._receive_fragment(opcode, frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.write = None
        self._network = None
        self._kept = None
        self._connection.server.websocket_closed()
        if self._timer is not None:
            self._timer.cancel()
        if self._connection.candidate is self:
            self._connection.lose_candidate()
        elif self._connection.transport is self:
            self._connection.close(engineio.TRANSPORT_CLOSE)

    def pause_writing(self) -> None:
        self._kept = deque()
        self.write = None
        if self._connection.transport is self:
            self._connection.set_write(None)

    def resume_writing(self) -> None:
        kept, self._kept, self._kept_bytes = self._kept, None, 0
        if self._network is None or self._closing:
            return
        self.write = self._network.write
        while kept:
            frames = kept.popleft()
            if self._kept is not None:
                # Paused again by what was just written.
                self._keep(frames)
            else:
                self._network.write(frames)
        if self.write is not None and self._connection.transport is self:
            self._connection.set_write(self.write)

    # The transport's side.

    def send(self, outgoing: Outgoing) -> None:
        if self._network is None or self._closing:
            return
        if self._kept is None:
            self._network.write(self._encode(outgoing))
        elif not outgoing.volatile:
            self._keep(self._encode(outgoing))

    def close(self, reason: CloseReason) -> None:
        if self._network is None or self._closing:
            return
        self.write = None
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        if reason is engineio.SLOW_CONSUMER:
            # It does not read: there is no use in waiting for it to read this.
            self._network.abort()
            return
        for frames in self._kept or ():
            self._network.write(frames)
        self._network.write(encode_close(reason.code, reason.text))
        self._timer = asyncio.get_running_loop().call_later(self._limits.close_timeout, self._abort)

    def pause_reading(self) -> None:
        if self._network is not None:
            self._network.pause_reading()

    def resume_reading(self) -> None:
        if self._network is not None:
            self._network.resume_reading()

    def take_over(self) -> None:
        """The candidate has become the connection's transport."""
        self._candidate = False
        self._receive_text = self._connection.receive_text
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Receiving.

    def _may_be_deflated(self, opcode: int) -> bool:
        # RFC 7692 section 6.1: only the first frame of a data message carries the bit.
        return self._deflate and opcode in (TEXT, BINARY)

    def _receive_control(self, opcode: int, transport: WSTransport, frame: WSFrame) -> None:
        if opcode == CLOSE:
            self._answer_close(transport)
        elif opcode == PING and self._kept is None:
            # Not to a client that does not read: what it has coming is bounded.
            transport.send_pong(frame.get_payload_as_bytes())

    def _answer_close(self, transport: WSTransport) -> None:
        if self._network is not None:
            received = transport.close_handshake.recv
            # An IntEnum at run time, which the library's stub does not tell.
            code = cast(int, received.code) if received else 0
            self._network.write(encode_close(code) if code else _EMPTY_CLOSE)
        self._cut()

    def _receive_fragment(self, opcode: int, frame: WSFrame) -> None:
        if (opcode == 0) != (self._fragments is not None):
            self._fail(engineio.PARSE_ERROR, "a continuation of nothing, or a message inside a message")
            return
        if self._fragments is None:
            self._fragments, self._fragment_bytes = [], 0
            self._fragment_opcode, self._fragment_deflated = opcode, bool(frame.rsv1)
        self._fragments.append(frame.get_payload_as_bytes())
        self._fragment_bytes += frame.payload_size
        if self._fragment_bytes > self._limits.max_payload:
            self._fail(engineio.TOO_LARGE, f"a message over {self._limits.max_payload} bytes")
        elif len(self._fragments) > self._limits.max_fragments:
            self._fail(engineio.TOO_MANY_FRAGMENTS, f"a message in over {self._limits.max_fragments} fragments")
        elif frame.fin:
            payload, self._fragments = b"".join(self._fragments), None
            self._receive_message(self._fragment_opcode, payload, self._fragment_deflated)

    def _receive_message(self, opcode: int, payload: bytes, deflated: bool) -> None:
        if deflated:
            inflated = self._inflate(payload)
            if inflated is None:
                return
            payload = inflated
        if opcode == TEXT:
            if not payload.isascii() and not _is_utf8(payload):
                self._fail(engineio.INVALID_TEXT, "text that is not UTF-8")
                return
            self._receive_text(payload)
        elif self._candidate:
            self._receive_text(b"")
        else:
            self._connection.receive_binary(payload)

    def _inflate(self, payload: bytes) -> bytes | None:
        inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        try:
            inflated = inflater.decompress(payload + _INFLATE_TAIL, self._limits.max_payload + 1)
        except zlib.error:
            self._fail(engineio.INVALID_TEXT, "compressed data that cannot be inflated")
            return None
        if len(inflated) > self._limits.max_payload:
            self._fail(engineio.TOO_LARGE, f"a message over {self._limits.max_payload} bytes when inflated")
            return None
        return inflated

    # Sending and ending.

    def _encode(self, outgoing: Outgoing) -> bytes:
        if self._deflate and len(outgoing.text) >= self._connection.server.settings.compression_threshold:
            return outgoing.deflated_frames
        return outgoing.frames

    def _keep(self, frames: bytes) -> None:
        if self._kept is None:
            return
        self._kept.append(frames)
        self._kept_bytes += len(frames)
        if self._kept_bytes > self._limits.max_send_buffer:
            self._kept.clear()
            # Not now: whoever is sending may be walking over the room this socket would leave.
            loop = asyncio.get_running_loop()
            loop.call_soon(self._connection.close, engineio.SLOW_CONSUMER, "does not read what it is sent")

    def _fail(self, reason: CloseReason, detail: str) -> None:
        """The peer broke the protocol: the transport cannot go on, nor, unless it only probes, the connection."""
        if self._candidate:
            self._connection.lose_candidate()
            self.close(reason)
        else:
            self._connection.close(reason, detail)

    def _time_out_upgrade(self) -> None:
        if self._candidate:
            self._connection.lose_candidate()
            self.close(engineio.CONNECT_TIMEOUT)

    def _cut(self) -> None:
        if self._network is not None:
            self._network.close()

    def _abort(self) -> None:
        if self._network is not None:
            self._network.abort()


def _opcode(frame: WSFrame) -> int:
    # An IntEnum at run time, which the library's stub does not tell.
    return cast(int, frame.msg_type)


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
