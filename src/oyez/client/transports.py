"""The client's transports: Engine.IO packets over long-polling or WebSocket, independent of Socket.IO."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import NamedTuple, Protocol, Self
from urllib.parse import urlencode, urlsplit

import httptools
from picows import WSCloseCode, WSError, WSFrame, WSHandshakeError, WSListener, WSMsgType, WSTransport, ws_connect

from oyez.errors import OyezError
from oyez.protocol import engineio
from oyez.protocol.engineio import MalformedError, Packet, PacketType

MAX_PACKETS = 100_000
CLOSE_SECONDS = 2.0
"""Seconds within which a server must answer a WebSocket's CLOSE, before the client aborts the connection."""


class ConnectFailed(OyezError):
    """There is no connection: no server listens, or the server refused it with an HTTP answer (`status`, `body`)."""

    def __init__(self, message: str, status: int | None = None, body: bytes = b"") -> None:
        super().__init__(message)
        self.status = status
        self.body = body


class TransportLost(OyezError):
    """The transport has ended. `reason` is the official clients' name for the reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """The address of a server's Engine.IO, and the query and headers of every request to it."""

    secure: bool
    host: str
    port: int
    authority: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    ssl: SSLContext | None = None

    @classmethod
    def parse(
        cls,
        url: str,
        path: str,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        ssl: SSLContext | None,
    ) -> Self:
        """`path` is appended to that of `url`: `http://host/quotes` and `/socket.io/` is `/quotes/socket.io/`."""
        parts = urlsplit(url)
        secure = parts.scheme in ("https", "wss")
        if parts.hostname is None or not (secure or parts.scheme in ("http", "ws")):
            raise ConnectFailed(
                f"{url!r} is not an address. Give one such as http://localhost:5001 or wss://example.com."
            )
        return cls(
            secure=secure,
            host=parts.hostname,
            port=parts.port or (443 if secure else 80),
            authority=parts.netloc.rpartition("@")[2],
            path=f"{parts.path.rstrip('/')}/{path.lstrip('/')}",
            query=query or {},
            headers=headers or {},
            ssl=ssl,
        )

    def target(self, transport: str, sid: str | None) -> str:
        """The request target. The caller's `query` wins, so that tests can send invalid parameters."""
        query = {"EIO": engineio.PROTOCOL, "transport": transport} | ({"sid": sid} if sid else {})
        return f"{self.path}?{urlencode({**query, **self.query})}"


class Transport(Protocol):
    """Sends and receives packets. `receive` and `send` raise TransportLost, and `receive` also MalformedError."""

    name: str
    close_code: int | None
    """The close code that the server sent; None before that, and always None over polling."""

    async def send(self, packets: Sequence[Packet]) -> None: ...

    async def send_raw(self, data: bytes | str) -> None:
        """Send `data` unchanged: as a polling body, or as a WebSocket frame (text for `str`, binary for `bytes`)."""

    async def receive(self) -> list[Packet]: ...

    async def close(self) -> None:
        """Close as the protocol requires."""

    def abort(self) -> None:
        """Abort the network connection without a packet."""


# Long-polling.


class Response(NamedTuple):
    """A whole HTTP response. Names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class _Answer:
    """The HTTP response that is being read; `httptools` calls the `on_` methods."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.begun = False
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.begun = True

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


class PollingTransport:
    """GETs that wait for packets, and POSTs that send packets. Each uses a new TCP connection: simple, but slow."""

    name = "polling"
    close_code: int | None = None

    def __init__(self, address: ServerAddress, sid: str | None = None) -> None:
        self.sid = sid
        self._address = address
        self._open: set[asyncio.StreamWriter] = set()

    async def receive(self) -> list[Packet]:
        response = await self.request("GET")
        if response.status != 200:
            raise TransportLost("transport error")
        return engineio.decode_payload(response.body, MAX_PACKETS)

    async def send(self, packets: Sequence[Packet]) -> None:
        await self.send_raw(engineio.encode_payload(map(engineio.encode_packet, packets)))

    async def send_raw(self, data: bytes | str) -> None:
        response = await self.request("POST", data.encode() if isinstance(data, str) else data)
        if response.status != 200:
            raise TransportLost("transport error")

    async def close(self) -> None:
        with suppress(TransportLost):
            await self.send_raw(engineio.CLOSE)

    def abort(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def request(self, method: str, body: bytes | None = None) -> Response:
        """Send one request of this session, and return its response. Raises TransportLost if there is none."""
        address = self._address
        try:
            reader, writer = await asyncio.open_connection(
                address.host, address.port, ssl=(address.ssl or True) if address.secure else None
            )
        except OSError as error:
            raise TransportLost("transport error") from error
        self._open.add(writer)
        try:
            writer.write(_encode_request(address, method, address.target(self.name, self.sid), body))
            return await _read_response(reader)
        except OSError as error:
            raise TransportLost("transport error") from error
        finally:
            self._open.discard(writer)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def _encode_request(address: ServerAddress, method: str, target: str, body: bytes | None) -> bytes:
    headers = {"Host": address.authority, "Connection": "close"}
    if body is not None:
        headers |= {"Content-Type": "text/plain;charset=UTF-8", "Content-Length": str(len(body))}
    lines = [
        f"{method} {target} HTTP/1.1",
        *(f"{name}: {value}" for name, value in {**headers, **address.headers}.items()),
    ]
    return "\r\n".join([*lines, "\r\n"]).encode("latin-1") + (body or b"")


async def _read_response(reader: asyncio.StreamReader) -> Response:
    answer = _Answer()
    parser = httptools.HttpResponseParser(answer)
    while not answer.complete:
        data = await reader.read(65_536)
        if not data:
            if not answer.begun or {"content-length", "transfer-encoding"} & answer.headers.keys():
                raise TransportLost("transport close")
            # RFC 9112 section 6.3: a body without length ends with the connection.
            break
        try:
            parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise TransportLost("transport error") from error
    return Response(parser.get_status_code(), answer.headers, bytes(answer.body))


# WebSocket.


class WebSocketTransport(WSListener):
    """A WebSocket: one packet a message."""

    name = "websocket"
    wire: WSTransport
    """picows' transport, for tests that send their own frames."""

    close_code: int | None = None

    def __init__(self) -> None:
        self._packets: asyncio.Queue[Packet | MalformedError | None] = asyncio.Queue()
        self._fragments: list[bytes] = []
        self._binary = False
        self._gone = asyncio.Event()

    @classmethod
    async def open(cls, address: ServerAddress, sid: str | None = None, *, timeout: float | None = None) -> Self:
        """Raises ConnectFailed, also if the server has not answered after `timeout` seconds (None: the caller waits no
        longer than it wants)."""
        scheme = "wss" if address.secure else "ws"
        try:
            _, listener = await ws_connect(
                cls,
                f"{scheme}://{address.authority}{address.target(cls.name, sid)}",
                ssl_context=address.ssl,
                extra_headers=dict(address.headers),
                max_redirects=0,
                websocket_handshake_timeout=timeout,
                max_frame_size=2**31 - 1,
                use_aiofastnet=False,
            )
        except WSHandshakeError as error:
            status = int(error.response.status) if error.response is not None else None
            raise ConnectFailed(f"The server refused the WebSocket: {error}", status, error.raw_body or b"") from error
        except (OSError, TimeoutError) as error:
            raise ConnectFailed(f"No WebSocket to {address.authority}: {error}") from error
        if not isinstance(listener, cls):
            raise ConnectFailed("The server closed the connection without an answer.")
        return listener

    async def receive(self) -> list[Packet]:
        packet = None if self._gone.is_set() and self._packets.empty() else await self._packets.get()
        if packet is None:
            with suppress(WSError):
                # Raises an error if the server's frames were malformed.
                await self.wire.wait_disconnected()
            raise TransportLost("transport close")
        if isinstance(packet, MalformedError):
            raise packet
        return [packet]

    async def send(self, packets: Sequence[Packet]) -> None:
        for packet in packets:
            await self.send_raw(packet.data if packet.binary else engineio.encode_packet(packet).decode())

    async def send_raw(self, data: bytes | str) -> None:
        if self._gone.is_set():
            raise TransportLost("transport close")
        self.wire.send(WSMsgType.TEXT if isinstance(data, str) else WSMsgType.BINARY, data)

    async def close(self) -> None:
        if not self._gone.is_set():
            self.wire.send_close(WSCloseCode.OK)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._gone.wait(), CLOSE_SECONDS)
            self.abort()
            await self._gone.wait()

    def abort(self) -> None:
        self.wire.disconnect(graceful=False)

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.wire = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            self._answer_close(transport, frame)
        elif frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION):
            if frame.msg_type != WSMsgType.CONTINUATION:
                self._binary = frame.msg_type == WSMsgType.BINARY
            self._fragments.append(frame.get_payload_as_bytes())
            if frame.fin:
                message, self._fragments = b"".join(self._fragments), []
                self._packets.put_nowait(self._decode(message))

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._gone.set()
        self._packets.put_nowait(None)

    def _decode(self, message: bytes) -> Packet | MalformedError:
        if self._binary:
            return Packet(PacketType.MESSAGE, message, binary=True)
        try:
            return engineio.decode_packet(message)
        except MalformedError as error:
            return error

    def _answer_close(self, transport: WSTransport, frame: WSFrame) -> None:
        code = frame.get_payload_as_bytes()[:2]
        self.close_code = int.from_bytes(code, "big") if code else None
        if not transport.is_close_frame_sent:
            transport.send_close(frame.get_close_code())
        transport.disconnect()
