"""A Connection: one Engine.IO client, whichever transport carries it, and its sockets in the namespaces.

It joins the sans-I/O session to a transport, dispatches Socket.IO packets, and keeps the client's deadlines.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from oyez.errors import MALFORMED, TOO_LARGE, UNSUPPORTED_PARSER, RefusedError
from oyez.logger import get_logger
from oyez.protocol import engineio, socketio
from oyez.protocol.engineio import CloseReason
from oyez.protocol.heartbeat import NEVER, Heartbeat
from oyez.protocol.session import Session, Signal
from oyez.protocol.session import State as SessionState
from oyez.protocol.socket_ids import public_id
from oyez.server.connections.admission import ConnectAdmission
from oyez.server.connections.client_sockets import ClientSockets
from oyez.server.connections.context import ConnectionContext
from oyez.server.connections.ending import (
    CLIENT_GONE,
    EVICTABLE,
    FAULTS,
    LINGER_SECONDS,
    MAX_DETAIL,
    SENDING,
    TRANSITIONS,
    Input,
    State,
    name_reason,
)
from oyez.server.connections.upgrade import Upgrade
from oyez.server.namespaces.application import Application
from oyez.server.namespaces.socket import Socket
from oyez.server.transports.budget import CONNECT_COST, REQUEST_COST, SMALL_READ, Budget, MemoryBudget
from oyez.server.transports.outgoing import OutboundPacket, join_frames
from oyez.server.transports.transport import (
    PACKETS_PER_ITERATION,
    Transport,
    WebSocketTransport,
)
from oyez.server.types import Handshake

if TYPE_CHECKING:
    from oyez.server.connections.registry import ConnectionRegistry

logger = get_logger("oyez.server")

_PING = OutboundPacket(engineio.PING)
_CLOSE = OutboundPacket(engineio.CLOSE)
_EVENT, _BINARY_EVENT = socketio.PacketType.EVENT, socketio.PacketType.BINARY_EVENT
_ANSWERS = frozenset({Signal.REFUSE_PARSER, Signal.EXPLAIN_FAULT})
"""Signals after which the session continues, also before the client has entered a namespace."""
_ACKS = frozenset({socketio.PacketType.ACK, socketio.PacketType.BINARY_ACK})


class Connection:
    """Created by the registry, then given its transport by `attach`. It listens to that transport."""

    __slots__ = (
        "__weakref__",
        "_admission",
        "_connect_deadline",
        "_expiry",
        "_full_queues",
        "_heartbeat",
        "_linger_deadline",
        "_pinged_at",
        "_received_since_ping",
        "_refused_deadline",
        "_registry",
        "_state",
        "authenticated",
        "budget",
        "context",
        "draining",
        "handshake",
        "holds_memory",
        "id",
        "public_id",
        "scheduled_slot",
        "session",
        "sockets",
        "transport",
        "upgrade",
    )

    def __init__(
        self,
        id: str,
        context: ConnectionContext,
        registry: "ConnectionRegistry",
        handshake: Handshake,
        session: Session,
    ) -> None:
        now = context.clock()
        self.id = id
        self.public_id = public_id(id)
        """Names the connection in logs and reports. Clients that poll act by `id`, which is a secret."""
        self.context = context
        self._registry = registry
        self.handshake = handshake
        self.session = session
        """What the packets of the client mean, and how packets to it are encoded."""
        self.sockets = ClientSockets()
        self.transport: Transport
        """Set by `attach`."""
        self.upgrade: Upgrade | None = None
        """Listens to the WebSocket that probes, while there is one."""
        self.authenticated = False
        """True if a namespace has ever accepted the client. Before that, its user is unknown."""
        self.budget = Budget(context.unauthenticated_rates)
        self.holds_memory = False
        """True if unfinished input of the client is counted in the memory budget of the process."""
        self._admission = ConnectAdmission(context.limits, now)
        self._heartbeat = Heartbeat(context.settings.ping_interval, context.settings.ping_timeout, now)
        self._pinged_at = ""
        """Position of delivery when the last ping was sent. Its pong confirms that everything up to it was received."""
        self._connect_deadline = now + context.limits.connect_timeout
        self._expiry = NEVER
        self._linger_deadline = NEVER
        self._received_since_ping = False
        self._state = State.OPEN
        self._full_queues = 0
        self.draining = False
        """True if the server is stopping: events that arrive now are not handled, acknowledgements are."""
        self.scheduled_slot = 0
        self._refused_deadline = NEVER

    @property
    def closed(self) -> bool:
        return self.session.state is SessionState.CLOSED

    def attach(self, transport: Transport) -> None:
        """Use `transport`, which has just been created; `open` follows."""
        self.transport = transport

    def open(self) -> None:
        """The transport is ready for packets: send the open packet, which plain clients do not have."""
        self.context.wheel.schedule(self, min(self._heartbeat.deadline, self._connect_deadline))
        if self.json:
            self._connect_plain()
        else:
            self.transport.send(OutboundPacket(self.context.encode_open(self.id, upgraded=self.session.upgraded)))

    @property
    def json(self) -> bool:
        """True if the client is a plain one, of JSON frames."""
        return self.session.json

    # What the transport may read.

    @property
    def max_message(self) -> int:
        """Bytes of one message or polling body."""
        limits = self.context.limits
        return limits.max_payload if self.authenticated else limits.max_unauthenticated_bytes

    @property
    def ignores_close(self) -> bool:
        """True if the client does not notice a CLOSE frame."""
        return self.handshake.ignores_close

    @property
    def probing(self) -> bool:
        """True while a WebSocket probes."""
        return self.session.state is SessionState.PROBED

    # What the transport reports.

    def on_open(self, transport: WebSocketTransport) -> None:
        """The network connection of `transport` is ready for packets."""
        self.add_websocket(transport)
        self.open()

    def on_text(self, text: bytes) -> None:
        """A text message was received."""
        self._received_since_ping = True
        result = self.session.receive_text(text)
        if type(result) is socketio.Packet:
            self._dispatch(result)
        else:
            self._handle(result)

    def on_binary(self, data: bytes) -> None:
        """A binary message was received."""
        self._received_since_ping = True
        result = self.session.receive_binary(data)
        if not self.sockets and not self._admission.disconnected and result not in _ANSWERS:
            self.close(engineio.FORCED_CLOSE, "binary data before a namespace was entered")
        self._handle(result)

    def on_pong(self) -> None:
        """A pong of WebSocket's own was received, which has no meaning in Engine.IO."""
        if self.json:
            self._handle(Signal.PONG)

    async def on_payload(self, body: bytes) -> None:
        """A polling body was received. Returns when its packets have been handled."""
        self._received_since_ping = True
        has_room = True
        self.budget.packets += REQUEST_COST
        self.budget.bytes += len(body)
        if len(body) > SMALL_READ or self.budget.busy:
            await self._pass_gate()
        for number, result in enumerate(self.session.receive_payload(body), 1):
            self.budget.packets += 1
            self._handle(result)
            if number % PACKETS_PER_ITERATION == 0:
                await self._pass_gate()
            # A client that sends much at once fetches the answers only after that: it is not too slow.
            has_room = has_room and await self.wait_for_room()
        self._handle(None)
        self._hold_memory(self.session.incomplete_bytes)

    def on_read(self, unfinished: int) -> None:
        """Input was received; `unfinished` bytes of it belong to messages that have not ended."""
        wait = self.settle()
        if wait:
            self._slow_down(wait)
        unfinished += self.session.incomplete_bytes
        if (unfinished > MemoryBudget.SMALL or self.holds_memory) and self.authenticated and not self.closed:
            self._hold_memory(unfinished)

    def on_writable(self, write: Callable[[bytes], None] | None) -> None:
        """The transport can now be written to directly, or no longer can."""
        self.sockets.set_write(write, self.transport.deflate)

    def on_closed(self, transport: Transport, reason: CloseReason, detail: str = "") -> None:
        """The client has gone, or has broken the protocol."""
        if transport is self.transport:
            self.close(reason, detail)

    def on_disconnected(self, transport: WebSocketTransport) -> None:
        """The network connection of `transport` has ended."""
        self._registry.remove_websocket(transport, self.handshake.address)

    def add_websocket(self, transport: WebSocketTransport) -> None:
        """Count the network connection of `transport`, until `on_disconnected`."""
        self._registry.add_websocket(transport, self.handshake.address)

    # The upgrade.

    def may_upgrade(self) -> bool:
        """True if the client polls, and no other WebSocket probes."""
        return self.upgrade is None and not self.session.upgraded

    def begin_upgrade(self) -> Upgrade:
        """Listen to a WebSocket that may take over from polling."""
        self.upgrade = Upgrade(self, self.session, self.context)
        return self.upgrade

    def end_upgrade(self, upgrade: Upgrade) -> None:
        """The probing WebSocket has gone, or took too long."""
        if self.upgrade is upgrade:
            self.upgrade = None
            self.session.lose_candidate()
            self.evict_when_notified()

    def release_poll(self) -> None:
        """End a poll that waits: the client waits for that before it upgrades."""
        self.transport.release()

    def switch(self, transport: WebSocketTransport) -> None:
        """`transport` carries the connection from now on. First it sends what the client has not fetched."""
        unfetched = self.transport.detach()
        self.transport, self.upgrade = transport, None
        transport.take_over(self)
        for packet in unfetched:
            transport.send(packet)
        if self.closed:
            # The client has received `3probe` and does not poll any more: it reads only the WebSocket.
            transport.close(self.session.reason or engineio.TRANSPORT_CLOSE)
            self.evict_when_notified()
            return
        if self._full_queues:
            transport.pause_reading()
        self._reset_heartbeat()
        self.on_writable(transport.write)

    # Input.

    def settle(self) -> float:
        """Charge the budget for the input. Returns the seconds for which nothing should be read.

        Closes the connection if it was overloaded for too long.
        """
        now = self.context.clock()
        wait = self.budget.settle(now)
        if wait and self.budget.is_overloaded(now):
            self.close(engineio.RATE_LIMIT, "more packets or bytes than its rate for too long")
        return wait

    @property
    def working(self) -> bool:
        """True if a command of the client is being handled or is waiting."""
        return not self.closed and self.sockets.working

    def _slow_down(self, seconds: float) -> None:
        """Read nothing from the client for this time."""
        if not self.closed:
            self.pause_reading()
            asyncio.get_running_loop().call_later(seconds, self.resume_reading)

    def _hold_memory(self, size: int) -> None:
        """Count `size` bytes of messages that have not ended; the client is closed if there is no room for them."""
        self.holds_memory = size > MemoryBudget.SMALL
        self.context.unfinished.hold(self, size, partial(self.close, engineio.SERVER_BUSY, "unfinished input"))

    async def _pass_gate(self) -> None:
        """Wait until more of what the client has sent may be handled."""
        wait = self.settle()
        if wait and not self.closed:
            # Its pongs are not read either: the client must not count as disconnected.
            self.pause_reading()
            await asyncio.sleep(wait)
            self.resume_reading()
        await self.context.gate.enter(busy=self.budget.busy)

    @property
    def full(self) -> bool:
        """True if a polling client should fetch something before it is sent more answers."""
        return self.transport.full

    async def wait_for_room(self) -> bool:
        """Wait while `full`; False if the client has fetched nothing for too long."""
        return not self.transport.full or await self.transport.wait_for_room()

    @property
    def max_buffer(self) -> int:
        """Bytes that may wait for the client before it counts as too slow."""
        return self.transport.max_buffer

    @property
    def unsent(self) -> int:
        """Bytes that wait for the client."""
        return self.transport.unsent

    def _handle(self, result: socketio.Packet | Signal | None) -> None:
        if type(result) is socketio.Packet:
            self._dispatch(result)
        elif result is Signal.PONG:
            if self._pinged_at:
                self.sockets.acknowledge(self._pinged_at)
            self._reset_heartbeat()
        elif result is Signal.CLOSED:
            self._finish()
        elif result is Signal.REFUSE_PARSER:
            self._refuse_parser(self.session.msgpack_namespace)
        elif result is Signal.EXPLAIN_FAULT:
            namespace = next(iter(self.sockets), "/")
            error = self._find_application(namespace).encode_error(MALFORMED, self.session.detail)
            self.send_packet(socketio.Packet(_EVENT, namespace, error))
        elif not self.authenticated and self.session.incomplete:
            # Attachments would wait in memory for a client that no namespace has accepted.
            self.close(engineio.FORCED_CLOSE, "a binary packet before a namespace was entered")

    def _dispatch(self, packet: socketio.Packet) -> None:
        socket = self.sockets.get(packet.namespace)
        if socket is not None and (packet.type is _EVENT or packet.type is _BINARY_EVENT):
            socket.receive_event(packet)
        elif socket is not None and packet.type in _ACKS:
            socket.receive_ack(packet)
        elif socket is not None and packet.type is socketio.PacketType.DISCONNECT:
            socket.end(engineio.CLIENT_DISCONNECT)
            self._await_connect()
        elif socket is None and packet.type is socketio.PacketType.CONNECT:
            self._connect(packet)
        elif socket is not None or not self._admission.was_disconnected(packet.namespace):
            self.close(engineio.FORCED_CLOSE, f"{packet.type.name} out of turn")

    # Namespaces.

    def _connect(self, packet: socketio.Packet) -> None:
        self.budget.packets += CONNECT_COST
        name, context = packet.namespace, self.context
        if self._admission.is_entering(name):
            self.close(engineio.FORCED_CLOSE, "a second CONNECT before the first was answered")
            return
        known = context.namespaces.find_declared(name) is not None
        refused = self._admission.check(packet, known, len(self.sockets), context.clock())
        if refused is not None:
            self._send_connect_error(name, refused)
            return
        self._admission.begin(name)
        queue, decide = context.connect_queue, partial(self._decide, name, packet.data)
        if queue.try_acquire():
            decide()
        elif not queue.submit(decide, len(packet.data)):
            # A CONNECT_ERROR would be taken for a final answer; after this, clients reconnect by themselves.
            self.close(engineio.SERVER_BUSY)

    def _connect_plain(self) -> None:
        """Let a plain client enter the namespace in its address. The query takes the place of a CONNECT's `auth`."""
        query = self.handshake.query
        namespace = query.get("namespace") or self.context.namespaces.first
        # Frames wait until the client is accepted.
        self.pause_reading()
        self._connect(socketio.Packet(socketio.PacketType.CONNECT, namespace, msgspec.json.encode(query)))

    def _receive_pending(self, namespace: str) -> None:
        for result in self.session.enter(namespace):
            self._handle(result)
        self.resume_reading()

    def _decide(self, namespace: str, auth: bytes) -> None:
        """Let the application decide about a CONNECT; `accept` or `refuse` follows."""
        if not self.closed:
            self.context.namespaces.enter(namespace).connect(
                self, self.context.new_id(), msgspec.json.decode(auth) if auth else {}
            )

    def _refuse_parser(self, namespace: str) -> None:
        """Refuse a client with the msgpack parser in its own encoding. Otherwise it would reconnect for ever."""
        if self._admission.count_connect(self.context.clock()):
            error = self._find_application(namespace).explain_refusal(RefusedError(UNSUPPORTED_PARSER))
            answer = socketio.encode_msgpack(socketio.PacketType.CONNECT_ERROR, namespace, error)
            self.send(OutboundPacket(b"", (answer,)))
            self._report_refusal(namespace, UNSUPPORTED_PARSER.code)
            farewell = socketio.encode_msgpack(socketio.PacketType.DISCONNECT, namespace)
            self._close_after_refusal(namespace, OutboundPacket(b"", (farewell,)))
        else:
            self.close(engineio.FORCED_CLOSE, "too many CONNECTs with the msgpack parser")

    def accept(self, socket: Socket, answer: socketio.Packet) -> None:
        """The namespace accepts `socket`: notify the client."""
        self._admission.finish(socket.namespace)
        self._admission.accept(socket.namespace)
        self.sockets[socket.namespace] = socket
        if not self.authenticated:
            self.authenticated = True
            self.budget.enter(self.context.rates)
        self._connect_deadline = self._refused_deadline = NEVER
        # A ping that was sent earlier does not confirm what was sent while the client was accepted.
        self._pinged_at = ""
        self.send_packet(answer)
        socket.set_write(self.transport.write, self.transport.deflate)
        if socket.expires_at is not None:
            self.keep_expiry(socket)
        if self.json:
            # The application must have begun with the client before its frames are handled.
            asyncio.get_running_loop().call_soon(self._receive_pending, socket.namespace)

    def keep_expiry(self, socket: Socket) -> None:
        """Set the deadlines of a socket's token: its end, and the earlier notice to the application."""
        socket.set_deadlines(self.context.clock())
        self._expiry = self.sockets.token_deadline
        if self._expiry < NEVER:
            self.context.wheel.schedule(self, self._expiry)

    def refuse(self, socket: Socket, answer: socketio.Packet) -> None:
        """The namespace refuses `socket`: notify the client, which should disconnect if it is in no other namespace."""
        self._admission.finish(socket.namespace)
        if not self.closed:
            self.send_packet(answer)
            self._close_after_refusal(socket.namespace)

    def _close_after_refusal(self, namespace: str, farewell: OutboundPacket | None = None) -> None:
        """Wait until the refused client disconnects: one that is closed before that would reconnect for ever.

        A plain client is closed: it can enter no other namespace.
        """
        if self.json:
            self.close(engineio.REFUSED)
            return
        packet = socketio.Packet(socketio.PacketType.DISCONNECT, namespace)
        farewell = farewell or OutboundPacket(b"4" + socketio.encode_packet(packet))
        self._admission.refuse(namespace, farewell)
        if not self.sockets:
            self._refused_deadline = self.context.clock() + self.context.limits.refused_timeout
            self.context.wheel.schedule(self, self._refused_deadline)

    def _disconnect_refused(self) -> None:
        """Close the connection of a refused client with the packets after which no client reconnects by itself.

        For JavaScript's client before 4.3 that is a DISCONNECT, for python-socketio a close packet.
        """
        self._refused_deadline = NEVER
        if not self._admission.entering:
            for farewell in self._admission.farewells():
                self.send(farewell)
            if self.session.upgraded:
                self.send(_CLOSE)
            self.close(engineio.FORCED_SERVER_CLOSE, "refused")

    def _send_connect_error(self, namespace: str, refused: RefusedError) -> None:
        answer = msgspec.json.encode(self._find_application(namespace).explain_refusal(refused))
        self.send_packet(socketio.Packet(socketio.PacketType.CONNECT_ERROR, namespace, answer))
        self._report_refusal(namespace, refused.refusal.code)
        self._close_after_refusal(namespace)

    def _find_application(self, namespace: str) -> Application:
        """The application that says how errors look in `namespace`."""
        return self.context.namespaces.find_application(namespace)

    def _await_connect(self) -> None:
        """The client is in no namespace: it has `connect_timeout` to enter one."""
        if not self.sockets and not self.closed:
            self._connect_deadline = self.context.clock() + self.context.limits.connect_timeout
            self.context.wheel.schedule(self, self._connect_deadline)

    def remove_socket(self, namespace: str) -> None:
        """The socket of this namespace has ended."""
        self.sockets.pop(namespace, None)

    def forget_namespace(self, name: str) -> None:
        """The server has disconnected the client from namespace `name`, which is the only one of a plain client."""
        if self.json:
            self.close(engineio.SERVER_DISCONNECT)
        self._admission.disconnect(name)
        self._await_connect()

    # Output.

    def send(self, outgoing: OutboundPacket) -> None:
        if self._state in SENDING:
            self.transport.send(outgoing)

    def send_all(self, messages: Sequence[OutboundPacket]) -> None:
        """Send several packets, with one system call if possible."""
        write = self.transport.write
        if write is not None:
            write(join_frames(messages, self.context.compression_threshold if self.transport.deflate else None))
        else:
            for message in messages:
                self.send(message)

    def go_live(self, socket: Socket) -> None:
        """The client has received what it missed: live events are written directly from now on."""
        # A ping that was sent during the replay does not confirm it.
        self._pinged_at = ""
        socket.set_write(self.transport.write, self.transport.deflate)

    async def drained(self) -> None:
        """Wait until the client has received what was sent, or the connection is closed."""
        transport = None
        while transport is not self.transport and not self.closed:
            transport = self.transport
            await transport.drained()

    def pause_reading(self) -> None:
        """The queue of one of the sockets is full: stop reading."""
        self._full_queues += 1
        if self._full_queues == 1:
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """That queue has room again."""
        self._full_queues -= 1
        if not self._full_queues and not self.closed:
            self.transport.resume_reading()

    def send_packet(self, packet: socketio.Packet, volatile: bool = False) -> None:
        text, attachments = self.session.encode(packet)
        if text:
            self.send(OutboundPacket(text, attachments, volatile))

    def drain(self) -> None:
        """Handle no more events of the client: the server is stopping."""
        self.draining = True

    # The end.

    def close(self, reason: CloseReason, detail: str = "") -> None:
        """Close the connection for `reason`. Packets that were sent before are still delivered."""
        if not self.closed:
            self.session.close(reason, detail)
            self._finish()

    def _finish(self) -> None:
        """End, once, all that depends on the session."""
        if self._state is not State.OPEN:
            return
        self._advance(Input.ENDED)
        self._registry.unregister(self)
        self.context.wheel.cancel(self)
        self.context.unfinished.release(self)
        reason = self.session.reason or engineio.TRANSPORT_CLOSE
        logger.debug("closed", connection=self.public_id, reason=reason.text, detail=self.session.detail)
        self._send_last_events(reason)
        self._advance(Input.ANNOUNCED)
        self.sockets.end(reason)
        if self.upgrade is not None and not self._may_be_upgrading(reason):
            upgrade, self.upgrade = self.upgrade, None
            upgrade.close(reason)
        self.transport.close(reason)
        self.evict_when_notified()
        if self._state in EVICTABLE:
            self._advance(Input.UNFETCHED)
            self._linger_deadline = self.context.clock() + LINGER_SECONDS
            self.context.wheel.schedule(self, self._linger_deadline)

    def _advance(self, change: Input) -> None:
        self._state = TRANSITIONS[self._state][change]

    def _may_be_upgrading(self, reason: CloseReason) -> bool:
        """True if the client may have stopped polling, so that only the probing WebSocket can notify it of the end.

        The upgrade's own time-out bounds how long this waits.
        """
        return self.session.probed and not self.transport.idle_poll and reason is not engineio.TRANSPORT_CLOSE

    def evict_when_notified(self) -> None:
        """Remove the closed connection from the registry, if nothing is left to be fetched or sent."""
        if self._state in EVICTABLE and self.upgrade is None and not self.transport.fetchable:
            self._evict()

    def _evict(self) -> None:
        self._advance(Input.NOTIFIED)
        self._registry.evict(self)

    def _send_last_events(self, reason: CloseReason) -> None:
        """Explain the end to the client if it is at fault, and let the applications send last events."""
        if reason in FAULTS and self.session.detail:
            self._explain_end(reason, self.session.detail[:MAX_DETAIL])
        if reason is engineio.SLOW_CONSUMER:
            self.context.report_slow(self.public_id, self.sockets.user_id, self.handshake.address)
        if reason not in CLIENT_GONE and not self.transport.closing:
            self.sockets.notify_closing(name_reason(reason))

    def _explain_end(self, reason: CloseReason, detail: str) -> None:
        """Send the client, and log, which limit it has exceeded."""
        self._log_fault("a connection is closed because of what the client sent", reason, detail)
        refusal = MALFORMED if reason is engineio.FORCED_CLOSE else TOO_LARGE
        self.sockets.send_error(refusal, f"The connection was closed: {detail}.")
        if self.session.connect is not None and self.session.connect not in self.sockets:
            # Without an answer, the client would reconnect with the same CONNECT for ever.
            refused = RefusedError(refusal, f"The CONNECT cannot be read: {detail}.")
            self._send_connect_error(self.session.connect, refused)

    def refuse_body(self) -> None:
        """Notify the client, and the log, that a polling body is over the limit. The session continues."""
        detail = f"a body over {self.max_message} bytes"
        self._log_fault("a request is refused because of what the client sent", engineio.TOO_LARGE, detail)
        self.sockets.send_error(TOO_LARGE, f"The request was refused: {detail}.")

    def _log_fault(self, message: str, reason: CloseReason, detail: str) -> None:
        self.context.log_fault(self.public_id, self.sockets.user_id, message, reason, detail)

    def _report_refusal(self, namespace: str, code: str) -> None:
        self.context.report_refusal(namespace, code, self.handshake.address, self.public_id)

    # Time.

    def check(self, now: float) -> float | None:
        """Called by the timer wheel: send pings and act on deadlines that have passed."""
        if self.closed:
            return self._linger(now)
        heartbeat = self._heartbeat
        if heartbeat.is_lost(now, received=self._received_since_ping, paused=self._full_queues > 0):
            self.close(engineio.PING_TIMEOUT)
        elif now >= self._connect_deadline:
            self.close(engineio.CONNECT_TIMEOUT)
        elif now >= self._refused_deadline:
            self._disconnect_refused()
        elif now >= self._expiry:
            self._expire(now)
        elif heartbeat.is_ping_due(now):
            self.ping()
        if self.closed:
            return self._linger(now)
        return min(heartbeat.deadline, self._connect_deadline, self._refused_deadline, self._expiry)

    def check_now(self) -> None:
        """Act on deadlines that have passed: a request has arrived, and the timer wheel may be late."""
        self.check(self.context.clock())

    def ping(self) -> None:
        """Send a ping. Its pong confirms that everything before it was received."""
        if self._heartbeat.awaits_pong:
            # The pong of the earlier ping confirms nothing that was sent after that ping.
            self._pinged_at = ""
        elif not self.closed and self._send_ping():
            self._received_since_ping = False
            self._heartbeat.ping(self.context.clock(), self.transport.unpolled_since)
            self._pinged_at = self.context.position()
            self.context.wheel.schedule(self, self._heartbeat.deadline)
        elif not self.closed:
            self._heartbeat.reset(self.context.clock())

    def _send_ping(self) -> bool:
        """Send a ping. True if its pong is reported."""
        if self.json:
            return self.transport.ping()
        self.transport.send(_PING)
        return True

    def _expire(self, now: float) -> None:
        if self.sockets.has_expired(now):
            self.close(engineio.TOKEN_EXPIRED)
        else:
            self._expiry = self.sockets.token_deadline

    def _reset_heartbeat(self) -> None:
        """The client is alive: the next ping is due after an interval."""
        self._heartbeat.reset(self.context.clock())
        self.context.wheel.schedule(self, self._heartbeat.deadline)

    def _linger(self, now: float) -> float | None:
        if self._state is not State.LINGERING:
            return None
        if now >= self._linger_deadline:
            self._evict()
            return None
        return self._linger_deadline
