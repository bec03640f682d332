"""What a namespace reports about the rooms of its connected sockets, to one observer."""

from typing import TYPE_CHECKING, Protocol

from oyez.protocol.engineio import CloseReason

if TYPE_CHECKING:
    from oyez.server.namespaces.socket import Socket


class RoomObserver(Protocol):
    """Learns which connected sockets are in which rooms. Must not raise and must not block."""

    def accept(self, socket: "Socket") -> None:
        """A socket is connected, and is in `socket.rooms`. It has recovered if `socket.session.generation` is not 0."""

    def join(self, socket: "Socket", room: str) -> None:
        """A connected socket joins a room in which it was not."""

    def leave(self, socket: "Socket", room: str) -> None:
        """A connected socket leaves a room."""

    def identify(self, socket: "Socket") -> None:
        """A connected socket belongs to another user from now on, `socket.user_id`."""

    def end(self, socket: "Socket", reason: CloseReason) -> None:
        """A socket that was connected has ended. It is still in its rooms."""
