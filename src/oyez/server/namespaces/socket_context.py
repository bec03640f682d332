"""What a socket is given: its connection, and its namespace, as far as a socket uses them."""

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from oyez.errors import Refusal
from oyez.log.log import Entry
from oyez.protocol import socketio
from oyez.protocol.engineio import CloseReason
from oyez.server.namespaces.event_frames import EventFrames
from oyez.server.namespaces.event_queue import EventSource
from oyez.server.transports.budget import Budget
from oyez.server.transports.outgoing import OutboundPacket
from oyez.server.types import Handshake, ReceivedEvent
from oyez.settings import Settings

if TYPE_CHECKING:
    from oyez.server.namespaces.socket import Socket


class Carrier(EventSource, Protocol):
    """The connection of a socket, as far as sockets and namespaces use it."""

    handshake: Handshake
    budget: Budget
    """What the input of the client may cost."""
    draining: bool
    """True if the server is stopping: events that arrive now are not handled."""

    @property
    def id(self) -> str:
        """The session id of the connection."""

    @property
    def public_id(self) -> str:
        """What names the connection in logs and reports."""

    @property
    def closed(self) -> bool:
        """True if nothing can be sent any more."""

    @property
    def max_buffer(self) -> int:
        """Bytes that may wait until the client receives them."""

    @property
    def json(self) -> bool:
        """True if the client receives JSON frames, and not Socket.IO packets."""

    def accept(self, socket: "Socket", answer: socketio.Packet) -> None:
        """Send the answer to a CONNECT, and make the socket one of the connection."""

    def refuse(self, socket: "Socket", answer: socketio.Packet) -> None:
        """Send the refusal of a CONNECT."""

    def remove_socket(self, namespace: str) -> None:
        """The socket of this namespace has ended."""

    def forget_namespace(self, name: str) -> None:
        """The server has disconnected the client from this namespace."""

    def keep_expiry(self, socket: "Socket") -> None:
        """Set the deadline of the socket's token."""

    def go_live(self, socket: "Socket") -> None:
        """The socket receives live events from now on."""

    def send_packet(self, packet: socketio.Packet, volatile: bool = False) -> None:
        """Encode one packet for this client alone, and send it."""

    def send(self, packet: OutboundPacket, /) -> None:
        """Send one packet that is encoded for many clients."""

    def send_all(self, packets: Sequence[OutboundPacket], /) -> None:
        """Send several packets, in one write if possible."""

    async def drained(self) -> None:
        """Wait until the client has received what was sent, or has disconnected."""

    def ping(self) -> None:
        """Send a ping; its pong confirms that everything before it was received."""

    def close(self, reason: CloseReason, detail: str = "") -> None:
        """Close the connection."""


class SocketContext(Protocol):
    """What the sockets of a namespace share, its room index, and the handler of their events.

    The namespace is the only one that calls the application.
    """

    name: str
    declared: str
    """The name in the contract."""
    settings: Settings
    ack_prefix: bytes
    """What an acknowledgement begins with, before its id."""
    event_prefix: bytes
    """What an event begins with."""
    now: Callable[[], float]
    """Seconds since 1970."""

    @property
    def system(self) -> str:
        """The name of the system, for log lines."""

    @property
    def expiring_before(self) -> float:
        """Seconds before the end of a token at which `on_expiring` is called; 0: never."""

    def find_socket(self, id: str) -> "Socket | None":
        """The connected socket with this id."""

    def message(self, entry: Entry) -> EventFrames:
        """The frames of an entry of this namespace."""

    def encode_error(self, refusal: Refusal, message: str) -> bytes:
        """The event that notifies a client of an error that is not about one of its commands."""

    async def may_join(self, socket: "Socket", room: str) -> bool:
        """True if the client may join a room of its session again."""

    def join(self, socket: "Socket", room: str) -> None:
        """Put `socket` into `room`. The caller has checked that it may be there."""

    def leave(self, socket: "Socket", room: str) -> None:
        """Take `socket` out of `room`, if it is in it."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in a task. What it raises is logged."""

    def make_reconnect(self, socket: "Socket", error: BaseException) -> None:
        """Close the connection of a client that cannot connect fully because of `error`; the client reconnects."""

    # What a socket reports.

    def on_start(self, socket: "Socket") -> Coroutine[Any, Any, None] | None:
        """The client knows that it is connected. Its events wait for the coroutine, if one is returned."""

    def on_event(self, socket: "Socket", event: ReceivedEvent) -> Coroutine[Any, Any, None] | None:
        """Handle an event. Returns a coroutine only if something has to be awaited."""

    def on_unhandled(self, socket: "Socket", event: ReceivedEvent) -> None:
        """An event cannot be handled, because the client is not fully connected: answer it."""

    def on_ack(self, socket: "Socket", ack_id: int) -> None:
        """The client has acknowledged an event with receipts, or pretends to."""

    def on_replayed(self, socket: "Socket", messages: Sequence[EventFrames]) -> None:
        """Events that the client had missed were written to it."""

    def on_user(self, socket: "Socket", before: str) -> None:
        """The socket belongs to another user from now on than `before`."""

    def on_expiring(self, socket: "Socket") -> None:
        """The token is about to end."""

    def on_closing(self, socket: "Socket", reason: str) -> None:
        """The server is about to end the socket, while events can be sent to it."""

    def on_end(self, socket: "Socket", reason: CloseReason, *, was_connected: bool) -> None:
        """The socket has ended: take it out of its rooms, and notify the application."""
