"""A WebSocket in memory: the server's side is an ASGI server's, the client's side a transport of `oyez.client`.

So a tested client passes the same code of the server as one that is connected through an ASGI server: the handshake,
the transport, the session.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from starlette.types import ASGIApp, Message

from oyez.client.transports import ConnectFailed, TransportLost
from oyez.protocol import engineio
from oyez.protocol.engineio import MalformedError, Packet, PacketType

LOST = 1006
"""The WebSocket close code of a connection that ended without a CLOSE frame (RFC 6455, section 7.1.5)."""


class MemoryWebSocket:
    """One WebSocket between a client and an ASGI application."""

    name = "websocket"

    def __init__(
        self, app: ASGIApp, path: str, *, headers: Mapping[str, str], query: Mapping[str, str], address: str
    ) -> None:
        self.close_code: int | None = None
        self._to_server: deque[Message] = deque()
        self._to_client: deque[Packet | MalformedError] = deque()
        self._server_news = asyncio.Event()
        self._client_news = asyncio.Event()
        self._server_waits = False
        self._client_waits = False
        self._accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._status = 0
        self._ended = False
        self._to_server.append({"type": "websocket.connect"})
        target = {"EIO": str(engineio.PROTOCOL), "transport": self.name, **query}
        scope = {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": urlencode(target).encode(),
            "headers": [
                (name.lower().encode("latin-1"), value.encode("latin-1"))
                for name, value in {"host": "testserver", **headers}.items()
            ],
            "client": (address, 40_000),
            "server": ("testserver", 80),
            "subprotocols": [],
            "extensions": {"websocket.http.response": {}},
            "state": {},
        }
        self._serving = asyncio.create_task(self._serve(app, scope))

    async def open(self) -> None:
        """Wait until the server has accepted the WebSocket. Raises ConnectFailed."""
        await self._accepted

    @property
    def idle(self) -> bool:
        """True if both sides have handled all that they were sent, as far as they can."""
        if self._ended:
            return self._serving.done() and (self._client_waits or not self._to_client)
        return self._server_waits and not self._to_server and self._client_waits and not self._to_client

    @property
    def ended(self) -> bool:
        """True if neither side will send anything more."""
        return self._ended and self._serving.done()

    # The client's transport.

    async def send(self, packets: Sequence[Packet]) -> None:
        for packet in packets:
            await self.send_raw(packet.data if packet.binary else engineio.encode_packet(packet).decode())

    async def send_raw(self, data: bytes | str) -> None:
        if self._ended:
            raise TransportLost("transport close")
        self._put({"type": "websocket.receive", "text" if isinstance(data, str) else "bytes": data})

    async def receive(self) -> list[Packet]:
        while not self._to_client:
            if self._ended:
                raise TransportLost("transport close")
            self._client_news.clear()
            self._client_waits = True
            try:
                await self._client_news.wait()
            finally:
                self._client_waits = False
        packet = self._to_client.popleft()
        if isinstance(packet, MalformedError):
            raise packet
        return [packet]

    async def close(self) -> None:
        if not self._ended:
            self._put({"type": "websocket.disconnect", "code": 1000})
            await asyncio.wait([self._serving])

    def abort(self) -> None:
        if not self._ended:
            self._put({"type": "websocket.disconnect", "code": LOST})
            self._end()

    # The server's side.

    async def _serve(self, app: ASGIApp, scope: dict[str, Any]) -> None:
        try:
            await app(scope, self._receive, self._send)
        finally:
            self._end()
            if not self._accepted.done():
                self._accepted.set_exception(
                    ConnectFailed(f"The server refused the WebSocket with status {self._status}.", self._status)
                )

    async def _receive(self) -> Message:
        while not self._to_server:
            self._server_news.clear()
            self._server_waits = True
            try:
                await self._server_news.wait()
            finally:
                self._server_waits = False
        return self._to_server.popleft()

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.accept":
            self._accepted.set_result(None)
        elif kind == "websocket.send":
            text, data = message.get("text"), message.get("bytes")
            self._to_client.append(_decode(text) if text is not None else _read_binary(data or b""))
            self._client_news.set()
        elif kind == "websocket.http.response.start":
            self._status = message["status"]
        elif kind == "websocket.close":
            self.close_code = message.get("code", 1000)
            self._end()

    def _put(self, message: Message) -> None:
        self._to_server.append(message)
        self._server_news.set()

    def _end(self) -> None:
        self._ended = True
        self._client_news.set()


def _decode(text: str) -> Packet | MalformedError:
    try:
        return engineio.decode_packet(text.encode())
    except MalformedError as error:
        return error


def _read_binary(data: bytes) -> Packet:
    return Packet(PacketType.MESSAGE, data, binary=True)
