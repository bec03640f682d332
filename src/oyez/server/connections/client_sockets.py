"""The sockets of one client: what a connection does with all of them."""

from collections.abc import Callable

from oyez.errors import Refusal
from oyez.protocol.engineio import CloseReason
from oyez.protocol.heartbeat import NEVER
from oyez.server.namespaces.socket import Socket


class ClientSockets(dict[str, Socket]):
    """Namespace → socket of one client."""

    __slots__ = ()

    @property
    def user_id(self) -> str:
        """The user of the first namespace; empty if the client is in none."""
        return next((socket.user_id for socket in self.values()), "")

    @property
    def working(self) -> bool:
        """True if a command of the client is being handled or is waiting."""
        return any(socket.working for socket in self.values())

    @property
    def token_deadline(self) -> float:
        """When the first token ends, or its application is notified of that."""
        return min((min(socket.notice, socket.expiry) for socket in self.values()), default=NEVER)

    def has_expired(self, now: float) -> bool:
        """True if a token has ended. Otherwise notifies the applications of tokens that are about to end."""
        for socket in tuple(self.values()):
            # The socket may have ended, or its token may have been renewed.
            if now >= socket.expiry:
                return True
            if now >= socket.notice:
                socket.notify_expiring()
        return False

    def set_write(self, write: Callable[[bytes], None] | None, deflate: bool) -> None:
        """Set how frames are written to the transport; see `Socket.set_write`."""
        for socket in self.values():
            socket.set_write(write, deflate)

    def acknowledge(self, position: str) -> None:
        """The client has received everything up to `position`."""
        for socket in self.values():
            socket.session.acknowledge(position)

    def send_error(self, refusal: Refusal, message: str) -> None:
        """Send the event that reports an error in each of the client's namespaces."""
        for socket in tuple(self.values()):
            socket.send_error(refusal, message)

    def notify_closing(self, reason: str) -> None:
        """Let the applications send a last event."""
        for socket in tuple(self.values()):
            if socket.connected:
                socket.notify_closing(reason)

    def end(self, reason: CloseReason) -> None:
        """End all sockets."""
        for socket in tuple(self.values()):
            socket.end(reason)
