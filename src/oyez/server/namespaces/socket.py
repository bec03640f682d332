"""A Socket: one client in one namespace, with its rooms, its acknowledgements and the order of its handlers.

Its life is a table of states: it is CONNECTING until its client is accepted, JOINING until all rooms that it is put
into are known, then READY, and ENDED after its client was refused, was disconnected or has left.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from enum import Enum, auto
from functools import partial
from typing import Any

import msgspec

from oyez.errors import RATE_LIMITED, TIMED_OUT, Refusal, RefusedError
from oyez.log.log import Entry
from oyez.observer import Observers, RecoveryReport
from oyez.protocol import engineio, socketio
from oyez.protocol.engineio import CloseReason
from oyez.protocol.heartbeat import NEVER
from oyez.protocol.websocket import encode_text
from oyez.server.namespaces.acknowledgements import PendingAcknowledgements
from oyez.server.namespaces.event_frames import (
    DEFLATED,
    DIALECTS,
    FIRST_RECEIPT,
    FORMS,
    JSON,
    POSITION_ARGUMENT,
    POSITION_EVENT,
    POSITIONS,
    TEXT_END,
    VERSION_SHIFT,
    EventFrames,
    encode_event,
    encode_position,
)
from oyez.server.namespaces.event_queue import EventQueue
from oyez.server.namespaces.session_keeper import Recoverer, RecoveryResult, SessionKeeper, SocketSession
from oyez.server.namespaces.socket_context import Carrier, SocketContext
from oyez.server.transports.outgoing import OutboundPacket
from oyez.server.types import Guest, Handshake, ReceivedEvent
from oyez.settings import Limits


class State(Enum):
    """The life of a socket."""

    CONNECTING = auto()
    """The application decides whether the client may enter."""
    JOINING = auto()
    """The client is accepted; missed events are replayed and the application puts it into rooms."""
    READY = auto()
    """The session of the socket is stored from now on."""
    ENDED = auto()


class Input(Enum):
    """What changes the state of a socket."""

    ACCEPTED = auto()
    JOINED = auto()
    ENDED = auto()


TRANSITIONS: dict[State, dict[Input, State]] = {
    State.CONNECTING: {Input.ACCEPTED: State.JOINING, Input.ENDED: State.ENDED},
    State.JOINING: {Input.JOINED: State.READY, Input.ENDED: State.ENDED},
    State.READY: {Input.ENDED: State.ENDED},
    State.ENDED: {Input.ENDED: State.ENDED},
}


class Socket:
    """One client in one namespace. The namespace creates it for each CONNECT; `data` belongs to the application."""

    __slots__ = (
        "_acknowledgements",
        "_queue",
        "_recoverer",
        "_sessions",
        "connection",
        "context",
        "data",
        "encoding",
        "expires_at",
        "expiry",
        "guest",
        "id",
        "notice",
        "rooms",
        "session",
        "state",
        "user_id",
        "write",
    )

    def __init__(
        self,
        id: str,
        context: SocketContext,
        connection: Carrier,
        sessions: SessionKeeper,
        recoverer: Recoverer,
    ) -> None:
        self.id = id
        self.context = context
        """The namespace, as far as its sockets use it."""
        self.connection = connection
        self._sessions = sessions
        self._recoverer = recoverer
        self.rooms: set[str] = set()
        self.data: Any = None
        self.state = State.CONNECTING
        self.session = SocketSession()
        self.expires_at: float | None = None
        """When the right to be connected ends, in seconds since 1970; None if it does not end."""
        self.expiry = NEVER
        """The same by the server's clock."""
        self.notice = NEVER
        """When the application is notified of the end of the token, by the server's clock."""
        self.write: Callable[[bytes], None] | None = None
        """Writes frames straight to the network; None if they must go through `connection.send`."""
        self.encoding = JSON if connection.json else 0
        """The frames that `write` takes: the form of events, and DEFLATED or not; see event_frames.py."""
        self.guest: Guest | None = None
        """The guest to whom the `pid` belongs; None if it is not a guest's."""
        self.user_id = ""
        """The user of the client. Only this user may resume the session."""
        self._acknowledgements: PendingAcknowledgements | None = None
        self._queue: EventQueue | None = None

    @property
    def namespace(self) -> str:
        """The name of the namespace."""
        return self.context.name

    @property
    def form(self) -> int:
        """The form in which this client receives events: its version, a way to send positions, and JSON or not."""
        return self.encoding & FORMS

    @property
    def age(self) -> int:
        """The age of the client's version: 0 for the newest one."""
        return self.encoding >> VERSION_SHIFT

    def set_age(self, age: int) -> None:
        """The client has a version of this age. Only before it is accepted."""
        self.encoding |= age << VERSION_SHIFT

    def set_positions(self, positions: int) -> None:
        """Send positions of durable events in this way: NO_POSITION, POSITION_EVENT or POSITION_ARGUMENT."""
        self.encoding = self.encoding & ~POSITIONS | positions

    @property
    def connected(self) -> bool:
        """True if the client was accepted and has not left."""
        return self.state is State.READY or self.state is State.JOINING

    @property
    def ready(self) -> bool:
        """True if the session is stored: all rooms that the client is put into are known."""
        return self.state is State.READY

    @property
    def ended(self) -> bool:
        """True if the client was refused, was disconnected or has left."""
        return self.state is State.ENDED

    @property
    def payer(self) -> str:
        """Who is charged for what the client costs: the user; for a guest or an unknown client, its network."""
        known = self.user_id and (self.guest is None or self.user_id != self.guest.subject)
        return self.user_id if known else self.handshake.network

    def identify(self, user_id: str, expires_at: float | None, guest: Guest | None = None) -> None:
        """The client is this user, with a right to be connected until `expires_at`, in seconds since 1970.

        `guest` is set if the client was or is a guest.
        """
        self.user_id, self.expires_at, self.guest = user_id, expires_at, guest

    def sign_in(self, user_id: str, expires_at: float | None) -> None:
        """The client is this user from now on. An answer that is sent next follows the writing of the session."""
        before, self.user_id = self.user_id, user_id
        self.context.on_user(self, before)
        self._sessions.mark_dirty(self, visible_to_client=True)
        self.renew(expires_at)

    def end_waiting(self) -> None:
        """The session is complete: the client has signed in and is in the user's rooms."""
        self.session.end_waiting()
        self._sessions.mark_dirty(self, visible_to_client=True)

    def rename(self, id: str) -> None:
        """The socket continues the session of a socket with this id. Only before it is accepted."""
        self.id = id

    def accept(self, *, replay_after: str | None = None) -> None:
        """The client is accepted. With `replay_after`, live events wait until the missed ones have been replayed."""
        self.state = TRANSITIONS[self.state][Input.ACCEPTED]
        if replay_after is not None:
            self.session.begin_replay(replay_after)

    @property
    def position(self) -> str:
        """The client has been sent everything up to this position."""
        return self._recoverer.position if self.session.replaying is None else self.session.replayed_position

    def restore_position(self) -> None:
        """Send the client its position again if it may have taken another string for it, before it was accepted."""
        if self.session.sent_text and self.encoding & DIALECTS in (POSITION_EVENT, POSITION_ARGUMENT):
            packet = encode_position(self.context.event_prefix, self.position)
            self.connection.send(OutboundPacket(packet))

    @property
    def working(self) -> bool:
        """True if an event of the client is being handled."""
        return self._queue is not None

    @property
    def pending_acknowledgements(self) -> int:
        """Number of acknowledgements that the server expects from the client."""
        return self._acknowledgements.pending if self._acknowledgements is not None else 0

    def set_write(self, write: Callable[[bytes], None] | None, deflate: bool) -> None:
        """Set how frames are written to the transport, None if they cannot be, and whether they may be deflated."""
        self.write = write if self.session.replaying is None else None
        self.encoding = self.encoding & FORMS | deflate * DEFLATED

    @property
    def handshake(self) -> Handshake:
        return self.connection.handshake

    def describe(self) -> dict[str, str]:
        """The fields of a log line about this socket."""
        return {
            "system": self.context.system,
            "namespace": self.namespace,
            "user": self.user_id,
            "socket": self.id,
            "connection": self.connection.public_id,
        }

    @property
    def place(self) -> tuple[str, str, str, str]:
        """For reports: the declared name of the namespace, the socket, its connection, and its user."""
        return self.context.declared, self.id, self.connection.public_id, self.user_id

    @property
    def limits(self) -> Limits:
        return self.context.settings.limits

    def charge(self, packets: int) -> None:
        """Count `packets` more in the budget of the client's connection."""
        self.connection.budget.packets += packets

    async def may_join(self, room: str) -> bool:
        """True if the application allows the client to join a room of its session again."""
        return await self.context.may_join(self, room)

    def make_reconnect(self, error: BaseException) -> None:
        """Close the client's connection because of `error`; the client reconnects."""
        self.context.make_reconnect(self, error)

    def join(self, room: str) -> None:
        """Enter `room`. Raises RefusedError (rate_limited) if the socket is in too many rooms."""
        if self.ended:
            # The client left while its handler was running: the socket would never leave the room again.
            return
        if len(self.rooms) >= self.limits.max_rooms_per_socket and room not in self.rooms:
            raise RefusedError(RATE_LIMITED, "You are in too many rooms; leave one first.")
        self.context.join(self, room)

    async def replay_room(
        self,
        room: str,
        since: str | None = None,
        may_send: Callable[[], bool] = lambda: True,
        is_known: Callable[[Entry], bool] | None = None,
    ) -> None:
        """Send what the client missed of `room`, which it joins directly after this. Raises LogUnavailableError.

        These are the events after `since`; if it is None, only a client that recovers has missed something. Stops as
        soon as `may_send` is false: the client has lost its right to be in the room. Events that the client knows are
        left out.
        """
        since = since or self.session.replay_from
        if since is not None and room not in self.rooms:
            await self._recoverer.replay_room(self, room, since, may_send, is_known)

    async def wait_until_delivered(self, position: str, seconds: float) -> None:
        """Wait until everything up to a position has been delivered here, at most `seconds`."""
        await self._recoverer.wait_until_delivered(position, seconds)

    def leave(self, room: str) -> None:
        self.context.leave(self, room)

    def send(self, data: bytes, volatile: bool = False, attachments: tuple[bytes, ...] = ()) -> None:
        """Send one event (its JSON array) to this client alone: an answer, not something published."""
        if data.endswith(TEXT_END) and not self.ended and not (attachments and self.encoding & JSON):
            if self.state is State.CONNECTING:
                self.session.note_text()
            prefix, position = self.context.event_prefix, self.position
            form = self.encoding & DIALECTS
            self.connection.send(encode_event(prefix, data, form, position, volatile=volatile, attachments=attachments))
            return
        self._send(_event_type(attachments), data, None, attachments, volatile)

    def send_missed(self, packets: Sequence[OutboundPacket], messages: Sequence[EventFrames]) -> None:
        """Send the packets of events that the client has missed."""
        self.connection.send_all(packets)
        self.context.on_replayed(self, messages)

    def send_error(self, refusal: Refusal, message: str) -> None:
        """Send the event that reports an error."""
        self.send(self.context.encode_error(refusal, message))

    async def call(self, data: bytes, timeout: float | None = None, attachments: tuple[bytes, ...] = ()) -> bytes:
        """Send one event and wait for the client's acknowledgement, a JSON array. Binary parts of it are base64.

        `timeout` is in seconds; None means the setting `ack_timeout`. Raises RefusedError: timed_out if no answer came
        or the client disconnected, rate_limited if too many answers are outstanding.
        """
        settings = self.context.settings
        if self.ended:
            raise RefusedError(TIMED_OUT, "The client has disconnected.")
        if self._acknowledgements is None:
            self._acknowledgements = PendingAcknowledgements()
        return await self._acknowledgements.request(
            lambda number: self._send(_event_type(attachments), data, number, attachments),
            settings.ack_timeout if timeout is None else timeout,
            settings.limits.max_pending_acks,
        )

    def renew(self, expires_at: float | None) -> None:
        """A newer token counts, up to `expires_at` (seconds since 1970; None: without end)."""
        self.expires_at = expires_at
        if self.connected:
            self.connection.keep_expiry(self)

    def disconnect(self, close: bool = False) -> None:
        """Disconnect the client from the namespace; with `close`, also close its connection.

        An official client does not reconnect by itself after this.
        """
        if self.connected:
            self.notify_closing("disconnected")
        # `notify_closing` calls the application, which may have ended the socket.
        if self.connected:
            self._send(socketio.PacketType.DISCONNECT)
            self.end(engineio.SERVER_DISCONNECT)
            self.connection.forget_namespace(self.namespace)
        if close:
            self.connection.close(engineio.FORCED_SERVER_CLOSE)

    def replace(self) -> None:
        """The client has resumed on another connection; this socket is stale."""
        self._sessions.detach(self)
        self.session.pid = ""
        self.connection.close(engineio.TRANSPORT_ERROR, "the client has resumed on another connection")

    def set_deadlines(self, now: float) -> None:
        """Set when the token ends and when the application is notified of that; `now` is by the server's clock."""
        self.expiry = self.notice = NEVER
        if self.expires_at is None:
            return
        # The end of a token is by the wall clock, deadlines are by the server's monotonic clock.
        left = self.expires_at - self.context.now()
        self.expiry = now + left
        before = self.context.expiring_before
        if before:
            # At half of a short life at the earliest: otherwise each renewal would be followed by the next one at once.
            self.notice = self.expiry - min(before, left / 2)

    def notify_expiring(self) -> None:
        """Notify the application once that the token is about to end."""
        self.notice = NEVER
        self.context.on_expiring(self)

    def notify_closing(self, reason: str) -> None:
        """Notify the application that the server is about to end this socket, while events can be sent to it."""
        self.context.on_closing(self, reason)

    def end(self, reason: CloseReason) -> None:
        """End this socket without sending anything."""
        was_connected, self.state, self.write = self.connected, TRANSITIONS[self.state][Input.ENDED], None
        self.connection.remove_socket(self.namespace)
        if self.session.pid:
            if reason.recoverable:
                self._sessions.persist_on_disconnect(self)
            else:
                self._sessions.delete(self)
        self.context.on_end(self, reason, was_connected=was_connected)
        # Break the reference cycle: the garbage collector would pause the loop.
        self.data = None
        if self._acknowledgements is not None:
            self._acknowledgements.fail(reason)
        if self._queue is not None:
            self._queue.clear()

    def start(self, replay: Callable[[], Coroutine[Any, Any, None]] | None = None) -> None:
        """The client has been accepted. Its events wait for `replay` and for the application's `connected`."""
        if replay is not None:
            self._queue_after(self._start_after(replay))
            return
        running = self.context.on_start(self)
        if running is not None:
            self._queue_after(self._finish_joining_after(running))
        else:
            self._finish_joining()

    async def _start_after(self, replay: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await replay()
        if not self.connected:
            return
        running = self.context.on_start(self)
        if running is not None:
            await self._finish_joining_after(running)
        else:
            self._finish_joining()

    async def _finish_joining_after(self, running: Coroutine[Any, Any, None]) -> None:
        try:
            await running
        except Exception as error:
            for event in self._queue.clear() if self._queue is not None else ():
                self.context.on_unhandled(self, event)
            self.make_reconnect(error)
        else:
            self._finish_joining()

    def _finish_joining(self) -> None:
        """All rooms that the client is put into are known."""
        if self.session.generation:
            # The rooms that it had joined before it lost its connection are known too.
            self.session.end_rejoining()
        if self.connected:
            self.state = TRANSITIONS[self.state][Input.JOINED]
            self._sessions.mark_dirty(self)

    def receive_event(self, packet: socketio.Packet) -> None:
        """Have the application handle an EVENT packet, after those that came before it."""
        if self.connection.draining:
            return
        ack = partial(self._acknowledge, packet.ack_id) if packet.ack_id is not None else None
        event = ReceivedEvent(packet.name, packet.data, packet.attachments, ack)
        # The statements of `handle_event`: a call costs more than they do.
        if self._queue is not None:
            self._queue.add(event)
            return
        running = self.context.on_event(self, event)
        if running is not None:
            self._queue_after(running)

    def handle_event(self, event: ReceivedEvent) -> None:
        """Have the application handle an event, after those that came before it."""
        if self._queue is not None:
            self._queue.add(event)
            return
        running = self.context.on_event(self, event)
        if running is not None:
            self._queue_after(running)

    def _queue_after(self, running: Coroutine[Any, Any, None]) -> None:
        """Events that arrive from now on wait until `running` is done."""
        self._queue = EventQueue(partial(self.context.on_event, self), self.connection, self.describe)
        self.context.spawn(self._run(running, self._queue))

    async def _run(self, running: Coroutine[Any, Any, None], queue: EventQueue) -> None:
        try:
            await queue.run(running)
        finally:
            self._queue = None

    def receive_ack(self, packet: socketio.Packet) -> None:
        """Hand an ACK to the call that waits for it, or report it if it is for an event with receipts."""
        ack_id = packet.ack_id or 0
        if ack_id >= FIRST_RECEIPT:
            self.context.on_ack(self, ack_id)
        elif self._acknowledgements is not None:
            data = _inline_attachments(packet) if packet.attachments else packet.data
            self._acknowledgements.resolve(ack_id, data)

    def _acknowledge(self, ack_id: int, data: bytes, attachments: tuple[bytes, ...] = ()) -> None:
        sessions = self._sessions
        if sessions.has_pending and sessions.defer_until_persisted(
            self, partial(self._acknowledge, ack_id, data, attachments)
        ):
            return
        write, encoding = self.write, self.encoding
        text = b"%b%d%b" % (self.context.ack_prefix, ack_id, data)
        if (
            write is not None
            and not attachments
            and (encoding < JSON or (not encoding & JSON and len(text) < self.context.settings.compression_threshold))
        ):
            # Every command is answered: the short way, as in Namespace.deliver.
            write(encode_text(text))
            return
        kind = socketio.PacketType.BINARY_ACK if attachments else socketio.PacketType.ACK
        self._send(kind, data, ack_id, attachments)

    def _send(
        self,
        kind: socketio.PacketType,
        data: bytes = b"",
        ack_id: int | None = None,
        attachments: tuple[bytes, ...] = (),
        volatile: bool = False,
    ) -> None:
        if not self.ended:
            packet = socketio.Packet(kind, self.namespace, data, ack_id, attachments=attachments)
            self.connection.send_packet(packet, volatile)


def _event_type(attachments: tuple[bytes, ...]) -> socketio.PacketType:
    return socketio.PacketType.BINARY_EVENT if attachments else socketio.PacketType.EVENT


def _inline_attachments(packet: socketio.Packet) -> bytes:
    return msgspec.json.encode(socketio.find_placeholders(msgspec.json.decode(packet.data), packet.attachments))


def report_recovery(observers: Observers, socket: Socket, result: RecoveryResult, began: float, room: str = "") -> None:
    """Report the result of a recovery, or of that of one room, which began at this time of the loop."""
    seconds = asyncio.get_running_loop().time() - began
    recovered, replayed, reason, since = result.recovered, result.replayed, result.reason or "", result.since or ""
    report = RecoveryReport(observers.system, *socket.place, recovered, replayed, reason, room, since, seconds)
    observers.report(report)
