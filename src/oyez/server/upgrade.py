"""Between uvicorn and picows: who may upgrade, and the hand-over of the TCP transport.

uvicorn owns the port and parses HTTP; its public `http=` option takes a protocol class. This one does three things more
than uvicorn's own: it gives a request's head a time and a size, hands WebSocket upgrades to picows instead of to an
ASGI application, and keeps bytes that came behind the upgrade request.
"""

import asyncio
import binascii
import logging
from base64 import b64decode
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

import httptools
from picows import WSAutoPingStrategy, WSUpgradeRequest, WSUpgradeResponse, WSUpgradeResponseWithListener
from picows.picows import WSProtocol  # type: ignore[attr-defined]
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from oyez.protocol import engineio
from oyez.protocol.engineio import HandshakeError
from oyez.server.socket import KEPT_HEADERS, Handshake
from oyez.server.websocket import WebSocket
from oyez.settings import Limits

if TYPE_CHECKING:
    from oyez.server.server import Server

READ_BUFFER = 2_048
"""picows' smallest read buffer, which keeps an idle connection under 10 KB; it grows with what a client sends."""

DEFLATE = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
_DEFLATE_PARAMETERS = frozenset(
    {"server_no_context_takeover", "client_no_context_takeover", "client_max_window_bits", "server_max_window_bits"}
)

Router = Callable[[str], "Server | None"]
"""The server behind a URL path."""

# An adapter, since picows makes a child logger for every connection out of a plain logger.
_picows_logger = logging.LoggerAdapter(logging.getLogger("oyez.picows"), {})
logging.getLogger("oyez.picows").setLevel(logging.CRITICAL)


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with limits on a request's head, and WebSocket upgrades by picows."""

    def __init__(self, router: Router, limits: Limits, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._router = router
        self._limits = limits
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    # The head of a request: not too slow, not too long.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._begin_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._end_head()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        except httptools.HttpParserUpgrade as upgrade:
            if self._should_upgrade():
                self._hand_over(data[upgrade.args[0] :])
        if self._head_timer is not None and self._head_bytes > self._limits.max_header_bytes:
            self._refuse("431 Request Header Fields Too Large", "The request's head is too long.")

    def _begin_head(self) -> None:
        self._end_head()
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(
            self._limits.header_timeout, self._refuse, "408 Request Timeout", "The request's head took too long."
        )

    def _end_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: str, message: str) -> None:
        """Answer with plain HTTP and hang up, where no ASGI application is asked."""
        self._end_head()
        if not self.transport.is_closing():
            head = f"HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: text/html\r\n"
            self.transport.write(f"{head}content-length: {len(message)}\r\n\r\n{message}".encode())
            self.transport.close()

    # The hand-over.

    def _should_upgrade_to_ws(self) -> bool:
        return True

    def _hand_over(self, tail: bytes) -> None:
        url = httptools.parse_url(self.url)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self.headers}
        server = self._router(unquote(url.path.decode("latin-1")))
        if server is None:
            self._refuse("404 Not Found", "There is no WebSocket at this path.")
            return
        key = headers.get("sec-websocket-key", "")
        if self.scope["method"] != "GET" or headers.get("sec-websocket-version") != "13" or not _is_key(key):
            self._refuse("400 Bad Request", engineio.BAD_REQUEST.message)
            return
        query = url.query or b""
        opened = server.open_websocket(
            dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)),
            headers.get("origin"),
            headers.get("host"),
            lambda: self._handshake(headers, query),
        )
        if isinstance(opened, HandshakeError):
            # The official server answers all of its own errors with 400 here.
            status = "503 Service Unavailable" if opened is engineio.OVERLOADED else "400 Bad Request"
            self._refuse(status, opened.message)
            return
        connection, candidate = opened
        deflate = bool(server.settings.compression_threshold) and accepts_deflate(
            headers.get("sec-websocket-extensions", "")
        )
        listener = WebSocket(connection, candidate=candidate, deflate=deflate)
        if candidate:
            connection.candidate = listener
        self._start(listener, key, deflate, tail)

    def _handshake(self, headers: dict[str, str], query: bytes) -> Handshake:
        kept = {name: headers[name] for name in KEPT_HEADERS if name in headers}
        return Handshake.of(kept, query, self.client[0] if self.client else "", secure=self.scheme == "https")

    def _start(self, listener: WebSocket, key: str, deflate: bool, tail: bytes) -> None:
        """From here on the TCP transport is picows'; uvicorn forgets it, or its shutdown would wait for it."""
        self.connections.discard(self)

        def accept(request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
            extra = {"Sec-WebSocket-Extensions": DEFLATE} if deflate else None
            return WSUpgradeResponseWithListener(WSUpgradeResponse.create_101_response(extra), listener)

        protocol = WSProtocol(
            None,  # host and port: a client's affair
            None,  # path: likewise
            False,  # is_client_side
            accept,
            _picows_logger,
            True,  # disconnect_on_exception
            None,  # websocket_handshake_timeout: the handshake is here already
            False,  # enable_auto_ping: Engine.IO has its own
            0,
            0,
            WSAutoPingStrategy.PING_WHEN_IDLE,
            False,  # enable_auto_pong: not to a client that does not read
            self._limits.max_payload,
            None,  # extra_headers
            READ_BUFFER,
        )
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        # A head of our own: picows keeps it, and takes offence at Firefox' `Connection: keep-alive, Upgrade`.
        head = (
            "GET / HTTP/1.1\r\nHost: -\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        )
        _feed(protocol, head.encode("latin-1") + tail)


def accepts_deflate(extensions: str) -> bool:
    """Whether a Sec-WebSocket-Extensions header offers permessage-deflate on terms the server can keep.

    RFC 7692 section 7.1: an offer that asks for a smaller window than ours, or for anything unknown, is declined.
    """
    for offer in extensions.split(","):
        name, *parameters = (part.strip() for part in offer.split(";"))
        asked = [parameter.replace(" ", "").replace('"', "") for parameter in parameters]
        names = {parameter.partition("=")[0] for parameter in asked}
        if (
            name == "permessage-deflate"
            and len(names) == len(asked)
            and names <= _DEFLATE_PARAMETERS
            and ("server_max_window_bits" not in names or "server_max_window_bits=15" in asked)
        ):
            return True
    return False


def _is_key(key: str) -> bool:
    try:
        return len(b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def _feed(protocol: asyncio.BufferedProtocol, data: bytes) -> None:
    while data:
        buffer = memoryview(protocol.get_buffer(-1))
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        protocol.buffer_updated(size)
        data = data[size:]
