"""uvicorn's HTTP protocol, made stricter.

uvicorn owns the port; its public `http=` option takes a protocol class. This one does five things more than uvicorn's
own: it reads one request at a time and refuses what could be read in two ways (`protocol/http_framing.py`), gives a
request's head a time and a size, hands WebSocket upgrades to picows instead of to an ASGI application, keeps bytes that
came after the upgrade request, and forwards the requests of other nodes' sessions. `states.py` has its states.
"""

import asyncio
import contextvars
from functools import partial
from typing import Any

import httptools
import msgspec
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from oyez.protocol import engineio
from oyez.protocol.http_framing import End, FramingError, Head, RequestFramer, encode_chunk
from oyez.protocol.http_framing import Event as HttpEvent
from oyez.protocol.websocket import combine_headers
from oyez.server.cluster.forwarder import ForwardedRequest
from oyez.server.cluster.signing import ClientAddress
from oyez.server.http.direct import DirectExchange, Responder, is_plain
from oyez.server.http.endpoint import Router
from oyez.server.http.origin import OriginPolicy
from oyez.server.http.port_state import PortState
from oyez.server.http.refusals import BAD_REQUEST, JSON, TIMEOUT, UNAVAILABLE, encode_problem, encode_refusal
from oyez.server.http.states import TRANSITIONS, Input, State
from oyez.server.http.upgrade import accept_handshake, find_session
from oyez.server.transports.picows import hand_over
from oyez.settings import Limits, Settings

EVENTS_PER_ITERATION = 200
"""Heads and pieces of bodies that are read of one connection in one iteration of the loop: about a millisecond. A body
may come in chunks of one byte each."""
LONG_READ = 8_192
"""Bytes from which on the input of a connection waits after shorter requests of others."""
LAST_REQUEST_SECONDS = 0.25
"""Seconds that an idle connection of a stopping server stays open for a request that the client has just sent."""
HTTP_REQUESTS = 1_000
"""Requests at a time besides those of polling clients, of which each has two."""


class InputFlow(FlowControl):
    """uvicorn's flow control, for several holders, each of which may have a reason for not reading."""

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

    _state = State.UPGRADED
    """The state after the hand-over to picows, which empties the object."""

    def __init__(self, router: Router, limits: Limits, port: PortState, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._router = router
        self._limits = limits
        self._port = port
        self._state = State.QUEUED
        self._framer = RequestFramer(limits.max_header_bytes)
        self._head: Head = None  # type: ignore[assignment]  # as uvicorn's own, there is none before the first request
        self._head_begun = False
        self._next_is_queued = False
        """True if a request that came before the last one was answered waits to be read."""
        self._gated = False
        """True if received bytes wait at the gate."""
        self._dropped = 0
        """Bytes of a body that came after the answer to its request."""
        self._stopping = False
        """True if the next answer is the last one of this connection."""
        self._input_timer: asyncio.TimerHandle | None = None
        self._output_timer: asyncio.TimerHandle | None = None
        self._forwarded: ForwardedRequest | None = None
        """The request, if its session is at another node."""

    def _advance(self, change: Input) -> None:
        self._state = TRANSITIONS[self._state][change]

    # Input: the head of a request must be neither too slow nor too long.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        # As uvicorn does it, but for the addresses: it makes a socket object for each and asks that.
        self.connections.add(self)
        self.transport = transport
        self.flow: InputFlow = InputFlow(transport)
        self.server = transport.get_extra_info("sockname")[:2]
        # The socket of a client that has disconnected has no peer name.
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
        if self._state is not State.QUEUED:
            self._receive(data)
        elif self._port.connect_queue.try_acquire():
            self._advance(Input.ADMITTED)
            self._receive(data)
        elif self._port.connect_queue.submit(partial(self._admit, data), len(data)):
            self.transport.pause_reading()
        else:
            self._refuse(UNAVAILABLE, engineio.OVERLOADED.message)

    def _admit(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self._advance(Input.ADMITTED)
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
        self._next_is_queued = False
        self._read_on()

    def _read_on(self) -> None:
        """Read now if other connections leave room in this iteration of the loop, otherwise later."""
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
        """Read a part of the input: of requests that wait, the first, after the one before it has been answered."""
        try:
            for _ in range(EVENTS_PER_ITERATION):
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
            self._refuse_input(BAD_REQUEST, "The request's method or path is not one of HTTP/1.1.")
        else:
            self._forward()
            self._bound_input()

    def _may_read(self) -> bool:
        if self.transport.is_closing():
            return False
        return self._framer.in_message or (self._state is State.HEAD and not self._next_is_queued)

    def _bound_input(self) -> None:
        if self._may_read() and not self._framer.in_message:
            if self._framer.head_begun and not self._head_begun:
                self._head_begun = True
                self._await_input()
            elif self._input_timer is None and self.timeout_keep_alive_task is None:
                # Bytes that begin no request (line ends) have just stopped uvicorn's timer.
                self._await_input()
        self.flow.hold(self._framer, self._framer.waiting > self._limits.max_header_bytes)
        self.flow.hold(self._port.gate, self._gated)

    def _take(self, event: HttpEvent) -> None:
        if isinstance(event, Head):
            self._begin(event)
            if self._is_crowded():
                self._refuse(UNAVAILABLE, engineio.OVERLOADED.message)
            elif self._admits() and not self._belongs_to_peer():
                self._advance(Input.LOCAL_REQUEST)
                respond = self._port.find_responder(event.target)
                if respond is not None and is_plain(event, self._framer.waiting):
                    self._answer_directly(respond)
                    return
                self.parser.feed_data(event.encode())
                if self._stopping and self.cycle is not None:
                    self.cycle.keep_alive = False
        elif self._head.length is None:
            self._take_body(encode_chunk(b"" if isinstance(event, End) else event))
        elif isinstance(event, bytes):
            self._take_body(event)

    def _answer_directly(self, respond: Responder) -> None:
        body = b"".join(self._framer.read_whole())
        exchange = DirectExchange(
            self._head,
            body,
            self._client_address,
            self.flow,
            self.server_state.default_headers,
            self.on_response_complete,
        )
        exchange.keep_alive = not self._stopping
        self.cycle = exchange  # type: ignore[assignment]
        task = self.loop.create_task(exchange.run(respond, self._write_answer), context=contextvars.Context())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _write_answer(self, answer: bytes, keep_alive: bool) -> None:
        self.transport.write(answer)
        if not keep_alive:
            self.transport.close()

    def _begin(self, head: Head) -> None:
        most = self._limits.max_headers
        if len(head.fields) > most or head.target.count(b"&") >= most:
            raise FramingError(
                f"The request has more than {most} headers, or parameters in its address.",
                "431 Request Header Fields Too Large",
            )
        self._end_input_timer()
        if not self.flow.write_paused:
            # The rest of the last answer is watched together with the next one.
            self._end_output_timer()
        self._head, self._head_begun, self._dropped = head, False, 0
        # The request before has been answered.
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
        """The input is no request, or the body of one is broken. A request gets one answer at most."""
        begun = self._framer.in_message and self.cycle is not None and self.cycle.response_started
        if self._forwarded is not None or begun:
            self.transport.close()
        else:
            self._refuse(status, message)

    def _await_input(self) -> None:
        if self._input_timer is not None:
            self._input_timer.cancel()
        self._input_timer = self.loop.call_later(self._limits.header_timeout, self._on_input_timeout)

    def _on_input_timeout(self) -> None:
        if self._head_begun:
            self._refuse(TIMEOUT, "The request's head took too long.")
        else:
            self.transport.close()

    # Output: the client must read the answer.

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._state is State.LOCAL:
            self._advance(Input.ANSWERED)
        self._watch_output()
        if self.cycle.response_complete and self.cycle.more_body:
            # Answered before the end of the body. The rest of it still has to come in time.
            self._await_input()
        elif self._framer.waiting and not self.transport.is_closing():
            # A few per loop iteration, over all connections: the others are served meanwhile.
            self._unset_keepalive_if_required()
            self._next_is_queued = self._port.request_queue.submit(self._read_next, 0)
            if not self._next_is_queued:
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
        """Close the connection if the client reads nothing of an answer for `close_timeout` seconds."""
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
            # The next answer waits until the client reads; only this timer notices a client that never does.
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

    def _refuse(self, status: str, message: str) -> None:
        """Answer without an ASGI application, and close the connection."""
        self._answer_and_close(encode_problem(status, message))

    def _answer_and_close(self, answer: bytes) -> None:
        self._end_timers()
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()
            self._watch_output()

    # Requests of other nodes' sessions.

    def _admits(self) -> bool:
        """True if the request may be served; otherwise it has been refused."""
        return True

    def _belongs_to_peer(self) -> bool:
        """True if another node has the session of the request. `_forward` follows after the bytes that are here."""
        found = find_session(self._router, self._head)
        membership = found[0].membership if found is not None else None
        if found is None or membership is None:
            return False
        endpoint, sid = found
        owner = membership.node.owner_of(sid)
        if owner is None:
            return False
        settings = endpoint.settings
        self._advance(Input.FOREIGN_REQUEST)
        self._forwarded = ForwardedRequest(
            owner,
            membership,
            self._head,
            self._client_address,
            self.transport,
            hold=partial(self.flow.hold, self._port.forwarder),
            idle_timeout=settings.ping_interval + settings.ping_timeout + self._limits.body_timeout,
            on_failed=partial(self._refuse_session, settings),
            on_ended=self._end_tunnel,
        )
        return True

    @property
    def _client_address(self) -> ClientAddress:
        return ClientAddress(self.scheme or "http", self.client)

    def _forward(self) -> None:
        """Forward a request of another node's session, with all that was received of it."""
        if self._state is State.FORWARDING and self._forwarded is not None and not self.transport.is_closing():
            if not self._port.forwarder.forward(self._forwarded, self._framer.rest):
                self._refuse(UNAVAILABLE, engineio.OVERLOADED.message)
            elif not self.transport.is_closing():
                self._advance(Input.TUNNEL_OPENED)

    def _refuse_session(self, settings: Settings) -> None:
        """The node that had the session has gone, and the session with it. Official clients open another."""
        error = engineio.UNKNOWN_SESSION
        if self._head.upgrade:
            self._answer_and_close(encode_refusal(BAD_REQUEST, error.message))
            return
        origin = combine_headers(self._head.fields).get("origin")
        body = msgspec.json.encode({"code": error.code, "message": error.message}).decode()
        headers = dict(OriginPolicy(settings.origins).headers(origin))
        self._answer_and_close(encode_refusal(BAD_REQUEST, body, JSON, **headers))

    def _end_tunnel(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
            self._watch_output()

    def shutdown(self) -> None:
        """uvicorn stops: end a request that is being forwarded; one that is served here is still answered."""
        if self._forwarded is not None:
            self._forwarded.close()
            self.transport.close()
        elif self._state is State.LOCAL:
            super().shutdown()
        else:
            # A request may be on its way: it is answered with `Connection: close`, and not reset.
            self._stopping = True
            self.loop.call_later(LAST_REQUEST_SECONDS, self._end_idle)

    def _end_idle(self) -> None:
        if self._state is not State.UPGRADED:
            super().shutdown()

    # WebSockets.

    def _upgrade(self, head: Head) -> None:
        self._begin(head)
        rest = self._framer.take_rest()
        self.flow.hold(self._framer, False)
        self.flow.hold(self._port.gate, False)
        if not self._admits():
            return
        if self._belongs_to_peer() and self._forwarded is not None:
            self._forwarded.send(rest)
            self._forward()
        else:
            self._hand_over(rest)

    def _hand_over(self, tail: bytes) -> None:
        accepted = accept_handshake(self._router, self._head, self._client_address)
        if isinstance(accepted, bytes):
            self._answer_and_close(accepted)
            return
        # From here on uvicorn knows nothing of the transport, because its shutdown would wait for it.
        self.connections.discard(self)
        self._advance(Input.UPGRADED)
        hand_over(
            self.transport,
            accepted.websocket,
            key=accepted.key,
            extension=accepted.extension,
            subprotocol=accepted.subprotocol,
            max_frame=self._limits.max_payload,
            tail=tail,
        )
        # uvloop still holds the protocol that was there first, so it has to be empty.
        self.__dict__.clear()
