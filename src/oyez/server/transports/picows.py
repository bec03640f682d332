"""The hand-over of a TCP transport from uvicorn to picows. Only this module uses internals of picows.

`WSProtocol` is not exported, so picows is pinned, and `tests/server/transports/test_picows.py` tests what this module
uses of it. The bytes that are fed to it here were read by uvicorn.
"""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

from picows import WSAutoPingStrategy, WSUpgradeRequest, WSUpgradeResponse, WSUpgradeResponseWithListener
from picows.picows import WSProtocol  # type: ignore[attr-defined]

from oyez.protocol.websocket import encode_close
from oyez.server.transports.budget import SMALL_READ
from oyez.server.transports.websocket import WebSocket

READ_BUFFER = 2_048
"""picows' smallest read buffer, which keeps an idle connection under 10 KB; it grows with what a client sends."""

READ_CHUNK = 4_096
"""Bytes that are read of one client in a turn of the loop: three hundred of the smallest events. picows doubles its
buffer whenever a read fills it: a client that sends fast would make it grow to what the network holds, some 7 MB."""

LARGE_BUFFER = 65_536
"""Bytes from which on a read buffer is given back after the message that it grew for. picows itself keeps the buffer
until the connection ends: some 2 MB after one message of the greatest size."""

_ANY_KEY = "AAAAAAAAAAAAAAAAAAAAAA=="
"""The Sec-WebSocket-Key of a handshake that was answered before."""
_BUFFER_RESERVE = 256
"""Bytes of its first buffer that picows does not use, and of a buffer's rest at which picows doubles it."""


class SilentLogger:
    """Drops what picows would log, at several calls for each client: Oyez logs what matters."""

    def isEnabledFor(self, level: int) -> bool:
        return False

    def info(self, message: str, *arguments: object) -> None:
        """Log nothing."""

    log = debug = warning = error = exception = info


_picows_logger = SilentLogger()


def hand_over(
    network: asyncio.Transport,
    listener: WebSocket,
    *,
    key: str,
    extension: str | None,
    subprotocol: str | None,
    max_frame: int,
    tail: bytes,
) -> None:
    """Answer an upgrade request, and pass the frames to `listener`; `tail` came with the request.

    `key` is the request's Sec-WebSocket-Key; client and server have agreed on `extension` and `subprotocol`.
    """
    agreed = {"Sec-WebSocket-Extensions": extension, "Sec-WebSocket-Protocol": subprotocol}
    extra = {name: value for name, value in agreed.items() if value is not None}
    _attach(network, listener, extra, max_frame, key, tail)


def _attach(
    network: asyncio.Transport, listener: WebSocket, extra: Mapping[str, str], max_frame: int, key: str, tail: bytes
) -> None:
    """Have a new protocol of picows' read `network`; its answer to the handshake has the `extra` headers."""

    def accept(request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
        return WSUpgradeResponseWithListener(WSUpgradeResponse.create_101_response(extra or None), listener)

    protocol = ChunkedProtocol(
        host_port=None,
        ws_path=None,
        is_client_side=False,
        ws_listener_factory=accept,
        logger=_picows_logger,
        disconnect_on_exception=True,
        # The handshake is here already.
        websocket_handshake_timeout=None,
        # Engine.IO has pings of its own.
        enable_auto_ping=False,
        auto_ping_idle_timeout=0,
        auto_ping_reply_timeout=0,
        auto_ping_strategy=WSAutoPingStrategy.PING_WHEN_IDLE,
        # The listener answers pings, but only if the client reads.
        enable_auto_pong=False,
        max_frame_size=max_frame,
        extra_headers=None,
        read_buffer_init_size=READ_BUFFER,
    )
    protocol.max_frame = max_frame
    protocol.connection_made(QuietTransport(network))
    network.set_protocol(protocol)
    # A head of our own: picows refuses the `Connection: keep-alive, Upgrade` of Firefox.
    head = (
        "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )
    _feed(protocol, head.encode("latin-1") + tail)


# Called for each read: `super()` costs more than the rest of the methods that use these.
_get_buffer = WSProtocol.get_buffer
_buffer_updated = WSProtocol.buffer_updated


class ChunkedProtocol(WSProtocol):  # type: ignore[misc]
    """picows' protocol, which reads no more than READ_CHUNK at a time and reports to the listener what it has read.

    It counts the size of picows' buffer, which picows does not show, and is replaced when a large one is empty.
    """

    __slots__ = ("_buffer_size", "_free", "_grows_at", "max_frame")

    def connection_made(self, transport: "QuietTransport") -> None:
        self._set_buffer_size(READ_BUFFER - _BUFFER_RESERVE)
        super().connection_made(transport)

    def _set_buffer_size(self, size: int) -> None:
        self._buffer_size = size
        # As picows counts it: over 90 of 100 are used, or hardly anything is left.
        self._grows_at = max(_BUFFER_RESERVE, size * 9 // 100)

    def get_buffer(self, size_hint: int) -> memoryview:
        buffer: memoryview = _get_buffer(self, size_hint)
        self._free = free = len(buffer)
        return buffer if free <= READ_CHUNK else buffer[:READ_CHUNK]

    def buffer_updated(self, size: int) -> None:
        listener = self.listener
        if listener is None or (size <= SMALL_READ and not listener.budget.busy and listener.close_reason is None):
            self.parse(size, size == self._free or size == READ_CHUNK)
        elif not listener.gate.run(partial(self.parse, size, size == self._free or size == READ_CHUNK)):
            # The bytes stay in the buffer: nothing may be read over them.
            listener.hold_reading()
            listener.gate.wait(partial(self._parse_later, size), busy=listener.busy)

    def _parse_later(self, size: int) -> None:
        if self.listener.release_reading():
            self.parse(size, True)

    def parse(self, size: int, more: bool) -> None:
        """Have the listener handle the frames that end in the `size` bytes read last; `more` may be waiting."""
        if self.transport.is_close_frame_sent:
            # picows has refused a frame and closes the connection in a moment; until then it would continue, and pass
            # even the frame that is too long. What is read now is overwritten by what is read next.
            return
        if self._free - size <= self._grows_at:
            self._set_buffer_size(self._buffer_size * 2)
        _buffer_updated(self, size)
        if self.transport.is_close_frame_sent:
            self._close_after_error()
        listener = self.listener
        if listener is not None:
            kept = self._buffer_size if self._buffer_size >= LARGE_BUFFER and not self._give_back_buffer() else 0
            listener.after_read(size, more, kept)

    def _give_back_buffer(self) -> bool:
        """Have a new protocol with a small buffer read what comes next, if this one's buffer is empty."""
        network = self.transport.underlying_transport.network
        if self.transport.is_close_frame_sent or network.is_closing():
            return False
        if len(_get_buffer(self, -1)) != self._buffer_size:
            return False
        _attach(network, self.listener, {}, self.max_frame, _ANY_KEY, b"")
        return True

    def _close_after_error(self) -> None:
        """Write the CLOSE of picows, which waited until the frames before its cause were handled.

        If one of these frames was a CLOSE too, it has been answered.
        """
        if self.listener is not None and not self.listener.closing:
            handshake, quiet = self.transport.close_handshake, self.transport.underlying_transport
            quiet.network.write(encode_close(handshake.sent.code))

    def eof_received(self) -> bool:
        """True if the network connection is kept, because the listener closes it."""
        return self.listener is not None and self.listener.closes_later()


class QuietTransport:
    """The TCP transport as picows sees it, with fewer system calls for a client that connects.

    picows sets options that uvloop has set already, and reads others only to log them, at two system calls an option.
    Its answer to the handshake, the first thing it writes, waits for the open packet. Everything else that it writes
    itself is a CLOSE, before the frames that came before its cause are handled: see `ChunkedProtocol`.
    """

    __slots__ = ("_answer", "network")

    def __init__(self, network: asyncio.Transport) -> None:
        self.network = network
        self._answer: bytes | None = None

    def write(self, data: bytes) -> None:
        if self._answer is None:
            self._answer = bytes(data)

    def get_write_buffer_size(self) -> int:
        """Never 0, because picows would then write to the socket by itself."""
        return 1

    def take_answer(self) -> bytes:
        """Remove and return the answer to the handshake, which the caller writes."""
        answer, self._answer = self._answer or b"", b""
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self if name == "socket" else self.network.get_extra_info(name, default)

    def fileno(self) -> int:
        descriptor: int = self.network.get_extra_info("socket").fileno()
        return descriptor

    def setsockopt(self, *option: int) -> None:
        """Not set in the kernel again."""

    def getsockopt(self, *option: int) -> int:
        """Not read from the kernel."""
        return 0


def _feed(protocol: ChunkedProtocol, data: bytes) -> None:
    while data:
        buffer = memoryview(protocol.get_buffer(-1))
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        protocol.parse(size, False)
        data = data[size:]
