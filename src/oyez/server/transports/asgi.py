"""The WebSocket transport over ASGI: for a server mounted in somebody else's application.

Slower than `websocket.py`, since every message passes through the ASGI server's own framing and queue, and otherwise
the same: same session, same limits, same slow-consumer policy.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

from starlette.datastructures import QueryParams
from starlette.types import Message, Receive, Scope, Send

from oyez.logger import get_logger
from oyez.protocol import engineio
from oyez.protocol.engineio import CloseReason, HandshakeError
from oyez.protocol.websocket_handshake import choose_subprotocol, combine_headers
from oyez.server.transports.outgoing import OutboundPacket
from oyez.server.transports.transport import PACKETS_A_TURN

if TYPE_CHECKING:
    from oyez.server.connections.connection import Connection
    from oyez.server.http.upgrade import Endpoint

logger = get_logger("oyez.server")


DRAINS = "oyez.drains"
"""The extension of a lifespan by which a server says that it sends clients away before it ends it."""
VOLATILE_HIGH_WATER = 65_536
"""Bytes that wait for a client from which on volatile messages are dropped for it."""


class AsgiWebSocket:
    """One client's WebSocket behind an ASGI server."""

    write: Callable[[bytes], None] | None = None
    deflate = False

    def __init__(self, connection: "Connection", send: Send, *, candidate: bool, subprotocol: str | None) -> None:
        self._connection = connection
        self._limits = connection.server.limits
        self._send = send
        self._candidate = candidate
        self._subprotocol = subprotocol
        self._kept: deque[OutboundPacket] = deque()
        self._kept_bytes = 0
        self._wake = asyncio.Event()
        self._drained = asyncio.Event()
        self._readable = asyncio.Event()
        self._readable.set()
        self._closing: CloseReason | None = None
        self._cut = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        if candidate:
            connection.candidate = self
        else:
            connection.transport = self

    # The transport's side.

    @property
    def closing(self) -> bool:
        return self._closing is not None

    def send(self, outgoing: OutboundPacket) -> None:
        if self._closing is not None or (outgoing.volatile and self._is_slow(outgoing.size)):
            return
        self._kept.append(outgoing)
        self._kept_bytes += outgoing.size
        self._wake.set()
        if self._kept_bytes > self._limits.max_send_buffer:
            # It does not read, so it would not read a CLOSE either. The connection hears of it when `run` has ended,
            # not now: whoever is sending may be walking over the room that its socket leaves.
            self._kept.clear()
            self._closing = engineio.SLOW_CONSUMER
            self.abort()

    def close(self, reason: CloseReason) -> None:
        if self._closing is None:
            self._closing = reason
            self._wake.set()
            self._readable.set()
            self._drained.set()
            self._set_timer(self._limits.close_timeout, self.abort)

    async def drained(self) -> None:
        while self._kept_bytes and self._closing is None:
            self._drained.clear()
            await self._drained.wait()

    def abort(self) -> None:
        self._cut.set()

    def pause_reading(self) -> None:
        self._readable.clear()

    def resume_reading(self) -> None:
        self._readable.set()

    def ping(self) -> bool:
        return False

    def take_over(self) -> None:
        self._candidate = False
        self._stop_timer()

    def _is_slow(self, size: int) -> bool:
        high_water = min(VOLATILE_HIGH_WATER, self._limits.max_send_buffer)
        return self._kept_bytes > 0 and self._kept_bytes + size > high_water

    # Its life.

    async def run(self, receive: Receive) -> None:
        """Accept the WebSocket and carry messages until the client has gone, or was told to go."""
        halves = []
        self._connection.server.add_websocket(self, self._connection)
        try:
            agreed = {"subprotocol": self._subprotocol} if self._subprotocol is not None else {}
            await self._send({"type": "websocket.accept", **agreed})
            if self._candidate:
                self._set_timer(self._limits.upgrade_timeout, self._time_out_upgrade)
            else:
                self._connection.open()
            halves = [asyncio.ensure_future(half) for half in (self._write(), self._read(receive), self._cut.wait())]
            await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stop_timer()
            self._connection.server.forget_websocket(self, self._connection)
            self._lose(self._closing or engineio.TRANSPORT_CLOSE)
            for half in halves:
                half.cancel()
            for met in await asyncio.gather(*halves, return_exceptions=True):
                # ASGI servers raise OSError where the client has gone, which ends with the connection.
                if isinstance(met, Exception) and not isinstance(met, OSError):
                    logger.error("a WebSocket failed", connection=self._connection.id, exc_info=met)

    async def _write(self) -> None:
        """Send what is kept, in order, until the connection is closed."""
        while self._kept or self._closing is None:
            if not self._kept:
                self._wake.clear()
                await self._wake.wait()
                continue
            outgoing = self._kept.popleft()
            if outgoing.text:
                await self._put({"type": "websocket.send", "text": outgoing.text.decode()})
            for attachment in outgoing.attachments:
                await self._put({"type": "websocket.send", "bytes": attachment})
            if outgoing.follower:
                await self._put({"type": "websocket.send", "text": outgoing.follower.decode()})
            self._kept_bytes -= outgoing.size
            if not self._kept_bytes:
                self._drained.set()
        if self._closing is not None:
            await self._put({"type": "websocket.close", "code": self._closing.code, "reason": self._closing.text})

    async def _put(self, message: Message) -> None:
        """Raises OSError if the WebSocket has ended."""
        try:
            await self._send(message)
        except RuntimeError as error:
            if not str(error).startswith("Unexpected ASGI message"):
                raise
            # uvicorn has ended it because of what the client sent, and says so in the next call only.
            raise ConnectionResetError(str(error)) from None

    async def _read(self, receive: Receive) -> None:
        """Hand every message to the connection until the client has gone."""
        for number in count(1):
            if number % PACKETS_A_TURN == 0:
                # Neither of the two below waits while the server has messages that it has read.
                await asyncio.sleep(0)
            await self._readable.wait()
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            if self._closing is None:
                self._receive(message.get("text"), message.get("bytes"))
                self._charge()
            if self._connection.budget.busy:
                await self._connection.server.gate.enter(busy=True)

    def _charge(self) -> None:
        connection = self._connection
        connection.budget.packets += 1
        wait = connection.settle()
        if wait and self._candidate:
            self._fail(engineio.RATE_LIMIT, "too many packets of a WebSocket that probes")
        elif wait:
            connection.slow_down(wait)
        incomplete = connection.session.incomplete_bytes
        if not self._candidate and (incomplete or connection.holds_memory):
            end = partial(connection.close, engineio.SERVER_BUSY, "unfinished input")
            connection.hold_memory(incomplete, end)

    def _receive(self, text: str | None, data: bytes | None) -> None:
        payload = data if text is None else text.encode("utf-8", "surrogatepass")
        if payload is None:
            return
        self._connection.budget.bytes += len(payload)
        most = self._limits.max_stranger_bytes if self._candidate else self._connection.max_message
        if len(payload) > most:
            self._fail(engineio.TOO_LARGE, f"a message over {most} bytes")
        elif self._candidate:
            self._connection.receive_candidate(payload if text is not None else b"")
        elif text is not None:
            self._connection.receive_text(payload)
        else:
            self._connection.receive_binary(payload)

    def _fail(self, reason: CloseReason, detail: str) -> None:
        if self._candidate:
            self._connection.lose_candidate(self)
            self.close(reason)
        else:
            self._connection.close(reason, detail)

    def _lose(self, reason: CloseReason) -> None:
        self._closing = reason
        self._drained.set()
        if self._candidate:
            self._connection.lose_candidate(self)
        elif self._connection.transport is self:
            self._connection.close(reason)

    def _time_out_upgrade(self) -> None:
        self._fail(engineio.CONNECT_TIMEOUT, "an upgrade that was not completed")

    def _set_timer(self, seconds: float, then: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, then)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def serve_websocket(endpoint: "Endpoint", scope: Scope, receive: Receive, send: Send) -> None:
    """One WebSocket of an ASGI server, from its handshake to its end."""
    await receive()
    opened = _open(endpoint, scope)
    if isinstance(opened, HandshakeError):
        await _deny(opened, scope, send)
    else:
        connection, candidate = opened
        subprotocol = choose_subprotocol(", ".join(scope.get("subprotocols", ())))
        await AsgiWebSocket(connection, send, candidate=candidate, subprotocol=subprotocol).run(receive)


def _open(endpoint: "Endpoint", scope: Scope) -> "tuple[Connection, bool] | HandshakeError":
    headers = combine_headers(scope["headers"])
    query = QueryParams(scope["query_string"])
    secure = scope["scheme"] == "wss"
    return endpoint.open_websocket(
        query,
        headers,
        lambda: endpoint.read_handshake(headers, scope["query_string"], scope.get("client"), secure=secure),
        secure=secure,
    )


async def _deny(error: HandshakeError, scope: Scope, send: Send) -> None:
    if error is engineio.ALREADY_UPGRADED:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": engineio.REFUSED.code, "reason": error.message})
    elif "websocket.http.response" in scope.get("extensions", {}):
        headers = [(b"content-type", b"text/html")]
        await send({"type": "websocket.http.response.start", "status": error.status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": error.message.encode()})
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": error.message})
