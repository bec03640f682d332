"""The WebSocket transport on picows: frames in, shared frames out, back-pressure by callback.

picows parses frames in C and calls `on_ws_frame`. Left to this side are reassembly and the size of whole messages,
reserved bits, interleaved and tiny fragments, UTF-8, inflating, and the closing handshake.
"""

import asyncio
import socket
import struct
import zlib
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, cast

from picows import WSFrame, WSListener, WSTransport

from oyez.logger import get_logger
from oyez.protocol import engineio
from oyez.protocol.engineio import CloseReason
from oyez.server.transports.budget import MemoryBudget
from oyez.server.transports.outgoing import BINARY, CLOSE, PING, PONG, TEXT, OutboundPacket, encode_close, encode_frame

if TYPE_CHECKING:
    from oyez.server.connections.connection import Connection
    from oyez.server.transports.budget import InputGate
    from oyez.server.transports.picows import QuietTransport
    from oyez.server.types import Handshake

logger = get_logger("oyez.server")

OFFENDER_SECONDS = 1.0
"""How long a client that was closed for sending too much has to receive the CLOSE, before its network is cut."""
INFLATED_SMALL = 65_536
"""Bytes to which a compressed message may be inflated at their plain price, however small it is."""
WRITE_HIGH_WATER = 65_536
"""Bytes in the network's own buffer from which on messages are kept here, where they are counted."""

_CONTROL = 0x8
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: on, no time."""
_PING_FRAME = encode_frame(PING, b"")
_INFLATE_TAIL = b"\x00\x00\xff\xff"
_PICOWS_REASONS = {1002: engineio.PARSE_ERROR, 1007: engineio.INVALID_TEXT, 1009: engineio.TOO_LARGE}
"""What it means that picows has sent a CLOSE of its own, by the code."""


def _ignores_close(handshake: "Handshake") -> bool:
    """True for socket.io-client-java, which does not notice a CLOSE frame, but only the end of the TCP connection.

    Its OkHttp stops reading at a CLOSE and waits for an answer by a method that this client does not have: the client
    would be deaf until its ping time-out. The User-Agent decides nothing but how such a connection is closed.
    """
    is_okhttp = handshake.headers.get("user-agent", "").startswith("okhttp/")
    return is_okhttp and "EIO=" in handshake.query_string


class WebSocket(WSListener):
    """One client's WebSocket: the transport of a connection, or the candidate of one that polls."""

    # An idle client is mostly this object and what hangs on it: no dict.
    __slots__ = (
        "_answer",
        "_budget",
        "_candidate",
        "_closing",
        "_connection",
        "_drained",
        "_fragment_bytes",
        "_fragment_deflated",
        "_fragment_opcode",
        "_fragments",
        "_gated",
        "_held",
        "_kept",
        "_kept_bytes",
        "_limits",
        "_network",
        "_timer",
        "_unfinished",
        "deflate",
        "write",
    )

    def __init__(self, connection: "Connection", *, candidate: bool, deflate: bool) -> None:
        self._connection = connection
        self._candidate = candidate
        self.deflate = deflate
        self._limits = connection.server.limits
        self._budget = connection.budget
        self._network: asyncio.Transport | None = None
        self._fragments: list[bytes] | None = None
        self._fragment_opcode = 0
        self._fragment_deflated = False
        self._fragment_bytes = 0
        self._kept: deque[bytes] | None = None
        """Frames that wait while the client does not read; None while it does."""
        self._kept_bytes = 0
        self._drained: asyncio.Event | None = None
        """Set when the client reads again; only while a task waits for that."""
        self._unfinished = 0
        """Bytes of a frame that has not ended, roughly."""
        self._gated = False
        """True while bytes that were read wait at the gate: nothing is read until they are parsed."""
        self._held = False
        """Whether nothing is read because handlers do not keep up."""
        self._timer: asyncio.TimerHandle | None = None
        self._closing: CloseReason | None = None
        self._answer = b""
        """The answer to the handshake: written with the open packet."""
        self.write: Callable[[bytes], None] | None = None
        if candidate:
            connection.candidate = self
        else:
            connection.transport = self

    # picows' callbacks.

    def on_ws_connected(self, transport: WSTransport) -> None:
        # picows would keep the handshake for as long as the client is there.
        del transport.request.headers, transport.response.headers
        if self._network is not None:
            # A new protocol of picows' for the same network: the one before had a large buffer.
            return
        quiet = cast("QuietTransport", transport.underlying_transport)
        self._network = network = quiet.network
        network.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        self.write = network.write
        self._connection.server.add_websocket(self, self._connection)
        self._answer = quiet.take_answer()
        if self._candidate:
            network.write(self._answer)
            self._answer = b""
            self._timer = asyncio.get_running_loop().call_later(self._limits.upgrade_timeout, self._time_out_upgrade)
        else:
            self._connection.open()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        # An IntEnum at run time, which the library's stub does not tell.
        opcode: int = frame.msg_type  # type: ignore[assignment]
        self._unfinished = 0
        budget = self._budget
        budget.packets += 1
        try:
            if self._closing is not None:
                # The client may still have been sending; only its answer to our CLOSE matters.
                if opcode == CLOSE and self._network is not None:
                    self._network.close()
            elif budget.packets > budget.rates.packets_at_once:
                self._fail(engineio.RATE_LIMIT, "too many packets of a client that no namespace has accepted")
            elif frame.rsv2 or frame.rsv3 or (frame.rsv1 and not self._may_be_deflated(opcode)):
                self._fail(engineio.PARSE_ERROR, "reserved bits")
            elif opcode & _CONTROL:
                self._receive_control(opcode, transport, frame)
            elif frame.fin and opcode and self._fragments is None:
                self._receive_message(opcode, frame.get_payload_as_bytes(), bool(frame.rsv1))
            else:
                self._receive_fragment(opcode, frame)
        except Exception:
            # picows would close without a word about what went wrong.
            logger.exception("receiving failed", connection=self._connection.id)
            self._fail(engineio.TRANSPORT_ERROR, "an error of the server's")

    def after_read(self, size: int, more: bool, kept: int) -> None:
        """picows has read `size` bytes and dealt with the frames that they ended; `more` may be waiting.

        `kept` is the size of picows' buffer if it is a large one that cannot be given back yet, otherwise 0.
        """
        if more and self._network is not None:
            # Else the loop would go on reading this one client, some half a megabyte at a time.
            self._network.pause_reading()
            asyncio.get_running_loop().call_soon(self._read_on)
        self._unfinished += size
        budget = self._budget
        budget.bytes += size
        if (
            budget.bytes < budget.unsettled_bytes
            and budget.packets < budget.rates.unsettled_packets
            and not (kept or self._candidate or self._connection.holds_memory)
        ):
            # A small command of a client that sends few costs more to account for than to handle.
            return
        self._settle(kept)

    def _settle(self, kept: int) -> None:
        """Charge what the client has sent since this was last called."""
        stranger = self._candidate or not self._connection.entered
        if stranger and self._unfinished > self._limits.max_stranger_bytes:
            self._end_unfinished(engineio.TOO_LARGE, "an unfinished frame of a client that no namespace has accepted")
        if self._closing is not None or self._network is None:
            return
        wait = self._connection.settle()
        if wait and self._candidate:
            self._fail(engineio.RATE_LIMIT, "too many packets of a WebSocket that probes")
        elif wait:
            self._connection.slow_down(wait)
        if not stranger:
            self._count_unfinished(kept)

    def _count_unfinished(self, kept: int) -> None:
        """Count what the client has sent of a message that has not ended, and the buffer that holds it."""
        connection = self._connection
        # A buffer of picows' has been half full: otherwise it would not have grown.
        size = max(self._unfinished, kept // 2) + connection.session.incomplete_bytes
        if self._fragments is not None:
            size += self._fragment_bytes
        if size > MemoryBudget.SMALL or connection.holds_memory:
            connection.hold_memory(size, partial(self._end_unfinished, engineio.SERVER_BUSY, "unfinished input"))

    def _end_unfinished(self, reason: CloseReason, detail: str) -> None:
        """Close a connection whose client would continue to send the rest of a frame."""
        network = self._network
        self._fail(reason, detail)
        if network is not None:
            # The client's answer to the CLOSE would come after the rest of the frame.
            network.close()

    @property
    def busy(self) -> bool:
        """True if what this client sends has to pass the gate, however small it is."""
        return self._budget.busy or self._closing is not None

    @property
    def gate(self) -> "InputGate":
        return self._connection.server.gate

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
        if self._network is not None and not self._held and not self._gated:
            self._network.resume_reading()

    def waits_to_go(self) -> bool:
        """The client has gone. Whether it waits behind others who have, and its network is closed after them."""
        if self._network is None or self._network.get_extra_info("sslcontext") is not None:
            # TLS ends by itself.
            return False
        queue = self._connection.server.disconnect_queue
        return not queue.try_acquire() and queue.submit(self._go, 0)

    def _go(self) -> None:
        if self._network is not None:
            self._network.close()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.write = None
        self._network = None
        self._kept = None
        self._tell_drained()
        self._connection.server.forget_websocket(self, self._connection)
        if self._timer is not None:
            self._timer.cancel()
        self.lose(self._closing or _find_reason(transport))
        # Each would keep the other until Python looks for garbage, and everybody waits for that.
        del self._connection

    def pause_writing(self) -> None:
        self._kept, self._kept_bytes = deque(), 0
        self.write = None
        if self._connection.transport is self:
            self._connection.set_write(None)

    def resume_writing(self) -> None:
        kept, self._kept = self._kept, None
        if self._network is None or self._closing is not None:
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
        if self._kept is None:
            self._tell_drained()

    async def drained(self) -> None:
        while self._kept is not None and self._closing is None:
            if self._drained is None:
                self._drained = asyncio.Event()
            await self._drained.wait()

    def _tell_drained(self) -> None:
        if self._drained is not None:
            self._drained.set()
            self._drained = None

    # The transport's side.

    @property
    def closing(self) -> bool:
        return self._network is None or self._closing is not None

    def send(self, outgoing: OutboundPacket) -> None:
        if self._network is None or self._closing is not None:
            return
        if self._kept is None:
            if self._answer:
                self._network.write(self._answer + self._encode(outgoing))
                self._answer = b""
            else:
                self._network.write(self._encode(outgoing))
        elif not outgoing.volatile:
            self._keep(self._encode(outgoing))

    def close(self, reason: CloseReason) -> None:
        if self._network is None or self._closing is not None:
            return
        for frames in self._kept or ():
            self._network.write(frames)
        ignores_close = _ignores_close(self._connection.handshake)
        self._say_goodbye(reason, b"" if ignores_close else encode_close(reason.code, reason.text))
        if self._candidate or ignores_close:
            # Not worth waiting for its answer: anybody who polls can have one WebSocket after the other refused.
            self._network.close()
        elif reason is engineio.RATE_LIMIT:
            # To find the answer, all that the client still sends would have to be read.
            self.pause_reading()
        else:
            # Its answer has to be heard also where its handlers did not keep up.
            self.resume_reading()

    def abort(self) -> None:
        if self._network is not None:
            self._network.abort()

    def pause_reading(self) -> None:
        self._held = True
        if self._network is not None:
            self._network.pause_reading()

    def resume_reading(self) -> None:
        self._held = False
        self._read_on()

    def ping(self) -> bool:
        if self._network is not None and self._closing is None and self._kept is None:
            self._network.write(self._answer + _PING_FRAME)
            self._answer = b""
        return True

    def take_over(self) -> None:
        """The candidate has become the connection's transport."""
        self._candidate = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Receiving.

    def _may_be_deflated(self, opcode: int) -> bool:
        # RFC 7692 section 6.1: only the first frame of a data message carries the bit.
        return self.deflate and opcode in (TEXT, BINARY)

    def _receive_control(self, opcode: int, transport: WSTransport, frame: WSFrame) -> None:
        if opcode == CLOSE:
            self._answer_close(transport, bare=frame.payload_size == 0)
        elif opcode == PING and self.write is not None:
            # Not to a client that does not read: what it has coming is bounded.
            self.write(encode_frame(PONG, frame.get_payload_as_bytes()))
        elif opcode == PONG:
            self._connection.receive_pong()

    def _answer_close(self, transport: WSTransport, *, bare: bool) -> None:
        received = transport.close_handshake.recv
        code: int = received.code if received else 0  # type: ignore[assignment]
        if not bare and not _is_close_code(code):
            self._fail(engineio.PARSE_ERROR, f"close code {code}")
        elif self._network is not None:
            self._say_goodbye(engineio.TRANSPORT_CLOSE, encode_frame(CLOSE, b"") if bare else encode_close(code))
            self._network.close()
            self.lose(engineio.TRANSPORT_CLOSE)

    def _receive_fragment(self, opcode: int, frame: WSFrame) -> None:
        if (opcode == 0) != (self._fragments is not None):
            self._fail(engineio.PARSE_ERROR, "a continuation of nothing, or a message inside a message")
            return
        if self._fragments is None:
            self._fragments, self._fragment_bytes = [], 0
            self._fragment_opcode, self._fragment_deflated = opcode, bool(frame.rsv1)
        self._fragments.append(frame.get_payload_as_bytes())
        self._fragment_bytes += frame.payload_size
        if self._fragment_bytes > self._max_message:
            self._fail(engineio.TOO_LARGE, f"a message over {self._max_message} bytes")
        elif len(self._fragments) > self._limits.max_fragments:
            self._fail(engineio.TOO_MANY_FRAGMENTS, f"a message in over {self._limits.max_fragments} fragments")
        elif frame.fin:
            payload, self._fragments = b"".join(self._fragments), None
            self._receive_message(self._fragment_opcode, payload, self._fragment_deflated)

    @property
    def _max_message(self) -> int:
        return self._limits.max_stranger_bytes if self._candidate else self._connection.max_message

    def _receive_message(self, opcode: int, payload: bytes, deflated: bool) -> None:
        if deflated:
            inflated = self._inflate(payload)
            if inflated is None:
                return
            payload = inflated
        if opcode == TEXT and not payload.isascii() and not _is_utf8(payload):
            self._fail(engineio.INVALID_TEXT, "text that is not UTF-8")
        elif self._candidate:
            self._connection.receive_candidate(payload if opcode == TEXT else b"")
        elif opcode == TEXT:
            self._connection.receive_text(payload)
        else:
            self._connection.receive_binary(payload)

    def _inflate(self, payload: bytes) -> bytes | None:
        inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        most = self._max_message
        try:
            inflated = inflater.decompress(payload + _INFLATE_TAIL, most + 1)
        except zlib.error:
            self._fail(engineio.INVALID_TEXT, "compressed data that cannot be inflated")
            return None
        if len(inflated) > most:
            self._fail(engineio.TOO_LARGE, f"a message over {most} bytes when inflated")
            return None
        self._charge_inflated(len(payload), len(inflated))
        return inflated

    def _charge_inflated(self, size: int, inflated: int) -> None:
        """Count the bytes of a compressed message; what was made to grow as no honest message does counts for more."""
        if inflated > INFLATED_SMALL:
            grown = inflated / (size * self._limits.max_inflate_ratio)
            inflated = int(inflated * max(1.0, grown))
        self._budget.bytes += inflated

    # Sending and ending.

    def _encode(self, outgoing: OutboundPacket) -> bytes:
        if self.deflate:
            return outgoing.choose_frames(self._connection.server.settings.compression_threshold)
        return outgoing.frames

    def _keep(self, frames: bytes) -> None:
        if self._kept is None:
            return
        self._kept.append(frames)
        self._kept_bytes += len(frames)
        if self._kept_bytes > self._limits.max_send_buffer:
            # It does not read, so it would not read a CLOSE either. The connection hears of it when the network has
            # gone, not now: whoever is sending may be walking over the room that its socket leaves.
            self._kept.clear()
            self._closing = engineio.SLOW_CONSUMER
            if self._network is not None:
                # By a reset: else the kernel would go on offering it what was written to it before.
                self._network.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.abort()

    def _say_goodbye(self, reason: CloseReason, frame: bytes) -> None:
        """Send the last frame; whether or not it is taken and answered, the network is closed in time."""
        self.write = None
        self._closing = reason
        self._fragments = None
        self._tell_drained()
        if self._network is not None and frame:
            self._network.write(frame)
        if self._timer is not None:
            self._timer.cancel()
        most = OFFENDER_SECONDS if reason is engineio.RATE_LIMIT else self._limits.close_timeout
        self._timer = asyncio.get_running_loop().call_later(min(most, self._limits.close_timeout), self.abort)

    def _fail(self, reason: CloseReason, detail: str) -> None:
        """The peer broke the protocol: the transport cannot go on, nor, unless it only probes, the connection."""
        if self._candidate:
            self._connection.lose_candidate(self)
            self.close(reason)
        else:
            self._connection.close(reason, detail)

    def lose(self, reason: CloseReason) -> None:
        """The client has gone."""
        if self._candidate:
            self._connection.lose_candidate(self)
        elif self._connection.transport is self:
            self._connection.close(reason)

    def _time_out_upgrade(self) -> None:
        self._fail(engineio.CONNECT_TIMEOUT, "an upgrade that was not completed")


def _find_reason(transport: WSTransport) -> CloseReason:
    """Why the network went, where it was not us: picows closes by itself on frames it cannot parse."""
    sent = transport.close_handshake.sent if transport.close_handshake else None
    code: int = sent.code if sent else 0  # type: ignore[assignment]
    return _PICOWS_REASONS.get(code, engineio.TRANSPORT_CLOSE)


def _is_close_code(code: int) -> bool:
    """Whether a peer may send `code`: RFC 6455 section 7.4 and the registry it founded."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
