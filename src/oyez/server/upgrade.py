"""uvicorn's HTTP protocol, made stricter, and the way out of it: which requests become WebSockets.

uvicorn owns the port and parses HTTP; its public `http=` option takes a protocol class. This one does four things more
than uvicorn's own: it gives a request's head a time and a size, hands WebSocket upgrades to picows instead of to an
ASGI application, keeps bytes that came behind the upgrade request, and passes on to its peers what is theirs.
"""

import asyncio
import binascii
from base64 import b64decode
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import parse_qsl, unquote

import httptools
import msgspec
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from oyez.logger import get_logger
from oyez.protocol import engineio
from oyez.protocol.engineio import HandshakeError
from oyez.server.handover import hand_over
from oyez.server.neighbours import Neighbours
from oyez.server.node import PEER_HEADER, Client, Node
from oyez.server.origin import OriginPolicy
from oyez.server.socket import Handshake
from oyez.server.tunnel import Tunnel, encode_head, encode_request
from oyez.server.turnstile import Turnstile
from oyez.server.websocket import WebSocket
from oyez.settings import Limits, Settings

if TYPE_CHECKING:
    from oyez.server.connection import Connection

_DEFLATE_PARAMETERS = frozenset(
    {
        "server_no_context_takeover",
        "client_no_context_takeover",
        "client_max_window_bits",
        "server_max_window_bits=15",
        *(f"client_max_window_bits={bits}" for bits in range(8, 16)),
    }
)
"""What a client may ask for; of a window it can only ask us to keep to our own size."""

logger = get_logger("oyez.server")


class Endpoint(Protocol):
    """What answers WebSockets at a path: a server, for Socket.IO, or what is beside it."""

    @property
    def settings(self) -> Settings: ...

    @property
    def neighbours(self) -> Neighbours | None:
        """To whom requests go whose session is theirs; None where no request names a session."""

    def read_handshake(
        self, headers: Mapping[str, str], query_string: bytes, client: tuple[str, int] | None, *, secure: bool
    ) -> Handshake:
        """What is kept of the request that opens a connection."""

    def open_websocket(
        self,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        read_handshake: Callable[[], Handshake],
        *,
        secure: bool,
    ) -> "tuple[Connection, bool] | HandshakeError":
        """The connection of an upgrade, and whether the WebSocket is only a candidate for it; or why there is none."""


Router = Callable[[str], Endpoint | None]
"""What is behind a URL path."""


class HeadTooLongError(Exception):
    """Leaves the parser from within a callback."""


class SecondRequestError(Exception):
    """Leaves the parser from within a callback: a request came behind one that is passed on."""


class Errand(NamedTuple):
    """A request that is to be passed on."""

    neighbours: Neighbours
    owner: str
    """The node whose it is."""
    settings: Settings
    upgrade: bool


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with limits on what a client may keep waiting, and WebSocket upgrades by picows."""

    def __init__(self, router: Router, limits: Limits, door: Turnstile, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._router = router
        self._limits = limits
        self._door = door
        self._inside = False
        """Whether the client has come in: its first request has been looked at."""
        self._head_bytes = 0
        self._head_begun = False
        self._input_timer: asyncio.TimerHandle | None = None
        self._output_timer: asyncio.TimerHandle | None = None
        self._elsewhere = False
        """Whether the request is not answered here."""
        self._errand: Errand | None = None
        """Where it goes then, until it is on its way."""
        self._came: list[bytes] = []
        """What has come of it behind its head until then."""
        self._tunnel: Tunnel | None = None
        self._chunked = False

    # What the client has to send: the head of a request, not too slow and not too long.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        # As uvicorn does it, but for the addresses: it makes a socket object for each and asks that.
        self.connections.add(self)
        self.transport = transport
        self.flow = FlowControl(transport)
        self.server = transport.get_extra_info("sockname")[:2]
        # A client that has gone by now has no name any more.
        self.client = (transport.get_extra_info("peername") or ())[:2] or None
        self.scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        self._await_input()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_timers()
        if self._tunnel is not None:
            self._tunnel.close()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._inside or self._door.passes():
            self._inside = True
            self._receive(data)
        elif self._door.wait(partial(self._come_in, data), len(data)):
            self.transport.pause_reading()
        else:
            self._refuse("503 Service Unavailable", engineio.OVERLOADED.message)

    def _come_in(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self._inside = True
            self.transport.resume_reading()
            self._receive(data)

    def _receive(self, data: bytes) -> None:
        if self._tunnel is not None and self.parser.should_upgrade():
            self._tunnel.send(data)
            return
        self._unset_keepalive_if_required()
        if self._input_timer is None and self.cycle is not None and self.cycle.response_complete:
            # Bytes that begin no request (line ends) have just stopped uvicorn's clock.
            self._await_input()
        self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
            if self._head_begun and self._head_bytes > self._limits.max_header_bytes:
                self._refuse_head()
        except httptools.HttpParserUpgrade as upgrade:
            tail = data[upgrade.args[0] :]
            if self._should_upgrade() and not self._pass_on(tail, upgrade=True):
                self._hand_over(tail)
            else:
                self._run_errand()
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, HeadTooLongError):
                self._refuse_head()
            elif self._elsewhere:
                # What comes back belongs to the first request: no other answer may be put in between.
                self.transport.close()
            else:
                self.send_400_response("Invalid HTTP request received.")
                self._watch_output()
        else:
            self._run_errand()

    def on_message_begin(self) -> None:
        self._await_input()
        self._head_begun = True
        # The chunk that it begins in counts by what is parsed of it.
        self._head_bytes = 0
        if self._elsewhere:
            raise SecondRequestError
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        # With the colon, the space and the end of the line.
        self._count_head(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._end_timers()
        self._head_begun = False
        # An upgrade is looked at when the parser stops behind it.
        upgrades = self.parser.should_upgrade() and self._should_upgrade()
        if upgrades or not self._pass_on(b"", upgrade=False):
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._elsewhere:
            self._send_on(b"%x\r\n%b\r\n" % (len(body), body) if self._chunked else body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._elsewhere:
            super().on_message_complete()
        elif self._chunked:
            self._send_on(b"0\r\n\r\n")

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self._limits.max_header_bytes:
            raise HeadTooLongError

    def _await_input(self) -> None:
        if self._input_timer is not None:
            self._input_timer.cancel()
        self._input_timer = self.loop.call_later(self._limits.header_timeout, self._miss_input)

    def _miss_input(self) -> None:
        if self._head_begun:
            self._refuse("408 Request Timeout", "The request's head took too long.")
        else:
            self.transport.close()

    def _refuse_head(self) -> None:
        self._refuse("431 Request Header Fields Too Large", "The request's head is too long.")

    # What the client has to take: the answer.

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch_output()
        if self.cycle.response_complete and self.cycle.more_body:
            # Answered early, as a body that is too long. What is left of it has to come in time all the same.
            self._await_input()

    def _watch_output(self, before: int | None = None) -> None:
        """Hang up where nothing of an answer is taken for `close_timeout` seconds."""
        size = self.transport.get_write_buffer_size()
        if before is not None and size >= before:
            self.transport.abort()
        elif size:
            if self._output_timer is not None:
                self._output_timer.cancel()
            self._output_timer = self.loop.call_later(self._limits.close_timeout, self._watch_output, size)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._tunnel is not None:
            self._tunnel.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._tunnel is not None:
            self._tunnel.resume_reading()

    def _end_timers(self) -> None:
        for timer in (self._input_timer, self._output_timer):
            if timer is not None:
                timer.cancel()
        self._input_timer = self._output_timer = None

    def _refuse(self, status: str, message: str, kind: str = "text/html", **headers: str) -> None:
        """Answer with plain HTTP and hang up, where no ASGI application is asked."""
        self._end_timers()
        if not self.transport.is_closing():
            if status.startswith("503"):
                headers["retry-after"] = str(engineio.RETRY_AFTER)
            lines = [f"HTTP/1.1 {status}", "connection: close", f"content-type: {kind}"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            self.transport.write("\r\n".join([*lines, f"content-length: {len(message)}", "", message]).encode())
            self.transport.close()
            self._watch_output()

    # What is a peer's.

    def _pass_on(self, tail: bytes, *, upgrade: bool) -> bool:
        """Whether the request, of which `tail` came behind the head, is one for a peer: then it is on its way."""
        url = _parse_url(self.url)
        endpoint = self._router(url[0]) if url is not None else None
        if endpoint is None or url is None or b"sid=" not in url[1] or self.parser.get_method() == b"OPTIONS":
            return False
        sid = dict(parse_qsl(url[1].decode("latin-1"), keep_blank_values=True)).get("sid", "")
        neighbours = endpoint.neighbours
        owner = neighbours.node.owner_of(sid) if neighbours is not None else None
        if neighbours is None or owner is None:
            return False
        self._elsewhere = True
        if self._is_answering():
            self._refuse("400 Bad Request", engineio.BAD_REQUEST.message)
        else:
            self._chunked = any(name == b"transfer-encoding" for name, _ in self.headers)
            self._errand = Errand(neighbours, owner, endpoint.settings, upgrade)
            self._came = [tail]
        return True

    def _send_on(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.send(data)
        elif self._errand is not None:
            self._came.append(data)

    def _run_errand(self) -> None:
        """Have a request that is a peer's go there, once all that has come of it is known."""
        if self._errand is None:
            return
        errand, self._errand = self._errand, None
        if self._give_away(errand):
            return
        node, settings = errand.neighbours.node, errand.settings
        if len(node.tunnels) >= self._limits.max_tunnels:
            self._refuse("503 Service Unavailable", engineio.OVERLOADED.message)
            return
        self._tunnel = Tunnel(
            node,
            self.transport,
            self._encode_head(errand),
            idle_timeout=settings.ping_interval + settings.ping_timeout + self._limits.body_timeout,
            failed=partial(self._refuse_session, settings, upgrade=errand.upgrade),
            ended=self._end_tunnel,
        )
        self._tunnel.open(errand.owner, errand.neighbours.locate)
        for data in self._came:
            self._tunnel.send(data)
        self._came = []

    def _give_away(self, errand: Errand) -> bool:
        """Whether a peer on this machine has been given the whole connection."""
        if self.scheme != "http" or self._chunked or self.transport.get_write_buffer_size():
            # The state of TLS, or of half a chunk, is in this process; and so is an answer of before.
            return False
        version = self.parser.get_http_version()
        request = encode_request(self.parser.get_method(), self.url, version, self.headers, self._came)
        file = self.transport.get_extra_info("socket").fileno()
        if not errand.neighbours.node.give(errand.owner, file, request):
            return False
        # The connection stays open: it is the peer's as well.
        self.transport.abort()
        return True

    def _encode_head(self, errand: Errand) -> bytes:
        client, method = Client(self.scheme or "http", self.client), self.parser.get_method()
        return encode_head(
            errand.neighbours.node, errand.owner, client, method, self.url, self.headers, upgrade=errand.upgrade
        )

    def _refuse_session(self, settings: Settings, *, upgrade: bool) -> None:
        """The node that had the session has gone, and the session with it. Official clients open another."""
        error = engineio.UNKNOWN_SESSION
        if upgrade:
            self._refuse("400 Bad Request", error.message)
            return
        origin = next((value.decode("latin-1") for name, value in self.headers if name == b"origin"), None)
        body = msgspec.json.encode({"code": error.code, "message": error.message}).decode()
        self._refuse(
            "400 Bad Request", body, "application/json", **dict(OriginPolicy(settings.origins).headers(origin))
        )

    def _end_tunnel(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
            self._watch_output()

    def shutdown(self) -> None:
        """uvicorn stops: what is still passed on ends."""
        if self._tunnel is not None:
            self._tunnel.close()
            self.transport.close()
        else:
            super().shutdown()

    # The hand-over.

    def _should_upgrade_to_ws(self) -> bool:
        return True

    def _hand_over(self, tail: bytes) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self.headers}
        key = headers.get("sec-websocket-key", "")
        url = _parse_url(self.url)
        if url is None or self._is_answering() or not self._is_websocket_request(headers, key):
            self._refuse("400 Bad Request", engineio.BAD_REQUEST.message)
            return
        path, query = url
        endpoint = self._router(path)
        if endpoint is None:
            self._refuse("404 Not Found", "There is no WebSocket at this path.")
            return
        secure = self.scheme == "https"
        opened = endpoint.open_websocket(
            dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)),
            headers,
            lambda: endpoint.read_handshake(headers, query, self.client, secure=secure),
            secure=secure,
        )
        if isinstance(opened, HandshakeError):
            # The official server answers all of its own errors with 400 here.
            status = "503 Service Unavailable" if opened is engineio.OVERLOADED else "400 Bad Request"
            self._refuse(status, opened.message)
            return
        connection, candidate = opened
        deflate = bool(endpoint.settings.compression_threshold) and accepts_deflate(
            headers.get("sec-websocket-extensions", "")
        )
        listener = WebSocket(connection, candidate=candidate, deflate=deflate)
        # From here on uvicorn knows nothing of the transport, or its shutdown would wait for it.
        self.connections.discard(self)
        hand_over(self.transport, listener, key=key, deflate=deflate, max_frame=self._limits.max_payload, tail=tail)
        # uvloop goes on holding the protocol that was there first, so it has to be empty.
        self.__dict__.clear()

    def _is_answering(self) -> bool:
        # Requests sent in a row: an answer that is still to come would end up between the WebSocket's frames.
        return self.cycle is not None and not self.cycle.response_complete

    def _is_websocket_request(self, headers: Mapping[str, str], key: str) -> bool:
        return self.scope["method"] == "GET" and headers.get("sec-websocket-version") == "13" and _is_key(key)


class GivenProtocol(HttpProtocol):
    """The same for a connection that a peer has given away, over which `came` has come already."""

    def __init__(self, came: bytes, *positional: Any, **uvicorn: Any) -> None:
        super().__init__(*positional, **uvicorn)
        self._given = came
        # It has waited at the peer's door.
        self._inside = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.data_received(self._given)


class PeerProtocol(HttpProtocol):
    """The same for what peers pass on: it is from whom they say it is, if they prove that they are peers."""

    def __init__(self, node: Node, *positional: Any, **uvicorn: Any) -> None:
        super().__init__(*positional, **uvicorn)
        self._node = node

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not isinstance(self.server, tuple):
            # The name of a UNIX socket.
            self.server = None

    def _pass_on(self, tail: bytes, *, upgrade: bool) -> bool:
        value = next((value for name, value in self.headers if name == PEER_HEADER), b"")
        client = self._node.verify(value, self.parser.get_method(), self.url)
        if client is None:
            logger.warning("a request between nodes was refused: they need the same JWT_SECRET, and clocks that agree")
            self._refuse("403 Forbidden", engineio.FORBIDDEN.message)
            self._elsewhere = True
            return True
        self.scheme, self.client = client
        self.scope["scheme"], self.scope["client"] = client
        return False


def accepts_deflate(extensions: str) -> bool:
    """Whether a Sec-WebSocket-Extensions header offers permessage-deflate on terms the server can keep.

    RFC 7692 section 7.1: an offer that asks for a smaller window than ours, or for anything unknown, is declined.
    """
    for offer in extensions.split(","):
        name, *parameters = (part.strip() for part in offer.split(";"))
        asked = [parameter.replace(" ", "").replace('"', "") for parameter in parameters]
        names = {parameter.partition("=")[0] for parameter in asked}
        if name == "permessage-deflate" and len(names) == len(asked) and _DEFLATE_PARAMETERS.issuperset(asked):
            return True
    return False


def _parse_url(url: bytes) -> tuple[str, bytes] | None:
    """Path and query of a request's target; None where it has no path."""
    try:
        parsed = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        return None
    return (unquote(parsed.path.decode("latin-1")), parsed.query or b"") if parsed.path else None


def _is_key(key: str) -> bool:
    try:
        return len(b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False
