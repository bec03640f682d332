"""A Namespace: its sockets, its rooms, and the application that decides about its clients."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any

import msgspec

from oyez.concurrency.sparse_log import SparseLog
from oyez.concurrency.task_set import TaskSet
from oyez.errors import INTERNAL, Refusal, RefusedError, is_temporary
from oyez.log.log import Entry
from oyez.logger import get_logger, log_failure
from oyez.observer import (
    CONNECT,
    ConnectReport,
    DisconnectReport,
    JoinReport,
    LeaveReport,
    Observers,
    RefusalReport,
)
from oyez.protocol import engineio, socketio
from oyez.protocol.engineio import CloseReason
from oyez.server.namespaces.application import Application, SocketInfo
from oyez.server.namespaces.event_frames import DEFLATED, ENCODINGS, FORMS, EventFrames, encode_event_prefix
from oyez.server.namespaces.receipts import find_position, report_acknowledged, report_sent
from oyez.server.namespaces.rooms import RoomIndex
from oyez.server.namespaces.session_keeper import Recoverer, RecoveryResult, Resumed, SessionKeeper
from oyez.server.namespaces.socket import Socket, report_recovery
from oyez.server.namespaces.socket_context import Carrier
from oyez.server.transports.outgoing import OutboundPacket, join_frames
from oyez.server.types import ReceivedEvent
from oyez.settings import Settings

logger = get_logger("oyez.server")


class Shared:
    """What namespaces share that were declared by one name, such as `/shop-{shopId}`."""

    def __init__(self, declared: str, on_unused: "Callable[[Namespace], None]" = lambda namespace: None) -> None:
        """`on_unused` is called when no client is in a namespace or connects to it."""
        self.declared = declared
        self.on_unused = on_unused
        self.tasks = TaskSet(self._log_failure)
        """Running handlers. They may end after their namespace has been dropped."""
        self.sparse_log = SparseLog(logger, interval=10.0)
        """Limits the lines about clients that cannot connect: each of them reconnects about once a second."""

    def _log_failure(self, error: Exception) -> None:
        logger.error("handler failed", namespace=self.declared, exc_info=error)


class Namespace:
    """The sockets of one namespace in this process, and the rooms they are in."""

    def __init__(
        self,
        name: str,
        application: Application,
        settings: Settings,
        sessions: SessionKeeper,
        recoverer: Recoverer,
        observers: Observers | None = None,
        now: Callable[[], float] = time.time,
        shared: Shared | None = None,
    ) -> None:
        """`now` gives seconds since 1970. `shared` is for a namespace that exists only as long as clients are in it."""
        self.name = name
        self._shared = shared or Shared(name)
        self.declared = self._shared.declared
        """The name in the contract, for metrics: the number of actual names has no bound."""
        self._connecting = 0
        """Number of clients about which the application decides."""
        self.now = now
        self.application = application
        self._sessions = sessions
        self._recoverer = recoverer
        self._observers = observers
        self._room_observer = application.room_observer
        self._encodings = ENCODINGS * (1 + application.oldest)
        self._receipts = bool(application.receipts)
        self.sockets: dict[str, Socket] = {}
        self.rooms = RoomIndex(self.sockets)
        self.settings = settings
        self._status: bytes | None = None
        """The status event for clients that connect while the log is unavailable; None while it is available."""
        self.ack_prefix = b"43" + socketio.encode_namespace(name)
        self.event_prefix = encode_event_prefix(name)

    # Clients that connect and disconnect.

    def connect(self, connection: Carrier, socket_id: str, auth: Any) -> Socket:
        """Ask the application about a client. The client receives the answer when the application has decided."""
        socket = Socket(socket_id, self, connection, self._sessions, self._recoverer)
        self._connecting += 1
        self.spawn(self._connect(socket, auth))
        return socket

    async def _connect(self, socket: Socket, auth: Any) -> None:
        try:
            await self._ask(socket, auth)
        finally:
            self._connecting -= 1
            self._check_used()

    def _check_used(self) -> None:
        if not self.sockets and not self._connecting:
            self._shared.on_unused(self)

    async def _ask(self, socket: Socket, auth: Any) -> None:
        try:
            await self.application.connect(socket, auth)
            began = asyncio.get_running_loop().time()
            resumed = await self._recoverer.resume(socket, auth if isinstance(auth, dict) else {})
        except Exception as error:
            if is_temporary(error):
                socket.end(engineio.SERVER_UNAVAILABLE)
                self.make_reconnect(socket, error)
            elif isinstance(error, RefusedError) and not error.internal:
                self._refuse(socket, error)
            else:
                error_id = log_failure(logger, "connect failed", error, **socket.describe())
                self._refuse(socket, RefusedError(INTERNAL, error_id=error_id))
        else:
            self._accept(socket, resumed, began)

    def _accept(self, socket: Socket, resumed: Resumed, began: float) -> None:
        """`began` is the time of the loop at which the recovery began."""
        if socket.connection.closed:
            # The client left while the application was deciding.
            socket.end(engineio.TRANSPORT_CLOSE)
            return
        self.sockets[socket.id] = socket
        self.rooms.add_user(socket.user_id, socket)
        socket.accept(replay_after=resumed.after)
        if self._room_observer is not None:
            self._room_observer.accept(socket)
        answer = msgspec.json.encode({"sid": socket.id, "pid": socket.session.pid})
        socket.connection.accept(socket, socketio.Packet(socketio.PacketType.CONNECT, self.name, answer))
        if self._observers is not None:
            self._report_connect(self._observers, socket)
        # Missed events follow the CONNECT answer: official clients would keep earlier ones until they are connected,
        # also over a lost connection, and some would drop them.
        if resumed.replayed:
            socket.send_missed(resumed.replayed, resumed.messages)
        socket.restore_position()
        if resumed.after is not None:
            # A server that is killed during the replay must not lose the session.
            self._sessions.mark_dirty(socket)
            socket.start(partial(self._replay_rest, socket, resumed, began))
            return
        self._send_result(socket, resumed.result, began)
        socket.start()

    async def _replay_rest(self, socket: Socket, resumed: Resumed, began: float) -> None:
        """Send what a client missed, one page after the other, and then live events."""
        try:
            result = await self._recoverer.replay_rest(socket, resumed)
        except KeyError:
            # The client reconnects with its last position and receives the reason why it cannot continue from there.
            socket.connection.close(engineio.TRANSPORT_ERROR, "what the client missed is no longer kept")
        except Exception as error:
            self.make_reconnect(socket, error)
        else:
            self._send_result(socket, result, began)
        finally:
            socket.session.end_replay()
        if socket.connected:
            socket.connection.go_live(socket)

    def _send_result(self, socket: Socket, result: RecoveryResult | None, began: float) -> None:
        if result is not None:
            socket.send(result.encode())
            if self._observers is not None:
                report_recovery(self._observers, socket, result, began)
        if self._status is not None:
            socket.send(self._status, volatile=True)

    def make_reconnect(self, socket: Socket, error: BaseException) -> None:
        """Close the connection of a client that cannot connect fully because of `error`; the client reconnects.

        After a CONNECT_ERROR, official clients would not try again.
        """
        self._shared.sparse_log.warning(
            "clients cannot connect at the moment; their connections are closed, so that they come back",
            namespace=self.declared,
            reason=f"{type(error).__name__}: {error}",
            exc_info=None if is_temporary(error) else error,
        )
        socket.connection.close(engineio.SERVER_UNAVAILABLE, f"not accepted: {type(error).__name__}")

    def _refuse(self, socket: Socket, refused: RefusedError) -> None:
        socket.end(engineio.FORCED_SERVER_CLOSE)
        answer = msgspec.json.encode(self.application.explain_refusal(refused))
        packet = socketio.Packet(socketio.PacketType.CONNECT_ERROR, self.name, answer)
        socket.connection.refuse(socket, packet)
        if self._observers is not None:
            code, address, user = refused.refusal.code, socket.handshake.address, socket.user_id
            place, connection = (self._observers.system, CONNECT, code, self.declared), socket.connection.public_id
            self._observers.report(RefusalReport(*place, user_id=user, address=address, connection_id=connection))

    def on_end(self, socket: Socket, reason: CloseReason, *, was_connected: bool) -> None:
        """Remove a socket that has ended from its rooms, and notify the application."""
        if was_connected and self._room_observer is not None:
            self._room_observer.end(socket, reason)
        self._leave_all(socket)
        if was_connected:
            self.rooms.remove_user(socket.user_id, socket)
            if self.sockets.get(socket.id) is socket:
                del self.sockets[socket.id]
            try:
                self.application.disconnect(socket, reason.text)
            except Exception:
                logger.exception("disconnect handler failed", **socket.describe())
            if self._observers is not None:
                self._report_disconnect(self._observers, socket, reason)
        self.application.forget(socket)
        if was_connected:
            self._check_used()

    # What sockets ask of the application; see SocketContext.

    @property
    def system(self) -> str:
        return self.application.system

    @property
    def expiring_before(self) -> float:
        return self.application.expiring_before

    def encode_error(self, refusal: Refusal, message: str) -> bytes:
        return self.application.encode_error(refusal, message)

    async def may_join(self, socket: Socket, room: str) -> bool:
        return await self.application.may_join(socket, room)

    def on_start(self, socket: Socket) -> Coroutine[Any, Any, None] | None:
        return self.application.connected(socket)

    def on_event(self, socket: Socket, event: ReceivedEvent) -> Coroutine[Any, Any, None] | None:
        try:
            return self.application.receive(socket, event)
        except Exception:
            logger.exception("handler failed", command=event.name, **socket.describe())
            return None

    def on_unhandled(self, socket: Socket, event: ReceivedEvent) -> None:
        self.application.refuse(socket, event)

    def on_expiring(self, socket: Socket) -> None:
        running = self.application.expiring(socket)
        if running is not None:
            self.spawn(running)

    def on_closing(self, socket: Socket, reason: str) -> None:
        try:
            self.application.on_closing(socket, reason)
        except Exception:
            logger.exception("ending handler failed", **socket.describe())

    def find_socket(self, id: str) -> Socket | None:
        return self.sockets.get(id)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in a task. What it raises is logged."""
        self.tasks.spawn(work)

    @property
    def tasks(self) -> TaskSet:
        """The running handlers, also of other namespaces that were declared by the same name."""
        return self._shared.tasks

    # Reports.

    def _report_connect(self, observers: Observers, socket: Socket) -> None:
        role, rooms = self.application.find_role(socket), tuple(sorted(socket.rooms))
        named = "" if self.name == self.declared else self.name
        report = ConnectReport(observers.system, *socket.place, socket.handshake.address, role, rooms, named)
        observers.report(report)

    def _report_disconnect(self, observers: Observers, socket: Socket, reason: CloseReason) -> None:
        address = socket.handshake.address
        observers.report(DisconnectReport(observers.system, *socket.place, address, reason.text))

    def _report_room(
        self, observers: Observers, kind: type[JoinReport] | type[LeaveReport], socket: Socket, room: str
    ) -> None:
        connection = socket.connection.public_id
        observers.report(kind(observers.system, self.declared, room, socket.id, connection, socket.user_id))

    # Rooms.

    def join(self, socket: Socket, room: str) -> None:
        """Put `socket` into `room`. The caller has checked that it may be there."""
        if self._room_observer is not None and socket.connected and room not in socket.rooms:
            self._room_observer.join(socket, room)
        if self._observers is not None and socket.connected and room not in socket.rooms:
            self._report_room(self._observers, JoinReport, socket, room)
        self.rooms.add(socket, room)
        if socket.ready:
            self._sessions.mark_dirty(socket, visible_to_client=True)

    def leave(self, socket: Socket, room: str) -> None:
        """Take `socket` out of `room`, if it is in it."""
        if self._room_observer is not None and socket.connected and room in socket.rooms:
            self._room_observer.leave(socket, room)
        if self._observers is not None and socket.connected and room in socket.rooms:
            self._report_room(self._observers, LeaveReport, socket, room)
        self.rooms.remove(socket, room)
        if socket.ready:
            self._sessions.mark_dirty(socket, visible_to_client=True)

    def on_user(self, socket: Socket, before: str) -> None:
        """A socket belongs to another user from now on than `before`."""
        if socket.connected:
            self.rooms.remove_user(before, socket)
            self.rooms.add_user(socket.user_id, socket)
        if self._room_observer is not None and socket.connected:
            self._room_observer.identify(socket)

    def _leave_all(self, socket: Socket) -> None:
        for room in tuple(socket.rooms):
            self.leave(socket, room)

    # Sending.

    def message(self, entry: Entry) -> EventFrames:
        """The frames of an entry of this namespace."""
        application = self.application
        return EventFrames(self.event_prefix, entry, application.old_forms, application.receipts)

    def deliver(self, run: Sequence[EventFrames]) -> int:
        """Write events, all for the same rooms, to every socket in these rooms. Returns the number of sockets.

        Sockets with the same encoding get the same bytes. A recipient costs one attribute check, one call and one
        system call, for one event as for many.
        """
        members = self.rooms.find(run[0].entry.rooms, run[0].entry.excluded)
        if self._receipts:
            self._report_sent(run, [one for one in members if one.connected and one.session.replaying is None])
        if not members:
            return 0
        encoded: list[bytes | None] = [None] * self._encodings
        for socket in members:
            write = socket.write
            try:
                if write is not None:
                    frames = encoded[socket.encoding]
                    if frames is None:
                        frames = encoded[socket.encoding] = self._encode(run, socket.encoding)
                    # Empty if clients of its version do not receive these events.
                    if frames:
                        write(frames)
                elif socket.connected:
                    for message in run:
                        packets: list[OutboundPacket] = []
                        if socket.session.replaying is None:
                            packets = message.packets(socket.form)
                        elif message.entry.position is None:
                            # The replay reads other events from the log, after the events before them.
                            packets = message.packets_for(socket.form, socket.session.replayed_position)
                        for packet in packets:
                            socket.connection.send(packet)
            except Exception:
                # Continue with other sockets. This client must reconnect to get the events. It is closed later, because
                # its socket then leaves the room that this loop iterates over.
                logger.exception("a client cannot be written to", **socket.describe())
                close = partial(socket.connection.close, engineio.TRANSPORT_ERROR, "it cannot be written to")
                asyncio.get_running_loop().call_soon(close)
        return len(members)

    def _report_sent(self, messages: Sequence[EventFrames], sockets: Sequence[Socket], replayed: bool = False) -> None:
        if self._observers is not None:
            report_sent(self._observers, self.declared, messages, sockets, replayed=replayed)

    def on_replayed(self, socket: Socket, messages: Sequence[EventFrames]) -> None:
        """Events that a client had missed were written to it."""
        if self._receipts:
            self._report_sent(messages, [socket], replayed=True)

    def on_ack(self, socket: Socket, ack_id: int) -> None:
        """A client has acknowledged an event with receipts, or pretends to."""
        position = find_position(ack_id, self._recoverer.position) if self._receipts else None
        if position is not None and self._observers is not None and socket.connected:
            report_acknowledged(self._observers, self.declared, socket, position)

    def report_status(self, status: bytes, *, available: bool) -> None:
        """Send the event `status` to all clients, and, while the log is not `available`, to each new client."""
        self._status = None if available else status
        self.deliver([self.message(Entry(namespace=self.name, rooms=(), data=status, volatile=True))])

    def _encode(self, run: Sequence[EventFrames], encoding: int) -> bytes:
        outgoing = [packet for message in run for packet in message.packets(encoding & FORMS)]
        return join_frames(outgoing, self.settings.compression_threshold if encoding & DEFLATED else None)

    def apply_control(self, entry: Entry) -> None:
        """Have the application do what a control entry asks."""
        self.application.control(entry, tuple(self.rooms.find(entry.rooms, entry.excluded)))

    # For operators and handlers.

    def fetch_sockets(self, rooms: Iterable[str] = ()) -> list[SocketInfo]:
        """The connected sockets, in any of `rooms` if some are given."""
        return [
            SocketInfo(
                socket.id, socket.user_id, tuple(sorted(socket.rooms)), socket.handshake.address, socket.data, self.name
            )
            for socket in self.rooms.find(rooms)
            if socket.connected
        ]

    def disconnect_sockets(self, rooms: Iterable[str] = (), close: bool = False) -> int:
        """Disconnect the sockets in any of `rooms`, or all if none is given. Returns their number."""
        members = [socket for socket in self.rooms.find(rooms) if socket.connected]
        for socket in members:
            socket.disconnect(close)
        return len(members)
