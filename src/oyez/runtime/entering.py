"""Clients that are connecting: if their user is disconnected in the meantime, no node finds them among its sockets.

So a disconnect is recorded for them, and counts when they have been accepted.
"""

from collections.abc import Iterable

from oyez.contract.policy import Identity
from oyez.protocol.socket_ids import user_room
from oyez.runtime.control import Revocation
from oyez.server.namespaces.socket import Socket


class Entering:
    """The clients of one namespace that are connecting to this process."""

    def __init__(self) -> None:
        self._rooms: dict[Socket, set[str]] = {}
        self._revoked: dict[Socket, list[Revocation]] = {}
        """By client, the tokens that were revoked since it began; only if there are any."""

    def begin(self, socket: Socket) -> None:
        """A client begins to connect."""
        self._rooms[socket] = set()

    def record(self, rooms: Iterable[str]) -> None:
        """The clients in these rooms were disconnected."""
        for names in self._rooms.values():
            names.update(rooms)

    def revoke(self, revocation: Revocation) -> None:
        """Tokens were revoked."""
        for socket in self._rooms:
            self._revoked.setdefault(socket, []).append(revocation)

    def accept(self, socket: Socket, identity: Identity) -> bool:
        """The client is accepted. False if its user was disconnected since it began, or its token revoked."""
        rooms, revoked = self._rooms.pop(socket, ()), self._revoked.pop(socket, ())
        return user_room(identity.subject) not in rooms and not any(one.concerns(identity) for one in revoked)

    def end(self, socket: Socket) -> None:
        """The client is gone."""
        self._rooms.pop(socket, None)
        self._revoked.pop(socket, None)
