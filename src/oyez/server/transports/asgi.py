"""The WebSocket transport over ASGI: for a server that is mounted in another application.

It is slower than `websocket.py`, because every message passes through the framing and the queue of the ASGI server.
Otherwise it behaves the same: same session, same limits, same treatment of clients that are too slow.
"""

import asyncio
from itertools import count
from typing import Any

from starlette.types import Message, Receive, Send

from oyez.logger import get_logger
from oyez.protocol import engineio
from oyez.protocol.engineio import CloseReason
from oyez.server.transports.outgoing import OutboundPacket
from oyez.server.transports.send_buffer import SendBuffer
from oyez.server.transports.transport import PACKETS_PER_ITERATION, TransportListener, WebSocketTransport

logger = get_logger("oyez.server")

DRAINS = "oyez.drains"
"""The extension of a lifespan by which a server promises to close the clients before it ends the lifespan."""
VOLATILE_HIGH_WATER = 65_536
"""Bytes in a client's send buffer from which on volatile packets are dropped."""


class AsgiWebSocket(WebSocketTransport):
    """The WebSocket of one client of an ASGI server."""

    def __init__(self, listener: TransportListener, send: Send, *, subprotocol: str | None) -> None:
        """`subprotocol` is the one that client and server have agreed on."""
        self._listener = listener
        self._context = listener.context
        self._limits = self._context.limits
        self._budget = listener.budget
        self._send = send
        self._subprotocol = subprotocol
        self._buffer = SendBuffer[OutboundPacket]()
        self._wake = asyncio.Event()
        self._readable = asyncio.Event()
        self._readable.set()
        self._closing: CloseReason | None = None
        self._aborted = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    # What the connection calls.

    @property
    def closing(self) -> bool:
        return self._closing is not None

    @property
    def max_buffer(self) -> int:
        return self._limits.max_send_buffer

    @property
    def unsent(self) -> int:
        return self._buffer.size

    def send(self, packet: OutboundPacket) -> None:
        buffer, size = self._buffer, packet.size
        if self._closing is not None or (packet.volatile and self._is_slow(size)):
            return
        buffer.append(packet, size)
        self._wake.set()
        if buffer.size > self._limits.max_send_buffer:
            # The client does not read, so it would not read a CLOSE either. `on_closed` follows when `run` has ended,
            # not now: the sender may be iterating over the room that the socket leaves.
            self._closing = engineio.SLOW_CONSUMER
            buffer.clear()
            self.abort()

    def close(self, reason: CloseReason) -> None:
        if self._closing is None:
            self._closing = reason
            self._wake.set()
            self._readable.set()
            self._buffer.report()
            self._timer = asyncio.get_running_loop().call_later(self._limits.close_timeout, self.abort)

    def refuse(self, reason: CloseReason) -> None:
        self.close(reason)

    async def drained(self) -> None:
        while self._buffer.size and self._closing is None:
            await self._buffer.drained()

    def abort(self) -> None:
        self._aborted.set()

    def pause_reading(self) -> None:
        self._readable.clear()

    def resume_reading(self) -> None:
        self._readable.set()

    def take_over(self, listener: TransportListener) -> None:
        self._listener = listener

    def _is_slow(self, size: int) -> bool:
        high_water = min(VOLATILE_HIGH_WATER, self._limits.max_send_buffer)
        return self._buffer.size > 0 and self._buffer.size + size > high_water

    # From the handshake to the end.

    async def run(self, receive: Receive) -> None:
        """Accept the WebSocket and carry messages until the client has gone, or the connection is closed."""
        tasks: list[asyncio.Future[Any]] = []
        try:
            agreed = {"subprotocol": self._subprotocol} if self._subprotocol is not None else {}
            await self._send({"type": "websocket.accept", **agreed})
            self._listener.on_open(self)
            parts = (self._write_all(), self._read_all(receive), self._aborted.wait())
            tasks = [asyncio.ensure_future(part) for part in parts]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._end()
            for task in tasks:
                task.cancel()
            for error in await asyncio.gather(*tasks, return_exceptions=True):
                # ASGI servers raise OSError if the client has gone, which ends with the connection.
                if isinstance(error, Exception) and not isinstance(error, OSError):
                    logger.error("a WebSocket failed", connection=self._listener.public_id, exc_info=error)
            # Break the reference cycle: the garbage collector would pause the loop.
            del self._listener

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._closing = self._closing or engineio.TRANSPORT_CLOSE
        self._buffer.report()
        self._listener.on_disconnected(self)
        self._listener.on_closed(self, self._closing)

    async def _write_all(self) -> None:
        """Send what is kept, in order, until the connection is closed."""
        while self._buffer or self._closing is None:
            if not self._buffer:
                self._wake.clear()
                await self._wake.wait()
                continue
            packet = self._buffer.popleft()
            if packet.text:
                await self._put({"type": "websocket.send", "text": packet.text.decode()})
            for attachment in packet.attachments:
                await self._put({"type": "websocket.send", "bytes": attachment})
            if packet.follower:
                await self._put({"type": "websocket.send", "text": packet.follower.decode()})
            self._buffer.sent(packet.size)
        # Without this message, the ASGI server ends the network connection at once.
        if self._closing is not None and not self._listener.ignores_close:
            await self._put({"type": "websocket.close", "code": self._closing.code, "reason": self._closing.text})

    async def _put(self, message: Message) -> None:
        """Raises OSError if the WebSocket has ended."""
        try:
            await self._send(message)
        except RuntimeError as error:
            if not str(error).startswith("Unexpected ASGI message"):
                raise
            # uvicorn has ended the WebSocket because of what the client sent, and reports it only at the next call.
            raise ConnectionResetError(str(error)) from None

    async def _read_all(self, receive: Receive) -> None:
        """Pass every message to the listener until the client has gone."""
        for number in count(1):
            if number % PACKETS_PER_ITERATION == 0:
                # Neither of the two below waits while the server has messages that it has read.
                await asyncio.sleep(0)
            await self._readable.wait()
            message = await receive()
            if message["type"] == "websocket.disconnect":
                if message.get("code") == engineio.SERVER_SHUTDOWN.code and self._closing is None:
                    # The ASGI server stops, and closes WebSockets before it reports that to applications.
                    self._closing = engineio.SERVER_SHUTDOWN
                return
            if self._closing is None:
                self._receive(message.get("text"), message.get("bytes"))
                self._budget.packets += 1
                self._listener.on_read(0)
            if self._budget.busy:
                await self._context.gate.enter(busy=True)

    def _receive(self, text: str | None, data: bytes | None) -> None:
        payload = data if text is None else text.encode("utf-8", "surrogatepass")
        if payload is None:
            return
        self._budget.bytes += len(payload)
        most = self._listener.max_message
        if len(payload) > most:
            self._listener.on_closed(self, engineio.TOO_LARGE, f"a message over {most} bytes")
        elif text is not None:
            self._listener.on_text(payload)
        else:
            self._listener.on_binary(payload)
