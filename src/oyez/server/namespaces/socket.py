"""A Socket: one client in one namespace, with its rooms, its acknowledgements and the order of its handlers.

Its life is a table of states: it is CONNECTING until its client is accepted, JOINING until all rooms that it is put
into are known, then READY, and ENDED after its client was refused, was disconnected or has left.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from oyez.errors import RATE_LIMITED, TIMED_OUT, RefusedError
from oyez.logger import get_logger
from oyez.protocol import engineio, socketio
from oyez.protocol.engineio import CloseReason
from oyez.protocol.websocket import TEXT, encode_frame
from oyez.server.namespaces.event_frames import DEFLATED, POSITIONS
from oyez.server.namespaces.session_keeper import Recoverer, SessionKeeper, SocketSession
from oyez.server.transports.outgoing import OutboundPacket
from oyez.server.types import Handshake, ReceivedEvent

logger = get_logger("oyez.server")

if TYPE_CHECKING:
    from oyez.server.connections.connection import Connection
    from oyez.server.namespaces.namespace import Namespace

MAX_QUEUED_EVENTS = 64
"""Events of one socket that wait behind a running handler before the server stops reading from its connection."""

NEVER = float("inf")
"""A time that does not come."""


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
        "_last_ack_id",
        "_pending_acks",
        "_queue",
        "_recoverer",
        "_sessions",
        "connection",
        "data",
        "encoding",
        "expires_at",
        "expiry",
        "id",
        "namespace",
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
        namespace: "Namespace",
        connection: "Connection",
        sessions: SessionKeeper,
        recoverer: Recoverer,
    ) -> None:
        self.id = id
        self.namespace = namespace
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
        """The same by the server's clock; set by the connection."""
        self.notice = NEVER
        """When the application is to hear that it is about to end, by the server's clock; set by the connection."""
        self.write: Callable[[bytes], None] | None = None
        """Writes frames straight to the network; None if they must go through `connection.send`."""
        self.encoding = 0
        """The frames that `write` takes: how positions are sent, and DEFLATED or not; see event_frames.py."""
        self.user_id = ""
        """The user of the client. Only this user may resume the session."""
        self._last_ack_id = -1
        self._pending_acks: dict[int, asyncio.Future[bytes]] | None = None
        self._queue: deque[ReceivedEvent] | None = None

    @property
    def positions(self) -> int:
        """How this client gets the positions of durable events: NO_POSITION, POSITION_EVENT or POSITION_ARGUMENT."""
        return self.encoding & POSITIONS

    def receive_positions(self, positions: int) -> None:
        """Send positions to this client in this way from now on."""
        self.encoding = self.encoding & DEFLATED | positions

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

    def identify(self, user_id: str, expires_at: float | None) -> None:
        """The client is this user, with a right to be connected until `expires_at`, in seconds since 1970."""
        self.user_id, self.expires_at = user_id, expires_at

    def rename(self, id: str) -> None:
        """The socket continues the session of a socket with this id. Only before it is accepted."""
        self.id = id

    def accept(self, *, replaying: bool) -> None:
        """The client is let in. Live events wait until `end_replay` if missed events are still being replayed."""
        self.state = TRANSITIONS[self.state][Input.ACCEPTED]
        if replaying:
            self.session.replaying = asyncio.Event()

    @property
    def working(self) -> bool:
        """True if an event of the client is being handled."""
        return self._queue is not None

    def set_write(self, write: Callable[[bytes], None] | None, deflate: bool) -> None:
        """Set how frames are written to the transport, None if they cannot be, and whether they may be deflated."""
        self.write = write if self.session.replaying is None else None
        self.encoding = self.encoding & POSITIONS | deflate * DEFLATED

    @property
    def handshake(self) -> Handshake:
        return self.connection.handshake

    def join(self, room: str) -> None:
        """Enter `room`. Raises RefusedError (rate_limited) if the socket is in too many rooms."""
        if self.ended:
            # The client left while its handler was running: the socket would never leave the room again.
            return
        if len(self.rooms) >= self.connection.server.limits.max_rooms_per_socket and room not in self.rooms:
            raise RefusedError(RATE_LIMITED, "You are in too many rooms; leave one first.")
        self.namespace.join(self, room)

    async def replay_room(self, room: str, since: str | None = None) -> None:
        """Send what the client missed of `room`, which it joins directly after this. Raises LogUnavailableError.

        These are the events after `since`; if it is None, only a client that recovers has missed something.
        """
        since = since or self.session.replay_from
        if since is not None and room not in self.rooms:
            await self._recoverer.replay_room(self, room, since)

    async def wait_until_delivered(self, position: str, seconds: float) -> None:
        """Wait until everything up to a position has been delivered here, at most `seconds`."""
        await self._recoverer.wait_until_delivered(position, seconds)

    def leave(self, room: str) -> None:
        self.namespace.leave(self, room)

    def send(self, data: bytes, volatile: bool = False, attachments: tuple[bytes, ...] = ()) -> None:
        """Send one event (its JSON array) to this client alone: an answer, not something published."""
        self._send(_event_type(attachments), data, None, attachments, volatile)

    async def call(self, data: bytes, timeout: float | None = None, attachments: tuple[bytes, ...] = ()) -> bytes:
        """Send one event and wait for the client's acknowledgement, a JSON array. Binary parts of it are base64.

        `timeout` is seconds, the setting `ack_timeout` where None. Raises RefusedError: timed_out where no answer
        came or the client went, rate_limited where too many answers are outstanding.
        """
        settings = self.connection.server.settings
        if self.ended:
            raise RefusedError(TIMED_OUT, "The client has gone.")
        if self._pending_acks is None:
            self._pending_acks = {}
        if len(self._pending_acks) >= settings.limits.max_pending_acks:
            raise RefusedError(RATE_LIMITED, "Too many acknowledgements of this client are outstanding.")
        self._last_ack_id += 1
        ack_id = self._last_ack_id
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._pending_acks[ack_id] = answer
        self._send(_event_type(attachments), data, ack_id, attachments)
        try:
            async with asyncio.timeout(settings.ack_timeout if timeout is None else timeout):
                return await answer
        except TimeoutError:
            raise RefusedError(TIMED_OUT, "The client did not acknowledge in time.") from None
        finally:
            self._pending_acks.pop(ack_id, None)

    def renew(self, expires_at: float | None) -> None:
        """A newer token counts, up to `expires_at` (seconds since 1970; None: without end)."""
        self.expires_at = expires_at
        if self.connected:
            self.connection.keep_expiry(self)

    def disconnect(self, close: bool = False) -> None:
        """Take the client out of the namespace; with `close`, end its whole connection.

        An official client does not come back by itself after this.
        """
        if self.connected:
            self.announce_end("disconnected")
        # The application may have ended it itself when it heard so.
        if self.connected:
            self._send(socketio.PacketType.DISCONNECT)
            self.end(engineio.SERVER_DISCONNECT)
            self.connection.forget_namespace(self.namespace.name)
        if close:
            self.connection.close(engineio.FORCED_SERVER_CLOSE)

    def replace(self) -> None:
        """The client has resumed on another connection; this socket is stale."""
        self._sessions.detach(self)
        self.session.pid = ""
        self.connection.close(engineio.TRANSPORT_ERROR, "the client has resumed on another connection")

    def announce_expiry(self) -> None:
        """Let the application know that the token is about to end."""
        running = self.namespace.application.expiring(self)
        if running is not None:
            self.namespace.spawn(running)

    def announce_end(self, reason: str) -> None:
        """Let the application know that the server is about to end this socket, while it can be sent to."""
        try:
            self.namespace.application.ending(self, reason)
        except Exception:
            logger.exception("ending handler failed", namespace=self.namespace.name, socket=self.id)

    def end(self, reason: CloseReason) -> None:
        """Forget this socket; nothing is sent."""
        was_connected, self.state, self.write = self.connected, TRANSITIONS[self.state][Input.ENDED], None
        self.connection.sockets.pop(self.namespace.name, None)
        if self.session.pid:
            if reason.recoverable:
                self._sessions.persist_on_disconnect(self)
            else:
                self._sessions.delete(self)
        self.namespace.remove(self, reason, was_connected=was_connected)
        # Break the reference cycle: the garbage collector would pause the loop.
        self.data = None
        for answer in (self._pending_acks or {}).values():
            if not answer.done():
                answer.set_exception(RefusedError(TIMED_OUT, f"The client went before it acknowledged: {reason.text}."))
        if self._queue:
            # The running handler may finish; the other events are dropped.
            was_full = len(self._queue) >= MAX_QUEUED_EVENTS
            self._queue.clear()
            if was_full:
                self.connection.resume_reading()

    def start(self, replay: Callable[[], Coroutine[Any, Any, None]] | None = None) -> None:
        """The client has been accepted: its events wait for `replay`, and until the application is done with that."""
        if replay is not None:
            self._queue_after(self._start_after(replay))
            return
        running = self.namespace.application.connected(self)
        if running is not None:
            self._queue_after(self._settle_after(running))
        else:
            self._settle()

    async def _start_after(self, replay: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await replay()
        if not self.connected:
            return
        running = self.namespace.application.connected(self)
        if running is not None:
            await self._settle_after(running)
        else:
            self._settle()

    async def _settle_after(self, running: Coroutine[Any, Any, None]) -> None:
        try:
            await running
        except Exception as error:
            for event in self._queue or ():
                self.namespace.application.refuse(self, event)
            self.namespace.cut(self, error)
        else:
            self._settle()

    def _settle(self) -> None:
        """All rooms that the client is put into are known."""
        if self.session.generation:
            # So are those that it had joined.
            self.session.end_rejoining()
        if self.connected:
            self.state = TRANSITIONS[self.state][Input.JOINED]
            self._sessions.mark_dirty(self)

    def receive_event(self, packet: socketio.Packet) -> None:
        """Have the application handle an EVENT, behind those that came before it."""
        if self.connection.draining:
            return
        ack = partial(self._acknowledge, packet.ack_id) if packet.ack_id is not None else None
        self.handle_event(ReceivedEvent(packet.name, packet.data, packet.attachments, ack))

    def handle_event(self, event: ReceivedEvent) -> None:
        """Have the application handle an event, after those that came before it."""
        if self._queue is not None:
            self._queue.append(event)
            if len(self._queue) == MAX_QUEUED_EVENTS:
                self.connection.pause_reading()
            return
        running = self._handle(event)
        if running is not None:
            self._queue_after(running)

    def _queue_after(self, running: Coroutine[Any, Any, None]) -> None:
        """Have the events that come now wait until `running` is done."""
        self._queue = deque()
        self.namespace.spawn(self._run(running, self._queue))

    def _handle(self, event: ReceivedEvent) -> Coroutine[Any, Any, None] | None:
        try:
            return self.namespace.application.receive(self, event)
        except Exception:
            logger.exception("handler failed", namespace=self.namespace.name, event_name=event.name)
            return None

    async def _run(self, running: Coroutine[Any, Any, None], queue: deque[ReceivedEvent]) -> None:
        """Finish a handler that waits, then the events that came meanwhile, in order."""
        following: Coroutine[Any, Any, None] | None = running
        try:
            while following is not None:
                try:
                    await following
                except Exception:
                    logger.exception("handler failed", namespace=self.namespace.name)
                following = None
                # The answers to a burst of commands wait for a client that polls, not in memory.
                if self.connection.full:
                    await self.connection.wait_for_room()
                while queue and following is None:
                    event = queue.popleft()
                    if len(queue) == MAX_QUEUED_EVENTS - 1:
                        self.connection.resume_reading()
                    following = self._handle(event)
        finally:
            self._queue = None

    def receive_ack(self, packet: socketio.Packet) -> None:
        """Hand an ACK to the call that waits for it."""
        # An id that nobody waits for is a late answer, as after a time-out: not an offence.
        answer = self._pending_acks.pop(packet.ack_id or 0, None) if self._pending_acks else None
        if answer is not None and not answer.done():
            answer.set_result(_inline_attachments(packet) if packet.attachments else packet.data)

    def _acknowledge(self, ack_id: int, data: bytes, attachments: tuple[bytes, ...] = ()) -> None:
        if self._sessions.defer_until_persisted(self, partial(self._acknowledge, ack_id, data, attachments)):
            return
        write, text = self.write, b"%b%d%b" % (self.namespace.ack_prefix, ack_id, data)
        if (
            write is not None
            and not attachments
            and (not self.encoding & DEFLATED or len(text) < self.namespace.compression_threshold)
        ):
            # Every command is answered: the short way, as in Namespace.deliver.
            write(encode_frame(TEXT, text))
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
            packet = socketio.Packet(kind, self.namespace.name, data, ack_id, attachments=attachments)
            self.connection.send(OutboundPacket(b"4" + socketio.encode_packet(packet), attachments, volatile))


def encode_error(code: str, message: str) -> bytes:
    """The event `error`, in the shape that it has for commands that fail."""
    return msgspec.json.encode(["error", {"code": code, "message": message, "details": {}}])


def _event_type(attachments: tuple[bytes, ...]) -> socketio.PacketType:
    return socketio.PacketType.BINARY_EVENT if attachments else socketio.PacketType.EVENT


def _inline_attachments(packet: socketio.Packet) -> bytes:
    return msgspec.json.encode(socketio.find_placeholders(msgspec.json.decode(packet.data), packet.attachments))
