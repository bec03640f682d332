"""What a namespace asks of the layer above, and how it shows its sockets to that layer."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Coroutine
from typing import Any

import msgspec

from oyez.errors import Refusal, RefusedError
from oyez.log.log import Entry
from oyez.server.cluster.usage import Usages
from oyez.server.namespaces.event_frames import OldForms
from oyez.server.namespaces.room_observer import RoomObserver
from oyez.server.namespaces.socket import Socket
from oyez.server.types import ReceivedEvent


class Application(ABC):
    """Decides about the clients of a namespace and handles their events.

    The methods are in the order of a client's life. One that is not abstract does nothing if it is not overridden.
    """

    system: str = ""
    """The name of the system, for log lines."""
    expiring_before: float = 0.0
    """Seconds before the end of a token at which `expiring` is called; 0: never."""
    usages: Usages | None = None
    """What is counted for each user, if anything; nodes exchange it."""
    room_observer: RoomObserver | None = None
    """Learns which sockets are in which rooms; None: nothing is reported."""

    old_forms: OldForms | None = None
    """The old forms of events; None if all clients receive events as they are."""
    oldest: int = 0
    """The age of the oldest version of clients; 0 if there is only one."""

    receipts: Collection[str] = frozenset()
    """The names of the events that ask their clients for acknowledgements."""

    headers: Collection[str] = ()
    """Headers of the opening request, in lower case, that are kept besides KEPT_HEADERS."""
    accepts: Callable[[str], bool] | None = None
    """For an application that stands for all namespaces whose names have one form: True if a name has it.

    None: the application of one namespace.
    """

    def open(self, namespace: str) -> "Application":
        """The application of one of these namespaces."""
        return self

    @abstractmethod
    async def connect(self, socket: Socket, auth: Any) -> None:
        """Decide about a CONNECT. May join rooms; raises RefusedError to answer with a CONNECT_ERROR.

        An error with a temporary cause (`oyez.errors.is_temporary`) closes the connection instead: official clients
        reconnect by themselves after that, but never after a CONNECT_ERROR.
        """

    def find_role(self, socket: Socket) -> str:
        """The role of an accepted client, for reports; empty if the application has no roles."""
        return ""

    def connected(self, socket: Socket) -> Coroutine[Any, Any, None] | None:
        """The client has been notified that it is connected. Its events wait for the coroutine, if one is returned.

        If the coroutine raises, the client is not fully connected: its connection is closed, and it reconnects.
        """
        return None

    @abstractmethod
    def receive(self, socket: Socket, event: ReceivedEvent) -> Coroutine[Any, Any, None] | None:
        """Handle an event. Returns a coroutine only if something has to be awaited. Must not raise."""

    def refuse(self, socket: Socket, event: ReceivedEvent) -> None:  # noqa: B027 - an event without acknowledgement
        """Answer an event that cannot be handled, because the client is not fully connected."""

    def encode_error(self, refusal: Refusal, message: str) -> bytes:
        """The event that notifies a client of an error that is not about one of its commands."""
        return msgspec.json.encode(["error", {"code": refusal.code, "message": message, "details": {}}])

    def explain_refusal(self, refused: RefusedError) -> dict[str, Any]:
        """The payload of the CONNECT_ERROR for a client that is refused, by the application or by the server."""
        return {"message": refused.message, "data": {"code": refused.refusal.code, **refused.details}}

    def expiring(self, socket: Socket) -> Coroutine[Any, Any, None] | None:
        """The socket's token ends in `expiring_before` seconds. Called once for each token."""
        return None

    def on_closing(self, socket: Socket, reason: str) -> None:  # noqa: B027 - most applications do nothing
        """The server is about to end a socket; events can still be sent to it."""

    @abstractmethod
    def disconnect(self, socket: Socket, reason: str) -> None:
        """A connected socket has ended. It is in no room any more."""

    def forget(self, socket: Socket) -> None:  # noqa: B027 - most applications keep nothing
        """A socket has disconnected, or was refused after `connect` had begun. May be called more than once."""

    async def may_join(self, socket: Socket, room: str) -> bool:
        """True if the socket, which was in `room` when its connection was lost, may still be in it."""
        return False

    def control(self, entry: Entry, sockets: Collection[Socket]) -> None:  # noqa: B027 - most applications have none
        """Do what a control entry asks of `sockets`: those in its rooms, or all if it names none."""


class SocketInfo(msgspec.Struct, frozen=True):
    """A connected socket, as operators and other nodes see it."""

    id: str
    user_id: str
    rooms: tuple[str, ...]
    address: str
    data: Any
    namespace: str = ""
