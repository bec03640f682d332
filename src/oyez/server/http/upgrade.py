"""uvicorn's HTTP protocol, made stricter, and the way out of it: which requests become WebSockets.

uvicorn owns the port; its public `http=` option takes a protocol class. This one does five things more than uvicorn's
own: it reads one request at a time and refuses what could be read in two ways (`protocol/http_framing.py`), gives a
request's head a time and a size, hands WebSocket upgrades to picows instead of to an ASGI application, keeps bytes that
came after the upgrade request, and passes on to its peers what is theirs.
"""

import asyncio
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, unquote

import httptools
import msgspec
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from oyez.concurrency.cooperative_queue import CooperativeQueue
from oyez.logger import get_logger
from oyez.protocol import engineio
from oyez.protocol.engineio import HandshakeError
from oyez.protocol.http_framing import End, FramingError, Head, RequestFramer, encode_chunk
from oyez.protocol.http_framing import Event as HttpEvent
from oyez.protocol.websocket import (
    VERSION,
    accept_key,
    choose_subprotocol,
    combine_headers,
    encode_close,
    is_handshake,
    negotiate_deflate,
)
from oyez.server.cluster.forwarder import ForwardedRequest, Forwarder
from oyez.server.cluster.node import Node
from oyez.server.cluster.signing import PEER_HEADER, ClientAddress
from oyez.server.http.endpoint import Router
from oyez.server.http.origin import OriginPolicy
from oyez.server.transports.budget import InputGate
from oyez.server.transports.picows import hand_over
from oyez.server.transports.websocket import WebSocket
from oyez.settings import Limits, Settings

_REFUSALS = {404: "404 Not Found", 503: "503 Service Unavailable"}
logger = get_logger("oyez.server")

EVENTS_A_TURN = 200
"""Heads and pieces of bodies that are taken of one connection in a turn of the loop: about a millisecond. A body may
come in chunks of one byte each."""
LONG_READ = 8_192
"""Bytes from which on what has come of a connection waits after shorter requests of others."""
LAST_REQUEST_SECONDS = 0.25
"""How long an idle connection of a stopping server stays open for a request that the client has just sent."""
HTTP_REQUESTS = 1_000
"""Requests at a time besides those of polling clients, of which each has two."""


class Port:
    """What all HTTP connections of a port share."""

    def __init__(self, max_idle: int, forwarder: Forwarder) -> None:
        self.forwarder = forwarder
        """Brings requests to the nodes that have their sessions."""
        self.connect_queue = CooperativeQueue()
        """Connections whose first request has come, processed a few per loop iteration."""
        self.request_queue = CooperativeQueue()
        """Requests that were sent before the previous one was answered."""
        self.gate = InputGate()
        """What is read of all connections in one turn of the loop."""
        self._max_idle = max_idle
        self._idle: dict[HttpProtocol, None] = {}
        """Connections without a request, the one that has been so for longest first."""

    def begin_idle(self, protocol: "HttpProtocol") -> None:
        """`protocol` waits for its next request. If too many do, the first of them is closed."""
        self._idle[protocol] = None
        if len(self._idle) > self._max_idle:
            oldest = next(iter(self._idle))
            self.end_idle(oldest)
            oldest.timeout_keep_alive_handler()

    def end_idle(self, protocol: "HttpProtocol") -> None:
        """It has one, or has been closed."""
        self._idle.pop(protocol, None)


class InputFlow(FlowControl):
    """uvicorn's flow control, for several who each may have a reason for not reading."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self._holders: set[object] = set()

    def hold(self, holder: object, held: bool = True) -> None:
        """Read nothing while `held`, also if others ask to read. Every holder has a state of its own."""
        if held:
            self._holders.add(holder)
            super().pause_reading()
        else:
            self._holders.discard(holder)
            if not self._holders:
                super().resume_reading()

    def pause_reading(self) -> None:
        self.hold(self)

    def resume_reading(self) -> None:
        self.hold(self, False)


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with limits on what a client may keep waiting, and WebSocket upgrades by picows."""

    def __init__(self, router: Router, limits: Limits, port: Port, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._router = router
        self._limits = limits
        self._port = port
        self._inside = False
        """Whether the client has come in: its first request has been looked at."""
        self._framer = RequestFramer(limits.max_header_bytes)
        self._head: Head = None  # type: ignore[assignment]  # as uvicorn's own, there is none before the first request
        self._head_begun = False
        self._in_row = False
        """Whether a request that came before the last one was answered waits to be read."""
        self._gated = False
        """True if what has come waits at the gate."""
        self._dropped = 0
        """Bytes of a body that came after the answer to its request."""
        self._stopping = False
        """True if the next answer is the last one of this connection."""
        self._input_timer: asyncio.TimerHandle | None = None
        self._output_timer: asyncio.TimerHandle | None = None
        self._forwarded: ForwardedRequest | None = None
        """The request, if its session is at another node."""
        self._unsent = False
        """True until the forwarder has been given that request, with all that was received of it."""

    # What the client has to send: the head of a request, not too slow and not too long.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        # As uvicorn does it, but for the addresses: it makes a socket object for each and asks that.
        self.connections.add(self)
        self.transport = transport
        self.flow: InputFlow = InputFlow(transport)
        self.server = transport.get_extra_info("sockname")[:2]
        # A client that has gone by now has no name any more.
        self.client = (transport.get_extra_info("peername") or ())[:2] or None
        self.scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        self._await_input()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_timers()
        # uvicorn leaves its timer after a reset, and with it everything here for as long as `keep_alive`.
        self._unset_keepalive_if_required()
        if self._forwarded is not None:
            self._forwarded.close()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._inside or self._port.connect_queue.try_acquire():
            self._inside = True
            self._receive(data)
        elif self._port.connect_queue.submit(partial(self._come_in, data), len(data)):
            self.transport.pause_reading()
        else:
            self._refuse("503 Service Unavailable", engineio.OVERLOADED.message)

    def _come_in(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self._inside = True
            self.transport.resume_reading()
            self._receive(data)

    def _receive(self, data: bytes) -> None:
        if self._forwarded is not None and not self._framer.in_message:
            # Only a WebSocket continues after the first request that was forwarded.
            if self._head.upgrade:
                self._forwarded.send(data)
            return
        self._unset_keepalive_if_required()
        self._framer.receive(data)
        self._read_on()

    def _read_next(self) -> None:
        self._in_row = False
        self._read_on()

    def _read_on(self) -> None:
        """Take what can be taken now, if other connections leave room in this turn of the loop, or else later."""
        if not self._gated and not self._port.gate.run(self._read_some):
            # Short requests are not kept waiting by long bodies.
            self._wait_at_gate(busy=self._framer.waiting >= LONG_READ)

    def _wait_at_gate(self, *, busy: bool) -> None:
        self._gated = True
        self.flow.hold(self._port.gate)
        self._port.gate.wait(self._pass_gate, busy=busy)

    def _pass_gate(self) -> None:
        self._gated = False
        self._read_some()

    def _read_some(self) -> None:
        """Take a part of what has come: of requests that wait, the first, once the one before it has been answered."""
        try:
            for _ in range(EVENTS_A_TURN):
                if not self._may_read() or (event := self._framer.next_event()) is None:
                    break
                if isinstance(event, Head) and event.upgrade:
                    self._upgrade(event)
                    return
                self._take(event)
            else:
                self._wait_at_gate(busy=True)
        except FramingError as error:
            self._refuse_input(error.status, str(error))
        except httptools.HttpParserError:
            self._refuse_input("400 Bad Request", "The request's method or path is not one of HTTP/1.1.")
        else:
            self._forward()
            self._bound_input()

    def _may_read(self) -> bool:
        if self.transport.is_closing():
            return False
        return self._framer.in_message or not (self._forwarded or self._in_row or self._is_answering())

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _bound_input(self) -> None:
        if self._may_read() and not self._framer.in_message:
            if self._framer.head_begun and not self._head_begun:
                self._head_begun = True
                self._await_input()
            elif self._input_timer is None and self.timeout_keep_alive_task is None:
                # Bytes that begin no request (line ends) have just stopped uvicorn's clock.
                self._await_input()
        self.flow.hold(self._framer, self._framer.waiting > self._limits.max_header_bytes)
        self.flow.hold(self._port.gate, self._gated)

    def _take(self, event: HttpEvent) -> None:
        if isinstance(event, Head):
            self._begin(event)
            if self._is_crowded():
                self._refuse("503 Service Unavailable", engineio.OVERLOADED.message)
            elif not self._belongs_elsewhere():
                self.parser.feed_data(event.encode())
                if self._stopping and self.cycle is not None:
                    self.cycle.keep_alive = False
        elif self._head.length is None:
            self._take_body(encode_chunk(b"" if isinstance(event, End) else event))
        elif isinstance(event, bytes):
            self._take_body(event)

    def _begin(self, head: Head) -> None:
        most = self._limits.max_headers
        if len(head.fields) > most or head.target.count(b"&") >= most:
            raise FramingError(
                f"The request has more than {most} headers, or parameters in its address.",
                "431 Request Header Fields Too Large",
            )
        self._end_input_timer()
        if not self.flow.write_paused:
            # What is left of the last answer is watched together with the next one.
            self._end_output_timer()
        self._head, self._head_begun, self._dropped = head, False, 0
        # The one before has been answered.
        self.cycle = None  # type: ignore[assignment]

    def _is_crowded(self) -> bool:
        # uvicorn has a limit too, and logs each request over it.
        return max(len(self.connections), len(self.tasks)) > 2 * self._limits.max_connections + HTTP_REQUESTS

    def _take_body(self, data: bytes) -> None:
        if self._forwarded is not None:
            self._forwarded.send(data)
        else:
            self._feed_body(data)

    def _feed_body(self, data: bytes) -> None:
        if self.cycle is not None and self.cycle.response_complete:
            # Answered early: the rest is read only so that the client can finish and read the answer.
            self._dropped += len(data)
            if self._dropped > self._limits.max_publish_bytes:
                self.transport.close()
                return
        self.parser.feed_data(data)

    def _refuse_input(self, status: str, message: str) -> None:
        """What came is no request, or its body is broken. It gets one answer at most."""
        begun = self._framer.in_message and self.cycle is not None and self.cycle.response_started
        if self._forwarded is not None or begun:
            self.transport.close()
        else:
            self._refuse(status, message)

    def _await_input(self) -> None:
        if self._input_timer is not None:
            self._input_timer.cancel()
        self._input_timer = self.loop.call_later(self._limits.header_timeout, self._miss_input)

    def _miss_input(self) -> None:
        if self._head_begun:
            self._refuse("408 Request Timeout", "The request's head took too long.")
        else:
            self.transport.close()

    # What the client has to take: the answer.

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch_output()
        if self.cycle.response_complete and self.cycle.more_body:
            # Answered early, as a body that is too long. What is left of it has to come in time all the same.
            self._await_input()
        elif self._framer.waiting and not self.transport.is_closing():
            # A few in each turn of the loop, over all connections: the others are served meanwhile.
            self._unset_keepalive_if_required()
            self._in_row = self._port.request_queue.submit(self._read_next, 0)
            if not self._in_row:
                self.transport.close()
        elif self.timeout_keep_alive_task is not None:
            self._port.begin_idle(self)
            if not self._framer.in_message:
                self._forget_request()

    def _forget_request(self) -> None:
        """Free a request that has been answered: its head may be long, and the next one may never come."""
        self.cycle = self.scope = self._head = None  # type: ignore[assignment]
        self.headers = []

    def _unset_keepalive_if_required(self) -> None:
        super()._unset_keepalive_if_required()
        self._port.end_idle(self)

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
        if self._forwarded is not None:
            self._forwarded.pause_reading()
        else:
            # The next answer waits for the client, and nothing else would notice that it takes none.
            self._watch_output()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._forwarded is not None:
            self._forwarded.resume_reading()
        else:
            self._watch_output()

    def _end_timers(self) -> None:
        self._end_input_timer()
        self._end_output_timer()

    def _end_input_timer(self) -> None:
        if self._input_timer is not None:
            self._input_timer.cancel()
            self._input_timer = None

    def _end_output_timer(self) -> None:
        if self._output_timer is not None:
            self._output_timer.cancel()
            self._output_timer = None

    def _refuse(self, status: str, message: str, kind: str = "text/html", **headers: str) -> None:
        """Answer with plain HTTP and hang up, where no ASGI application is asked."""
        self._end_timers()
        if not self.transport.is_closing():
            if status.startswith("503"):
                headers["retry-after"] = str(engineio.RETRY_AFTER)
            lines = [f"HTTP/1.1 {status}", "connection: close", f"content-type: {kind}"]
            lines.append("x-content-type-options: nosniff")
            lines += [f"{name}: {value}" for name, value in headers.items()]
            self.transport.write("\r\n".join([*lines, f"content-length: {len(message)}", "", message]).encode())
            self.transport.close()
            self._watch_output()

    def _accept_and_close(self, key: str) -> None:
        """Answer a WebSocket handshake, and end the WebSocket."""
        self._end_timers()
        lines = ["HTTP/1.1 101 Switching Protocols", "connection: upgrade", "upgrade: websocket"]
        lines.append(f"sec-websocket-accept: {accept_key(key)}")
        farewell = encode_close(engineio.REFUSED.code, engineio.ALREADY_UPGRADED.message)
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + farewell)
        self.transport.close()
        self._watch_output()

    # Requests of other nodes' sessions.

    def _belongs_elsewhere(self) -> bool:
        """True if another node has the session of the request. `_forward` follows after the bytes that are here."""
        head = self._head
        url = _parse_url(head.target)
        endpoint = self._router(url[0]) if url is not None else None
        if endpoint is None or url is None or b"sid=" not in url[1] or head.method == b"OPTIONS":
            return False
        sid = dict(parse_qsl(url[1].decode("latin-1"), keep_blank_values=True)).get("sid", "")
        membership = endpoint.membership
        owner = self._port.forwarder.node.owner_of(sid) if membership is not None else None
        if membership is None or owner is None:
            return False
        settings = endpoint.settings
        self._forwarded = ForwardedRequest(
            owner,
            membership,
            head,
            ClientAddress(self.scheme or "http", self.client),
            self.transport,
            hold=partial(self.flow.hold, self._port.forwarder),
            idle_timeout=settings.ping_interval + settings.ping_timeout + self._limits.body_timeout,
            on_failed=partial(self._refuse_session, settings),
            on_ended=self._end_tunnel,
        )
        self._unsent = True
        return True

    def _forward(self) -> None:
        """Forward a request of another node's session, with all that was received of it."""
        if self._unsent and self._forwarded is not None:
            self._unsent = False
            if not self._port.forwarder.forward(self._forwarded, self._framer.rest):
                self._refuse("503 Service Unavailable", engineio.OVERLOADED.message)

    def _refuse_session(self, settings: Settings) -> None:
        """The node that had the session has gone, and the session with it. Official clients open another."""
        error = engineio.UNKNOWN_SESSION
        if self._head.upgrade:
            self._refuse("400 Bad Request", error.message)
            return
        origin = combine_headers(self._head.fields).get("origin")
        body = msgspec.json.encode({"code": error.code, "message": error.message}).decode()
        self._refuse(
            "400 Bad Request", body, "application/json", **dict(OriginPolicy(settings.origins).headers(origin))
        )

    def _end_tunnel(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
            self._watch_output()

    def shutdown(self) -> None:
        """uvicorn stops: what is still forwarded ends."""
        if self._forwarded is not None:
            self._forwarded.close()
            self.transport.close()
        elif self._is_answering():
            super().shutdown()
        else:
            # A request may be on its way: it is answered with `Connection: close`, and not reset.
            self._stopping = True
            self.loop.call_later(LAST_REQUEST_SECONDS, self._end_idle)

    def _end_idle(self) -> None:
        # A connection that has become a WebSocket meanwhile has left nothing here.
        if self.__dict__:
            super().shutdown()

    # The hand-over.

    def _upgrade(self, head: Head) -> None:
        self._begin(head)
        rest = self._framer.take_rest()
        self.flow.hold(self._framer, False)
        self.flow.hold(self._port.gate, False)
        if self._belongs_elsewhere():
            if self._forwarded is not None:
                self._forwarded.send(rest)
                self._forward()
        else:
            self._hand_over(rest)

    def _hand_over(self, tail: bytes) -> None:
        headers = combine_headers(self._head.fields)
        url = _parse_url(self._head.target)
        if url is None or not is_handshake(headers):
            wrong = headers.get("sec-websocket-version") != VERSION
            extra = {"sec-websocket-version": VERSION} if wrong else {}
            self._refuse("400 Bad Request", engineio.BAD_REQUEST.message, **extra)
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
        if opened is engineio.ALREADY_UPGRADED:
            self._accept_and_close(headers["sec-websocket-key"])
            return
        if isinstance(opened, HandshakeError):
            # The official server answers all of its own errors with 400 here.
            self._refuse(_REFUSALS.get(opened.status, "400 Bad Request"), opened.message)
            return
        compresses = bool(endpoint.settings.compression_threshold)
        extension = negotiate_deflate(headers.get("sec-websocket-extensions", "")) if compresses else None
        websocket = WebSocket(opened, deflate=extension is not None)
        opened.attach(websocket)
        # From here on uvicorn knows nothing of the transport, or its shutdown would wait for it.
        self.connections.discard(self)
        hand_over(
            self.transport,
            websocket,
            key=headers["sec-websocket-key"],
            extension=extension,
            subprotocol=choose_subprotocol(headers.get("sec-websocket-protocol", "")),
            max_frame=self._limits.max_payload,
            tail=tail,
        )
        # uvloop goes on holding the protocol that was there first, so it has to be empty.
        self.__dict__.clear()


class HandedOffProtocol(HttpProtocol):
    """The protocol of a connection that another process has handed off, over which `received` came already."""

    def __init__(self, received: bytes, *positional: Any, **uvicorn: Any) -> None:
        super().__init__(*positional, **uvicorn)
        self._received = received
        # The client has waited in the connect queue of the other process.
        self._inside = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.data_received(self._received)


class PeerProtocol(HttpProtocol):
    """The protocol of a tunnel from another node: the client is the one that the signature of a request names."""

    def __init__(self, node: Node, *positional: Any, **uvicorn: Any) -> None:
        super().__init__(*positional, **uvicorn)
        self._node = node

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not isinstance(self.server, tuple):
            # The name of a UNIX socket.
            self.server = None

    def _belongs_elsewhere(self) -> bool:
        """False: the session is here, or there is none. True if the request was refused."""
        head = self._head
        value = next((value for name, value in head.fields if name == PEER_HEADER), b"")
        client = self._node.signer.verify(self._node.id, value, head.method, head.target)
        if client is None:
            logger.warning("a request between nodes was refused: they need the same JWT_SECRET, and clocks that agree")
            self._refuse("403 Forbidden", engineio.FORBIDDEN.message)
            return True
        self.scheme, self.client = client
        return False


def _parse_url(url: bytes) -> tuple[str, bytes] | None:
    """Path and query of a request's target; None where it has no path."""
    try:
        parsed = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        return None
    return (unquote(parsed.path.decode("latin-1")), parsed.query or b"") if parsed.path else None
