"""The WebSocket transport over ASGI: for a server mounted in somebody else's application.

Slower than `websocket.py`, since every message passes through the ASGI server's own framing and queue, and otherwise
the same: same session, same limits, same slow-consumer policy.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog
from starlette.datastructures import Headers, QueryParams
from starlette.types import Receive, Scope, Send

from oyez.protocol import engineio
from oyez.protocol.engineio import CloseReason, HandshakeError
from oyez.server.outgoing import Outgoing
from oyez.server.polling import read_handshake

if TYPE_CHECKING:
    from oyez.server.connection import Connection
    from oyez.server.server import Server

logger = structlog.get_logger("oyez.server")


class AsgiWebSocket:
    """One client's WebSocket behind an ASGI server."""

    write: Callable[[bytes], None] | None = None

    def __init__(self, connection: "Connection", send: Send, *, candidate: bool) -> None:
        self._connection = connection
        self._send = send
        self._candidate = candidate
        self._kept: deque[Outgoing] = deque()
        self._kept_bytes = 0
        self._wake = asyncio.Event()
        self._readable = asyncio.Event()
        self._readable.set()
        self._reason: CloseReason | None = None

    # The transport's side.

    def send(self, outgoing: Outgoing) -> None:
        limits = self._connection.server.limits
        if self._reason is not None or (outgoing.volatile and self._kept):
            return
        self._kept.append(outgoing)
        self._kept_bytes += len(outgoing.text)
        self._wake.set()
        if self._kept_bytes > limits.max_send_buffer:
            self._kept.clear()
            loop = asyncio.get_running_loop()
            loop.call_soon(self._connection.close, engineio.SLOW_CONSUMER, "does not read what it is sent")

    def close(self, reason: CloseReason) -> None:
        if self._reason is None:
            self._reason = reason
            self._wake.set()

    def pause_reading(self) -> None:
        self._readable.clear()

    def resume_reading(self) -> None:
        self._readable.set()

    def take_over(self) -> None:
        self._candidate = False

    # The two halves of its life.

    async def run_writer(self) -> None:
        """Send what is kept, in order, until the connection is closed."""
        while self._kept or self._reason is None:
            if not self._kept:
                self._wake.clear()
                await self._wake.wait()
                continue
            outgoing = self._kept.popleft()
            self._kept_bytes -= len(outgoing.text)
            await self._send({"type": "websocket.send", "text": outgoing.text.decode()})
            for attachment in outgoing.attachments:
                await self._send({"type": "websocket.send", "bytes": attachment})
        if self._reason is not None:
            await self._send({"type": "websocket.close", "code": self._reason.code, "reason": self._reason.text})

    async def run_reader(self, receive: Receive) -> None:
        """Hand every message to the connection until the client has gone."""
        while True:
            await self._readable.wait()
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            if self._reason is None:
                self._receive(message.get("text"), message.get("bytes"))

    def lose(self) -> None:
        """The client has gone."""
        self._reason = self._reason or engineio.TRANSPORT_CLOSE
        self._wake.set()
        if self._connection.candidate is self:
            self._connection.lose_candidate()
        elif self._connection.transport is self:
            self._connection.close(engineio.TRANSPORT_CLOSE)

    def expire_candidate(self) -> None:
        if self._candidate:
            self._connection.lose_candidate()
            self.close(engineio.CONNECT_TIMEOUT)

    def _receive(self, text: str | None, data: bytes | None) -> None:
        payload = data if text is None else text.encode("utf-8", "surrogatepass")
        if payload is None:
            return
        if len(payload) > self._connection.server.limits.max_payload:
            self._connection.close(engineio.TOO_LARGE)
        elif self._candidate:
            self._connection.receive_candidate(payload if text is not None else b"")
        elif text is not None:
            self._connection.receive_text(payload)
        else:
            self._connection.receive_binary(payload)


async def serve_websocket(server: "Server", scope: Scope, receive: Receive, send: Send) -> None:
    """One WebSocket of an ASGI server, from its handshake to its end."""
    await receive()
    opened = _open(server, scope)
    if isinstance(opened, HandshakeError):
        await _deny(opened, scope, send)
        return
    connection, candidate = opened
    await send({"type": "websocket.accept"})
    transport = AsgiWebSocket(connection, send, candidate=candidate)
    timer = None
    if candidate:
        connection.candidate = transport
        timer = asyncio.get_running_loop().call_later(server.limits.upgrade_timeout, transport.expire_candidate)
    else:
        connection.open(transport)
    writer = asyncio.ensure_future(transport.run_writer())
    reader = asyncio.ensure_future(transport.run_reader(receive))
    try:
        await asyncio.wait((writer, reader), return_when=asyncio.FIRST_COMPLETED)
        if writer.done():
            await asyncio.wait((reader,), timeout=server.limits.close_timeout)
    finally:
        if timer is not None:
            timer.cancel()
        transport.lose()
        for half in (writer, reader):
            half.cancel()
        # What either half met (a client that went mid-message) ends with the connection.
        await asyncio.gather(writer, reader, return_exceptions=True)


def _open(server: "Server", scope: Scope) -> "tuple[Connection, bool] | HandshakeError":
    headers = Headers(scope=scope)
    query = QueryParams(scope["query_string"])
    return server.open_websocket(query, headers.get("origin"), headers.get("host"), lambda: read_handshake(scope))


async def _deny(error: HandshakeError, scope: Scope, send: Send) -> None:
    if "websocket.http.response" in scope.get("extensions", {}):
        headers = [(b"content-type", b"text/html")]
        await send({"type": "websocket.http.response.start", "status": error.status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": error.message.encode()})
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": error.message})
