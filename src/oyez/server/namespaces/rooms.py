"""The rooms of a namespace: an index from names to sockets.

Handlers join rooms by `runtime/client.py`, which checks the rule of the room. A socket knows its rooms too, so joining,
leaving and disconnecting cost as much as the socket's own rooms.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from oyez.protocol.socket_ids import is_user_room, socket_of, user_of

if TYPE_CHECKING:
    from oyez.server.namespaces.socket import Socket


class RoomIndex(dict[str, "set[Socket]"]):
    """Name → sockets. A room exists while a socket is in it."""

    def __init__(self, sockets: "Mapping[str, Socket]") -> None:
        """`sockets` are all connected sockets by id. The id of a socket, and its own room, mean this socket.

        The room of a user means all sockets of the user.
        """
        super().__init__()
        self._sockets = sockets
        self._users: dict[str, tuple[Socket, ...]] = {}
        """By user, the user's sockets: a tuple, because most users have one."""

    @property
    def users(self) -> "Mapping[str, tuple[Socket, ...]]":
        """The connected users, and the sockets of each."""
        return self._users

    def add_user(self, user_id: str, socket: "Socket") -> None:
        """A connected socket belongs to this user."""
        self._users[user_id] = (*self._users.get(user_id, ()), socket)

    def remove_user(self, user_id: str, socket: "Socket") -> None:
        """The socket does not belong to this user any longer."""
        left = tuple(one for one in self._users.get(user_id, ()) if one is not socket)
        if left:
            self._users[user_id] = left
        else:
            self._users.pop(user_id, None)

    def add(self, socket: "Socket", room: str) -> None:
        """Put `socket` into `room`."""
        members = self.get(room)
        if members is None:
            members = self[room] = set()
        members.add(socket)
        socket.rooms.add(room)

    def remove(self, socket: "Socket", room: str) -> None:
        """Take `socket` out of `room`, if it is in it."""
        socket.rooms.discard(room)
        members = self.get(room)
        if members is not None:
            members.discard(socket)
            if not members:
                del self[room]

    def find(self, rooms: Iterable[str], excluded: Iterable[str] = ()) -> "Collection[Socket]":
        """The connected sockets in any of `rooms` (all sockets if there are none) and in none of `excluded`."""
        found: Collection[Socket]
        names = tuple(rooms)
        if not names:
            found = self._sockets.values()
        elif len(names) == 1:
            found = self._find_one(names[0])
        else:
            found = set().union(*map(self._find_one, names))
        excluded_names = tuple(excluded)
        if excluded_names:
            return set(found).difference(*map(self._find_one, excluded_names))
        return found

    def _find_one(self, name: str) -> "Collection[Socket]":
        members = self.get(name)
        if members is not None:
            return members
        if is_user_room(name):
            return self._users.get(user_of(name), ())
        socket = self._sockets.get(socket_of(name))
        return (socket,) if socket is not None else ()
