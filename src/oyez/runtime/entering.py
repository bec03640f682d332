"""Clients that are connecting: if their user is disconnected in the meantime, no node finds them among its sockets.

So a disconnect is recorded for them, and counts when they have been accepted.
"""

from collections.abc import Iterable

from oyez.server.namespaces.socket import Socket


class Entering:
    """The clients of one namespace that are connecting to this process."""

    def __init__(self) -> None:
        self._rooms: dict[Socket, set[str]] = {}

    def begin(self, socket: Socket) -> None:
        """A client begins to connect."""
        self._rooms[socket] = set()

    def record(self, rooms: Iterable[str]) -> None:
        """The clients in these rooms were disconnected."""
        for names in self._rooms.values():
            names.update(rooms)

    def end(self, socket: Socket) -> set[str]:
        """The client is accepted, or gone. Returns the rooms whose clients were disconnected since it began."""
        return self._rooms.pop(socket, set())
