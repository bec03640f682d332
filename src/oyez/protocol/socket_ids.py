"""The ids of sockets, the room that each socket has to itself, and the room of all sockets of a user.

The names of such rooms begin with a control character, so they are never the names of rooms that clients may join: a
client that joins a room with another client's id as its name receives nothing of that client.
"""

import hashlib
import re

SOCKET_ID = re.compile(r"[\w-]{20}", re.ASCII)
"""The form of a socket's id."""
PUBLIC_BYTES = 6
"""Bytes of a connection's public id: no two of 100,000 connections are likely to share one."""
_MARK = "\x1f"
_USER_MARK = "\x1e"


def public_id(session_id: str) -> str:
    """What names a connection in logs and reports.

    The id of the session itself is a secret: over polling, anyone who has it can act as the client.
    """
    return hashlib.blake2s(session_id.encode(), digest_size=PUBLIC_BYTES).hexdigest()


def own_room(socket_id: str) -> str:
    """The name of the socket's own room."""
    return _MARK + socket_id


def is_own_room(name: str) -> bool:
    """True if `name` is that of a socket's own room."""
    return name.startswith(_MARK)


def socket_of(name: str) -> str:
    """The id of the socket whose own room has this name; other names are returned unchanged."""
    return name.removeprefix(_MARK)


def user_room(user_id: str) -> str:
    """The name of the room in which all sockets of a user are."""
    return _USER_MARK + user_id


def is_user_room(name: str) -> bool:
    """True if `name` is that of the room of a user's sockets."""
    return name.startswith(_USER_MARK)


def user_of(name: str) -> str:
    """The id of the user whose room has this name; other names are returned unchanged."""
    return name.removeprefix(_USER_MARK)
